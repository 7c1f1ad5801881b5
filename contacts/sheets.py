"""Workbooks (XLSX): read row by row with openpyxl, written row by row by ourselves, both in constant memory.

A workbook is a ZIP of XML, and comes from anywhere: what it would become unpacked is asked before anything is, nothing
is unpacked to disk, and no part may declare entities.
"""

import zipfile
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta
from itertools import chain, islice
from typing import Any, BinaryIO
from xml.sax.saxutils import escape

import openpyxl
from django.utils.translation import gettext as _

from contacts.csvfiles import Row, Table, TextTable, Unreadable, named, refuse_what_is_no_table
from contacts.headings import LOOKED_AT, heading_of, is_data, nameless

# Unpacked: all of it, and the one part that is held in memory. A spreadsheet shrinks to a tenth, rarely to a fiftieth.
_LARGEST, _LARGEST_STRINGS, _MOST_PARTS = 2 << 30, 96 << 20, 2_000
_GREATEST_RATIO, _SMALL = 250, 8 << 20
_MOST_ROWS = 1_048_576  # as many as Excel itself has
MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class SheetTable(Table):
    """One sheet of a workbook; numbers, dates and truth values as the text of a cell."""

    def __init__(self, file: BinaryIO, sheet: str = "", header_line: int | None = None):
        super().__init__()
        _refuse_bombs(file)
        file.seek(0)
        try:
            book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
            self.sheets = [one.title for one in book.worksheets]
            if not self.sheets:
                raise Unreadable(_("The workbook has no sheet."))
            if sheet and sheet not in self.sheets:
                raise Unreadable(_("The workbook has no sheet “%(name)s”.") % {"name": sheet})
            found = book[sheet] if sheet else book.worksheets[0]
            self.sheet = found.title
            self._rows = self._numbered(found.iter_rows(values_only=True))
            self._most, self._at = found.max_row or 0, 0
            # What a workbook says of its size may be wrong; its rows are not.
            found.reset_dimensions()
            self._rows = self._numbered(found.iter_rows(values_only=True))
            self._name_columns(header_line)
        except Unreadable:
            raise
        except Exception as error:
            reason = _("This workbook cannot be read (%(error)s). Save it again as XLSX, or as CSV.")
            raise Unreadable(reason % {"error": type(error).__name__}) from None

    def _name_columns(self, header_line: int | None) -> None:
        first: list[Row] = []
        try:
            first.extend(islice((row for row in self._rows if any(row.cells)), LOOKED_AT))
        except Exception as error:
            if not first:
                raise
            # Told when the rows before it are done with.
            self._rows = _broken_off(error)
        if header_line == 0:
            self.headers = nameless(max((len(row.cells) for row in first), default=0))
            self._rows = chain(first, self._rows)
            named(self.headers)
            return
        if header_line is None:
            place = heading_of([row.cells for row in first])
        else:
            while first and first[0].line < header_line:
                first = [*first[1:], *islice((row for row in self._rows if any(row.cells)), 1)]
            place = 0
        cells = first[place].cells if first else []
        self.headers, self.is_headless = named(cells), is_data(cells)
        self.header_line = first[place].line
        self._rows = chain(first[place + 1 :], self._rows)

    def _numbered(self, rows: Iterable[tuple]) -> Iterator[Row]:
        for number, values in enumerate(rows, 1):
            self._at = number
            if number > _MOST_ROWS:
                raise Unreadable(_("The sheet has more than %(most)s rows.") % {"most": _MOST_ROWS})
            yield Row(number, [value if type(value) is str else _text(value) for value in values])

    @property
    def share(self) -> float:
        return min(1.0, self._at / self._most) if self._most else 0.0

    def rows(self) -> Iterator[Row]:
        """Raises Unreadable where the workbook itself breaks off."""
        width = len(self.headers)
        while True:
            try:
                row = next(self._rows)
            except StopIteration:
                return
            except Unreadable:
                raise
            except Exception as error:
                told = _("The workbook breaks off behind row %(row)s (%(error)s).")
                raise Unreadable(told % {"row": self._at, "error": type(error).__name__}) from None
            if not any(cell.strip() for cell in row.cells):
                continue
            if len(row.cells) > width and any(cell.strip() for cell in row.cells[width:]):
                row.problem = _("This row has more cells than there are columns.")
            elif any(cell in _ERRORS for cell in row.cells):
                row.problem = _("A cell of this row holds an error of the spreadsheet.")
            yield row


def _broken_off(error: Exception) -> Iterator[Row]:
    raise error
    yield


_ERRORS = frozenset({"#N/A", "#REF!", "#NAME?", "#VALUE!", "#DIV/0!", "#NUM!", "#NULL!"})


