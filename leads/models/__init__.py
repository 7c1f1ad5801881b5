"""The tables of this app, by subject; import them from here."""

from leads.models.activities import Activity, LeadMove
from leads.models.alerts import AlertPreference, HotAlert, SalesMail
from leads.models.leads import Lead, LeadQuerySet, RejectReason
from leads.models.reps import Absence, Rep
from leads.models.tasks import Task, TaskQuerySet
from leads.models.teams import Team

__all__ = [
    "Absence",
    "Activity",
    "AlertPreference",
    "HotAlert",
    "Lead",
    "LeadMove",
    "LeadQuerySet",
    "RejectReason",
    "Rep",
    "SalesMail",
    "Task",
    "TaskQuerySet",
    "Team",
]
