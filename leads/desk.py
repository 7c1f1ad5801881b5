"""The sales desk: what a rep does with a lead. Each move is one conditional UPDATE; who comes second is told who won.

The stream learns of every move through the inbox, in the same transaction; of those that end a lead only when they can
no longer be undone (see `leads.moves` and ADR 30).
"""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from contacts.models import Contact
from contacts.stream import put
from leads.models import Lead, LeadMove, LeadQuerySet, RejectReason, Team
from leads.routing import calendar_of, due_at

# So long after it a move that ends a lead can be undone; then marketing, the books and other systems go on from it.
GRACE = timedelta(seconds=30)
# Nobody sleeps longer than this.
LONGEST_SNOOZE = timedelta(days=366)


class DeskError(Exception):
    """The move is not possible; the text is for the person who tried it."""


class TakenByOther(DeskError):
    """Somebody else has the lead: `owner` is who."""

    def __init__(self, owner: Any) -> None:
        super().__init__(_("%(name)s has taken this lead.") % {"name": name_of(owner)})
        self.owner = owner


class WrongState(DeskError):
    """The lead is not in a state for this move: `state` is where it is."""

    def __init__(self, lead: Lead) -> None:
        super().__init__(_("This lead is %(state)s.") % {"state": lead.get_state_display()})
        self.state = lead.state


class WrongWords(DeskError):
    """What was said with the move is not possible: `field` is what."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def name_of(user: Any) -> str:
    """What a colleague is called."""
    return str(user.get_full_name() or user.get_username())


def must_work(by: Any) -> None:
    """Raises PermissionDenied for whoever does not work on leads."""
    if not by.is_active or not by.has_perm("leads.work_lead"):
        raise PermissionDenied(_("You do not work on leads."))


def move(
    *, lead: Lead, by: Any, now: datetime, where: LeadQuerySet, kind: str, says: str, source: str,
    told: dict | None = None, grace: timedelta | None = None, beside: dict | None = None, **to: Any,
) -> Lead:  # fmt: skip
    """Moves the lead if it is among `where`, writes the move down, tells `says`, and answers the row as it is now.

    With a `grace` the stream is told when that is over, unless the move was undone. Raises TakenByOther or WrongState.
    """
    must_work(by)
    hold_contact(lead)
    # Held until the end, so that what it was before and the moves of one lead stand in one order.
    was = Lead.objects.select_for_update(no_key=True, of=("self",)).select_related("owner").get(pk=lead.pk)
    moved = where.filter(pk=lead.pk).update(updated_at=now, **to)
    fresh = Lead.objects.select_related("owner", "assigned_to", "team", "contact", "reject_reason").get(pk=lead.pk)
    if not moved:
        if fresh.owner is not None and fresh.owner != by:
            raise TakenByOther(fresh.owner)
        raise WrongState(fresh)
    # With whose it is: what a manager or the clock gave to another since is not the former rep's to undo.
    touched = {*to, "owner"}
    names = [field.attname for field in Lead._meta.concrete_fields if {field.name, field.attname} & touched]
    properties = {"lead": fresh.pk, "by": by.get_username(), **(told or {})}
    LeadMove.objects.create(
        contact_id=fresh.contact_id, lead=fresh, kind=kind, by=by, at=now, source=source,
        before=written(was, names), after=written(fresh, names), beside=beside or {},
        told={"kind": says, "properties": properties} if grace else {}, tells_at=now + grace if grace else None,
    )  # fmt: skip
    if not grace:
        put(kind=says, source=source, channel="sales", now=now, contact_id=fresh.contact_id, properties=properties)
    return fresh


def hold_contact(lead: Lead) -> Contact:
    """The lead's person, held until the end: first, as a merge does, so that neither shuts the other out."""
    return Contact.objects.select_for_update(no_key=True).get(pk=lead.contact_id)


