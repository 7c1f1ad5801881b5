"""Reading a file of rows as people save it: whatever encoding, separator, quotes and line ends their program chose.

`open_table` looks at the bytes, not at the name. A row that cannot be read is told by its number, and the next one is
read; only a file that is no table at all is Unreadable.
"""

import csv
import io
import re
import unicodedata
from codecs import getincrementaldecoder
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from contacts.headings import LOOKED_AT, heading_of, is_address, is_data, is_heading, nameless

# What may be chosen. The single-byte ones are guessed in this order, where they read equally well.
ENCODINGS = {
    "utf-8": gettext_lazy("UTF-8"),
    "cp1250": gettext_lazy("Windows, Central European (1250)"),
    "cp1252": gettext_lazy("Windows, Western (1252)"),
    "iso8859-2": gettext_lazy("ISO 8859-2, Central European"),
    "mac_latin2": gettext_lazy("Mac, Central European"),
    "mac_roman": gettext_lazy("Mac Roman, Western"),
    "utf-16": gettext_lazy("UTF-16 with a byte order mark"),
    "utf-16-le": gettext_lazy("UTF-16, little endian"),
    "utf-16-be": gettext_lazy("UTF-16, big endian"),
}
SEPARATORS = {
    ",": gettext_lazy("comma"),
    ";": gettext_lazy("semicolon"),
    "\t": gettext_lazy("tab"),
    "|": gettext_lazy("vertical bar"),
}
_ONE_BYTE = [name for name in ENCODINGS if not name.startswith("utf")]
_ALPHABETS = [
    "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "ąćęłńóśźż", "áéíóöőúüű", "äöüß", "àâæçéèêëîïôœùûü", "áéíñóúü", "åäöæøé",
]  # fmt: skip
_WORD = re.compile(rb"[A-Za-z]*[\x80-\xff][A-Za-z\x80-\xff]*")
_SAMPLE = 4 << 20
# Longer lines, and rows of more lines, are not data: somebody forgot a quotation mark.
_LONGEST_LINE, _MOST_LINES = 1 << 20, 100
MOST_COLUMNS = 500
_NOT_A_TABLE = {
    b"%PDF": "PDF", b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"\x1f\x8b": "GZIP", b"Rar!": "RAR",
    b"7z\xbc\xaf": "7z", b"{\\rtf": "RTF",
}  # fmt: skip


class Unreadable(ValueError):
    """The file as a whole cannot be read, in a sentence."""


@dataclass
class Row:
    """One row of a file; `problem` is the sentence that says why it cannot be taken, if it cannot."""

    line: int
    cells: list[str]
    problem: str = ""


@dataclass
class Table:
    """An open file: its unique headers, how it is read, its rows, and how far they are read (0 to 1)."""

    headers: list[str] = field(default_factory=list)
    encoding: str = ""
    separator: str = ""
    sheet: str = ""
    sheets: list[str] = field(default_factory=list)
    # Which line names the columns, 0 for none, and whether it holds a person instead.
    header_line: int = 0
    is_headless: bool = False

    def rows(self) -> Iterator[Row]:
        raise NotImplementedError

    @property
    def share(self) -> float:
        raise NotImplementedError


def named(cells: list[str]) -> list[str]:
    """Headers as the rest of the house knows them: trimmed, unique, `#3` where there is none.

    Raises Unreadable for none at all, too many, and a NUL.
    """
    if any("\0" in cell for cell in cells):
        raise Unreadable(_("The name of a column holds a NUL character."))
    told = sum(1 for cell in cells if cell.strip("\ufeff \t\r\n"))
    if not told:
        raise Unreadable(_("The file is empty: its first line must name the columns."))
    if told > MOST_COLUMNS:
        raise Unreadable(_("The file has more than %(most)s columns.") % {"most": MOST_COLUMNS})
    found: list[str] = []
    seen: set[str] = set()
    for number, cell in enumerate(cells, 1):
        header = released(" ".join(cell.strip("\ufeff").split())[:200]) or f"#{number}"
        unique, turn = header, 1
        while unique in seen:
            turn += 1
            unique = f"{header} ({turn})"
        found.append(unique)
        seen.add(unique)
    return found


