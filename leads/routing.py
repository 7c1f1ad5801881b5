"""Routing: which team takes a lead, whose turn it is there, and what becomes of leads that nobody answers in time.

Reps are few and are looked at here, one by one; leads are many and are moved by statements. A rep's clock depends on
the rep and the moment alone, so it is computed once for each and not for each lead.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import structlog
from django.contrib.auth import get_user_model
from django.core.exceptions import EmptyResultSet
from django.db.models import BigIntegerField, Count, Exists, F, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy

from contacts.models import Contact
from contacts.rules import RuleError, parse, to_q
from contacts.sql import Fragment, fragment, join, load
from leads.models import Absence, Lead, LeadQuerySet, Rep, Team
from leads.working import Calendar, HoursError, calendar

log = structlog.get_logger(__name__)
SQL = load(__file__)

# Where nobody was found, it is asked again after so long: soon for somebody who has room again, and seldom for a team
# that takes the lead at all. So many leads are asked about at once.
AGAIN_AFTER, TEAM_AGAIN_AFTER = timedelta(minutes=1), timedelta(hours=1)
AT_ONCE = 5_000

# Why a lead is nobody's.
REASONS = {
    "no_team": gettext_lazy("no team takes it"),
    "no_rep": gettext_lazy("the team has nobody who works on leads"),
    "no_rule": gettext_lazy("no rule of the team's reps holds"),
    "away": gettext_lazy("everybody whose it could be is away"),
    "full": gettext_lazy("everybody is at capacity"),
    "nobody_else": gettext_lazy("nobody else is there to take it"),
}


@dataclass(frozen=True)
class Place:
    """A rep's place in a team, as it stands at one moment."""

    rep: Rep
    calendar: Calendar
    # Unfinished leads in hand, of all teams.
    held: int
    # The person's number by which turns are taken: the larger, the later the last lead.
    turn: int
    last_at: datetime | None
    # When the rep is at work next: now, or later; None for who is away or never works.
    at_work_from: datetime | None
    # Is not away today, and works on the day on which the team is next at work.
    is_present: bool
    due_at: datetime | None
    may_work: bool

    @property
    def is_full(self) -> bool:
        return self.rep.capacity is not None and self.held >= self.rep.capacity

    def rank(self, now: datetime) -> int:
        """Whoever is at work now comes before who only comes later that day."""
        return 1 if self.at_work_from == now else 2


def calendar_of(team: Team, rep: Rep | None, away: Iterable[tuple[date, date]]) -> Calendar:
    """When a rep of the team works, or the team as such. Hours that nobody can read do not count."""
    for text in ([rep.hours] if rep is not None and rep.hours else []) + [team.hours]:
        try:
            return calendar(text, team.holidays, away)
        except HoursError as error:
            log.warning("hours_broken", team=team.key, reason=str(error))
    return calendar("", team.holidays, away)


def due_at(team: Team, hours: Calendar, now: datetime) -> datetime | None:
    """When an answer is due that the team promises from now on; None if it promises nothing."""
    return None if team.sla is None else hours.add(now, team.sla)


def clocks(now: datetime) -> list[dict[str, Any]]:
    """By when each team answers what comes now, by its own hours."""
    due = {team.pk: due_at(team, calendar_of(team, None, ()), now) for team in Team.objects.exclude(sla=None)}
    return [{"team_id": team, "due_at": moment and moment.isoformat()} for team, moment in due.items()]


def absences(now: datetime) -> dict[int, list[tuple[date, date]]]:
    """The spans of days away of each user, from yesterday on: somewhere it is still yesterday."""
    found: dict[int, list[tuple[date, date]]] = {}
    for user, *days in Absence.objects.filter(last_day__gte=(now - timedelta(days=1)).date()).values_list(
        "user_id", "first_day", "last_day"
    ):
        found.setdefault(user, []).append((days[0], days[1]))
    return found


