"""Which line of a file names its columns: there may be a title above it, or nothing but people."""

import re

_ADDRESS = re.compile(r"[^\s@,;<>\"]+@[^\s@,;<>\"]+\.[^\s@,;<>\".]{2,}")
# A file of people is led by one of these; a title above them says less in fewer cells.
_KEY = re.compile(r"mail|adres|user.?id|customer|z[aá]kazn|klient|journey_id", re.IGNORECASE)
LOOKED_AT = 12


def is_address(cell: str) -> bool:
    """Whether a cell is, as far as one sees, an e-mail address and nothing else."""
    return _ADDRESS.fullmatch(cell.strip(" \t\r\n\"'\ufeff")) is not None


def is_data(cells: list[str]) -> bool:
    """Whether a line that should name columns holds a person instead."""
    return any(is_address(cell) for cell in cells)


def is_heading(cells: list[str]) -> bool:
    """Whether a line names columns of people."""
    return not is_data(cells) and any(_KEY.search(cell) for cell in cells)


def heading_of(rows: list[list[str]]) -> int:
    """The place, among the first rows that are not blank, of the one that names the columns: the first, unless it has
    fewer filled cells than those behind it, and one of them names columns."""
    told = [sum(1 for cell in row if cell.strip()) for row in rows]
    if rows and is_data(rows[0]):
        return 0
    for place in range(1, min(len(rows), LOOKED_AT // 2)):
        if is_data(rows[place]):
            break
        if is_heading(rows[place]) and told[place] > max(told[:place]):
            return place
    return 0


def nameless(width: int) -> list[str]:
    """Names for columns that have none; not translated, for they are kept and compared."""
    return [f"Column {number}" for number in range(1, width + 1)]
