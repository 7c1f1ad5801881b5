"""The list of addresses that nobody may write to, as people keep it: by hand and by file, each change with its why."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

from django.db import transaction
from django.utils.translation import gettext as _

from contacts.csvfiles import Unreadable, neutral, released
from contacts.identity import normalise
from contacts.sheets import open_table
from contacts.sql import load
from messaging.models import Suppression, SuppressionChange

SQL = load(__file__)

# A file is read and written in one go.
MOST_ROWS, LARGEST_FILE = 100_000, 16 << 20
COLUMNS = ["address", "reason", "since", "detail"]
_ADDRESS = ("address", "email", "e-mail", "mail", "e-mail address", "email address", "adresa", "adres")
# What a file may say; an erasure is no word of a file.
_REASONS = {key for key, _name in Suppression.REASONS} - {"erased"}


class NotLifted(PermissionError):
    """A complaint is taken back only by who may, and by saying so."""


@dataclass(frozen=True)
class Outcome:
    """What became of one row of a file: added, there (before), or refused with a sentence."""

    line: int
    address: str
    result: str
    sentence: str = ""


@transaction.atomic
def remove(*, suppression: Suppression, why: str, by: Any, may_lift: bool, is_sure: bool, now: datetime) -> None:
    """Takes an address off the list; mail may go there again, as far as its consents allow it.

    Raises ValueError without a why; NotLifted for a complaint where `by` may not lift one or is not sure.
    """
    if not why.strip():
        raise ValueError(_("Say why mail may go there again; it is kept."))
    # What was looked at may have become a complaint meanwhile.
    row = Suppression.objects.select_for_update().filter(pk=suppression.pk).first()
    if row is None:
        return
    if row.reason == "complained":
        if not may_lift:
            raise NotLifted(_("Only an administrator writes again to somebody who complained."))
        if not is_sure:
            raise NotLifted(_("This person complained. Tick the box if you know that they want our mail again."))
    SuppressionChange.objects.create(
        address=row.address, action="removed", reason=row.reason, since=row.suppressed_at, why=why.strip()[:2000],
        changed_at=now, changed_by=by,
    )  # fmt: skip
    row.delete()


def bring(file: BinaryIO, *, why: str, by: Any, now: datetime) -> list[Outcome]:
    """Puts the addresses of a file on the list; what became of each row. Raises Unreadable for the file as a whole.

    The file is what `written` wrote, or any with a column of addresses; `reason` and `detail` are taken where it has
    them. Nothing is ever taken off the list by a file.
    """
    told = table = open_table(file)
    if told.is_headless and len(told.headers) == 1:
        # A bare list: its first line is an address, too. (`told` holds the file open.)
        table = open_table(file, header_line=0)
    names = [name.strip().lower() for name in table.headers]
    place = 0 if table is not told else next((names.index(name) for name in _ADDRESS if name in names), None)
    if place is None:
        raise Unreadable(_("No column is called “address” or “email”."))
    columns = {name: names.index(name) for name in ("reason", "detail") if name in names}
    outcomes: list[Outcome] = []
    wanted: dict[str, tuple[int, str, str]] = {}
    for number, row in enumerate(table.rows()):
        if number >= MOST_ROWS:
            raise Unreadable(_("The file has more than %(most)d rows. Part it.") % {"most": MOST_ROWS})
        cells = {name: released(row.cells[at]).strip() if at < len(row.cells) else "" for name, at in columns.items()}
        written_as = released(row.cells[place]).strip() if place < len(row.cells) else ""
        reason = cells.get("reason", "").lower() or "manual"
        try:
            if row.problem:
                raise ValueError(row.problem)
            if reason not in _REASONS:
                raise ValueError(
                    _("The reason is one of %(reasons)s, not “%(reason)s”.")
                    % {"reasons": ", ".join(sorted(_REASONS)), "reason": reason[:50]}
                )
            address = normalise("email", written_as)
        except ValueError as error:
            outcomes.append(Outcome(row.line, written_as[:200], "refused", str(error)))
            continue
        if address in wanted:
            outcomes.append(Outcome(row.line, address, "there", _("It stands in the file twice.")))
            continue
        wanted[address] = (row.line, reason, cells.get("detail", "")[:500].replace("\0", ""))
    added = {
        address
        for (address,) in SQL["add_suppressed"].rows(
            addresses=list(wanted), reasons=[reason for _line, reason, _detail in wanted.values()],
            details=[detail for _line, _reason, detail in wanted.values()], why=why[:2000], by=by.pk if by else None,
            now=now,
        )
    }  # fmt: skip
    outcomes += [
        Outcome(line, address, "added" if address in added else "there")
        for address, (line, _reason, _detail) in wanted.items()
    ]
    return sorted(outcomes, key=lambda one: one.line)


def written(rows: Iterable[Suppression]) -> Iterator[list[str]]:
    """The list as rows of a file, its header first, with nothing in it that a spreadsheet would run."""
    yield COLUMNS
    for row in rows:
        cells = [row.address, row.reason, row.suppressed_at.isoformat(), row.detail]
        yield [neutral(cell) for cell in cells]
