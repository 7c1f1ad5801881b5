"""Handing leads over to a rep: a rep gives one to a colleague, a manager gives many. Both are one move with one rule.

Who may hand leads over to others (`leads.route_lead`) gives every unfinished lead to every rep. A rep without that
gives what he has in hand, and open leads, to himself and to the reps of his teams.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from contacts.models import Contact, Incoming
from leads.desk import TakenByOther, WrongState, WrongWords, must_work, name_of, written
from leads.models import Lead, LeadMove, LeadQuerySet, Rep, Team
from leads.routing import absences, away_now, calendar_of, due_at


def colleagues(by: Any) -> QuerySet:
    """To whom a user may give leads and tasks: himself and the reps of his teams; who may hand over, to every rep.

    Who does not work on leads, or no longer, is not among them.
    """
    users = get_user_model().objects
    works = users.with_perm("leads.work_lead", backend="django.contrib.auth.backends.ModelBackend")
    if not by.has_perm("leads.route_lead"):
        works = works.filter(Q(pk=by.pk) | Q(teams__in=by.teams.all()))
    # The permission is asked by joins that name people more than once.
    return users.filter(pk__in=works.order_by().values("pk")).order_by("last_name", "first_name", "username")


@transaction.atomic
def assign(*, lead: Lead, to: Any, by: Any, now: datetime, source: str = "sales") -> Lead:
    """Gives one lead to a colleague, see `hand_over`; to whom has it already nothing happens.

    Raises TakenByOther or WrongState where it is not the user's to give, or what `hand_over` raises.
    """
    is_given = hand_over(Lead.objects.filter(pk=lead.pk), to=to, by=by, now=now, source=source) > 0
    fresh = Lead.objects.select_related("owner", "assigned_to", "team", "contact", "reject_reason").get(pk=lead.pk)
    if not is_given and fresh.state in ("rejected", "converted"):
        raise WrongState(fresh)
    if not is_given and fresh.owner is not None and fresh.owner.pk not in (by.pk, to.pk):
        raise TakenByOther(fresh.owner)
    return fresh


@transaction.atomic
def hand_over(leads: LeadQuerySet, *, to: Any, by: Any, now: datetime, source: str = "sales") -> int:
    """Gives those of the leads that are the user's to give to one rep, whatever the capacity says; how many that were.

    Open ones wait for that rep; claimed and accepted ones become his, and with them the person that was the same rep's.
    What is not accepted has a new clock by his own hours. Told as `lead.assigned`, or `lead.reassigned` of what
    somebody had. Each can be undone. Raises PermissionDenied for who does not work on leads, and WrongWords for a rep
    who is no colleague, or is away, for from him they would be taken at once.
    """
    may_route = by.is_active and by.has_perm("leads.route_lead")
    if not may_route:
        must_work(by)
    _check_taker(to, by, now, may_route)
    theirs = leads.unfinished() if may_route else leads.unfinished().filter(Q(state="open") | Q(owner=by))
    theirs = theirs.annotate(holder=Coalesce("owner_id", "assigned_to_id")).filter(~Q(holder=to.pk) | Q(holder=None))
    # People first, as a merge does, so that neither shuts the other out.
    people = Contact.objects.filter(pk__in=theirs.values("contact_id")).order_by("pk").select_for_update(no_key=True)
    owners = dict(people.values_list("pk", "owner_id"))
    held = theirs.filter(contact__in=list(owners)).order_by("pk").select_for_update(of=["self"], no_key=True)
    chosen = list(held.select_related("owner", "assigned_to"))
    in_hand = Lead.objects.filter(pk__in=[lead.pk for lead in chosen])
    mine = {
        "assigned_to": to, "assigned_at": now, "unrouted_because": "", "overdue_at": None, "asked_at": None,
    }  # fmt: skip
    taken = {**mine, "owner": to, "claimed_by": to, "snoozed_until": None, "snooze_reason": ""}
    for team, due in _clocks({lead.team_id for lead in chosen}, to, now):
        in_hand.unaccepted().filter(team=team).update(due_at=due)
    in_hand.filter(state="open").update(updated_at=now, **mine)
    in_hand.exclude(state="open").update(updated_at=now, **taken)
    follow = {lead.pk for lead in chosen if lead.owner_id is not None and owners[lead.contact_id] == lead.owner_id}
    Contact.objects.filter(leads__in=follow).update(owner=to, updated_at=now)
    fresh = in_hand.in_bulk()
    moves, told = [], []
    for lead in chosen:
        changed = {*(mine if lead.state == "open" else taken), "due_at"}
        columns = [field.attname for field in Lead._meta.concrete_fields if field.name in changed]
        holder = lead.owner or lead.assigned_to
        properties = {"lead": lead.pk, "by": by.get_username(), "to": to.get_username()}
        if holder is not None:
            properties |= {"from": holder.get_username(), "reason": "handed_over"}
        moves.append(
            LeadMove(
                contact_id=lead.contact_id,
                lead=lead,
                kind="assign",
                by=by,
                at=now,
                source=source,
                before=written(lead, columns),
                after=written(fresh[lead.pk], columns),
                beside={"contact_owner": lead.owner_id} if lead.pk in follow else {},
            )  # fmt: skip
        )
        told.append(
            Incoming(
                kind="lead.reassigned" if holder is not None else "lead.assigned",
                source=source,
                channel="sales",
                occurred_at=now,
                received_at=now,
                contact_id=lead.contact_id,
                properties=properties,
            )  # fmt: skip
        )
    LeadMove.objects.bulk_create(moves)
    Incoming.objects.bulk_create(told)
    return len(chosen)


def _check_taker(to: Any, by: Any, now: datetime, may_route: bool) -> None:
    if not colleagues(by).filter(pk=to.pk).exists():
        why = _("%(name)s does not work on leads.") if may_route else _("%(name)s is not in a team with you.")
        raise WrongWords("to", why % {"name": name_of(to)})
    if to.pk != by.pk and to.pk in away_now(now):
        raise WrongWords("to", _("%(name)s is away.") % {"name": name_of(to)})


def _clocks(teams: Iterable[int | None], to: Any, now: datetime) -> Iterable[tuple[Team, datetime | None]]:
    """By when a rep answers, by his own working hours, what he is given now of each team."""
    away = absences(now).get(to.pk, ())
    places = {place.team_id: place for place in Rep.objects.filter(user=to)}
    for team in Team.objects.filter(pk__in=[one for one in teams if one]):
        yield team, due_at(team, calendar_of(team, places.get(team.pk), away), now)
