"""What rules may ask: fields (columns by this list, custom fields by their rows, others by registration) and leaves.

`catalogue` tells all of it to the builder and to clients.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from django.contrib.auth import get_user_model
from django.contrib.postgres.aggregates import JSONBAgg
from django.db import connection
from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from contacts import rulewords
from contacts.identity import normalise
from contacts.models import Contact, Field, Identity, Segment, Touchpoint
from contacts.rulevalues import OPERATORS, has_value, json_value, typed
from contacts.stages import STAGES
from contacts.timeline import TITLES


@dataclass(frozen=True)
class RuleField:
    """One thing to ask about a contact.

    `type` is text, number, boolean, date, datetime or list; `expression(now)` is a Django expression over Contact of
    that type, NULL (for a text also '') where there is no value. `choices` limits what a rule may name. `clean`
    brings a text of a rule into the one form in which values are stored.
    """

    key: str
    type: str
    expression: Callable[[datetime], Any] = field(compare=False)
    label: str | Promise = ""
    choices: tuple[str, ...] = ()
    # What the choices are called; without a name here one is called by its key.
    choice_names: Mapping[str, str | Promise] = field(default_factory=dict, compare=False)
    # Values to offer that do not limit what a rule may name: (value, label) in the language of the reader.
    offers: Callable[[], list[tuple[str, str]]] | None = field(default=None, compare=False)
    # What any other value is called, such as a country by its code.
    called: Callable[[Any], str] | None = field(default=None, compare=False)
    # The heading under which the field is found.
    group: str | Promise = field(default=_("Other"), compare=False)
    # Whether its value is there at all; without it, that is what the expression says.
    presence: Callable[[datetime], Q] | None = field(default=None, compare=False)
    # What to show as evidence, where the typed expression hides what is really stored.
    raw: Callable[[datetime], Any] | None = field(default=None, compare=False)
    clean: Callable[[str], str] | None = field(default=None, compare=False)
    # The name by which `contact.updated` tells of it; without one nobody knows since when it has its value.
    told: str = ""
    # When else its value may have changed: a moment of the contact's row, such as the last edit of the company.
    edited: str = ""
    # What the value rests on, where that is more than the value: rows of orders.
    rows: Callable[[Contact, datetime], dict[str, Any]] | None = field(default=None, compare=False)
    # Whether an index holds how its texts begin.
    is_begun: bool = False
    # Whether its value changes by the clock alone, so that segments that ask it are swept.
    has_time: bool = False

    def name_of(self, value: Any) -> str:
        """What a value of a choice is called."""
        if value in self.choice_names:
            return str(self.choice_names[value])
        return str(self.called(value)) if self.called else str(value)

    def catalogue(self) -> dict[str, Any]:
        """The field as the builder and clients read it."""
        choices = [(key, self.name_of(key)) for key in self.choices] or (self.offers() if self.offers else [])
        return {
            "key": self.key,
            "label": str(self.label or self.key),
            "type": self.type,
            "type_label": str(rulewords.TYPES[self.type]),
            "group": str(self.group),
            "choices": [{"value": value, "label": label} for value, label in choices],
            # Whether a rule may name nothing but those choices.
            "is_closed": bool(self.choices),
            "operators": rulewords.operators(self.type, self.operators),
        }

    @property
    def operators(self) -> list[str]:
        """What can be asked of it."""
        return [*OPERATORS[self.type], *(["has_been_for"] if self.can_last else [])]

    @property
    def can_last(self) -> bool:
        """Whether it can be asked since when it has its value."""
        return bool(self.told or self.key == "stage") and "eq" in OPERATORS[self.type]


class Leaf(Protocol):
    """One question about a contact. Leaves are frozen dataclasses; equal data gives equal leaves."""

    @classmethod
    def parse(cls, data: Mapping[str, Any], path: str, names: "Vocabulary") -> "Leaf":
        """Reads the leaf; raises RuleError with the path of what is wrong."""

    @classmethod
    def describe(cls, names: "Vocabulary") -> dict[str, Any]:
        """What the builder needs to offer the leaf: at least `label`, and `choices` where there are some."""

    def dump(self) -> dict[str, Any]:
        """The leaf as JSON, such that `parse` reads an equal one."""

    def to_q(self, now: datetime) -> Q:
        """The question over Contact. NULL counts as no; compile negations by `rulevalues.negate`."""

    def evidence(self, contact: Contact, now: datetime) -> dict[str, Any]:
        """What the answer rests on, as plain values."""

    def because(self, evidence: dict[str, Any]) -> str:
        """The evidence as a sentence, such as: It is Czechia, since 3 May 2026."""

    def says(self) -> str:
        """The leaf as a sentence without its full stop: “Country is any of Czechia, Poland”."""

    @property
    def has_time(self) -> bool:
        """Whether the answer may change by the clock alone."""


_leaves: dict[str, type[Leaf]] = {}


def register_leaf(name: str, leaf: type[Leaf]) -> None:
    """Adds a kind of leaf, told by the key `name`; apps above call it from `AppConfig.ready`."""
    if name in _leaves or name in ("all", "any", "not"):
        raise ValueError(f"Two kinds of rule leaves are called {name}.")
    _leaves[name] = leaf


def leaf_kinds() -> dict[str, type[Leaf]]:
    """The kinds of leaves by the key that tells them."""
    return _leaves


_fields: dict[str, RuleField] = {}


def register_field(rule_field: RuleField) -> None:
    """Adds a field; apps above call it from `AppConfig.ready`. Raises ValueError if the key is taken."""
    if rule_field.key in _fields:
        raise ValueError(f"Two rule fields are called {rule_field.key}.")
    _fields[rule_field.key] = rule_field


def registered() -> dict[str, RuleField]:
    """The registered fields by key; custom fields of this installation stand in the database."""
    return dict(_fields)


def _column(key: str, type_: str, label: str | Promise, path: str = "", **more: Any) -> None:
    path = path or key.replace(".", "__")
    if key.startswith("company."):
        more |= {"told": "company", "edited": "company__updated_at"}
    elif type_ == "text" and key not in ("stage", "highest_stage"):
        more |= {"told": key}
    register_field(RuleField(key, type_, lambda now: F(path), label, **more))


_PERSON, _PLACE, _COMPANY, _STAGE = _("Person"), _("Where from"), _("Company"), _("Stage and time")
_STAGES: dict[str, Any] = {"choices": tuple(key for key, _label in STAGES), "choice_names": dict(STAGES)}

_MOST_OWNERS = 200


def _owners() -> list[tuple[str, str]]:
    users = get_user_model().objects.filter(is_active=True, is_staff=True).order_by("username")[:_MOST_OWNERS]
    return [(user.get_username(), user.get_full_name() or user.get_username()) for user in users]


_column("email", "text", _("E-mail"), group=_PERSON, clean=lambda value: normalise("email", value))
_column("phone", "text", _("Phone"), group=_PERSON)
_column("first_name", "text", _("First name"), group=_PERSON)
_column("last_name", "text", _("Last name"), group=_PERSON)
_column("job_title", "text", _("Job title"), group=_PERSON)
_column("company_role", "text", _("Role in the company"), group=_PERSON)
_column("owner", "text", _("Owner"), group=_PERSON, path="owner__username", offers=_owners)
_column(
    "language",
    "text",
    _("Language"),
    group=_PLACE,
    offers=rulewords.languages,
    called=rulewords.language,
)
_column(
    "country",
    "text",
    _("Country"),
    group=_PLACE,
    offers=rulewords.countries,
    called=rulewords.country,
)
_column("timezone", "text", _("Time zone"), group=_PLACE)
_column("source", "text", _("Source"), group=_PLACE)
_column("stage", "text", _("Stage"), group=_STAGE, **_STAGES)
_column("highest_stage", "text", _("Highest stage"), group=_STAGE, **_STAGES)
_column("stage_changed_at", "datetime", _("In this stage since"), group=_STAGE)
_column("created_at", "datetime", _("Created"), group=_STAGE)
_column("identified_at", "datetime", _("Known since"), group=_STAGE)
_column("last_seen_at", "datetime", _("Last seen"), group=_STAGE)
_column("company.name", "text", _("Company: name"), group=_COMPANY)
_column("company.domain", "text", _("Company: domain"), group=_COMPANY)
_column(
    "company.country", "text", _("Company: country"), group=_COMPANY, offers=rulewords.countries,
    called=rulewords.country,
)  # fmt: skip
_column("company.employees", "number", _("Company: employees"), group=_COMPANY)
_column("company.industry", "text", _("Company: industry"), group=_COMPANY)


def choices_of(row: Field) -> dict[str, str]:
    """The choices of a custom field: what is stored, and what it is called."""
    if row.type != "choice" or not isinstance(row.choices, list):
        return {}
    pairs = [(one, one) if not isinstance(one, dict) else (one.get("key"), one.get("label")) for one in row.choices]
    return {str(key): str(label or key) for key, label in pairs}


def custom(row: Field) -> RuleField:
    """The rule field of a custom field: its value is read as the field's type; what is none of it is no value."""
    type_ = "text" if row.type == "choice" else row.type
    value = json_value("attributes", row.key)
    choices = choices_of(row)
    return RuleField(
        row.key,
        type_,
        lambda now: typed(type_, value),
        row.name or row.key,
        choices=tuple(choices),
        choice_names=choices,
        group=_("Custom fields"),
        told=row.key,
        presence=lambda now: has_value(value),
        raw=lambda now: value,
        is_begun=type_ == "text",
    )


