"""Custom fields: made, changed and removed with all that hangs on them, and the traits that could become fields.

A value of a field is always of its type: what clients tell that is not (or that a new type leaves over) is put aside
beside the contact (`UnfitValue`), counted and shown, neither used nor lost. Traits that no field describes are stored
as they came; `count_traits` counts them by one pass over everybody, at most once an hour and where people changed.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Max, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from contacts import segments
from contacts.models import Contact, Field, Heartbeat, Trait, UnfitValue
from contacts.records import KNOWN
from contacts.rulefields import choices_of, registered
from contacts.sql import load

SQL = load(__file__)

COUNT_EVERY = timedelta(hours=1)
MOST_CHOICES = 200
# More keys than this are no fields to be, but somebody's mistake; the rarest are not listed.
MOST_TRAITS = 500
# Of about so many people the types of their values are told.
TYPED = 20_000
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
# Words that stand at the place of a key in addresses.
_NO_KEYS = {"traits"}
_COUNTED = "traits"


class FieldError(ValueError):
    """What is wrong with a definition: `errors` by the name of its part, each as a sentence."""

    def __init__(self, errors: Mapping[str, str]):
        super().__init__(" ".join(errors.values()))
        self.errors = dict(errors)


class InUse(Exception):
    """The field cannot go; `users` names who asks about it."""

    def __init__(self, one: Field, users: list[str]):
        super().__init__(_("“%(name)s” is used by: %(users)s.") % {"name": one, "users": ", ".join(users)})
        self.users = users


@dataclass(frozen=True)
class Fit:
    """How the values that people have under a key would fit a type: a dry statement, nothing is changed."""

    people: int
    fits: int
    # Of those that fit: how many would be written in another form, such as the text "12" as the number 12.
    changes: int
    samples: list[Any] = field(default_factory=list)

    @property
    def unfit(self) -> int:
        return self.people - self.fits

    def says(self) -> str:
        """The statement as sentences."""
        if not self.people:
            return _("Nobody has a value yet.")
        said = ngettext(
            "%(fits)d of %(people)d value fits.", "%(fits)d of %(people)d values fit.", self.people
        ) % {"fits": self.fits, "people": self.people}  # fmt: skip
        if not self.unfit:
            return said
        return said + " " + ngettext(
            "%(count)d does not and would be put aside.", "%(count)d do not and would be put aside.", self.unfit
        ) % {"count": self.unfit}  # fmt: skip


class DoesNotFit(FieldError):
    """Some values would have to be put aside or written in another form, and nobody said so; `fit` says how many."""

    def __init__(self, fit: Fit):
        super().__init__({"type": _("%(fit)s Say that you want them converted.") % {"fit": fit.says()}})
        self.fit = fit


# Definitions ---------------------------------------------------------------------------------------------------------


def check(*, key: str, type_: str, choices: Any, is_new: bool) -> list[Any]:
    """Raises FieldError where this can be no field; else the choices in their one form."""
    errors: dict[str, str] = {}
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        errors["key"] = _("A key begins with a letter and has letters, digits, - and _, at most 64.")
    elif is_new and (key in registered() or key in KNOWN or key in _NO_KEYS):
        errors["key"] = _("Every contact has a field of this name already.")
    if not isinstance(type_, str) or type_ not in dict(Field.TYPES):
        errors["type"] = _("There is no type “%(type)s”; there are %(known)s.") % {
            "type": type_,
            "known": ", ".join(dict(Field.TYPES)),
        }
    tidy: list[Any] = []
    if type_ != "choice" and choices:
        errors["choices"] = _("Only a choice has choices.")
    elif type_ == "choice":
        try:
            tidy = _tidy_choices(choices)
        except ValueError as error:
            errors["choices"] = str(error)
    if errors:
        raise FieldError(errors)
    return tidy


def _tidy_choices(choices: Any) -> list[Any]:
    """Choices as texts, or as {key, label} where the label is another."""
    if not isinstance(choices, list) or not choices:
        raise ValueError(_("A choice needs a list with at least one choice."))
    if len(choices) > MOST_CHOICES:
        raise ValueError(_("A choice has at most %(most)d choices.") % {"most": MOST_CHOICES})
    tidy: dict[str, Any] = {}
    for one in choices:
        pair = (one, one) if isinstance(one, str) else (one.get("key"), one.get("label")) if _is_pair(one) else ("", "")
        key, label = pair[0], pair[1] or pair[0]
        if not isinstance(key, str) or not isinstance(label, str) or not key.strip() or max(len(key), len(label)) > 200:
            raise ValueError(_("Each choice is a text, or an object with key and label, of at most 200 characters."))
        if key.strip() in tidy:
            raise ValueError(_("“%(key)s” is there twice.") % {"key": key.strip()})
        key, label = key.strip(), label.strip() or key.strip()
        tidy[key] = key if key == label else {"key": key, "label": label}
    return list(tidy.values())


def _is_pair(one: Any) -> bool:
    return isinstance(one, Mapping) and {"key", "label"}.issuperset(one)


def counted() -> QuerySet[Field]:
    """The fields, each with `unfit_count`: how many people were told a value that is none of its type."""
    mine = UnfitValue.objects.filter(field=OuterRef("pk")).order_by().values("field")
    return Field.objects.annotate(
        unfit_count=Coalesce(Subquery(mine.annotate(count=Count("pk")).values("count")), Value(0))
    )


def fit(key: str, type_: str, choices: Any = ()) -> Fit:
    """How the values that people have under this key would fit; one pass over everybody."""
    asked = _asked(key, type_, choices)
    people, fits, changes = SQL["count_fit"].rows(**asked)[0]
    samples = [json.loads(value) for (value,) in SQL["show_unfit"].rows(**asked)] if people > fits else []
    return Fit(people, fits, changes, samples)


def _asked(key: str, type_: str, choices: Any) -> dict[str, Any]:
    keys = list(choices_of(Field(key=key, type=type_, choices=list(choices))))
    return {"key": key, "type": type_, "choices": keys, "zone": settings.TIME_ZONE}


@transaction.atomic
def create(*, key: str, type_: str, name: str = "", choices: Any = None, now: datetime) -> tuple[Field, Fit]:
    """Makes a field. What people have under its key already is brought into its type's form, or put aside.

    Raises FieldError. The answer says how the values fitted.
    """
    tidy = check(key=key, type_=type_, choices=choices, is_new=True)
    if Field.objects.filter(key=key).exists():
        raise FieldError({"key": _("There is a field of this key already.")})
    found = fit(key, type_, tidy)
    one = Field.objects.create(key=key, type=type_, name=name.strip(), choices=tidy)
    SQL["settle_values"].run(**_asked(key, type_, tidy), field=one.pk, now=now)
    Trait.objects.filter(key=key).delete()
    segments.ask_again_readers_of(key)
    return one, found


@transaction.atomic
def change(
    one: Field,
    *,
    now: datetime,
    name: str | None = None,
    type_: str | None = None,
    choices: Any = None,
    convert: bool = False,
) -> Fit | None:
    """Changes a field; what is None stays. Raises FieldError, and DoesNotFit where values would have to change.

    With `convert` they do: each is written in the form of the new type, and put aside where it is none; what was put
    aside before and fits now comes back. The answer says how the values fitted, None where only the name changed.
    """
    one = Field.objects.select_for_update().get(pk=one.pk)
    if name is not None:
        one.name = name.strip()
    type_ = one.type if type_ is None else type_
    choices = (one.choices if type_ == "choice" else []) if choices is None else choices
    tidy = check(key=one.key, type_=type_, choices=choices, is_new=False)
    found = None
    if (type_, tidy) != (one.type, one.choices):
        found = fit(one.key, type_, tidy)
        if (found.unfit or found.changes) and not convert:
            raise DoesNotFit(found)
        one.type, one.choices = type_, tidy
    one.save(update_fields=["name", "type", "choices"])
    if found is not None:
        asked = _asked(one.key, one.type, one.choices)
        SQL["settle_values"].run(**asked, field=one.pk, now=now)
        SQL["restore_values"].run(**asked, field=one.pk, now=now)
        segments.ask_again_readers_of(one.key)
    return found


@transaction.atomic
def remove(one: Field, *, now: datetime) -> None:
    """Deletes a field that nobody needs; its values stay with the people as an unregistered trait. Raises InUse."""
    if users := segments.users_of_field(one.key):
        raise InUse(one, users)
    SQL["give_back_values"].run(key=one.key, field=one.pk, now=now)
    one.delete()


def settle_unfit(contacts: Iterable[int]) -> None:
    """Forgets what did not fit of contacts that have a value which does, once somebody wrote it."""
    SQL["forget_mended"].run(contacts=list(contacts))


# Traits --------------------------------------------------------------------------------------------------------------


def count_traits(now: datetime) -> int:
    """Counts the traits that no field describes; how many keys there are. One pass over everybody."""
    Heartbeat.objects.update_or_create(name=_COUNTED, defaults={"beat_at": now})
    every = max(1, (SQL["estimate_contacts"].value() or 0) // TYPED)
    return SQL["count_traits"].run(now=now, zone=settings.TIME_ZONE, most=MOST_TRAITS, every=every)


@transaction.atomic
def count_traits_if_due(now: datetime) -> bool:
    """Counts them where the last count is an hour old and somebody changed since then, and nobody counts just now."""
    if not SQL["claim_counting"].value():
        return False
    last = Heartbeat.objects.filter(name=_COUNTED).values_list("beat_at", flat=True).first()
    newest = Contact.objects.aggregate(newest=Max("updated_at"))["newest"]
    if newest is None or (last and (now - last < COUNT_EVERY or newest <= last)):
        return False
    count_traits(now)
    return True


def guessed_type(trait: Trait) -> str:
    """The type that nearly all values of a trait have; text where they have none in common."""
    most, count = max(trait.types.items(), key=lambda one: one[1], default=("text", 0))
    return most if most in dict(Field.TYPES) and count >= 0.95 * sum(trait.types.values()) else "text"
