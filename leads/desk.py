"""The sales desk: what a rep does with a lead. Each move is one conditional UPDATE; who comes second is told who won.

The stream learns of every move through the inbox, in the same transaction.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils.translation import gettext as _

from contacts.models import Contact
from contacts.stream import put
from leads.models import Lead, LeadQuerySet, RejectReason


class DeskError(Exception):
    """The move is not possible; the text is for the person who tried it."""


class TakenByOther(DeskError):
    """Somebody else has the lead: `owner` is who."""

    def __init__(self, owner: Any) -> None:
        super().__init__(_("%(name)s has taken this lead.") % {"name": owner.get_full_name() or owner.get_username()})
        self.owner = owner


class WrongState(DeskError):
    """The lead is not in a state for this move: `state` is where it is."""

    def __init__(self, lead: Lead) -> None:
        super().__init__(_("This lead is %(state)s.") % {"state": lead.get_state_display()})
        self.state = lead.state


def _move(
    *, lead: Lead, by: Any, now: datetime, where: LeadQuerySet, kind: str, source: str,
    told: dict | None = None, **to: Any,
) -> Lead:  # fmt: skip
    """Moves the lead if it is among `where`, puts `kind` into the inbox, and answers the row as it is now."""
    if not by.is_active or not by.has_perm("leads.work_lead"):
        raise PermissionDenied(_("You do not work on leads."))
    moved = where.filter(pk=lead.pk).update(updated_at=now, **to)
    fresh = Lead.objects.select_related("owner", "team", "contact", "reject_reason").get(pk=lead.pk)
    if not moved:
        if fresh.owner is not None and fresh.owner != by:
            raise TakenByOther(fresh.owner)
        raise WrongState(fresh)
    put(
        kind=kind,
        source=source,
        channel="sales",
        now=now,
        contact_id=fresh.contact_id,
        properties={"lead": fresh.pk, "by": by.get_username(), **(told or {})},
    )
    return fresh


@transaction.atomic
def claim(*, lead: Lead, by: Any, now: datetime, source: str = "sales") -> Lead:
    """Takes an open lead. Raises TakenByOther if somebody was first, WrongState if it is no longer open."""
    return _move(
        lead=lead, by=by, now=now, source=source, kind="lead.claimed",
        where=Lead.objects.unclaimed(),
        state="claimed", owner=by, claimed_at=now, claimed_by=by,
    )  # fmt: skip


@transaction.atomic
def release(*, lead: Lead, by: Any, now: datetime, source: str = "sales") -> Lead:
    """Puts a claimed lead back for the others. Raises TakenByOther or WrongState."""
    return _move(
        lead=lead, by=by, now=now, source=source, kind="lead.released",
        where=Lead.objects.owned_by(by).filter(state="claimed"),
        state="open", owner=None, claimed_at=None, claimed_by=None,
    )  # fmt: skip


@transaction.atomic
def accept(*, lead: Lead, by: Any, now: datetime, source: str = "sales") -> Lead:
    """Agrees to work on a claimed lead; the contact becomes the rep's if it is nobody's.

    Raises TakenByOther or WrongState.
    """
    accepted = _move(
        lead=lead, by=by, now=now, source=source, kind="lead.accepted",
        where=Lead.objects.owned_by(by).filter(state="claimed"),
        state="accepted", accepted_at=now, accepted_by=by,
    )  # fmt: skip
    Contact.objects.filter(pk=accepted.contact_id, owner=None).update(owner=by, updated_at=now)
    return accepted


@transaction.atomic
def reject(*, lead: Lead, by: Any, now: datetime, reason: RejectReason, note: str = "", source: str = "sales") -> Lead:
    """Gives a lead in hand back, to the nurture track of the reason. Raises TakenByOther or WrongState."""
    return _move(
        lead=lead, by=by, now=now, source=source, kind="lead.rejected",
        where=Lead.objects.owned_by(by).filter(state__in=["claimed", "accepted"]),
        told={"reason": reason.key, "track": reason.track_key, "is_final": reason.is_final},
        state="rejected", reject_reason=reason, note=note, ended_at=now, ended_by=by,
    )  # fmt: skip


@transaction.atomic
def convert(
    *, lead: Lead, by: Any, now: datetime, value: Decimal | None = None, note: str = "", source: str = "sales"
) -> Lead:
    """Notes that an accepted lead has become a customer, with the deal's value. Raises TakenByOther or WrongState."""
    return _move(
        lead=lead, by=by, now=now, source=source, kind="lead.converted",
        where=Lead.objects.owned_by(by).filter(state="accepted"),
        told={"value": None if value is None else str(value)},
        state="converted", value=value, note=note, ended_at=now, ended_by=by,
    )  # fmt: skip
