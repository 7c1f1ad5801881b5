"""Taking a merge back: two contacts again, each with what was theirs.

What the merge moved goes back and what it dropped is there again. What somebody wrote of the survivor afterwards stays
with the survivor, in its rows and in its columns. Consent is never raised by it: see `part_consents`.
"""

from datetime import datetime

from django.apps import apps
from django.db import IntegrityError, connection, models, transaction
from django.utils.translation import gettext as _

from contacts.merging import extra_places, make_scratch, partings, places
from contacts.models import Consent, Contact, Merge
from contacts.sql import Fragment, load
from contacts.stream import put, wait_for_tick_lock

SQL = load(__file__)

# Columns that a survivor keeps whatever they were: they have a ledger of their own, or protect the person.
_KEPT = [
    "id", "attributes", "stage", "stage_changed_at", "merged_into_id", "erased_at", "updated_at", "paused_until",
    "most_per_week",
]  # fmt: skip


def why_not(merge: Merge) -> str:
    """Why this merge cannot be taken back, as a sentence; "" where it can."""
    if merge.undone_at:
        return _("This merge was undone already.")
    survivor, loser = merge.survivor, merge.loser
    if survivor.erased_at or loser.erased_at:
        return _("The person was erased since; nothing of them is left to part.")
    if survivor.merged_into_id:
        told = _("Contact %(id)d was merged into contact %(into)d afterwards. Undo that merge first.")
        return told % {"id": survivor.pk, "into": survivor.merged_into_id}
    if loser.merged_into_id != survivor.pk or "after" not in merge.before:
        return _("This merge was written down by an older version, which did not keep what an undo needs.")
    return ""


@transaction.atomic
def unmerge(merge: Merge, *, by=None, now: datetime, source: str = "merge") -> Merge:
    """Takes a merge back; the survivor and who went into it are two contacts again.

    Waits for the tick to pause. Raises ValueError with a sentence where it cannot be done.
    """
    wait_for_tick_lock()
    merge = Merge.objects.select_for_update().get(pk=merge.pk)
    people = Contact.objects.select_for_update().order_by("pk").in_bulk([merge.survivor_id, merge.loser_id])
    merge.survivor, merge.loser = people[merge.survivor_id], people[merge.loser_id]
    if reason := why_not(merge):
        raise ValueError(reason)
    make_scratch()
    SQL["empty_pairs"].run()
    SQL["pair_undone"].run(merge=merge.pk)
    try:
        with transaction.atomic():
            _part(merge, now)
    except IntegrityError as error:
        told = _("What was merged does not fit any more into what is there by now: %(reason)s")
        raise ValueError(told % {"reason": str(error).splitlines()[0]}) from None
    SQL["empty_pairs"].run()
    merge.entries.all().delete()
    merge.undone_at, merge.undone_by = now, by
    merge.save(update_fields=["undone_at", "undone_by"])
    for one, other in ((merge.survivor_id, merge.loser_id), (merge.loser_id, merge.survivor_id)):
        told_of = {"from": other, "merge": merge.pk}
        put(kind="contact.unmerged", source=source, now=now, contact_id=one, properties=told_of)
    merge.survivor.refresh_from_db()
    merge.loser.refresh_from_db()
    return merge


def _part(merge: Merge, now: datetime) -> None:
    SQL["unbury_loser"].run(fragments=_columns({"id", "erased_at"}), now=now)
    with connection.cursor() as cursor:
        for place in places():
            if place.table != Consent._meta.db_table:
                cursor.execute(_move_back(place.table, place.column, place.key, place.key_type))
        for table, column in extra_places():
            cursor.execute(_move_back(table, column, "id", "bigint"))
        SQL["part_consents"].run(now=now)
        for model in _models_of_dropped(merge):
            cursor.execute(_bring_back(model))
    SQL["give_back_columns"].run(fragments=_columns({"id", "erased_at"}), kept=_KEPT, now=now)
    SQL["settle_addresses"].run()
    SQL["part_totals"].run()
    for statement in partings():
        statement.run(now=now)


def _columns(without: set[str]) -> dict[str, Fragment]:
    names = [str(field.column) for field in Contact._meta.concrete_fields if field.column not in without]
    return {
        "columns": Fragment(", ".join(names)),
        "values": Fragment(", ".join(f"value.{name}" for name in names)),
    }


def _move_back(table: str, column: str, key: str, key_type: str) -> str:
    quote = connection.ops.quote_name
    return f"""
        UPDATE {quote(table)} SET {quote(column)} = pair.loser
        FROM pair
        JOIN contacts_mergeentry entry ON entry.merge_id = pair.merge_id
            AND entry.table_name = '{table}' AND entry.column_name = '{column}'
        CROSS JOIN LATERAL unnest(entry.keys) AS moved (key)
        WHERE {quote(table)}.{quote(key)} = moved.key::{key_type}
            AND {quote(table)}.{quote(column)} = pair.survivor"""  # noqa: S608  names from our models


def _models_of_dropped(merge: Merge) -> list[type[models.Model]]:
    tables = set(merge.entries.exclude(row=None).values_list("table_name", flat=True))
    # Consents are parted by their own statement.
    return [
        model
        for model in apps.get_models(include_auto_created=True)
        if model._meta.db_table in tables - {Consent._meta.db_table} and not model._meta.proxy
    ]


def _bring_back(model: type[models.Model]) -> str:
    """The insert of a model's dropped rows, without those whose own ground (a segment, a rule) was deleted since."""
    quote = connection.ops.quote_name
    columns, values, wheres = [], [], []
    for field in model._meta.concrete_fields:
        column = quote(str(field.column))
        columns.append(column)
        value = f"back.{column}"
        if isinstance(field, models.ForeignKey) and field.related_model is not Contact:
            target = field.related_model._meta  # type: ignore[union-attr]
            key = quote(str(target.pk.column))
            there = f"SELECT {key} FROM {quote(target.db_table)} WHERE {key} = {value}"  # noqa: S608  names from our models
            if field.null:
                value = f"({there})"
            else:
                wheres.append(f"EXISTS ({there})")
        values.append(value)
    table = quote(model._meta.db_table)
    condition = "".join(f" AND {one}" for one in wheres)
    return f"""
        INSERT INTO {table} ({", ".join(columns)})
        SELECT {", ".join(values)}
        FROM pair
        JOIN contacts_mergeentry entry ON entry.merge_id = pair.merge_id
            AND entry.table_name = '{model._meta.db_table}' AND entry.row IS NOT NULL
        CROSS JOIN LATERAL jsonb_populate_record(NULL::{table}, entry.row) AS back
        WHERE true{condition}
        ON CONFLICT DO NOTHING"""  # noqa: S608  names from our models
