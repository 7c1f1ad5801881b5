"""The closed loop: what sales made of the leads of a period, told back to marketing.

A period takes the leads that were handed over in it, whenever they ended; so a number of yesterday may still rise. What
was undone or merged is as it stands now: the columns of a lead are the truth. Every number leads to its leads by
`behind`, which asks the same reading of a lead.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlencode

from django.contrib.auth import get_user_model
from django.db.models.expressions import RawSQL
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from contacts.sql import Fragment, load
from contacts.wire import dumps
from leads.models import Team
from leads.wording import in_language
from leads.working import HoursError, calendar

SQL = load(__file__)
_PARTS = {name: Fragment(SQL[name].sql) for name in ("loop_leads", "first_touch", "journeys_before")}

PERIODS = (30, 90, 365)
# What may be asked of a number's list.
PARTS = ("all", "claimed", "accepted", "won", "rejected", "unfinished", "open")
WAYS = ("", "reason", "returned", "source", "track", "band", "team", "rep")
# Fewer finished leads than this say nothing of a score.
ENOUGH = 20
# More sources or journeys than this are a table that nobody reads; the file has all.
SHOWN = 15


@dataclass(frozen=True)
class Span:
    """Which leads a report is about: handed over from `since` on and before `until`, of one team or of all."""

    since: datetime
    until: datetime
    team: Team | None = None

    def values(self) -> dict[str, Any]:
        return {"since": self.since, "until": self.until, "team": self.team and self.team.pk}

    def url(self, part: str = "all", by: str = "", key: Any = "") -> str:
        """The admin's list of the leads behind a number."""
        asked = {
            "since": self.since.astimezone(UTC).isoformat(), "until": self.until.astimezone(UTC).isoformat(),
            "team": self.team.pk if self.team else "", "part": part, "by": by, "key": key,
        }  # fmt: skip
        return f"{reverse('admin:leads_lead_changelist')}?{urlencode({'loop': urlencode(asked)})}"


@dataclass(frozen=True)
class Number:
    """A count with the address of its leads; `share` is of the row's or the table's whole in per cent, None of none."""

    count: int
    url: str
    share: float | None = None


@dataclass(frozen=True)
class Step:
    """One step of the funnel."""

    key: str
    label: str
    number: Number
    # By currency, of those that have one.
    values: dict[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True)
class Reason:
    key: str
    name: str
    track: str
    is_final: bool
    number: Number
    returned: Number


@dataclass(frozen=True)
class Speed:
    """How fast leads were taken and answered, in seconds; `in_time` is the share of promised answers that were kept."""

    label: str
    url: str
    claimed: int
    answered: int
    claim_median: float | None
    claim_p90: float | None
    answer_median: float | None
    answer_p90: float | None
    promised: int
    kept: int

    @property
    def in_time(self) -> float | None:
        return 100 * self.kept / self.promised if self.promised else None


@dataclass(frozen=True)
class Origin:
    """What became of the leads of one source, journey or band of points."""

    key: str
    label: str
    leads: Number
    accepted: Number
    won: Number
    values: dict[str, Decimal] = field(default_factory=dict)
    # Won of those that ended, in per cent; None while none has.
    win_rate: float | None = None


@dataclass
class Loop:
    span: Span
    funnel: list[Step] = field(default_factory=list)
    handed: int = 0
    won: int = 0
    # By currency: amounts in different ones are never added.
    won_values: dict[str, Decimal] = field(default_factory=dict)
    accept_rate: float | None = None
    reasons: list[Reason] = field(default_factory=list)
    speed: Speed | None = None
    teams: list[Speed] = field(default_factory=list)
    reps: list[Speed] = field(default_factory=list)
    sources: list[Origin] = field(default_factory=list)
    tracks: list[Origin] = field(default_factory=list)
    bands: list[Origin] = field(default_factory=list)
    verdict: str = ""
    is_true: bool | None = None


def loop(span: Span, now: datetime) -> Loop:
    """The report of a span, in a fixed number of statements."""
    found = Loop(span)
    _funnel(found)
    if found.handed:
        found.reasons = _reasons(span)
        _speeds(found, now)
        found.sources = [
            _origin(span, "source", key, key or _("unknown"), *row) for key, *row in _rows("loop_sources", span)
        ]
        found.tracks = [
            _origin(span, "track", key, key or _("no journey"), *row) for key, *row in _rows("loop_tracks", span)
        ]
        _bands(found)
    return found


