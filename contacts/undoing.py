"""Undoing an import: whom it made goes, what it wrote over comes back.

Unless something happened since: who did anything, was changed, merged or is needed by other rows stays, and a field
that somebody changed after the import keeps the newer value; both are told. Consent is never raised. All of it moves as
sets, a slice of people a transaction.
"""

import time
from datetime import datetime
from typing import Any

from django.db import connection, models, transaction
from django.utils.translation import gettext as _

from contacts import merging, segments
from contacts.models import (
    Consent,
    ConsentChange,
    Identity,
    Import,
    ImportedPerson,
    Membership,
    MembershipOverride,
    Segment,
    Touchpoint,
)
from contacts.sql import load
from contacts.stream import wait_for_tick_lock

SQL = load(__file__)

# No tick runs beside a slice: half a second of it, most of which is the database asking whether anything leads to them.
SLICE = 1_000
PREVIEWED = 1_000

# Rows of these tell nothing that their person did: they are made of what the import wrote, and go with its people.
_made_of_it: set[type[models.Model]] = {
    Identity, Consent, ConsentChange, Membership, MembershipOverride, ImportedPerson, Touchpoint,
}  # fmt: skip


def goes_along(model: type[models.Model]) -> None:
    """Registers a model whose rows are only computed of a person; call it from `AppConfig.ready`."""
    _made_of_it.add(model)


# Why somebody stays; the statement writes the key, the page the sentence.
def reasons() -> dict[str, str]:
    """What `ImportedPerson.kept` means, in sentences."""
    return {
        "gone": _("They were merged into somebody else or erased."),
        "merged": _("Somebody else was merged into them."),
        "changed": _("They were changed since."),
        "happened": _("Something happened with them since."),
        "fields": _("Some fields were changed since and keep the newer value."),
    }


def kept(one: Import, most: int) -> list[tuple[Any, str]]:
    """Some of those whom an undoing left, with the reason."""
    people = one.people.exclude(kept="").select_related("contact").order_by("pk")[:most]
    return [(person.contact, reasons()[person.kept]) for person in people]


def undo(import_id: int, now: datetime, *, seconds: float | None = None) -> Import:
    """Undoes an import that is being undone, from where it stands; after `seconds` it leaves off."""
    begun = time.monotonic()
    one = Import.objects.get(pk=import_id)
    while one.state == "undoing":
        slice_begun = time.monotonic()
        with transaction.atomic():
            counts, last = _undo_slice(one, now, SLICE)
            if last:
                undone = {name: one.undone.get(name, 0) + count for name, count in counts.items()}
                Import.objects.filter(pk=one.pk).update(undone=undone, undone_upto=last)
            else:
                Import.objects.filter(pk=one.pk, state="undoing").update(state="undone", finished_at=now)
        one.refresh_from_db()
        if seconds is not None and time.monotonic() - begun > seconds:
            break
        if sum(counts.values()) == SLICE:
            # The tick does not queue for its lock: it finds it free, or leaves it for the next time.
            time.sleep(min(1.0, time.monotonic() - slice_begun))
    if one.segment_id:
        segments.ask_again(Segment.objects.filter(pk=one.segment_id))
    return one


def preview(one: Import, now: datetime) -> dict[str, Any]:
    """What an undoing would do: {made, changed, looked, removed, restored, kept, examples}; nothing stays.

    The last five are about the first `PREVIEWED` people, `looked` of them; the examples are (contact, reason).
    """
    found: dict[str, Any] = {
        "made": one.people.filter(before__isnull=True).count(),
        "changed": one.people.filter(before__isnull=False).count(),
    }
    with transaction.atomic():
        found |= _undo_slice(one, now, PREVIEWED, is_locked=False)[0]
        found["examples"] = kept(one, 20)
        transaction.set_rollback(True)
    found["looked"] = found["removed"] + found["restored"] + found["kept"]
    return found


def _undo_slice(one: Import, now: datetime, size: int, *, is_locked: bool = True) -> tuple[dict[str, int], int]:
    """The next people of an import; how many were removed, restored and kept, and behind whom to go on (0: nobody)."""
    if is_locked:
        # A tick under way may be about to write of these people.
        wait_for_tick_lock()
    source = f"import:{one.pk}"
    SQL["make_undoing"].run()
    SQL["empty_undoing"].run()
    SQL["take_people_to_undo"].run(batch=one.pk, after=one.undone_upto, limit=size)
    last = SQL["last_to_undo"].value() or 0
    with connection.cursor() as cursor:
        # Without it, thousands of people are joined one by one as if they were three.
        cursor.execute("ANALYZE undoing")
        SQL["keep_who_changed"].run(batch=one.pk, source=source)
        for place in merging.places():
            if place.table not in {model._meta.db_table for model in _made_of_it}:
                cursor.execute(_keep_needed(place.table, place.column))
        SQL["take_members_back"].run()
        SQL["restore_people"].run(now=now, source=f"import-undo:{one.pk}")
        SQL["drop_imported_handles"].run()
        SQL["lower_consents_again"].run(now=now, source=source, undo=f"import-undo:{one.pk}")
        SQL["note_kept"].run()
        counts = SQL["count_undone"].rows()[0]
        for place in merging.places():
            cursor.execute(_delete_of_removed(place.table, place.column))
    SQL["remove_people"].run()
    return dict(zip(("removed", "restored", "kept"), counts, strict=True)), last


def _keep_needed(table: str, column: str) -> str:
    quote = connection.ops.quote_name
    return f"""UPDATE undoing SET kept = 'happened' WHERE is_made AND kept = '' AND EXISTS (
        SELECT FROM {quote(table)} one WHERE one.{quote(column)} = undoing.contact_id)"""  # noqa: S608  names from our models


def _delete_of_removed(table: str, column: str) -> str:
    quote = connection.ops.quote_name
    return f"""DELETE FROM {quote(table)} one USING undoing
        WHERE one.{quote(column)} = undoing.contact_id AND undoing.is_made AND undoing.kept = ''"""  # noqa: S608  names from our models
