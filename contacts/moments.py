"""Points of time as people write them in rules: `now`, `-14d`, `+30d`, a day, or an instant."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils.translation import gettext as _

from contacts.durations import parse_duration

_RELATIVE = re.compile(r"([+-])(.+)")


@dataclass(frozen=True)
class Moment:
    """A point of time in a rule: `now`, so far from now (`-14d`, `+30d`), a day, or an instant."""

    text: str
    offset: timedelta | None = None
    day: date | None = None
    instant: datetime | None = None

    @property
    def is_relative(self) -> bool:
        return self.offset is not None

    def span(self, now: datetime) -> tuple[datetime, datetime]:
        """When it begins and when it is over: a day lasts from midnight to midnight in the workspace's zone."""
        if self.offset is not None:
            return now + self.offset, now + self.offset
        if self.day is not None:
            return _midnight(self.day), _midnight(self.day + timedelta(days=1))
        assert self.instant is not None
        return self.instant, self.instant

    def date(self, now: datetime) -> date:
        """The day, in the workspace's zone."""
        return self.day or local_day(self.span(now)[0])


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), ZoneInfo(settings.TIME_ZONE)).astimezone(UTC)


def local_day(instant: datetime) -> date:
    """The calendar day of the workspace."""
    return instant.astimezone(ZoneInfo(settings.TIME_ZONE)).date()


def parse_moment(value: Any) -> Moment:
    """Reads a moment; without an offset it is wall time of the workspace. Raises ValueError with a sentence."""
    if isinstance(value, datetime | date):  # YAML reads unquoted dates by itself
        value = value.isoformat()
    if isinstance(value, str):
        if value == "now":
            return Moment(value, offset=timedelta())
        try:
            if match := _RELATIVE.fullmatch(value):
                span = parse_duration(match[2])
                return Moment(value, offset=span if match[1] == "+" else -span)
            if len(value) == 10:
                return Moment(value, day=_ordinary(date.fromisoformat(value)))
            instant = _ordinary(datetime.fromisoformat(value))
            if instant.tzinfo is None:
                instant = instant.replace(tzinfo=ZoneInfo(settings.TIME_ZONE))
            return Moment(value, instant=instant.astimezone(UTC))
        except ValueError:
            pass
    raise ValueError(
        _("%(value)s is not a moment; write a day (2026-12-31), an instant, “now”, -14d or +30d.")
        % {"value": repr(value)}
    )


def _ordinary(value: Any) -> Any:
    if not 1900 <= value.year <= 2999:
        raise ValueError(_("Nobody's calendar goes there."))
    return value


def as_of(text: str, now: datetime) -> datetime:
    """The instant as of which somebody asks: `now` without a text, the end of a day. Raises ValueError, a sentence."""
    return max(parse_moment(text).span(now)) if text else now