def held_by() -> dict[int, int]:
    """How many unfinished leads each user has in hand: claimed and accepted ones, and those that wait for them."""
    holders = Lead.objects.unfinished().annotate(holder=Coalesce("owner_id", "assigned_to_id")).exclude(holder=None)
    return dict(holders.order_by().values("holder").annotate(count=Count("pk")).values_list("holder", "count"))


def places(now: datetime, teams: QuerySet[Team] | None = None) -> list[Place]:
    """Every place of the teams (of all, unless told) as it stands now, by team and user."""
    reps = list(Rep.objects.select_related("team", "user").order_by("team__position", "team__key", "user_id"))
    workers = set(
        get_user_model()
        .objects.with_perm("leads.work_lead", backend="django.contrib.auth.backends.ModelBackend")
        .values_list("pk", flat=True)
    )
    away, held = absences(now), held_by()
    latest: dict[int, Rep] = {}
    for rep in reps:
        if rep.turn >= latest.get(rep.user_id, rep).turn:
            latest[rep.user_id] = rep
    chosen = None if teams is None else set(teams.values_list("pk", flat=True))
    calendars = {
        rep.pk: calendar_of(rep.team, rep, away.get(rep.user_id, ()))
        for rep in reps
        if chosen is None or rep.team_id in chosen
    }
    # Whoever is away today gets nothing until that is over, for it would be taken from them at once.
    starts = {key: None if one.away_until(now) else one.at_work_from(now) for key, one in calendars.items()}
    next_days: dict[int, date] = {}
    for rep in reps:
        start = starts.get(rep.pk)
        if start is not None and rep.user_id in workers:
            day = calendars[rep.pk].hours.local_day(start)
            next_days[rep.team_id] = min(day, next_days.get(rep.team_id, day))
    found = []
    for rep in reps:
        if rep.pk not in calendars:
            continue
        start, hours = starts[rep.pk], calendars[rep.pk]
        is_present = start is not None and hours.hours.local_day(start) == next_days.get(rep.team_id)
        found.append(
            Place(
                rep=rep,
                calendar=hours,
                held=held.get(rep.user_id, 0),
                turn=latest[rep.user_id].turn,
                last_at=latest[rep.user_id].last_assigned_at,
                at_work_from=start,
                is_present=is_present,
                due_at=due_at(rep.team, hours, now),
                may_work=rep.user_id in workers,
            )
        )
    return found


def away_now(now: datetime) -> list[int]:
    """Users who are away on this day of their own clock, in any of their teams."""
    away = absences(now)
    return sorted(
        {
            rep.user_id
            for rep in Rep.objects.filter(user__in=list(away)).select_related("team")
            if calendar_of(rep.team, rep, away[rep.user_id]).away_until(now)
        }
    )


def _holding(
    asked: QuerySet[Contact], rule: Any, number: int, now: datetime, log_as: dict[str, str]
) -> Fragment | None:
    """Those of the contacts for whom a rule holds, each with the number; None where it cannot be asked or nobody is."""
    try:
        those = asked.filter(to_q(parse(rule), now)).values("id")
        return fragment(those.annotate(number=Value(number, BigIntegerField())).order_by())
    except RuleError as error:
        # A field that somebody deleted must not keep leads from all others.
        log.warning("routing_rule_broken", reason=str(error), **log_as)
    except EmptyResultSet:
        pass
    return None


def team_routes(asked: QuerySet[Contact], now: datetime) -> Fragment:
    """Which teams' rules hold for which of the contacts: a query of `id` and `team_id`."""
    found = [Fragment("SELECT 0::bigint AS id, 0::bigint AS team_id WHERE false")]
    for team in Team.objects.exclude(rule=None):
        if one := _holding(asked, team.rule, team.pk, now, {"team": team.key}):
            found.append(one)
    return join(" UNION ALL ", found)


