"""Files of people: read row by row, written by the same upsert as a sync, with a note on every row refused.

A batch of rows, their notes, the counts and the place in the file are one transaction. So a run that is paused, or
whose worker was killed, goes on where it stood: every row once.
"""

import csv
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast
from uuid import uuid4

import structlog
from django.core.files import File
from django.db import connection, transaction
from django.db.models import F
from django.utils.translation import gettext as _

from contacts import columns, readings, segments, syncing, undoing
from contacts.csvfiles import Row, Table, Unreadable, neutral
from contacts.models import Import, ImportNote, Segment
from contacts.sheets import open_table
from contacts.sql import load
from contacts.wire import dumps

log = structlog.get_logger(__name__)
SQL = load(__file__)

BATCH = 5_000
# A task ends well before its alarm's patience; the next one goes on.
_SLICE = 300  # seconds
# Whoever looks at the dry run of a file sees so many rows of it.
FIRST_ROWS = 100
# How long a file, its notes and the way back are kept after its end.
KEPT = timedelta(days=30)
# So many rows tell how a column is written.
_LOOKED_AT = 20_000
_LOCKS = 7_265_003
_COUNTS = ("rows", "created", "updated", "unchanged", "rejected", "noted")

Tell = Callable[[Import], object]


class Busy(Exception):
    """Another worker is at this import."""


def new_import(name: str, content: File, **more: Any) -> Import:
    """A draft of an import with its file, under a name of our own: what people call their files leads nowhere here.

    Raises Unreadable for what is no table.
    """
    one = Import(name=Path(name).name[:200] or "?", state="draft", **more)
    table = open_file(one, content)
    settle_reading(one, table)
    content.seek(0)
    one.file.save(f"{uuid4().hex}.{'xlsx' if table.sheets else 'csv'}", content, save=False)
    one.save()
    return one


def settle_reading(one: Import, table: Table) -> None:
    """Writes onto an import, unsaved, how its newly opened file is read, as far as nobody chose."""
    one.headers, one.encoding, one.separator, one.sheet = table.headers, table.encoding, table.separator, table.sheet
    if not table.is_headless:
        one.header_line = table.header_line
    rows: list[list[str]] = []
    with suppress(Unreadable):
        # Where a workbook breaks off, its run says so; what came before tells enough.
        rows.extend(row.cells for row in islice(table.rows(), _LOOKED_AT) if not row.problem)
    one.readings = readings.readings(table.headers, rows, table.separator)
    bare = columns.guess(table.headers)
    told = {header: target for header, target in columns.guess(table.headers, rows).items() if target != bare[header]}
    one.mapping = {**told, **one.mapping}


def open_file(one: Import, file: Any) -> Table:
    """The file of an import, read as it says. Raises Unreadable."""
    return open_table(
        file, encoding=one.encoding, separator=one.separator, sheet=one.sheet, header_line=one.header_line
    )


def run_import(
    import_id: int, now: datetime, *, is_dry: bool = False, tell: Tell | None = None, seconds: float | None = None
) -> Import:
    """Imports the file of one Import, from where it stands, and returns it. Consent is never raised unless it may.

    `tell` is called after each batch. With `is_dry` everything is checked and nothing stays but notes and counts. After
    `seconds` it leaves off, still running. Raises Busy while another worker is at it.
    """
    with _held(import_id) as is_mine:
        if not is_mine:
            raise Busy
        one = Import.objects.select_related("segment", "started_by").get(pk=import_id)
        if is_dry and one.state != "checking":
            _begin_again(one)
            _move(one, one.state, "checking")
        elif one.state == "draft":
            _begin_again(one)
            _move(one, "draft", "running")
        elif one.state == "waiting":
            _move(one, "waiting", "running")
        if one.state not in ("running", "checking"):
            return one
        wanted, is_dry = one.state, one.state == "checking"
        try:
            with one.file.open("rb") as file:
                is_done = _read(one, cast(BinaryIO, file), now, is_dry, tell, seconds)
            if is_done:
                _move(one, wanted, "draft" if is_dry else "finished", finished_at=now)
        except (Unreadable, OSError, ValueError) as error:
            problem = str(error) if isinstance(error, Unreadable) else _("The file is not there any more.")
            _move(one, wanted, "failed", finished_at=now, problem=problem)
        except Exception as error:
            # Whatever one file holds, the imports behind it go on.
            log.exception("import_failed", id=one.pk)
            told = _("The import broke off by an error of our own (%(error)s); the rows counted here are stored.")
            _move(one, wanted, "failed", finished_at=now, problem=told % {"error": type(error).__name__})
        one.refresh_from_db()
        if one.segment and not is_dry:
            segments.ask_again(Segment.objects.filter(pk=one.segment.pk))
        return one


