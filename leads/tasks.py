"""Tasks for people: asked for by journeys through the stream, done by whoever they are for, and put back by an undo.

A task whose reason is gone is dropped: its person left the journey before the path was over.
"""

from datetime import datetime
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils.translation import gettext as _

from contacts.sql import load
from contacts.stream import put
from leads.desk import DeskError
from leads.models import Task

SQL = load(__file__)

# Ways out of a journey after which its tasks still make sense: the path meant them.
STILL_MEANT = ["end", "exit", "timed_out", "not_sent"]


class WrongState(DeskError):
    """The task is not in a state for this move."""

    def __init__(self, task: Task) -> None:
        super().__init__(_("This task is %(state)s.") % {"state": task.get_state_display()})


def ask(now: datetime, after: int, upto: int) -> int:
    """The tick's step: makes a task of each request in the window, drops those of whoever left. Counts both."""
    window: dict[str, Any] = {"now": now, "after": after, "upto": upto}
    made = SQL["make_tasks"].run(**window)
    return made + SQL["drop_tasks"].run(**window, still_meant=STILL_MEANT)


@transaction.atomic
def finish(*, task: Task, by: Any, now: datetime, source: str = "sales") -> Task:
    """Notes that an open task is done. Raises WrongState."""
    return _move(task, by, now, source, "open", "task.done", state="done", done_at=now, done_by=by)


@transaction.atomic
def reopen(*, task: Task, by: Any, now: datetime, source: str = "sales") -> Task:
    """Takes it back that a task is done. Raises WrongState."""
    return _move(task, by, now, source, "done", "task.reopened", state="open", done_at=None, done_by=None)


def _move(task: Task, by: Any, now: datetime, source: str, of: str, kind: str, **to: Any) -> Task:
    if not by.is_active or not by.has_perm("leads.work_lead"):
        raise PermissionDenied(_("You do not work on leads."))
    moved = Task.objects.visible_to(by).filter(pk=task.pk, state=of).update(updated_at=now, **to)
    fresh = Task.objects.select_related("contact", "team", "assignee", "done_by").get(pk=task.pk)
    if not moved:
        raise WrongState(fresh)
    told = {"task": fresh.pk, "title": fresh.title, "by": by.get_username()}
    put(kind=kind, source=source, channel="sales", now=now, contact_id=fresh.contact_id, properties=told)
    return fresh
