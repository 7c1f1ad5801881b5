"""Spans of time as people write them in rules and journeys: `30m`, `12h`, `14d`, `2w`, or ISO 8601."""

import re
from datetime import timedelta

from django.utils.translation import gettext as _

_SHORT = re.compile(r"([0-9]{1,6})\s?([mhdw])")
_ISO = re.compile(
    r"P(?=[0-9T])(?:(?P<weeks>[0-9]{1,6})W)?(?:(?P<days>[0-9]{1,6})D)?"
    r"(?:T(?=[0-9])(?:(?P<hours>[0-9]{1,6})H)?(?:(?P<minutes>[0-9]{1,6})M)?(?:(?P<seconds>[0-9]{1,6})S)?)?"
)
# What is added to a moment, as days or as seconds, stays within what PostgreSQL and Python can count.
LONGEST = timedelta(days=18_262)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_duration(text: str) -> timedelta:
    """A span of time, longer than nothing. Raises ValueError with a sentence.

    Months and years are refused: they are not one length.
    """
    if isinstance(text, str):
        if match := _SHORT.fullmatch(text.strip()):
            parts = {_UNITS[match[2]]: int(match[1])}
        elif match := _ISO.fullmatch(text.strip()):
            parts = {unit: int(number) for unit, number in match.groupdict(default="0").items()}
        else:
            parts = {}
        if any(parts.values()):
            if (span := timedelta(**parts)) > LONGEST:
                raise ValueError(_("%(text)s is longer than 50 years.") % {"text": repr(text)})
            return span
    raise ValueError(_("%(text)s is not a span of time; write it like 30m, 12h, 14d or 2w.") % {"text": repr(text)})


def format_duration(span: timedelta) -> str:
    """The shortest way to write a span that `parse_duration` reads back; weeks are written as days."""
    seconds = int(span.total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"PT{seconds}S"
