"""Whose contacts a sales rep sees: those of his leads and of unclaimed ones, of his open tasks, and those he owns."""

from typing import Any

from django.db.models import Q

from leads.models import Lead, Task


def contacts_of(user: Any) -> Q:
    """Over Contact: what the desk opens to a user; nothing to whom does not work on leads."""
    if not user.has_perm("leads.work_lead"):
        return Q(pk__in=[])
    leads, tasks = Lead.objects.visible_to(user), Task.objects.open().visible_to(user)
    return Q(owner=user) | Q(pk__in=leads.values("contact_id")) | Q(pk__in=tasks.values("contact_id"))