def run_waiting(now: datetime) -> int:
    """Works on the imports that wait, and on those whose worker died; how many. Two workers never take the same one."""
    done = 0
    asked = ["waiting", "running", "checking", "undoing"]
    for pk, state in list(Import.objects.filter(state__in=asked).order_by("pk").values_list("pk", "state")):
        try:
            if state == "undoing":
                with _held(pk) as is_mine:
                    if is_mine:
                        undoing.undo(pk, now, seconds=_SLICE)
            else:
                run_import(pk, now, seconds=_SLICE)
            done += 1
        except (Busy, Import.DoesNotExist):
            continue
    return done


@contextmanager
def _held(import_id: int):
    """Whether this process, and no other, may work on an import now. A worker that dies lets go by itself."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [_LOCKS, import_id])
        is_mine = cursor.fetchone()[0]
    try:
        yield is_mine
    finally:
        if is_mine:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [_LOCKS, import_id])


def _move(one: Import, from_state: str, to_state: str, **more: Any) -> None:
    """One state to another, unless somebody paused or cancelled it meanwhile."""
    if Import.objects.filter(pk=one.pk, state=from_state).update(state=to_state, **more):
        one.state = to_state


def _begin_again(one: Import) -> None:
    ImportNote.objects.filter(batch=one).delete()
    counts = dict.fromkeys([*_COUNTS, "share", "seconds"], 0)
    Import.objects.filter(pk=one.pk).update(**counts, problem="", finished_at=None)
    for name, value in counts.items():
        setattr(one, name, value)


def _read(one: Import, file: BinaryIO, now: datetime, is_dry: bool, tell: Tell | None, seconds: float | None) -> bool:
    """Reads on behind the rows that are done; whether the end of the file was reached."""
    begun = time.monotonic()
    table = open_file(one, file)
    record = columns.compiled(table.headers, one.mapping, one.constants, one.readings)
    if one.headers != table.headers:
        Import.objects.filter(pk=one.pk).update(headers=table.headers)
    rows = table.rows()
    state = one.state
    next(islice(rows, one.rows, one.rows), None)
    before = time.monotonic()
    while batch := list(islice(rows, BATCH)):
        if seconds is not None and time.monotonic() - begun > seconds:
            return False
        if Import.objects.filter(pk=one.pk).values_list("state", flat=True).first() != state:
            return False
        with transaction.atomic():
            counts = write(one, batch, record, now, is_dry)
            after = time.monotonic()
            told = {name: F(name) + count for name, count in counts.items()}
            Import.objects.filter(pk=one.pk).update(
                **told, rows=F("rows") + len(batch), share=table.share, seconds=F("seconds") + (after - before)
            )
        before = after
        if tell:
            one.refresh_from_db()
            tell(one)
    if is_dry:
        found = Import.objects.filter(pk=one.pk).values(*_COUNTS).get()
        Import.objects.filter(pk=one.pk).update(checked=found)
    Import.objects.filter(pk=one.pk).update(share=1)
    return True


def write(
    one: Import, batch: list[Row], record: Callable[[list[str]], dict], now: datetime, is_dry: bool
) -> dict[str, int]:
    """Writes some rows of an import, in the caller's transaction, and its notes on them; how many became what."""
    counts = {"created": 0, "updated": 0, "unchanged": 0, "rejected": 0, "noted": 0}
    readable = [row for row in batch if not row.problem]
    results = _upserted(one, readable, record, now, is_dry)
    notes = []
    for row, result in zip(readable, results, strict=True):
        status = result["status"]
        counts[status] += 1
        if result["errors"]:
            is_refused = status == "rejected"
            counts["noted"] += not is_refused
            reasons = [[error["field"], error["message"]] for error in result["errors"]]
            notes.append((row.line, is_refused, row.cells, reasons))
    if len(readable) < len(batch):
        broken = [row for row in batch if row.problem]
        counts["rejected"] += len(broken)
        notes += [(row.line, True, row.cells, [["", row.problem]]) for row in broken]
    if notes:
        _keep(one, sorted(notes, key=lambda note: note[0]))
    return counts