def _rep_fits(asked: QuerySet[Contact], standing: list[Place], now: datetime) -> Fragment:
    """For which of the contacts the rules of reps hold: a query of `id` and `rep_id`."""
    found = [Fragment("SELECT 0::bigint AS id, 0::bigint AS rep_id WHERE false")]
    for place in standing:
        if place.rep.rule is not None:
            told = {"team": place.rep.team.key, "rep": place.rep.user.get_username()}
            if one := _holding(asked, place.rep.rule, place.rep.pk, now, told):
                found.append(one)
    return join(" UNION ALL ", found)


def wanting(now: datetime, away: list[int]) -> LeadQuerySet:
    """Leads for whom somebody must be found: nobody's, not accepted in time, or in the hands of who is away or gone.

    Those for whom nobody was found a moment ago, or can be found at all, are not among them.
    """
    gone = (
        Q(state="claimed", owner=None)
        | Q(state="claimed", owner__is_active=False)
        | Q(state="open", assigned_to__is_active=False)
    )
    absent = Q(state="claimed", owner__in=away) | Q(state="open", assigned_to__in=away)
    some = Q(state="open", assigned_to=None) | gone | absent | Q(due_at__lte=now)
    has_reps = Exists(Rep.objects.filter(team=OuterRef("team")))
    again = (Q(asked_at__lte=now - AGAIN_AFTER) & has_reps) | Q(asked_at__lte=now - TEAM_AGAIN_AFTER, team=None)
    return (
        Lead.objects.unaccepted()
        .filter(some)
        .filter(Q(asked_at=None) | again | gone | Q(due_at__lte=now, overdue_at=None))
    )


def assign(now: datetime, *, only_new: bool = False) -> int:
    """Finds somebody for the leads that want one, and tells the stream; how many were given to somebody.

    Whoever had none for the longest time comes first. No rep gets more than the capacity of the place allows. A claim
    in the same moment wins: what is not as it was found is left alone.
    """
    away = [] if only_new else away_now(now)
    want = Lead.objects.unrouted().filter(asked_at=None) if only_new else wanting(now, away)
    if not want.exists():
        return 0
    first = want.order_by("created_at", "pk")[:AT_ONCE]
    asked = Contact.objects.filter(leads__in=first)
    if not only_new:
        teamless = asked.filter(leads__in=Lead.objects.unrouted().filter(team=None))
        SQL["find_teams"].run(
            fragments={"wanting": fragment(first.values("id")), "routes": team_routes(teamless, now)},
            now=now,
            clocks=json.dumps(clocks(now)),
        )
    standing = [place for place in places(now) if place.may_work]
    people = sorted({place.rep.user_id for place in standing})
    number = {user: index for index, user in enumerate(people, 1)}
    by_user = {place.rep.user_id: place for place in standing}
    rows = [
        {
            "no": index, "rep_id": place.rep.pk, "team_id": place.rep.team_id, "user_id": place.rep.user_id,
            "person": number[place.rep.user_id], "takes_all": place.rep.rule is None, "is_present": place.is_present,
            "rank": place.rank(now), "capacity": place.rep.capacity,
            "due_at": place.due_at and place.due_at.isoformat(),
        }
        for index, place in enumerate(standing, 1)
    ]  # fmt: skip
    return SQL["assign_leads"].value(
        fragments={
            "wanting": fragment(first.values("id")),
            "fits": _rep_fits(asked, standing, now),
        },
        now=now,
        away=away,
        places=json.dumps(rows),
        held=[by_user[user].held for user in people],
        turns=[by_user[user].turn for user in people],
    )


def reroute(now: datetime, after: int, upto: int) -> int:
    """The tick's step after the hand-off: leads that nobody has or accepted in time go to the next rep."""
    if Lead.objects.filter(state="claimed", due_at__lte=F("claimed_at")).exists():
        own = [
            {"team_id": one.rep.team_id, "user_id": one.rep.user_id, "due_at": one.due_at and one.due_at.isoformat()}
            for one in places(now)
        ]
        SQL["restart_clocks"].run(now=now, places=json.dumps(own), clocks=json.dumps(clocks(now)))
    return assign(now)
