"""What a CRM writes back of a lead: its own number, what the deal is worth, and whose it is."""

from datetime import datetime
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from leads.desk import WrongWords, hold_contact, must_work
from leads.handing import assign
from leads.models import Lead


@transaction.atomic
def write_back(*, lead: Lead, by: Any, now: datetime, told: dict[str, Any], source: str = "sales") -> Lead:
    """Writes `told` (any of crm_id, value, currency, owner) to a lead of the user's own; who may change leads, to all.

    A new owner is a move like any other. Raises PermissionDenied, WrongWords, or what `assign` raises.
    """
    must_work(by)
    hold_contact(lead)
    fresh = Lead.objects.select_for_update(no_key=True).get(pk=lead.pk)
    if not by.has_perm("leads.change_lead") and fresh.owner_id != by.pk:
        raise PermissionDenied(_("Claim this lead before you change it."))
    columns = {name: told[name] for name in ("crm_id", "value", "currency") if name in told}
    changed = {name: value for name, value in columns.items() if getattr(fresh, name) != value}
    if changed:
        try:
            with transaction.atomic():
                Lead.objects.filter(pk=fresh.pk).update(updated_at=now, **changed)
        except IntegrityError:
            raise WrongWords("crm_id", _("Another lead has this number.")) from None
    owner = told.get("owner")
    if owner is not None and owner.pk != (fresh.owner_id or fresh.assigned_to_id):
        assign(lead=fresh, to=owner, by=by, now=now, source=source)
    return Lead.objects.select_related("owner", "assigned_to", "team", "contact", "reject_reason").get(pk=fresh.pk)
