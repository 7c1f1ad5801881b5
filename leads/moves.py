"""What follows from moves: the way back, the end of a grace, and waking up."""

from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from contacts.models import Contact
from contacts.sql import load
from contacts.stream import put
from leads.desk import DeskError, hold_contact, must_work, name_of, written
from leads.models import Activity, Lead, LeadMove, Task

SQL = load(__file__)

# A slip is noticed at once; what is older is changed by another move.
UNDO_WITHIN = timedelta(hours=1)

# What the tick changes of a lead that nobody has claimed.
_ROUTED = ("assigned_to_id", "assigned_at", "due_at", "overdue_at", "asked_at", "unrouted_because")


class NothingToUndo(DeskError):
    """There is no move of this user that could be undone: the text says why."""


def settle(now: datetime, after: int, upto: int) -> int:
    """The tick's step: tells the moves whose grace is over, and wakes who slept long enough. Counts both."""
    return SQL["tell_moves"].run(now=now) + SQL["wake_leads"].run(now=now)


def mirror(now: datetime, after: int, upto: int) -> int:
    """The tick's step: tells each lead that has changed since it was last told, whole, as `lead.updated`. Counts them.

    Whoever reads the stream has all leads by it as they are, by whatever way they changed.
    """
    return SQL["tell_leads"].run(now=now)


def undoable(lead: Lead, by: Any, now: datetime) -> LeadMove | None:
    """The last move of a lead, if it is this user's and can still be undone as far as is known now."""
    last = LeadMove.objects.filter(lead=lead, undone_at=None).first()
    if last is None or last.by_id != by.pk or last.told_at or last.at < now - UNDO_WITHIN:
        return None
    return last if _stands(lead, last) else None


def _stands(lead: Lead, last: LeadMove) -> bool:
    """Whether a lead is as its last move left it. What routing did since with one that was given back is nobody's word:
    as long as no colleague claims it, it may be taken back.
    """
    names = [name for name in last.after if last.kind != "release" or name not in _ROUTED]
    return written(lead, names) == {name: last.after[name] for name in names}


@transaction.atomic
def undo(*, lead: Lead, by: Any, now: datetime, source: str = "sales") -> Lead:
    """Takes the last move of a lead back, if it was this user's: every column is as it was before it.

    Raises NothingToUndo, with who moved the lead since or why it is too late.
    """
    must_work(by)
    contact = hold_contact(lead)
    fresh = Lead.objects.select_for_update(no_key=True).get(pk=lead.pk)
    last = LeadMove.objects.select_related("by").filter(lead=fresh, undone_at=None).first()
    if last is None:
        raise NothingToUndo(_("There is nothing to undo."))
    if last.by_id != by.pk:
        who = name_of(last.by) if last.by else _("Somebody")
        raise NothingToUndo(_("%(name)s has moved this lead since.") % {"name": who})
    if not _stands(fresh, last):
        raise NothingToUndo(_("This lead has changed since, so it cannot be undone."))
    if last.at < now - UNDO_WITHIN:
        raise NothingToUndo(_("It is too late to undo this."))
    if not LeadMove.objects.filter(pk=last.pk, undone_at=None, told_at=None).update(undone_at=now):
        raise NothingToUndo(_("It is too late to undo this: everybody has been told."))
    if not _are_there(last):
        raise NothingToUndo(_("Whose it was is no longer a user here, so it cannot be undone."))
    try:
        with transaction.atomic():
            Lead.objects.filter(pk=fresh.pk).update(updated_at=now, **_as_columns(last.before))
    except IntegrityError:
        raise NothingToUndo(_("A new lead of this person has begun since.")) from None
    _undo_beside(last, contact, now)
    put(
        kind="lead.undone", source=source, channel="sales", now=now, contact_id=fresh.contact_id,
        properties={"lead": fresh.pk, "by": by.get_username(), "move": last.kind},
    )  # fmt: skip
    return Lead.objects.select_related("owner", "assigned_to", "team", "contact", "reject_reason").get(pk=fresh.pk)


def _are_there(last: LeadMove) -> bool:
    """Whether everybody to whom the way back would give something is still a user: some may be deleted since."""
    users = get_user_model()
    columns = [field.attname for field in Lead._meta.concrete_fields if field.related_model is users]
    ids = {last.before.get(column) for column in columns} | {last.beside.get("contact_owner")}
    ids.discard(None)
    return users.objects.filter(pk__in=ids).count() == len(ids)


def _as_columns(kept: dict[str, Any]) -> dict[str, Any]:
    columns = {field.attname: field for field in Lead._meta.concrete_fields}
    return {name: columns[name].to_python(value) for name, value in kept.items()}


def _undo_beside(last: LeadMove, contact: Contact, now: datetime) -> None:
    """Takes back what a move made beside the lead: who has the contact, a call's entry, its task."""
    if "contact_owner" in last.beside and contact.owner_id == last.after.get("owner_id"):
        Contact.objects.filter(pk=contact.pk).update(owner=last.beside["contact_owner"], updated_at=now)
    Activity.objects.filter(pk=last.beside.get("activity"), lead=last.lead_id).delete()
    Task.objects.filter(pk=last.beside.get("task"), state="open").update(state="dropped", updated_at=now)
