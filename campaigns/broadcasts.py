"""Broadcasts as definitions: to whom, what, when, how fast. Pure: no database.

A broadcast has occasions: one (`at`), or one at each day of a rule (`rrule`). `at` is a wall time by the clock of each
person, or with a zone or an offset behind it one instant for all.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.utils.translation import gettext as _

from campaigns.cadence import check_cadence, wall_times
from campaigns.findings import Findings
from campaigns.waits import clock
from contacts.durations import parse_duration

# What a broadcast has and other journeys have not, and the other way round.
KEYS = ["audience", "send", "at", "rrule", "valid_until", "valid_for", "throttle", "canary"]
NOT_HERE = ["trigger", "reentry", "grace", "steps", "streams"]
# Newsletters go last where a person may get one mail only.
TIER = 5
# Its two nodes behind the entry; they keep their keys whatever is sent.
MOMENT, SEND = "moment", "send"
# Publishing it sends it.
AT_ONCE = "now"

_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2})(?::([0-9]{2}))?"
    r"(?:(Z|[+-][0-9]{2}:?[0-9]{2})| ([A-Za-z]+(?:/[A-Za-z0-9_+-]+)*))?"
)
_CLOCK = re.compile(r"([0-9]{2}:[0-9]{2})(?: ([A-Za-z]+(?:/[A-Za-z0-9_+-]+)*))?")
_PACE = re.compile(r"([1-9][0-9]{0,8})\s?/\s?(h|min)")
_SHARE = re.compile(r"([1-9]|[1-4][0-9]|50)\s?%?")


@dataclass(frozen=True)
class Moment:
    """A wall time: by the clock of each person, or (with a `zone`) by one clock for all, and so one instant."""

    wall: datetime
    zone: str = ""

    @property
    def key(self) -> str:
        """What an occasion at this moment is called."""
        return f"{self.wall:%Y-%m-%dT%H:%M}{f' {self.zone}' if self.zone else ''}"

    @property
    def text(self) -> str:
        """The wall time as PostgreSQL reads it."""
        return self.wall.isoformat(sep=" ")

    def after(self, span: timedelta) -> "Moment":
        return Moment(self.wall + span, self.zone)


# Reading -------------------------------------------------------------------------------------------------------------


def moment(value: Any) -> Moment:
    """Reads `2027-03-28T09:00`, alone or with an offset or a zone behind it. Raises ValueError with a sentence."""
    match = _MOMENT.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(
            _("Write a local time like 2027-03-28T09:00; with +02:00 or Europe/Prague behind it, it is one instant.")
        )
    try:
        wall = datetime.fromisoformat(f"{match[1]}T{match[2]}:{match[3] or '00'}{match[4] or ''}")
        if wall.tzinfo is not None:
            return Moment(_sendable(wall.astimezone(UTC).replace(tzinfo=None)), "UTC")
    except (ValueError, OverflowError):
        raise ValueError(_("There is no such day or time in the calendar.")) from None
    return Moment(_sendable(wall), _zone(match[5]))


def _sendable(wall: datetime) -> datetime:
    """The same, if it can be reckoned with in every zone. Raises ValueError with a sentence."""
    if not 1970 <= wall.year < 2200:
        raise ValueError(_("The year must be between 1970 and 2199."))
    return wall


def _zone(name: str | None) -> str:
    if not name:
        return ""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(_("There is no time zone “%(name)s”.") % {"name": name}) from None
    return name


def _rhythm(definition: Mapping[str, Any]) -> tuple[dict[str, str], str]:
    """The cadence of a recurring broadcast, and its zone, empty for each person's own. Raises ValueError."""
    match = _CLOCK.fullmatch(str(definition.get("at")))
    if match is None:
        raise ValueError(_('Write a local time like "10:00", or one of a zone like "10:00 Europe/Prague".'))
    return {"rrule": str(definition["rrule"]), "at": clock(match[1])}, _zone(match[2])


def per_hour(value: Any) -> int:
    """The pace of `5000/h` or `100/min`. Raises ValueError with a sentence."""
    match = _PACE.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(_("Write a pace like 5000/h."))
    return int(match[1]) * (60 if match[2] == "min" else 1)


def share(value: Any) -> int:
    """The per cent of a canary. Raises ValueError with a sentence."""
    match = _SHARE.fullmatch(str(value).strip())
    if match is None or isinstance(value, bool):
        raise ValueError(_("The share is a whole per cent from 1% to 50%, such as 5%."))
    return int(match[1])


