"""The tables of this app, by subject; import them from here."""

from leads.models.leads import Lead, LeadQuerySet, RejectReason
from leads.models.reps import Absence, Rep
from leads.models.tasks import Task, TaskQuerySet
from leads.models.teams import Team

__all__ = [
    "Absence",
    "Lead",
    "LeadQuerySet",
    "RejectReason",
    "Rep",
    "Task",
    "TaskQuerySet",
    "Team",
]
