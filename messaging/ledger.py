"""The ledger of reasons: of all that we intended to say, how much left, and why the rest did not.

Each message is in exactly one column: sent, uncertain, waiting, or its reason. So the columns add up to the intents.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils.formats import date_format
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from contacts.sql import load
from messaging.models import Message, Template
from messaging.reasons import sentence

SQL = load(__file__)

BY = {"day": gettext_lazy("by day"), "journey": gettext_lazy("by journey"), "template": gettext_lazy("by message")}
# A month at most: what is older is looked at a month at a time.
SPANS = (1, 7, 31)


@dataclass(frozen=True)
class Outcome:
    """So many ended, or wait, in this way; `query` lists exactly them in the list of messages."""

    key: str
    words: str
    number: int
    query: str


@dataclass(frozen=True)
class Line:
    """A day, a journey or a template, or all of them together."""

    name: str
    intents: int
    query: str
    outcomes: list[Outcome]

    @property
    def sent(self) -> int:
        return sum(one.number for one in self.outcomes if one.key == "sent")

    @property
    def sent_query(self) -> str:
        return next((one.query for one in self.outcomes if one.key == "sent"), "")

    @property
    def others(self) -> list[Outcome]:
        """What did not leave for sure, the most frequent first."""
        return [one for one in self.outcomes if one.key != "sent"]


@dataclass(frozen=True)
class Ledger:
    begins: date
    ends: date
    by: str
    total: Line
    lines: list[Line] = field(default_factory=list)


def ledger(*, by: str, days: int, until: date) -> Ledger:
    """What became of all messages intended in these days, the last of which is `until`; `by` a key of `BY`."""
    first = until - timedelta(days=days - 1)
    zone = ZoneInfo(settings.TIME_ZONE)
    begins, ends = (datetime.combine(day, time(), zone) for day in (first, until + timedelta(days=1)))
    found: dict[str, dict[str, int]] = {}
    for part, outcome, number in SQL["count_intents"].rows(by=by, begins=begins, ends=ends, zone=settings.TIME_ZONE):
        found.setdefault(part, {})[outcome] = number
    span = {"created_at__gte": begins.isoformat(), "created_at__lt": ends.isoformat()}
    sums: dict[str, int] = {}
    for outcomes in found.values():
        for outcome, number in outcomes.items():
            sums[outcome] = sums.get(outcome, 0) + number
    names = _names(by, found)
    lines = [
        _line(names.get(part, part), found[part], span | _which(by, part, zone))
        for part in sorted(found, key=lambda part: _rank(by, part, found[part]), reverse=True)
    ]
    return Ledger(first, until, by, _line(_("all"), sums, span), lines)


def _rank(by: str, part: str, outcomes: Mapping[str, int]) -> tuple[str, int]:
    """Days from the last to the first; journeys and templates by how much they meant to send."""
    return (part if by == "day" else "", sum(outcomes.values()))


def _line(name: str, outcomes: dict[str, int], which: Mapping[str, Any]) -> Line:
    ranked = sorted(outcomes.items(), key=lambda pair: (-pair[1], pair[0]))
    return Line(
        name,
        sum(outcomes.values()),
        urlencode(which),
        [Outcome(key, words(key), number, urlencode({**which, **_ending(key)})) for key, number in ranked],
    )


def words(outcome: str) -> str:
    """An outcome in words."""
    return {
        "sent": _("It left."),
        "uncertain": _("It may have left; nobody knows."),
        "waiting": _("It still waits."),
    }.get(outcome) or sentence(outcome)


def _ending(outcome: str) -> dict[str, str]:
    """What the list of messages is asked for, to show exactly those of an outcome."""
    if outcome in ("sent", "uncertain"):
        return {"state": outcome, "reason__exact": ""}
    if outcome == "waiting":
        return {"state__in": ",".join(Message.OPEN), "reason__exact": ""}
    return {"reason__exact": outcome}


def _which(by: str, part: str, zone: ZoneInfo) -> dict[str, str]:
    if by == "journey":
        return {"journey_key__exact": part}
    if by == "template":
        return {"template__id__exact": part}
    day = date.fromisoformat(part)
    begins, ends = (datetime.combine(one, time(), zone) for one in (day, day + timedelta(days=1)))
    return {"created_at__gte": begins.isoformat(), "created_at__lt": ends.isoformat()}


def _names(by: str, parts: Mapping[str, Any]) -> dict[str, str]:
    """How days, journeys and templates are called on the page."""
    if by == "template":
        return {str(one.pk): str(one) for one in Template.objects.filter(pk__in=[int(part) for part in parts])}
    if by == "journey":
        return {part: part or _("of no journey") for part in parts}
    return {part: date_format(date.fromisoformat(part), "DATE_FORMAT") for part in parts}