def company_attribute(key: str, type_: str) -> RuleField:
    """An attribute of the company, such as `company.attributes.tier`: of the type of what it is compared with."""
    value = json_value("company__attributes", *key.split(".")[2:])
    return RuleField(
        key,
        type_,
        lambda now: typed(type_, value),
        key,
        presence=lambda now: has_value(value),
        raw=lambda now: value,
        group=_COMPANY,
        told="company",
        edited="company__updated_at",
    )


def handle(kind: str) -> RuleField:
    """The handles of one kind that a contact has, as a list."""
    mine = Identity.objects.filter(contact_id=OuterRef("pk"), kind=kind).order_by().values("contact_id")
    return RuleField(
        f"identity.{kind}",
        "list",
        lambda now: Subquery(mine.annotate(handles=JSONBAgg("value", order_by="value")).values("handles")),
        format_lazy(_("Identity: {kind}"), kind=kind),
        presence=lambda now: Q(Exists(mine)),
        group=_("Identities"),
    )


_KINDS_OF_IDENTITIES = """
WITH RECURSIVE kind AS (
    SELECT min(kind) AS kind FROM contacts_identity
    UNION ALL
    SELECT (SELECT min(kind) FROM contacts_identity WHERE contacts_identity.kind > kind.kind) FROM kind
    WHERE kind.kind IS NOT NULL
)
SELECT kind FROM kind WHERE kind IS NOT NULL
"""


