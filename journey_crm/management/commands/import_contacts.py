"""`manage.py import_contacts FILE`: people from a CSV or XLSX file."""

import sys
from pathlib import Path

from django.core.files import File
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from contacts.csvfiles import ENCODINGS, Unreadable
from contacts.importing import forget_file, new_import, refused_rows, run_import
from contacts.models import Import

_SHOWN = 20
_WRITTEN = {
    ",": "1.234,5 (decimal comma)", ".": "1,234.5 (decimal point)", "dmy": "day/month/year", "mdy": "month/day/year",
}  # fmt: skip


class Command(BaseCommand):
    help = (
        "Imports people from a CSV or XLSX file: found by user_id, else by email, made or changed by the columns there "
        "are. A bad row is reported by its number and stops nothing; consent is never raised; a second run changes "
        "nothing. What was imported is listed in the admin, where it can be undone."
    )

    def add_arguments(self, parser):
        parser.add_argument("file", type=Path)
        parser.add_argument(
            "--map",
            action="append",
            default=[],
            metavar="COLUMN=FIELD",
            help="what a column fills, such as 'Kundennr=user_id', 'Plan=attributes.plan', 'News=consents.news'; "
            "with nothing behind = the column is left out; may be repeated",
        )
        parser.add_argument("--dry-run", action="store_true", help="check and report only")
        parser.add_argument("--sheet", default="", help="the sheet of a workbook; the first, unless told")
        parser.add_argument(
            "--header-line",
            type=int,
            metavar="N",
            help="the line that names the columns; 0: none does, they are “Column 1” and so on; found, unless told",
        )
        parser.add_argument("--encoding", default="", choices=["", *ENCODINGS], help="guessed, unless told")
        parser.add_argument("--only", default="all", choices=["create", "update"], help="only make, or only change")
        parser.add_argument("--report", type=Path, help="write every refused row with its reasons into this CSV file")

    def handle(self, *, file: Path, map: list[str], dry_run: bool, **options):
        mapping = {}
        for told in map:
            column, equals, field = told.rpartition("=")
            if not equals or not column:
                raise CommandError(f"--map {told}: expected COLUMN=FIELD.")
            mapping[column.strip()] = field.strip()
        if (header_line := options["header_line"]) is not None and header_line < 0:
            raise CommandError("--header-line: expected 0 or the number of a line.")
        if not file.is_file():
            raise CommandError(f"There is no file {file}.")
        try:
            with file.open("rb") as content:
                asked = {"mapping": mapping, "mode": options["only"], "sheet": options["sheet"]}
                asked["header_line"] = header_line
                one = new_import(file.name, File(content), encoding=options["encoding"], **asked)
        except Unreadable as error:
            raise CommandError(str(error)) from None
        if header_line is None and one.header_line is None:
            forget_file(one)
            one.delete()
            raise CommandError(
                "The first line holds an e-mail address, so it seems to be data and no names of columns. Say "
                "--header-line 0 if it is data (the columns are then “Column 1” and so on), else --header-line 1."
            )
        if header_line is None and one.header_line and one.header_line > 1:
            self.stderr.write(f"Line {one.header_line} names the columns; --header-line N says another.")
        for header, reading in one.readings.items():
            if not reading["is_sure"]:
                told = _WRITTEN[reading["as"]]
                self.stderr.write(f"Column “{header}” can be read in two ways; it is read as {told}.")
        try:
            # A draft is nobody's work but ours until it runs.
            one = run_import(one.pk, timezone.now(), is_dry=dry_run, tell=self._tell)
        finally:
            forget_file(one)
        if one.state == "failed":
            problem = one.problem
            one.delete()
            raise CommandError(problem)
        self._report(one, options["report"])
        self.stdout.write(("Would be: " if dry_run else "Done: ") + self._counts(one))
        if dry_run:
            one.delete()

    def _report(self, one: Import, path: Path | None) -> None:
        notes = one.notes.order_by("line", "pk")
        for note in notes[:_SHOWN]:
            for field, message in note.reasons:
                self.stderr.write(f"row {note.line}, {field or 'all of it'}: {message}")
        if path:
            with path.open("w", encoding="utf-8", newline="") as target:
                target.writelines(refused_rows(one))
        elif (more := one.rejected + one.noted - _SHOWN) > 0:
            self.stderr.write(f"… and {more} more; --report FILE.csv writes them all.")

    def _tell(self, one: Import) -> None:
        if sys.stderr.isatty():
            rate = one.rows / one.seconds if one.seconds else 0
            left = one.seconds / one.share * (1 - one.share) if one.share else 0
            told = f"\r{one.share:4.0%}  {rate:,.0f} rows/s  {left:,.0f} s left  {self._counts(one)}"
            self.stderr.write(told, ending="")

    def _counts(self, one: Import) -> str:
        return (
            f"{one.rows} rows, {one.created} created, {one.updated} updated, {one.unchanged} unchanged, "
            f"{one.rejected} rejected."
        )
