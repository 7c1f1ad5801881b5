"""How people write numbers and days in a column: decided by all of its cells, not by each alone.

`1,234` is a thousand in a column that also holds `1,234.50`, and 03/04 is in March where another cell says 12/31. Where
no cell tells, the file as a whole is asked, and that it was a guess is kept with it: {header: {"as", "is_sure"}}.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

_SLASHED = re.compile(r"(\d{1,2})\s*[/-]\s*(\d{1,2})\s*[/-]\s*\d{4}(?:\s.*)?")
_GROUPED = re.compile(r"[+-]?\d{1,3}([.,])\d{3}(?:\1\d{3})*")
_DAYS = {
    "dmy": ("%d.%m.%Y", "%d. %m. %Y", "%d/%m/%Y", "%Y/%m/%d", "%d-%m-%Y", "%Y.%m.%d"),
    # Nobody who begins with the month writes dots.
    "mdy": ("%d.%m.%Y", "%d. %m. %Y", "%m/%d/%Y", "%Y/%m/%d", "%m-%d-%Y", "%Y.%m.%d"),
}
_TIMES = ("%H:%M", "%H:%M:%S")

Reading = dict[str, Any]


def readings(headers: list[str], rows: Iterable[list[str]], separator: str) -> dict[str, Reading]:
    """How each column that could be read in two ways is read; one that nobody can mistake is left out.

    `separator` is that of the file: programs that write a semicolon write decimal commas.
    """
    width = len(headers)
    marks: list[dict[str, int]] = [{} for _header in headers]
    orders: list[dict[str, int]] = [{} for _header in headers]
    for cells in rows:
        for place, cell in enumerate(cells[:width]):
            if not cell or not (cell[0].isdigit() or cell[0] in " +-'("):
                continue
            if mark := decimal_mark(_bare(cell)):
                marks[place][mark] = marks[place].get(mark, 0) + 1
            elif order := _order(cell.strip()):
                orders[place][order] = orders[place].get(order, 0) + 1
    found = {}
    for place, header in enumerate(headers):
        if "?" in marks[place]:
            found[header] = _decided(marks[place], ",", ".", "," if separator == ";" else ".")
        elif orders[place]:
            found[header] = _decided(orders[place], "dmy", "mdy", "dmy")
    return found


def _decided(votes: dict[str, int], one: str, other: str, otherwise: str) -> Reading:
    first, second = votes.get(one, 0), votes.get(other, 0)
    told = one if first > second else other if second > first else otherwise
    return {"as": told, "is_sure": (first > 0) != (second > 0)}


def _bare(cell: str) -> str:
    return re.sub(r"[\s\u00a0\u202f'’]", "", cell)


def decimal_mark(bare: str) -> str:
    """What parts the decimals in a number without blanks: a comma, a full stop, `?` where only the column knows, and
    nothing where there is no number or no mark."""
    if not re.fullmatch(r"[+-]?[\d.,]*\d", bare):
        return ""
    commas, stops = bare.count(","), bare.count(".")
    if commas and stops:
        last = "," if bare.rfind(",") > bare.rfind(".") else "."
        return last if bare.count(last) == 1 else ""
    if commas + stops == 0:
        return ""
    mark = "," if commas else "."
    if not _GROUPED.fullmatch(bare) or bare.lstrip("+-").startswith("0"):
        return mark if commas + stops == 1 else ""
    return "?" if commas + stops == 1 else "." if mark == "," else ","


def _order(cell: str) -> str:
    found = _SLASHED.fullmatch(cell)
    if not found:
        return ""
    first, second = int(found[1]), int(found[2])
    return "dmy" if first > 12 >= second else "mdy" if second > 12 >= first else "?" if first != second else ""


def number(cell: str, mark: str = "") -> Any:
    """A number as its column writes it, where the cell alone does not tell; what is none stays a text."""
    bare = _bare(cell)
    own = decimal_mark(bare)
    if own == "?":
        own = mark or ("," if "," in bare else ".")
    if own:
        bare = bare.replace("." if own == "," else ",", "").replace(own, ".")
    if re.fullmatch(r"[+-]?\d{1,30}\.\d{1,30}", bare):
        return float(bare)
    return int(bare) if re.fullmatch(r"[+-]?\d{1,30}", bare) else cell


def day(cell: str, order: str = "") -> str:
    """A day as ISO writes it; what is none stays as it is."""
    bare = cell[:10] if re.fullmatch(r"\d{4}-\d\d-\d\d[T ]00:00(:00(\.0+)?)?", cell) else cell
    for form in _DAYS[order if order in _DAYS else "dmy"]:
        try:
            return datetime.strptime(bare, form).date().isoformat()  # noqa: DTZ007 - a day, not an instant
        except ValueError:
            continue
    return bare


def moment(cell: str, order: str = "") -> str:
    """A day and an hour as ISO writes them; what is none stays as it is."""
    date, _space, hour = cell.rpartition(" ")
    for form in _DAYS[order if order in _DAYS else "dmy"]:
        for clock in _TIMES if date else ():
            try:
                return datetime.strptime(f"{date.strip()} {hour}", f"{form} {clock}").isoformat()  # noqa: DTZ007 - read as wall time later
            except ValueError:
                continue
    return cell