def kinds_of_identities() -> set[str]:
    """The kinds that there are, by one step in the index for each."""
    with connection.cursor() as cursor:
        cursor.execute(_KINDS_OF_IDENTITIES)
        return {kind for (kind,) in cursor.fetchall()}


class Vocabulary:
    """The names that rules may use in this installation: read once from the database, when first needed.

    `fields` and `segments` add names that are about to exist, such as those of a file that is being planned.
    """

    def __init__(self, *, fields: list[Field] | None = None, segments: set[str] | None = None) -> None:
        self._fields: dict[str, RuleField] | None = None
        self._segments: dict[str, str] | None = None
        self._handles: dict[str, RuleField] | None = None
        self._more_fields = fields or []
        self._more_segments = segments or set()

    def field(self, key: str) -> RuleField | None:
        """The field of this key, or None. A registered key wins over a custom field of the same name."""
        return _fields.get(key) or self.custom_fields().get(key) or self.handles().get(key)

    def handles(self) -> dict[str, RuleField]:
        """The kinds of identities, each as a list of a contact's handles: `identity.user_id`."""
        if self._handles is None:
            kinds = sorted({"anonymous_id", "email", "phone", "user_id"} | kinds_of_identities())
            self._handles = {f"identity.{kind}": handle(kind) for kind in kinds}
        return self._handles

    def custom_fields(self) -> dict[str, RuleField]:
        if self._fields is None:
            self._fields = {row.key: custom(row) for row in [*Field.objects.all(), *self._more_fields]}
        return self._fields

    def segment(self, key: str) -> str | None:
        """What the segment of this key is called, or None."""
        if self._segments is None:
            known = dict(Segment.objects.values_list("key", "name"))
            self._segments = {key: key for key in self._more_segments} | known
        return self._segments.get(key)


# The catalogue -------------------------------------------------------------------------------------------------------

# So many of the newest touchpoints tell which kinds and properties there are.
_SEEN = 5_000
_COUNTS = ["eq", "ne", "gt", "gte", "lt", "lte"]


def catalogue(names: Vocabulary | None = None) -> dict[str, Any]:
    """All that a rule may ask, in the reader's language, as JSON.

    `fields` (key, label, type, group, choices, is_closed, operators), `leaves` (each kind with its label and choices),
    `counts` (operators of `did … count`), `properties` (operators of `did … where` by type), `kinds` (kinds of
    touchpoints seen, with the names of their properties and the types these had).
    """
    names = names or Vocabulary()
    others = {**names.handles(), **names.custom_fields()}
    fields = [*_fields.values(), *(one for key, one in others.items() if key not in _fields)]
    return {
        "fields": [one.catalogue() for one in fields],
        "leaves": [{"kind": kind, **leaf.describe(names)} for kind, leaf in _leaves.items()],
        "counts": rulewords.counts(),
        "properties": {
            type_: rulewords.operators(type_, OPERATORS[type_]) for type_ in ("text", "number", "boolean", "datetime")
        },
        "kinds": kinds_seen(),
    }


def kinds_seen() -> list[dict[str, Any]]:
    """The kinds of touchpoints seen of late: [{kind, label, properties: [{name, types}]}], by label."""
    newest = Touchpoint.objects.order_by("-pk")[:_SEEN].values_list("kind", "properties")
    seen: dict[str, dict[str, set[str]]] = {kind: {} for kind in TITLES}
    for kind, properties in newest:
        told = seen.setdefault(kind, {})
        for name, value in properties.items() if isinstance(properties, dict) else []:
            told.setdefault(name, set()).add(_TYPE_OF.get(type(value), "text"))
    found = [
        {
            "kind": kind,
            "label": str(TITLES.get(kind, kind)),
            "properties": [{"name": name, "types": sorted(types)} for name, types in sorted(told.items())],
        }
        for kind, told in seen.items()
    ]
    return sorted(found, key=lambda one: str(one["label"]).casefold())


_TYPE_OF = {bool: "boolean", int: "number", float: "number", list: "list", dict: "group"}
