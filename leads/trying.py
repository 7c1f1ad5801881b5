"""What routing would do with somebody, and why: each team, each rep, and by when. Nothing is written."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from contacts import rules
from contacts.models import Contact
from leads.models import Team
from leads.routing import REASONS, Place, calendar_of, due_at, places


@dataclass(frozen=True)
class Asked:
    """What a rule says of somebody: whether it holds (None: it cannot be asked), and each of its conditions."""

    holds: bool | None
    answers: list[rules.Answer] = field(default_factory=list)
    problem: str = ""


@dataclass(frozen=True)
class TeamAnswer:
    team: Team
    asked: Asked
    is_chosen: bool
    why: str


@dataclass(frozen=True)
class RepAnswer:
    place: Place
    asked: Asked
    is_chosen: bool
    # Could have it, though it is not this rep's turn.
    could: bool
    why: str


@dataclass(frozen=True)
class Routed:
    """The whole answer. `reason` says why nobody gets it: one of the sentences of `leads.routing.REASONS`."""

    teams: list[TeamAnswer]
    reps: list[RepAnswer]
    team: Team | None
    place: Place | None
    due_at: datetime | None
    reason: str


def try_routing(contact: Contact, now: datetime) -> Routed:
    """Who would get this contact as a lead at this moment."""
    teams = list(Team.objects.all())
    asked = {team.pk: _ask(team.rule, contact, now) for team in teams}
    chosen = next((team for team in teams if team.rule is not None and asked[team.pk].holds), None)
    chosen = chosen or next((team for team in teams if team.rule is None), None)
    told = [TeamAnswer(team, asked[team.pk], team == chosen, _why_team(team, asked[team.pk], chosen)) for team in teams]
    if chosen is None:
        return Routed(told, [], None, None, None, str(REASONS["no_team"]))
    standing = places(now, Team.objects.filter(pk=chosen.pk))
    fits = {place.rep.pk: _ask(place.rep.rule, contact, now) for place in standing}
    takers = [
        place for place in standing
        if place.may_work and (fits[place.rep.pk].holds or place.rep.user_id == contact.owner_id)
    ]  # fmt: skip
    free = sorted(
        (place for place in takers if place.is_present and not place.is_full),
        key=lambda place: (
            0 if place.rep.user_id == contact.owner_id else place.rank(now), place.turn, place.rep.user_id,
        ),
    )  # fmt: skip
    first = free[0] if free else None
    reps = [
        RepAnswer(
            place,
            fits[place.rep.pk],
            place is first,
            place in free,
            _why_rep(place, fits[place.rep.pk], free, contact, now),
        )
        for place in [*free, *(place for place in standing if place not in free)]
    ]
    if first is not None:
        return Routed(told, reps, chosen, first, first.due_at, "")
    return Routed(
        told, reps, chosen, None, due_at(chosen, calendar_of(chosen, None, ()), now), _nobody(standing, takers)
    )


def try_values(values: dict[str, Any], now: datetime) -> Routed:
    """The same for somebody made up. The row that the rules are asked about is gone again when this answers."""
    with transaction.atomic():
        contact = Contact.objects.create(created_at=now, updated_at=now, **values)
        found = try_routing(contact, now)
        transaction.set_rollback(True)
    return found


def explain_team(contact: Contact, key: str, now: datetime) -> dict[str, Any]:
    """Would the team get this contact as a lead, and who of it. Raises Team.DoesNotExist."""
    team = Team.objects.get(key=key)
    found = try_routing(contact, now)
    (mine,) = [one for one in found.teams if one.team == team]
    return {
        "team": team.key,
        "is_chosen": mine.is_chosen,
        "why": mine.why,
        "problem": mine.asked.problem,
        "conditions": [
            {"path": one.path, "condition": one.leaf, "is_true": one.is_true, "evidence": one.evidence}
            for one in mine.asked.answers
        ],
        "reps": [
            {"rep": one.place.rep.user.get_username(), "is_chosen": one.is_chosen, "why": one.why}
            for one in (found.reps if mine.is_chosen else [])
        ],
        "answer_by": found.due_at if mine.is_chosen else None,
        "nobody_because": found.reason if mine.is_chosen else "",
    }


def _ask(rule: Any, contact: Contact, now: datetime) -> Asked:
    if rule is None:
        return Asked(True)
    try:
        parsed = rules.parse(rule)
        answers = rules.explain(parsed, contact, now)
    except rules.RuleError as error:
        return Asked(None, problem=str(error))
    return Asked(rules.verdict(parsed, answers), answers)


def _why_team(team: Team, asked: Asked, chosen: Team | None) -> str:
    if asked.holds is None:
        return _("Its rule cannot be asked: %(problem)s") % {"problem": asked.problem}
    if team.rule is None:
        if team == chosen:
            return _("No rule of another team holds; this one takes the rest.")
        return _("It takes only what no other team takes, and “%(team)s” comes first.") % {"team": chosen}
    if not asked.holds:
        return _("Its rule does not hold.")
    if team == chosen:
        return _("It is the first whose rule holds.")
    return _("Its rule holds, but “%(team)s” comes first.") % {"team": chosen}


def _why_rep(place: Place, asked: Asked, free: list[Place], contact: Contact, now: datetime) -> str:
    rep = place.rep
    is_own = rep.user_id == contact.owner_id
    if not rep.user.is_active:
        return _("The log-in is deactivated.")
    if not place.may_work:
        return _("May not work on leads.")
    if not is_own and asked.holds is None:
        return _("The rule cannot be asked: %(problem)s") % {"problem": asked.problem}
    if not is_own and not asked.holds:
        return _("The rule of the place does not hold.")
    if until := place.calendar.away_until(now):
        return _("Is away until %(day)s.") % {"day": date_format(until, "SHORT_DATE_FORMAT")}
    if place.at_work_from is None:
        return _("Is never at work.")
    if not place.is_present:
        return _("Is at work again on %(moment)s only.") % {"moment": _said(place.at_work_from)}
    if place.is_full:
        return _("Has no room: %(held)d of %(capacity)d in hand.") % {"held": place.held, "capacity": rep.capacity}
    return " ".join([_turn(place, free, is_own, now), _last(place)])


def _turn(place: Place, free: list[Place], is_own: bool, now: datetime) -> str:
    if place is free[0]:
        return _("Is the person's own rep.") if is_own else _("It is this rep's turn.")
    turn = free.index(place)
    told = ngettext("Comes after %(count)d other.", "Comes after %(count)d others.", turn) % {"count": turn}
    if place.at_work_from != now and place.at_work_from is not None:
        told += " " + _("Is at work from %(moment)s.") % {"moment": _said(place.at_work_from)}
    return told


def _last(place: Place) -> str:
    held = ngettext("%(count)d lead in hand,", "%(count)d leads in hand,", place.held) % {"count": place.held}
    if place.last_at is None:
        return held + " " + _("none was given yet.")
    return held + " " + _("the last was given on %(moment)s.") % {"moment": _said(place.last_at)}


def _said(moment: datetime) -> str:
    return date_format(localtime(moment), "SHORT_DATETIME_FORMAT")


def _nobody(standing: list[Place], takers: list[Place]) -> str:
    """The reason that the statement `assign_leads` would write down."""
    if not any(place.may_work for place in standing):
        return str(REASONS["no_rep"])
    if not takers:
        return str(REASONS["no_rule"])
    return str(REASONS["full"] if any(place.is_present for place in takers) else REASONS["away"])