def _upserted(
    one: Import, readable: list[Row], record: Callable[[list[str]], dict], now: datetime, is_dry: bool
) -> list[syncing.Result]:
    rows = [record(row.cells) for row in readable]
    actor = one.started_by.get_username() if one.started_by else ""
    source = f"import:{one.pk}"
    with transaction.atomic():
        results = syncing.upsert(
            rows, source=source, now=now, actor=actor, may_raise_consent=one.may_raise_consent, mode=one.mode,
            batch=one.pk, lines=[row.line for row in readable], by=one.started_by,
        )  # fmt: skip
        people = [result["id"] for result in results if result["id"]]
        if any("consents" in row for row in rows):
            SQL["keep_people_of_consents"].run(batch=one.pk, source=source, people=people, now=now)
        if one.segment_id:
            SQL["add_imported_members"].run(
                batch=one.pk, segment=one.segment_id, people=people, by=one.started_by_id, now=now
            )
        transaction.set_rollback(is_dry)
    return results


def _keep(one: Import, notes: list[tuple[int, bool, list[str], list]]) -> None:
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY contacts_importnote (batch_id, line, is_refused, cells, reasons) FROM STDIN") as copy,
    ):
        for line, is_refused, cells, reasons in notes:
            kept = [cell.replace("\0", "") for cell in cells]
            copy.write_row((one.pk, line, is_refused, dumps(kept).decode(), dumps(reasons).decode()))


# The first rows, while somebody looks ---------------------------------------------------------------------------------


def try_first_rows(one: Import, now: datetime, most: int = FIRST_ROWS) -> list[dict[str, Any]]:
    """What would become of the first rows: {line, cells, status, reasons, changes} each; nothing stays.

    Raises Unreadable for the file as a whole.
    """
    with one.file.open("rb") as file:
        table = open_file(one, cast(BinaryIO, file))
        record = columns.compiled(table.headers, one.mapping, one.constants, one.readings)
        rows = list(islice(table.rows(), most))
    readable = [row for row in rows if not row.problem]
    found = {id(row): {"line": row.line, "cells": row.cells, "status": "rejected", "changes": []} for row in rows}
    with transaction.atomic():
        people = [record(row.cells) for row in readable]
        results = syncing.upsert(
            people, source=f"import:{one.pk}", now=now, mode=one.mode, batch=one.pk,
            may_raise_consent=one.may_raise_consent, lines=[row.line for row in readable], by=one.started_by,
        )  # fmt: skip
        changes = dict(one.people.filter(before__isnull=False).values_list("contact_id", "after"))
        transaction.set_rollback(True)
    for row in rows:
        found[id(row)]["reasons"] = [["", row.problem]] if row.problem else []
    for row, result in zip(readable, results, strict=True):
        found[id(row)] |= {
            "status": result["status"],
            "contact": result["id"] if result["status"] != "created" else None,
            "reasons": [[error["field"], error["message"]] for error in result["errors"]],
            "changes": _changed(changes.get(result["id"], {})) if result["status"] == "updated" else [],
        }
    return list(found.values())


