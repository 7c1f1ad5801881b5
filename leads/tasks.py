"""Tasks for people: asked for by journeys through the stream or by a rep, done by whoever they are for, and put back.

A task whose reason is gone is dropped: its person left the journey before the path was over.
"""

from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils.translation import gettext as _

from contacts.models import Contact
from contacts.sql import load
from contacts.stream import put
from leads.desk import DeskError, WrongWords, must_work, name_of
from leads.handing import colleagues
from leads.models import Task

SQL = load(__file__)

# Ways out of a journey after which its tasks still make sense: the path meant them.
STILL_MEANT = ["end", "exit", "timed_out", "not_sent"]
LONGEST = 500
# Nothing is due further away than this, before or after: what is, was mistyped, and no calendar shows it.
FURTHEST = timedelta(days=3_660)


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
def make(
    *, contact: Contact, title: str, by: Any, now: datetime, assignee: Any = None, due_at: datetime | None = None,
    source: str = "sales",
) -> Task:  # fmt: skip
    """A rep's own task for a contact that he sees, for himself or for a colleague.

    Raises WrongWords, or PermissionDenied for a contact that is not his to see.
    """
    must_work(by)
    if not Contact.objects.visible_to(by).filter(pk=contact.pk).exists():
        raise PermissionDenied(_("You may not see this contact."))
    title = title.strip()
    if not title:
        raise WrongWords("title", _("What is to be done?"))
    if len(title) > LONGEST:
        raise WrongWords("title", _("This is too long."))
    if due_at is not None and abs(due_at - now) > FURTHEST:
        raise WrongWords("due_at", _("This is more than ten years away."))
    person = by if assignee is None else assignee
    if not colleagues(by).filter(pk=person.pk).exists():
        raise WrongWords("assignee", _("%(name)s is not in a team with you.") % {"name": name_of(person)})
    task = Task.objects.create(
        contact=contact, title=title, assignee=person, due_at=due_at, source="sales", created_by=by, created_at=now,
        updated_at=now,
    )  # fmt: skip
    told = {
        "task": task.pk, "title": title, "by": by.get_username(), "assign": person.get_username(),
        "due_at": due_at and due_at.isoformat(),
    }  # fmt: skip
    put(kind="task.requested", source=source, channel="sales", now=now, contact_id=contact.pk, properties=told)
    return task


def next_task(contact: Contact, by: Any) -> Task | None:
    """What is to be done for a contact next, as far as this user sees it."""
    return Task.objects.open().visible_to(by).filter(contact=contact).select_related("assignee").soonest().first()


@transaction.atomic
def finish(*, task: Task, by: Any, now: datetime, source: str = "sales") -> Task:
    """Notes that an open task is done. Raises WrongState."""
    return _move(task, by, now, source, "open", "task.done", state="done", done_at=now, done_by=by)


@transaction.atomic
def reopen(*, task: Task, by: Any, now: datetime, source: str = "sales") -> Task:
    """Takes it back that a task is done. Raises WrongState."""
    return _move(task, by, now, source, "done", "task.reopened", state="open", done_at=None, done_by=None)


def _move(task: Task, by: Any, now: datetime, source: str, of: str, kind: str, **to: Any) -> Task:
    must_work(by)
    moved = Task.objects.visible_to(by).filter(pk=task.pk, state=of).update(updated_at=now, **to)
    fresh = Task.objects.select_related("contact", "team", "assignee", "done_by").get(pk=task.pk)
    if not moved:
        raise WrongState(fresh)
    told = {"task": fresh.pk, "title": fresh.title, "by": by.get_username()}
    put(kind=kind, source=source, channel="sales", now=now, contact_id=fresh.contact_id, properties=told)
    return fresh
