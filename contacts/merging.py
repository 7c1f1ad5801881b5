"""Merging people: two contacts that are one person become one, and nothing that points to them is lost.

Who is merged into whom stands in the temporary table `pair (loser, survivor, reason, row_id)`; a survivor is nobody's
loser. Every relation to Contact is found by introspection, so a new model cannot be forgotten.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.db import connection, models, transaction
from django.db.models.fields.reverse_related import ForeignObjectRel
from django.utils.translation import gettext as _

from contacts.models import Contact, Merge
from contacts.sql import Statement, load
from contacts.stages import LADDER
from contacts.stream import put, wait_for_tick_lock

SQL = load(__file__)

_settlements: list[Statement] = []
_partings: list[Statement] = []
_extra_places: list[tuple[str, str]] = []

# Whoever was writing of somebody while they were merged has ended by then, or never will.
_STRAYS_COME_WITHIN = timedelta(minutes=15)


def settle_by(statement: Statement, *, undo: Statement | None = None) -> None:
    """Registers a statement that runs before rows are moved; call it from `AppConfig.ready`.

    It settles what the general rule (the survivor's row stays, the loser's clashing one is dropped) would do wrongly:
    adding up two ledgers, ending the second of two enrolments. It reads `pair` and may take `%(now)s`. What it deletes
    it inserts into `moved (loser, place, row_key, dropped)`, and an undo puts it back.

    `undo` runs when a merge is taken back, when all rows that were moved or dropped are where they were: it parts what
    was settled. It reads `pair (loser, survivor, merge_id)` and may take `%(now)s`.
    """
    if statement not in _settlements:
        _settlements.append(statement)
    if undo and undo not in _partings:
        _partings.append(undo)


def partings() -> list[Statement]:
    """What is run when a merge is taken back, in the order of the settlements."""
    return list(_partings)


def also_move(table: str, column: str) -> None:
    """Registers a column that holds contact ids without a foreign key; call it from `AppConfig.ready`.

    The table's key is called `id`.
    """
    if (table, column) not in _extra_places:
        _extra_places.append((table, column))


def extra_places() -> list[tuple[str, str]]:
    """Every column registered by `also_move`."""
    return list(_extra_places)


@dataclass(frozen=True)
class Place:
    """A column that leads to contacts, and the sets of columns that are unique together with it."""

    table: str
    column: str
    key: str
    # The type of the key, by which its written form is read again.
    key_type: str
    # Each: the other columns, and the condition under which they must be unique ("" for always).
    uniques: tuple[tuple[tuple[str, ...], str], ...]


def relations() -> list[tuple[Any, str]]:
    """Every model and field that leads to a contact, but for the log of merges, which is history."""
    return [
        (relation.related_model, relation.field.name)
        for relation in Contact._meta.get_fields(include_hidden=True)
        if isinstance(relation, ForeignObjectRel)
        and (relation.one_to_many or relation.one_to_one)
        and relation.related_model is not Merge
        and relation.related_model._meta.managed
        and not relation.related_model._meta.proxy
    ]


@cache
def places() -> tuple[Place, ...]:
    """Every column that leads to a contact, but for the log of merges."""
    found = []
    for model, name in relations():
        field = model._meta.get_field(name)
        key = model._meta.pk
        found.append(
            Place(
                model._meta.db_table,
                field.column,
                key.column,
                key.rel_db_type(connection),
                tuple(_uniques(model, field)),
            )
        )
    return tuple(found)


def _uniques(model: Any, field: Any):
    def columns(names):
        return tuple(model._meta.get_field(name).column for name in names)

    if field.unique:
        yield (), ""
    for names in model._meta.unique_together:
        if field.name in names:
            yield tuple(one for one in columns(names) if one != field.column), ""
    for constraint in model._meta.constraints:
        if isinstance(constraint, models.UniqueConstraint) and field.name in constraint.fields:
            with connection.schema_editor(collect_sql=True) as editor:
                condition = constraint._get_condition_sql(model, editor) or ""  # type: ignore[attr-defined]
            yield tuple(one for one in columns(constraint.fields) if one != field.column), condition


def ranked_rows(place: Place, others: tuple[str, ...], condition: str) -> str:
    """A query of the rows that must be unique together: `place` (ctid) and `rank`, of which only the first may stay."""
    quote = connection.ops.quote_name
    table, column, key = quote(place.table), quote(place.column), quote(place.key)
    wheres = [f"{column} IN (SELECT loser FROM pair UNION SELECT survivor FROM pair)"]  # noqa: S608  names from our models
    wheres += [f"{quote(one)} IS NOT NULL" for one in others]
    wheres += [f"({condition})"] if condition else []
    group = ", ".join([f"coalesce(pair.survivor, own.{column})", *(f"own.{quote(one)}" for one in others)])
    return f"""
            SELECT own.place, row_number() OVER (
                PARTITION BY {group} ORDER BY pair.loser IS NOT NULL, own.{key}) AS rank
            FROM (SELECT ctid AS place, * FROM {table} WHERE {" AND ".join(wheres)}) own
            LEFT JOIN pair ON pair.loser = own.{column}"""  # noqa: S608  names from our models


def _drop_clashes(place: Place, others: tuple[str, ...], condition: str) -> str:
    quote = connection.ops.quote_name
    table, column, key = quote(place.table), quote(place.column), quote(place.key)
    return f"""
        WITH ranked AS ({ranked_rows(place, others, condition)}
        ), gone AS (
            DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT place FROM ranked WHERE rank > 1)) RETURNING *
        )
        INSERT INTO moved (loser, place, row_key, dropped)
        SELECT gone.{column}, '{place.table}', gone.{key}::text, to_jsonb(gone) FROM gone"""  # noqa: S608  names from our models


def _move(table: str, column: str, key: str) -> str:
    quote = connection.ops.quote_name
    return f"""
        WITH changed AS (
            UPDATE {quote(table)} SET {quote(column)} = pair.survivor FROM pair
            WHERE {quote(table)}.{quote(column)} = pair.loser
            RETURNING pair.loser, {quote(table)}.{quote(key)}::text AS row_key
        )
        INSERT INTO moved (loser, place, row_key)
        SELECT loser, '{table}.{column}', row_key FROM changed"""  # noqa: S608  names from our models


def make_scratch() -> None:
    """Makes the temporary tables that the statements of a merge read and write."""
    for name in ("make_pair", "make_moved"):
        SQL[name].run()


def merge_pairs(*, now: datetime, by_id: int | None = None) -> int:
    """Merges everybody in `pair`, as one set; the number of contacts that are no more.

    For whoever holds the tick lock, inside a transaction. Neither side may be erased or merged away already.
    """
    SQL["lock_people"].run()
    SQL["log_merges"].run(now=now, by=by_id)
    _move_rows(now)
    SQL["fill_survivors"].run(now=now, ladder=LADDER)
    SQL["log_survivors"].run()
    return SQL["bury_losers"].run(now=now)


def _move_rows(now: datetime) -> None:
    """Settles, moves and logs whatever leads to the losers in `pair`."""
    SQL["settle_consents"].run(now=now)
    SQL["settle_totals"].run()
    for statement in _settlements:
        statement.run(now=now)
    with connection.cursor() as cursor:
        for place in places():
            for others, condition in place.uniques:
                cursor.execute(_drop_clashes(place, others, condition))
            cursor.execute(_move(place.table, place.column, place.key))
        for table, column in _extra_places:
            cursor.execute(_move(table, column, "id"))
    SQL["log_moved"].run()


def try_out(survivor: Contact, *, now: datetime) -> Contact:
    """The survivor of `pair` as a merge would leave it, with the consents of both settled; the caller rolls it back."""
    SQL["settle_consents"].run(now=now)
    SQL["fill_survivors"].run(now=now, ladder=LADDER)
    return Contact.objects.select_related("company", "owner").get(pk=survivor.pk)


def heal(now: datetime, after: int, upto: int) -> int:
    """A step of the tick: what was written of somebody by another transaction, while they were merged, follows them.

    Such a row waited for the merge to end and then came to a tombstone. It becomes part of the merge, so that an undo
    moves it back. The number of merges looked at again; `after` and `upto` mean nothing to this step.
    """
    make_scratch()
    SQL["empty_pairs"].run()
    count = SQL["pair_strays"].run(since=now - _STRAYS_COME_WITHIN)
    if count:
        _move_rows(now)
        SQL["empty_pairs"].run()
    return count


@transaction.atomic
def merge(*, survivor: Contact, loser: Contact, reason: str, by=None, now: datetime, source: str = "merge") -> Merge:
    """Makes two contacts one: everything of `loser` becomes the survivor's, who keeps what both have; the log of it.

    Waits for the tick to pause. Raises ValueError with a sentence where one of them is gone already or both are one.
    """
    wait_for_tick_lock()
    refuse_unmergeable(Contact.objects.select_for_update().order_by("pk").in_bulk([survivor.pk, loser.pk]))
    make_scratch()
    SQL["empty_pairs"].run()
    SQL["pair_by_hand"].run(loser=loser.pk, survivor=survivor.pk, reason=reason)
    merge_pairs(now=now, by_id=by.pk if by else None)
    SQL["empty_pairs"].run()
    put(
        kind="contact.merged",
        source=source,
        now=now,
        contact_id=survivor.pk,
        properties={"from": loser.pk, "reason": reason},
    )
    survivor.refresh_from_db()
    loser.refresh_from_db()
    return Merge.objects.filter(loser=loser).latest("pk")


def refuse_unmergeable(people: dict[int, Contact]) -> None:
    """Raises ValueError with a sentence where these are not two living contacts."""
    if len(people) != 2:
        raise ValueError(_("A contact can not be merged into itself."))
    for person in people.values():
        if person.erased_at:
            raise ValueError(_("Contact %(id)d was erased.") % {"id": person.pk})
        if person.merged_into_id:
            raise ValueError(_("Contact %(id)d was merged into another one already.") % {"id": person.pk})


def older(one: Contact, other: Contact) -> tuple[Contact, Contact]:
    """The two as (survivor, loser): who was identified first stays; of two visitors, the older."""
    ranked = sorted(
        [one, other], key=lambda contact: (contact.identified_at is None, contact.identified_at or 0, contact.pk)
    )
    return ranked[0], ranked[1]
