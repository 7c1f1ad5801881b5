"""Who of sales may hold marketing for a person: the rep who has the lead or the contact, and who may change leads."""

from datetime import datetime
from typing import Any

from django.core.exceptions import PermissionDenied
from django.utils.translation import gettext as _

from leads.desk import WrongWords, must_work
from leads.models import Lead
from messaging import holding
from messaging.models import Hold


def may_hold(lead: Lead, by: Any) -> bool:
    """Whether this user may hold marketing for the person of a lead."""
    return bool(
        by.is_active
        and by.has_perm("leads.work_lead")
        and (by.has_perm("leads.change_lead") or by.pk in (lead.owner_id, lead.contact.owner_id))
    )


def hold_marketing(
    *, lead: Lead, by: Any, until: datetime, now: datetime, reason: str = "", source: str = "sales"
) -> Hold:
    """Holds marketing for a lead's person until a moment, 30 days at most. Raises PermissionDenied or WrongWords."""
    _must_hold(lead, by)
    if len(reason) > 500:
        raise WrongWords("reason", _("This is too long."))
    try:
        return holding.hold(contact=lead.contact, by=by, until=until, now=now, reason=reason, source=source)
    except ValueError as error:
        raise WrongWords("until", str(error)) from None


def release_marketing(*, lead: Lead, by: Any, now: datetime, source: str = "sales") -> int:
    """Lets marketing write to a lead's person again; how many holds that ended. Raises PermissionDenied."""
    _must_hold(lead, by)
    return holding.release(contact=lead.contact, by=by, now=now, source=source)


def _must_hold(lead: Lead, by: Any) -> None:
    must_work(by)
    # As it is now, not as it was when the page was made.
    if not may_hold(Lead.objects.select_related("contact").get(pk=lead.pk), by):
        raise PermissionDenied(_("Only the rep who has this person may hold marketing."))