def _text(value: Any) -> str:
    if value is None:
        return ""
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime):
        is_day = value.time() == time()
        return value.date().isoformat() if is_day else value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    return str(value)


def _refuse_bombs(file: BinaryIO) -> None:
    """Raises Unreadable for what is no workbook, or would grow beyond all measure when unpacked."""
    try:
        with zipfile.ZipFile(file) as book:
            parts = book.infolist()
            names = {part.filename for part in parts}
            if "[Content_Types].xml" not in names or not any(name.endswith("workbook.xml") for name in names):
                raise Unreadable(_("This is a ZIP archive, not a table. Unpack it and take the CSV or XLSX file."))
            if len(parts) > _MOST_PARTS or sum(part.file_size for part in parts) > _LARGEST:
                raise Unreadable(_("This workbook is too large unpacked. Save the sheet as CSV."))
            if len(names) != len(parts):
                raise Unreadable(_("This workbook holds two parts of one name. Save it again as XLSX, or as CSV."))
            for part in parts:
                if part.file_size > _SMALL and part.file_size > _GREATEST_RATIO * max(part.compress_size, 1):
                    raise Unreadable(_("This workbook is too large unpacked. Save the sheet as CSV."))
                if part.filename.endswith("sharedStrings.xml") and part.file_size > _LARGEST_STRINGS:
                    raise Unreadable(_("This workbook holds too many different texts. Save the sheet as CSV."))
                if part.filename.endswith((".xml", ".rels")):
                    start = book.open(part).read(4096)
                    is_xml = start.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<")
                    if not is_xml or b"<!" in start.replace(b"<!--", b""):
                        raise Unreadable(_("This workbook declares entities, which no spreadsheet does."))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, ValueError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(_("This workbook is damaged or has a password. Save it again as XLSX, or as CSV.")) from None


# Writing -------------------------------------------------------------------------------------------------------------

_PARTS = {
    "[Content_Types].xml": (
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Override PartName="/xl/workbook.xml" '
        'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>'
        '<Override PartName="/xl/worksheets/sheet1.xml" '
        'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/></Types>'
    ),
    "_rels/.rels": (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
        'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
        'Target="xl/workbook.xml"/></Relationships>'
    ),
    "xl/workbook.xml": (
        '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
        'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships">'
        '<sheets><sheet name="Contacts" sheetId="1" r:id="r1"/></sheets></workbook>'
    ),
    "xl/_rels/workbook.xml.rels": (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
        'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" '
        'Target="worksheets/sheet1.xml"/></Relationships>'
    ),
}
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
# XML has no room for these; a cell has no use for them.
_NO_XML = dict.fromkeys([*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF, *range(0xD800, 0xE000)])


class _Pipe:
    """A file that is only written to, for zipfile, and emptied in between."""

    def __init__(self) -> None:
        self.blocks: list[bytes] = []

    def write(self, block: bytes) -> int:
        self.blocks.append(bytes(block))
        return len(block)

    def flush(self) -> None:
        pass

    def taken(self) -> bytes:
        block = b"".join(self.blocks)
        self.blocks.clear()
        return block


def written(rows: Iterable[list[str]]) -> Iterator[bytes]:
    """A workbook of one sheet, in blocks as its rows come; every cell is a text, so none is a formula."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as book:  # type: ignore[call-overload]
        for name, text in _PARTS.items():
            book.writestr(name, _HEAD + text)
        with book.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as sheet:
            start = '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
            sheet.write((_HEAD + start).encode())
            lines = []
            for row in rows:
                cells = [
                    f'<c t="inlineStr"><is><t xml:space="preserve">{escape(cell.translate(_NO_XML))}</t></is></c>'
                    if cell
                    else "<c/>"
                    for cell in row
                ]
                lines.append(f"<row>{''.join(cells)}</row>")
                if len(lines) >= 500:
                    sheet.write("".join(lines).encode())
                    lines.clear()
                    if pipe.blocks:
                        yield pipe.taken()
            sheet.write(("".join(lines) + "</sheetData></worksheet>").encode())
    yield pipe.taken()


def is_workbook(file: BinaryIO) -> bool:
    """By its first bytes. Leaves the file at 0."""
    start = file.read(4)
    file.seek(0)
    return start in (b"PK\x03\x04", b"PK\x05\x06")


def open_table(
    file: BinaryIO, *, encoding: str = "", separator: str = "", sheet: str = "", header_line: int | None = None
) -> Table:
    """Opens a file of rows, by what is in it: a workbook, else separated values. Raises Unreadable."""
    refuse_what_is_no_table(file)
    if is_workbook(file):
        return SheetTable(file, sheet, header_line)
    return TextTable(file, encoding, separator, header_line)