def canary_of(definition: Mapping[str, Any]) -> tuple[int, timedelta]:
    """Which per cent goes first, and how long the rest waits; 0 where all go together."""
    canary = definition.get("canary")
    return (share(canary["share"]), parse_duration(canary["wait"])) if canary else (0, timedelta())


# Checks --------------------------------------------------------------------------------------------------------------


def check(f: Findings, definition: Mapping[str, Any]) -> None:
    """What is wrong with a broadcast, apart from the settings that every journey may have."""
    for name in NOT_HERE:
        if name in definition:
            f.say(name, _("A broadcast does not have this: it has an audience, and what it sends to them."))
    if definition.get("audience") is None:
        f.say("audience", _("Say to whom, by a rule such as {in_segment: customers}."))
    else:
        f.rule(definition["audience"], "audience")
    f.template(definition.get("send"), "send")
    _check_when(f, definition)
    for name, read in (("throttle", per_hour), ("valid_for", parse_duration)):
        if name in definition:
            _reads(f, read, definition[name], name)
    canary = definition.get("canary")
    if canary is None:
        return
    if not isinstance(canary, Mapping):
        f.say("canary", _("A canary says its share and how long the rest waits, such as {share: 5%, wait: 2h}."))
        return
    f.only(canary, ["share", "wait"], "canary")
    _reads(f, share, canary.get("share"), "canary.share")
    _reads(f, parse_duration, canary.get("wait"), "canary.wait")


def _reads(f: Findings, read: Any, value: Any, path: str) -> Any:
    try:
        return read(value)
    except (ValueError, OverflowError) as error:
        f.say(path, str(error))
        return None


def _check_when(f: Findings, definition: Mapping[str, Any]) -> None:
    at = definition.get("at")
    if at is None:
        f.say("at", _("Say when, such as 2027-03-28T09:00."))
        return
    if "rrule" in definition:
        if isinstance(definition.get("send"), str) and definition["send"] in f.known.once:
            f.say("send", _("Nobody gets this template twice: mark it as repeatable."), level="warning")
        if "valid_until" in definition:
            f.say("valid_until", _("A recurring broadcast says how long each is valid: valid_for, such as 2d."))
        try:
            cadence, _of = _rhythm(definition)
        except ValueError as error:
            f.say("at", str(error))
            cadence = {"rrule": str(definition["rrule"]), "at": "00:00"}
        for name, message in check_cadence(cadence):
            f.say(name, message)
        return
    if "valid_until" in definition and "valid_for" in definition:
        f.say("valid_for", _("Say valid_until or valid_for, not both."))
    begin = None if at == AT_ONCE else _reads(f, moment, at, "at")
    until = _reads(f, moment, definition["valid_until"], "valid_until") if "valid_until" in definition else None
    if begin and until and begin.zone == until.zone and until.wall <= begin.wall:
        f.say("valid_until", _("It must be valid for some time after it is sent."))


# Nodes ---------------------------------------------------------------------------------------------------------------


def pace_config(definition: Mapping[str, Any]) -> dict[str, Any]:
    """What the engine reads of the step at which everybody waits for the moment."""
    return {"per_hour": per_hour(definition["throttle"])} if "throttle" in definition else {}


def send_config(definition: Mapping[str, Any]) -> dict[str, Any]:
    """What the engine reads of the send: until when it is valid stands with the occasion."""
    return {"template": definition["send"], "is_dated": True}


# Occasions -----------------------------------------------------------------------------------------------------------


def is_recurring(definition: Mapping[str, Any]) -> bool:
    return "rrule" in definition


def moments(definition: Mapping[str, Any], after: datetime, published_at: datetime) -> Iterator[Moment]:
    """The moments of a sound definition: the one, or all whose wall time is later than `after`, without end."""
    if is_recurring(definition):
        cadence, zone = _rhythm(definition)
        for wall in wall_times(cadence, after):
            if wall > after:
                yield Moment(wall, zone)
    elif definition["at"] == AT_ONCE:
        yield Moment(published_at.astimezone(UTC).replace(tzinfo=None), "UTC")
    else:
        yield moment(definition["at"])


def zone_of(definition: Mapping[str, Any]) -> str:
    """The zone of a recurring broadcast; empty for each person's own."""
    return _rhythm(definition)[1]


def valid_until(definition: Mapping[str, Any], at: Moment) -> Moment | None:
    """Until when what is sent at a moment is worth sending; a newsletter until the next one comes."""
    if "valid_until" in definition:
        return moment(definition["valid_until"])
    if "valid_for" in definition:
        return at.after(parse_duration(definition["valid_for"]))
    if is_recurring(definition):
        return next(moments(definition, at.wall, at.wall))
    return None