def _rows(name: str, span: Span, **more: Any) -> list[tuple]:
    needed = {key: part for key, part in _PARTS.items() if f"{{{key}}}" in SQL[name].sql}
    return SQL[name].rows(fragments=needed, **span.values(), **more)


def _share(count: int, of: int) -> float | None:
    return 100 * count / of if of else None


def _funnel(found: Loop) -> None:
    [(handed, claimed, accepted, won, value, rejected, unfinished, unclaimed)] = _rows("loop_funnel", found.span)
    found.handed, found.won, found.won_values = handed, won, _amounts(value)
    found.accept_rate = _share(accepted, handed)
    steps = [
        ("all", _("Handed over"), handed),
        ("claimed", _("Claimed"), claimed),
        ("accepted", _("Accepted"), accepted),
        ("won", _("Won"), won),
        ("rejected", _("Rejected"), rejected),
        ("unfinished", _("Still in hand"), unfinished),
        ("open", _("Of these nobody's yet"), unclaimed),
    ]
    found.funnel = [
        Step(
            key,
            label,
            Number(count, found.span.url(key), _share(count, handed)),
            found.won_values if key == "won" else {},
        )
        for key, label, count in steps
    ]


def _amounts(told: str | None) -> dict[str, Decimal]:
    """Amounts by currency, as a statement writes them."""
    return {currency: Decimal(amount) for currency, amount in sorted(json.loads(told or "{}").items())}


def _reasons(span: Span) -> list[Reason]:
    rows = _rows("loop_reasons", span)
    total = sum(row[5] for row in rows)
    return [
        Reason(
            key=key,
            name=in_language(json.loads(names), name),
            track=track,
            is_final=is_final,
            number=Number(count, span.url("rejected", "reason", key), _share(count, total)),
            returned=Number(returned, span.url("rejected", "returned", key), _share(returned, count)),
        )
        for key, name, names, track, is_final, count, returned in rows
    ]


# Speed ---------------------------------------------------------------------------------------------------------------


def _windows(span: Span, now: datetime) -> str:
    """When each team is at work from the first possible hand-off until now, as the statement reads it."""
    rows = []
    for team in Team.objects.all():
        try:
            work = calendar(team.hours, team.holidays)
        except HoursError:
            # Hours that nobody can read do not count, as in routing.
            work = calendar("", team.holidays)
        for begins, ends in work.windows(span.since):
            if begins >= now:
                break
            rows.append({"team_id": team.pk, "begins_at": begins, "ends_at": ends})
    return dumps(rows).decode()


def _speeds(found: Loop, now: datetime) -> None:
    span = found.span
    rows = _rows("loop_speed", span, windows=_windows(span, now), now=now)
    teams = {team.pk: str(team) for team in Team.objects.all()}
    people = get_user_model().objects.in_bulk([row[3] for row in rows if row[3]])
    for of_team, of_rep, team, rep, *numbers in rows:
        if of_rep:
            name = (people[rep].get_full_name() or people[rep].get_username()) if rep in people else _("Nobody yet")
            found.reps.append(Speed(name, span.url("all", "rep", rep or ""), *numbers))
        elif of_team:
            name = teams.get(team, _("No team"))
            found.teams.append(Speed(name, span.url("all", "team", team or ""), *numbers))
        else:
            found.speed = Speed(_("All"), span.url("all"), *numbers)


# Where they came from, and what the score was worth ------------------------------------------------------------------


def _origin(
    span: Span, by: str, key: str, label: str, count: int, accepted: int, won: int, value: str | None = None,
    ended: int | None = None,
) -> Origin:  # fmt: skip
    return Origin(
        key=key,
        label=label,
        leads=Number(count, span.url("all", by, key)),
        accepted=Number(accepted, span.url("accepted", by, key), _share(accepted, count)),
        won=Number(won, span.url("won", by, key), _share(won, count)),
        values=_amounts(value),
        win_rate=_share(won, ended) if ended else None,
    )


