"""Notes and calls: what a rep writes of a lead. Their words stay here; the stream is told that they were written."""

from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils.translation import gettext as _

from contacts.stream import put
from leads.desk import DeskError, TakenByOther, WrongState, WrongWords, check_later, hold_contact, move, must_work
from leads.models import Activity, Lead, LeadQuerySet, Task

# So long its writer may change a note or take it away.
EDIT_WITHIN = timedelta(hours=24)
LONGEST = 4000
# Outcomes after which one tries again later.
AGAIN = ("no_answer", "call_back")


class NotYours(DeskError):
    """Only who wrote it may change it, and only for a day."""


@transaction.atomic
def note(*, lead: Lead, by: Any, now: datetime, body: str, source: str = "sales") -> Activity:
    """Writes a note at a lead that the user sees. Raises WrongWords for an empty or endless one."""
    must_work(by)
    if not Lead.objects.visible_to(by).filter(pk=lead.pk).exists():
        _refuse(lead, by)
    written = Activity.objects.create(
        contact_id=lead.contact_id, lead=lead, kind="note", body=_checked(body), by=by, at=now
    )
    put(
        kind="lead.noted", source=source, channel="sales", now=now, contact_id=lead.contact_id,
        properties={"lead": lead.pk, "by": by.get_username(), "activity": written.pk},
    )  # fmt: skip
    return written


@transaction.atomic
def call(
    *, lead: Lead, by: Any, now: datetime, outcome: str, body: str = "", back_at: datetime | None = None,
    source: str = "sales",
) -> Lead:  # fmt: skip
    """Notes how a call went; with `back_at` the lead sleeps until then, and the rep gets a task for it.

    A moment to call back belongs to `call_back`, which needs one, and to `no_answer`. Raises TakenByOther, WrongState,
    or WrongWords.
    """
    must_work(by)
    if outcome not in dict(Activity.OUTCOMES):
        raise WrongWords(
            "outcome", _("This must be one of: %(names)s.") % {"names": ", ".join(dict(Activity.OUTCOMES))}
        )
    if len(body) > LONGEST:
        raise WrongWords("body", _("This is too long."))
    if back_at is None and outcome == "call_back":
        raise WrongWords("back_at", _("When is the call to be made?"))
    if back_at is not None and outcome not in AGAIN:
        raise WrongWords("back_at", _("There is nothing to call back for."))
    if back_at is not None:
        check_later(back_at, now, "back_at")
    hold_contact(lead)
    mine = Lead.objects.owned_by(by).filter(state__in=["claimed", "accepted"])
    if not mine.select_for_update(no_key=True).filter(pk=lead.pk).exists():
        _refuse(lead, by)
    written = Activity.objects.create(
        contact_id=lead.contact_id, lead=lead, kind="call", outcome=outcome, body=body.strip(), by=by, at=now
    )
    beside = {"activity": written.pk}
    if back_at is not None:
        beside["task"] = Task.objects.create(
            contact_id=lead.contact_id, title=_("Call back"), assignee=by, team_id=lead.team_id, due_at=back_at,
            source="sales", created_by=by, created_at=now, updated_at=now,
        ).pk  # fmt: skip
    return move(
        lead=lead, by=by, now=now, source=source, kind="call", says="lead.called", where=mine, beside=beside,
        told={"outcome": outcome, "activity": written.pk, "back_at": back_at and back_at.isoformat()},
        # Who was reached needs not sleep any more; who was not, sleeps until the next try, if there is one.
        snoozed_until=back_at, snooze_reason=str(written.get_outcome_display()) if back_at else "",
    )  # fmt: skip


def edit_note(*, activity: Activity, by: Any, now: datetime, body: str) -> Activity:
    """Changes the words of one's own note or call within a day. Raises NotYours or WrongWords."""
    must_work(by)
    body = _checked(body)
    if not _own(activity, by, now).update(body=body, edited_at=now):
        raise NotYours(_("Only who wrote it may change it, and only for a day."))
    return Activity.objects.get(pk=activity.pk)


def delete_note(*, activity: Activity, by: Any, now: datetime) -> None:
    """Takes one's own note away within a day. Raises NotYours. A call happened: it stays."""
    must_work(by)
    if not _own(activity, by, now).filter(kind="note").delete()[0]:
        raise NotYours(_("Only who wrote it may take it away, and only for a day."))


def _own(activity: Activity, by: Any, now: datetime) -> Any:
    # Who gave the lead away sees it no more, and changes nothing at it.
    return Activity.objects.visible_to(by).filter(pk=activity.pk, by=by, at__gt=now - EDIT_WITHIN)


def _checked(body: str) -> str:
    body = body.strip()
    if not body:
        raise WrongWords("body", _("Write something."))
    if len(body) > LONGEST:
        raise WrongWords("body", _("This is too long."))
    return body


def _refuse(lead: Lead, by: Any) -> None:
    """Says who has the lead, or where it is."""
    fresh = Lead.objects.select_related("owner").get(pk=lead.pk)
    if fresh.owner is not None and fresh.owner != by:
        raise TakenByOther(fresh.owner)
    if fresh.owner is None and not by.has_perm("leads.view_lead") and fresh.state != "open":
        raise PermissionDenied(_("You may not see this lead."))
    raise WrongState(fresh)


def of(leads: LeadQuerySet) -> Any:
    """What was written at these leads, the newest first."""
    return Activity.objects.filter(lead__in=leads.values("pk")).select_related("by")