def written(lead: Lead, names: list[str]) -> dict[str, Any]:
    """Columns of a lead as JSON keeps them."""
    return {name: _plain(getattr(lead, name)) for name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


@transaction.atomic
def claim(*, lead: Lead, by: Any, now: datetime, source: str = "sales") -> Lead:
    """Takes an open lead. Raises TakenByOther if somebody was first, WrongState if it is no longer open."""
    return move(
        lead=lead, by=by, now=now, source=source, kind="claim", says="lead.claimed",
        where=Lead.objects.unclaimed(),
        state="claimed", owner=by, claimed_at=now, claimed_by=by,
    )  # fmt: skip


@transaction.atomic
def release(*, lead: Lead, by: Any, now: datetime, source: str = "sales") -> Lead:
    """Puts a claimed lead back for the others: nobody's, with the whole time of the team to answer, until routing finds
    another rep. Whoever gave a lead back gets it no more from routing. Raises TakenByOther or WrongState.
    """
    fresh = Lead.objects.select_related("team").get(pk=lead.pk)
    team: Team | None = fresh.team
    return move(
        lead=lead, by=by, now=now, source=source, kind="release", says="lead.released",
        where=Lead.objects.movable_by(by).filter(state="claimed"),
        state="open", owner=None, claimed_at=None, claimed_by=None, snoozed_until=None, snooze_reason="",
        assigned_to=None, assigned_at=None, unrouted_because="", asked_at=None, overdue_at=None,
        due_at=due_at(team, calendar_of(team, None, ()), now) if team else fresh.due_at,
    )  # fmt: skip


@transaction.atomic
def accept(*, lead: Lead, by: Any, now: datetime, source: str = "sales") -> Lead:
    """Agrees to work on a lead that is claimed, or open and nobody else's turn; a contact that is nobody's becomes his.

    One that is assigned to a colleague is claimed first. Raises TakenByOther or WrongState.
    """
    must_work(by)
    took = hold_contact(lead).owner_id is None
    accepted = move(
        lead=lead, by=by, now=now, source=source, kind="accept", says="lead.accepted",
        where=Lead.objects.takeable_by(by), beside={"contact_owner": None} if took else {},
        state="accepted", owner=by, accepted_at=now, accepted_by=by,
        claimed_at=Coalesce("claimed_at", now), claimed_by=Coalesce("claimed_by_id", by.pk),
    )  # fmt: skip
    Contact.objects.filter(pk=accepted.contact_id, owner=None).update(owner=by, updated_at=now)
    return accepted


@transaction.atomic
def reject(*, lead: Lead, by: Any, now: datetime, reason: RejectReason, note: str = "", source: str = "sales") -> Lead:
    """Gives a lead in hand back, to the nurture track of the reason, once it can no longer be undone.

    Raises TakenByOther or WrongState.
    """
    return move(
        lead=lead, by=by, now=now, source=source, kind="reject", says="lead.rejected", grace=GRACE,
        where=Lead.objects.movable_by(by).filter(state__in=["claimed", "accepted"]),
        told={"reason": reason.key, "track": reason.track_key, "is_final": reason.is_final},
        state="rejected", reject_reason=reason, note=note, ended_at=now, ended_by=by, snoozed_until=None,
        snooze_reason="",
    )  # fmt: skip


@transaction.atomic
def convert(
    *, lead: Lead, by: Any, now: datetime, value: Decimal | None = None, currency: str = "EUR", note: str = "",
    order_number: str = "", order_total: Decimal | None = None, source: str = "sales",
) -> Lead:  # fmt: skip
    """Notes that an accepted lead has become a customer, with the deal's value, once it can no longer be undone.

    With an order's number or its total it also becomes an order: that of this number, else one of our own number; its
    total is the value where none is named. Raises TakenByOther, WrongState, or WrongWords where nobody says how much.
    """
    order = None
    if order_number or order_total is not None:
        total = value if order_total is None else order_total
        if total is None:
            raise WrongWords("order_total", _("How much is the order? Say its total, or the value of the deal."))
        order = {"number": order_number or f"lead-{lead.pk}", "total": str(total), "currency": currency}
    return move(
        lead=lead, by=by, now=now, source=source, kind="convert", says="lead.converted", grace=GRACE,
        where=Lead.objects.movable_by(by).filter(state="accepted"),
        told={"value": None if value is None else str(value), "currency": currency, "order": order},
        state="converted", value=value, currency=currency, order_number=order["number"] if order else "",
        order_total=order_total, note=note, ended_at=now, ended_by=by, snoozed_until=None, snooze_reason="",
    )  # fmt: skip


@transaction.atomic
def snooze(*, lead: Lead, by: Any, now: datetime, until: datetime, reason: str = "", source: str = "sales") -> Lead:
    """Lets a lead in hand sleep until a moment; it stays the rep's and wakes by itself.

    The clock of a claimed lead runs on: an answer is still due. Raises TakenByOther, WrongState, or WrongWords for a
    moment that is past or more than a year away.
    """
    check_later(until, now, "until")
    return move(
        lead=lead, by=by, now=now, source=source, kind="snooze", says="lead.snoozed",
        where=Lead.objects.owned_by(by).filter(state__in=["claimed", "accepted"]),
        told={"until": until.isoformat()}, snoozed_until=until, snooze_reason=reason,
    )  # fmt: skip


def check_later(moment: datetime, now: datetime, field: str) -> None:
    """Raises WrongWords for a moment that is past, or more than a year away."""
    if moment <= now:
        raise WrongWords(field, _("This moment is past."))
    if moment > now + LONGEST_SNOOZE:
        raise WrongWords(field, _("This is more than a year away."))


@transaction.atomic
def unsnooze(*, lead: Lead, by: Any, now: datetime, source: str = "sales") -> Lead:
    """Wakes a sleeping lead before its time. Raises TakenByOther or WrongState."""
    return move(
        lead=lead, by=by, now=now, source=source, kind="unsnooze", says="lead.woken",
        where=Lead.objects.owned_by(by).filter(snoozed_until__isnull=False),
        snoozed_until=None, snooze_reason="",
    )  # fmt: skip
