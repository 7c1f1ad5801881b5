"""What a merge of two contacts would do, said before it is done; nothing is changed."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.db import connection, models, transaction
from django.utils.translation import gettext as _

from contacts import merging
from contacts.models import Consent, Contact

# Columns that people read; the others follow from them or are ours alone.
_SHOWN = (
    "email", "phone", "first_name", "last_name", "salutation", "language", "country", "timezone", "company",
    "job_title", "company_role", "owner", "source", "highest_stage", "created_at", "identified_at", "last_seen_at",
    "paused_until", "most_per_week",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """A column or custom field: what each of the two has, and what the survivor will have."""

    field: str
    label: str
    survivor: Any
    loser: Any
    result: Any

    @property
    def is_lost(self) -> bool:
        """Whether something that the loser has gives way."""
        return self.loser not in (None, "") and self.loser != self.result


@dataclass(frozen=True)
class Relation:
    """Rows of one kind: how many the loser has, and how many of those give way to one of the survivor's."""

    relation: str
    label: str
    moves: int
    drops: int


@dataclass(frozen=True)
class Said:
    """A consent: what each of the two said ("" for nothing), and what will hold."""

    topic: str
    channel: str
    survivor: str
    loser: str
    result: str


@dataclass(frozen=True)
class Preview:
    """What the merge would do. `identities` are the handles that will lead to the survivor, as (kind, value)."""

    survivor: Contact
    loser: Contact
    fields: list[Outcome]
    relations: list[Relation]
    consents: list[Said]
    identities: list[tuple[str, str]]

    def as_data(self) -> dict[str, Any]:
        """As REST answers it."""
        return {
            "survivor": self.survivor.pk,
            "loser": self.loser.pk,
            "fields": [asdict(one) for one in self.fields],
            "relations": [asdict(one) for one in self.relations],
            "consents": [asdict(one) for one in self.consents],
            "identities": [{"kind": kind, "value": value} for kind, value in self.identities],
        }


def preview(one: Contact, other: Contact, *, now: datetime) -> Preview:
    """What `merging.merge` would do of these two, by the very statements of a merge, rolled back before rows move.

    Raises ValueError with a sentence where they can not be merged.
    """
    survivor, loser = merging.older(one, other)
    merging.refuse_unmergeable({contact.pk: contact for contact in (survivor, loser)})
    with transaction.atomic():
        merging.make_scratch()
        merging.SQL["empty_pairs"].run()
        merging.SQL["pair_by_hand"].run(loser=loser.pk, survivor=survivor.pk, reason="preview")
        relations = _relations(loser)
        said = [_states(contact) for contact in (survivor, loser)]
        result = merging.try_out(survivor, now=now)
        # Where both said something, the statement has made the two alike.
        holds = _states(loser) | _states(survivor)
        transaction.set_rollback(True)
    return Preview(
        survivor,
        loser,
        _outcomes(survivor, loser, result),
        relations,
        [Said(*key, said[0].get(key, ""), said[1].get(key, ""), holds[key]) for key in sorted(holds)],
        [*survivor.identities.values_list("kind", "value")[:50], *loser.identities.values_list("kind", "value")[:50]],
    )


def _states(contact: Contact) -> dict[tuple[str, str], str]:
    rows = Consent.objects.filter(contact=contact).values_list("topic", "channel", "state")
    return {(topic, channel): state for topic, channel, state in rows}


def _relations(loser: Contact) -> list[Relation]:
    found = []
    for (model, _name), place in zip(merging.relations(), merging.places(), strict=True):
        moves = model._base_manager.filter(**{place.column: loser.pk}).count()
        if moves:
            drops = sum(_count_clashes(place, *unique) for unique in place.uniques)
            found.append(Relation(model._meta.label, str(model._meta.verbose_name_plural), moves - drops, drops))
    return found


def _count_clashes(place: merging.Place, others: tuple[str, ...], condition: str) -> int:
    ranked = merging.ranked_rows(place, others, condition)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM ({ranked}) ranked WHERE rank > 1")  # noqa: S608  names from our models
        return cursor.fetchone()[0]


def _outcomes(survivor: Contact, loser: Contact, result: Contact) -> list[Outcome]:
    found = []
    for name in _SHOWN:
        values = [_shown(contact, name) for contact in (survivor, loser, result)]
        if any(value not in (None, "") for value in values):
            label = str(Contact._meta.get_field(name).verbose_name)  # type: ignore[union-attr]
            found.append(Outcome(name, label, *values))
    for key in sorted({**survivor.attributes, **loser.attributes}):
        values = [contact.attributes.get(key) for contact in (survivor, loser, result)]
        found.append(Outcome(f"attributes.{key}", key, *values))
    return found


def _shown(contact: Contact, name: str) -> Any:
    field = Contact._meta.get_field(name)
    value = getattr(contact, name)
    if isinstance(field, models.ForeignKey):
        return None if value is None else str(value)
    if name == "highest_stage":
        return str(contact.get_highest_stage_display())
    return value


def sentence(one: Preview) -> str:
    """In one line, who goes into whom."""
    told = _("%(loser)s (contact %(loser_id)d) becomes part of %(survivor)s (contact %(survivor_id)d).")
    names = {"loser": one.loser.name, "survivor": one.survivor.name}
    return told % {**names, "loser_id": one.loser.pk, "survivor_id": one.survivor.pk}