def _band(band: int) -> str:
    if band < 0:
        return _("handed over without a score")
    if band >= 200:
        return _("200 points and more")
    return _("%(from)d to %(to)d points") % {"from": band, "to": band + (49 if band >= 100 else 24)}


def _bands(found: Loop) -> None:
    rows = _rows("loop_bands", found.span)
    found.bands = [
        _origin(found.span, "band", str(band), _band(band), count, accepted, won, None, ended)
        for band, count, accepted, won, ended in rows
    ]
    known = [
        (origin, ended)
        for origin, (band, _count, _accepted, _won, ended) in zip(found.bands, rows, strict=True)
        if band >= 0 and ended >= ENOUGH
    ]
    if len(known) < 2:
        found.verdict = _("Not enough data: it takes two bands of points with %(count)d ended leads each to say.") % {
            "count": ENOUGH
        }
        return
    low, high = known[0][0], known[-1][0]
    found.is_true = (high.win_rate or 0) > (low.win_rate or 0)
    told = {"high": high.label, "low": low.label, "most": round(high.win_rate or 0), "least": round(low.win_rate or 0)}
    if found.is_true:
        words = _(
            "The score tells the truth: with %(high)s %(most)d %% of ended leads were won, with %(low)s %(least)d %%."
        )
    else:
        words = _(
            "The score does not tell the truth: with %(high)s %(most)d %% of ended leads were won, with %(low)s "
            "%(least)d %%. Look at its rules."
        )
    found.verdict = words % told


# Words ---------------------------------------------------------------------------------------------------------------


def in_time_words(seconds: float | None) -> str:
    """A span of time as people say it, in its two largest units."""
    if seconds is None:
        return "–"
    minutes = round(seconds / 60)
    if minutes < 1:
        return _("under a minute")
    if minutes < 60:
        return _("%(minutes)d min") % {"minutes": minutes}
    if minutes < 48 * 60:
        return _("%(hours)d h %(minutes)d min") % {"hours": minutes // 60, "minutes": minutes % 60}
    return _("%(days)d d %(hours)d h") % {"days": minutes // 1440, "hours": minutes % 1440 // 60}


def sentence(found: Loop) -> str:
    """The report in a sentence or two."""
    if not found.handed:
        return _("No lead was handed over in this period.")
    said = ngettext(
        "%(count)d lead was handed over; sales accepted %(rate)d %% and won %(won)d.",
        "%(count)d leads were handed over; sales accepted %(rate)d %% and won %(won)d.",
        found.handed,
    ) % {"count": found.handed, "rate": round(found.accept_rate or 0), "won": found.won}
    if found.speed and found.speed.answer_median is not None:
        said += " " + _("Half of the answers came within %(span)s of working time.") % {
            "span": in_time_words(found.speed.answer_median)
        }
    if found.reasons:
        said += " " + _("The most frequent reason to reject was “%(reason)s”.") % {"reason": found.reasons[0].name}
    return said


# The lists behind the numbers ----------------------------------------------------------------------------------------


def behind(asked: str) -> RawSQL:
    """The ids of the leads behind a number, of the text that `Span.url` wrote. Raises ValueError for any other text."""
    told = dict(parse_qsl(asked, keep_blank_values=True))
    try:
        since, until = (datetime.fromisoformat(told[name]) for name in ("since", "until"))
        team = int(told["team"]) if told["team"] else None
        part, by, key = told["part"], told["by"], told["key"]
    except (KeyError, ValueError) as error:
        raise ValueError(str(error)) from None
    if part not in PARTS or by not in WAYS or since.tzinfo is None or until.tzinfo is None or abs(team or 0) >= 2**63:
        raise ValueError(asked)
    values: Mapping[str, Any] = {"since": since, "until": until, "team": team, "part": part, "by": by, "key": key}
    sql = SQL["loop_list"].sql
    for name, fragment in _PARTS.items():
        sql = sql.replace(f"{{{name}}}", fragment.sql)
    params: list[Any] = []

    def positional(match: re.Match) -> str:
        params.append(values[match.group(1)])
        return "%s"

    return RawSQL(re.sub(r"%\((\w+)\)s", positional, sql), params)  # noqa: S611 - a statement of ours, its values bound


def span_of(days: int, team: Team | None, now: datetime) -> Span:
    """The last so many days until now."""
    return Span(now - timedelta(days=days), now, team)