def _changed(after: dict[str, Any]) -> list[str]:
    return sorted(name.removeprefix("attributes.") for name in after if not name.startswith(("handle.", "member")))


def refused_rows(one: Import) -> Iterator[str]:
    """The rows with notes as lines of CSV: as they stood, with number, result and reason behind. A mended copy of it
    may be imported: those last columns are left out then."""
    lines = csv.writer(_Echo())
    yield "\ufeff" + lines.writerow([*map(neutral, one.headers), "import_row", "import_result", "import_reason"])
    width, after = len(one.headers), 0
    while notes := list(one.notes.filter(pk__gt=after).order_by("pk")[:2_000]):
        for note in notes:
            cells = [*note.cells[:width], *[""] * (width - len(note.cells))]
            result = "refused" if note.is_refused else "imported"
            reason = " ".join(f"{field}: {message}" if field else message for field, message in note.reasons)
            if len(note.cells) > width:
                # What had no column would be lost.
                reason = f"{reason} {' | '.join(note.cells[width:])}"
            yield lines.writerow([*map(neutral, cells), note.line, result, neutral(reason)])
        after = notes[-1].pk


class _Echo:
    """Lets csv.writer answer its line."""

    def write(self, line: str) -> str:
        return line


# What people ask of it ------------------------------------------------------------------------------------------------

# What may be asked → in which states, and the state that follows.
MOVES: dict[str, tuple[tuple[str, ...], str]] = {
    "check": (("draft",), "checking"),
    "start": (("draft",), "waiting"),
    "pause": (("waiting", "running"), "paused"),
    "resume": (("paused", "failed"), "waiting"),
    "cancel": (("waiting", "running", "paused", "checking"), "cancelled"),
    "undo": (("finished", "cancelled", "paused", "failed"), "undoing"),
}


def ask(one: Import, what: str) -> bool:
    """Moves an import on as somebody asked; False where it is elsewhere already. Workers obey between two batches."""
    states, following = MOVES[what]
    if what == "cancel" and one.state == "checking":
        following = "draft"
    with transaction.atomic():
        found = Import.objects.select_for_update().filter(pk=one.pk, state__in=states)
        if not found.exists():
            return False
        if what in ("check", "start"):
            _begin_again(one)
        return bool(Import.objects.filter(pk=one.pk).update(state=following))


def is_undoable(one: Import) -> bool:
    """Whether the way back is still known."""
    return one.state in MOVES["undo"][0] and one.people.exists()


# Cleaning up ----------------------------------------------------------------------------------------------------------


def tidy(now: datetime) -> int:
    """Deletes files, notes and ways back of imports that ended, or were left lying, long ago; how many imports."""
    old = Import.objects.filter(created_at__lt=now - KEPT).exclude(state__in=["running", "checking", "undoing"])
    done = 0
    for one in old.exclude(file="", notes=None, people=None).distinct()[:100]:
        forget_file(one)
        one.notes.all().delete()
        one.people.all().delete()
        done += 1
    return done


def drop(one: Import) -> None:
    """Deletes an import with its file, its notes and its way back; the people stay."""
    forget_file(one)
    one.notes.all().delete()
    one.people.all().delete()
    one.delete()


def forget_file(one: Import) -> None:
    """Deletes the file that was uploaded; what was read of it stays."""
    if one.file:
        one.file.delete(save=False)
        Import.objects.filter(pk=one.pk).update(file="")


def forget(contacts: list[int], handles: list[str]) -> None:
    """Erasure: notes that name these people go, and so do the files that brought them, once they are done with.

    `handles` are their addresses and user ids as we store them. Call it before the people themselves go.
    """
    SQL["forget_notes"].run(handles=[handle.lower() for handle in handles])
    done = Import.objects.filter(people__contact_id__in=contacts).exclude(file="").distinct()
    for one in done.exclude(state__in=["draft", "checking", "waiting", "running", "paused"]):
        forget_file(one)