# Cells that a spreadsheet would run ----------------------------------------------------------------------------------

# Letters and marks that show nothing, besides the categories of controls, formats and blanks.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U000e0000-\U000e0fff]"
)
# A number or a telephone number is read, not run.
_HARMLESS = re.compile(r"[+-]?\d[\d .,\u00a0\u202f]*%?|\+\d[\d ()/.\u00a0-]*")


def neutral(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: `released(neutral(text)) == text`."""
    first = text[:1]
    if first.isascii() and first.isalnum():
        return text
    if _is_run(text) and not _HARMLESS.fullmatch(text) or first == "'" and _is_run(text.lstrip("'")):
        return f"'{text}"
    return text


def released(text: str) -> str:
    """What a neutralised cell said."""
    return text[1:] if text[:1] == "'" and _is_run(text.lstrip("'")) else text


def _is_run(text: str) -> bool:
    """Whether a spreadsheet may take this for a formula: by its first character that can be seen, whichever way that
    is written (﹦ and ＝ are =)."""
    if text[:1] in ("\t", "\r") and text:
        return True
    for letter in text:
        category = unicodedata.category(letter)
        if category in ("Cc", "Cf") or category[0] == "Z" or _INVISIBLE.match(letter):
            continue
        return letter == "\u2212" or unicodedata.normalize("NFKC", letter)[0] in "=+-@"
    return False


# Text ----------------------------------------------------------------------------------------------------------------


def guess_encoding(file: BinaryIO) -> str:
    """How the bytes of a file are to be read, by their marks, else by what reads as words. Leaves the file at 0."""
    start = file.read(4096)
    try:
        if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return "utf-16"
        if start and (zeros := start.count(0)) * 4 > len(start):
            return "utf-16-le" if start[1::2].count(0) * 2 > zeros else "utf-16-be"
        file.seek(0)
        if _is_utf8(file):
            return "utf-8"
        file.seek(0)
        words = _WORD.findall(file.read(_SAMPLE))[:20_000]
        return max(_ONE_BYTE, key=lambda name: round(_fit(words, name), 3))
    finally:
        file.seek(0)


def _is_utf8(file: BinaryIO) -> bool:
    """Also where a few sequences are broken: their rows are refused, and the others are right.

    One in ten, or a single one in a file of few: other encodings hardly ever look like UTF-8 by chance.
    """
    decoder = getincrementaldecoder("utf-8")("replace")
    broken = sound = 0
    while chunk := file.read(1 << 20):
        text = decoder.decode(chunk)
        if not text.isascii():
            bad = text.count("\ufffd")
            broken += bad
            sound += len(text) - len(text.encode("ascii", "ignore")) - bad
    broken += decoder.decode(b"", final=True).count("\ufffd")
    return broken == 0 or broken * 9 <= sound or (broken == 1 and sound >= 2)


def _fit(words: list[bytes], encoding: str) -> float:
    """Which share of the letters that are not ASCII belongs to the one language that they fit best."""
    seen: dict[str, int] = {}
    odd = 0
    for word in words:
        text = word.decode(encoding, "replace")
        for place, letter in enumerate(text):
            if letter.isascii():
                continue
            if letter.isupper() and place and text[place - 1].islower():
                odd += 1
            else:
                seen[letter.lower()] = seen.get(letter.lower(), 0) + 1
    total = odd + sum(seen.values())
    if not total:
        return 1.0
    return max(sum(seen.get(letter, 0) for letter in letters) for letters in _ALPHABETS) / total


class _OpenQuote(Exception):
    """A quotation mark opens a cell and nothing closes it for a hundred lines."""


class _Lines:
    """The lines of a text for csv.reader; those of the current row are kept, so that they can be read again."""

    def __init__(self, text: io.TextIOWrapper):
        self.text = text
        self.again: deque[str] = deque()
        self.taken: list[str] = []
        self.number = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        if len(self.taken) >= _MOST_LINES:
            raise _OpenQuote
        line = self.again.popleft() if self.again else self.text.readline(_LONGEST_LINE)
        if not line:
            if self.taken:
                raise _OpenQuote
            raise StopIteration
        self.taken.append(line)
        self.number += 1
        return line

    def give_back(self) -> None:
        """All of this row but its first line."""
        self.again.extendleft(reversed(self.taken[1:]))
        self.number -= len(self.taken) - 1


class TextTable(Table):
    """A file of separated values."""

    def __init__(self, file: BinaryIO, encoding: str = "", separator: str = "", header_line: int | None = None):
        super().__init__()
        file.seek(0, io.SEEK_END)
        self._file, self._size = file, file.tell() or 1
        file.seek(0)
        self.encoding = encoding or guess_encoding(file)
        name = "utf-8-sig" if self.encoding == "utf-8" else self.encoding
        text = io.TextIOWrapper(file, encoding=name, errors="replace", newline="")
        try:
            head = text.read(64 * 1024).lstrip("\ufeff")
            text.seek(0)
        except UnicodeError:
            raise Unreadable(_("The file is not text in the encoding %(name)s.") % {"name": self.encoding}) from None
        told = _SEP.match(head)
        self.separator = separator or (told[1] if told else _separator(head))
        self._lines = _Lines(text)
        if told:
            next(self._lines, None)
        self._reader = csv.reader(self._lines, delimiter=self.separator)
        told_rows = _first_rows(head, self.separator)
        if header_line == 0:
            self.headers = nameless(max((len(cells) for _line, cells in told_rows), default=0))
            named(self.headers)
            return
        if header_line is None and told_rows:
            header_line = told_rows[heading_of([cells for _line, cells in told_rows])][0]
        cells = self._named_at(header_line or 1)
        self.headers, self.is_headless = named(cells), is_data(cells)
        taken = self._lines.taken
        self.header_line = self._lines.number - len(taken) + 1
        if len(taken) > 1 and self._swallowed(cells):
            raise Unreadable(
                _("A quotation mark opens among the names of the columns and takes in the rows behind it.")
            )

    def _named_at(self, line: int) -> list[str]:
        """The cells of the first row that is not blank, from this line on."""
        while self._lines.number < line - 1 and next(self._lines, ""):
            self._lines.taken.clear()
        while True:
            self._lines.taken.clear()
            try:
                cells = next(self._reader, None)
            except (csv.Error, _OpenQuote) as error:
                raise Unreadable(_("This line cannot be read: %(reason)s.") % {"reason": error or '"'}) from None
            if cells is None or any(cell.strip("\ufeff \t\r\n") for cell in cells):
                return cells or []

    @property
    def share(self) -> float:
        return min(1.0, self._file.tell() / self._size)

    def rows(self) -> Iterator[Row]:
        """Raises nothing but StopIteration: what is wrong with a row stands in it."""
        lines, reader, width = self._lines, self._reader, len(self.headers)
        taken = lines.taken
        while True:
            taken.clear()
            first = lines.number + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except _OpenQuote:
                lines.give_back()
                yield Row(first, [taken[0].rstrip("\r\n")], _("A quotation mark opens here, and nothing closes it."))
                continue
            except csv.Error as error:
                lines.give_back()
                problem = _("This line cannot be read: %(reason)s.") % {"reason": error}
                yield Row(first, [taken[0][:1000].rstrip("\r\n")], problem)
                continue
            if not any(cells) or not any(cell.strip() for cell in cells):
                continue
            problem = ""
            if len(taken) > 1 and (swallowed := self._swallowed(cells)):
                if swallowed == "rows":
                    lines.give_back()
                    told = _("A quotation mark opens here and takes in the rows behind it; those were read as rows.")
                    yield Row(first, [taken[0].rstrip("\r\n")], told)
                    continue
                problem = _("A cell of the lines %(first)s to %(last)s holds lines that look like rows of this file.")
                problem %= {"first": first, "last": lines.number}
            # A row of several lines is known by its last one, as editors show it.
            line = lines.number
            for text in taken:
                if "\0" in text:
                    problem = _("This row holds a NUL character, which cannot be stored.")
                elif "\ufffd" in text:
                    problem = _("This row holds characters that are not %(name)s.") % {"name": self.encoding}
            if len(cells) > width and any(cell.strip() for cell in cells[width:]):
                problem = _("This row has more cells than there are columns.")
            yield Row(line, cells, problem)

    def _swallowed(self, cells: list[str]) -> str:
        """Whether a row of several lines is due to a quotation mark too many: `rows` where all that it took in are
        rows, `some` where some may be, else nothing."""
        inner = [line for cell in cells for line in _LINE_ENDS.split(cell)[1:] if line.strip()]
        looks = [self._is_like_row(line) for line in inner]
        try:
            # Lax reading goes on behind a quotation mark that closes within a cell; this one does not.
            deque(csv.reader(self._lines.taken, delimiter=self.separator, strict=True), maxlen=0)
        except csv.Error:
            return "rows"
        return "rows" if looks and all(looks) else "some" if any(looks) else ""

    def _is_like_row(self, line: str) -> bool:
        cells = line.split(self.separator)
        width = len(self.headers)
        # In two columns a comma of a sentence is soon there: both must say something.
        has_width = len(cells) == width > 1 and (width > 2 or all(cell.strip() for cell in cells))
        return has_width or any(is_address(cell) for cell in cells)


_SEP = re.compile(r'"?sep=(.)"?\r?\n?')
_LINE_ENDS = re.compile(r"\r\n|\r|\n")


def _first_rows(head: str, separator: str) -> list[tuple[int, list[str]]]:
    """The first rows that are not blank, with the lines on which they begin."""
    reader = csv.reader(io.StringIO(head, newline=""), delimiter=separator)
    found: list[tuple[int, list[str]]] = []
    before = 0
    try:
        for cells in reader:
            if any(cell.strip("\ufeff \t\r\n") for cell in cells) and not (not before and _SEP.match(head)):
                found.append((before + 1, cells))
            before = reader.line_num
            if len(found) >= LOOKED_AT:
                break
    except csv.Error:
        pass
    return found


def _separator(head: str) -> str:
    """The mark that parts the first lines most evenly into most columns."""
    lines = head.splitlines()[:50]
    if len(head) >= 64 * 1024 and len(lines) > 1:
        lines.pop()

    def evenness(mark: str) -> float:
        try:
            widths = [len(cells) for cells in csv.reader(lines, delimiter=mark) if any(cells)]
        except csv.Error:
            widths = [lines[0].count(mark) + 1]
        if not widths or widths[0] < 2:
            # A title stands above the names of the columns.
            titled = any(line.count(mark) and is_heading(line.split(mark)) for line in lines[1:5])
            widths = [width for width in widths if width > 1] if titled else []
        return (widths[0] - 1) * sum(width == widths[0] for width in widths) / len(widths) if widths else 0.0

    return max(SEPARATORS, key=evenness) if lines else ","


def refuse_what_is_no_table(file: BinaryIO) -> None:
    """Raises Unreadable, by the first bytes, for what is neither text nor a workbook. Leaves the file at 0."""
    start = file.read(1024)
    file.seek(0)
    for mark, name in _NOT_A_TABLE.items():
        if start.startswith(mark):
            raise Unreadable(_("This is a %(kind)s file, not a table. Save it as CSV or XLSX.") % {"kind": name})
    if start.startswith(b"\xd0\xcf\x11\xe0"):
        raise Unreadable(_("This is an old or encrypted Excel file. Save it as XLSX without a password, or as CSV."))
    if re.match(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|\?xml|html|svg|script|!--)", start, re.IGNORECASE):
        raise Unreadable(_("This is a web page or XML, not a table. Save it as CSV or XLSX."))
