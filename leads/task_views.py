"""The tasks of the sales workspace: what is to be done, by when, and for whom."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import F
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from leads import tasks as work
from leads.desk import DeskError
from leads.models import Task

PAGE = 50


@login_required
@require_safe
def tasks(request: HttpRequest) -> HttpResponse:
    """The user's own tasks, his teams' and nobody's; who may see all leads sees all."""
    user = request.user
    if not (user.has_perm("leads.work_lead") or user.has_perm("leads.view_task")):
        raise PermissionDenied(_("You do not work on leads."))
    state = "done" if request.GET.get("state") == "done" else "open"
    visible = Task.objects.visible_to(user).select_related("contact", "assignee", "team", "done_by")
    rows = visible.filter(state=state)
    order = ["-done_at", "-pk"] if state == "done" else [F("due_at").asc(nulls_last=True), "pk"]
    undo = request.GET.get("undo", "")
    context = {
        "title": _("Tasks"),
        "state": state,
        "page": Paginator(rows.order_by(*order), PAGE).get_page(request.GET.get("page")),
        "open_count": visible.filter(state="open").count(),
        # What was just done may be put back at once.
        "undone": visible.filter(pk=undo, state="done").first() if undo.isdecimal() and len(undo) < 19 else None,
        "is_worker": user.has_perm("leads.work_lead"),
        "now": timezone.now(),
    }
    return render(request, "leads/tasks.html", context)


def _logged_in(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Whose session is over logs in and comes back to the list: the address of a move shows nothing."""

    @wraps(view)
    def asked(request: HttpRequest, pk: int) -> HttpResponse:
        return view(request, pk) if request.user.is_authenticated else redirect_to_login(reverse("sales:tasks"))

    return asked


def _moved(request: HttpRequest, pk: int, move: Callable[..., Task], said: str, undo: bool = False) -> HttpResponse:
    if not request.user.has_perm("leads.work_lead"):
        raise PermissionDenied(_("You may look at tasks but not work on them."))
    task = get_object_or_404(Task.objects.visible_to(request.user), pk=pk)
    query: dict[str, Any] = {}
    try:
        move(task=task, by=request.user, now=timezone.now())
    except DeskError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, said % {"title": task.title})
        query = {"undo": pk} if undo else {}
    return HttpResponseRedirect(f"{reverse('sales:tasks')}{'?' + urlencode(query) if query else ''}")


@_logged_in
@require_POST
def done(request: HttpRequest, pk: int) -> HttpResponse:
    """Notes that a task is done; the list offers to put it back."""
    return _moved(request, pk, work.finish, _("“%(title)s” is done."), undo=True)


@_logged_in
@require_POST
def reopen(request: HttpRequest, pk: int) -> HttpResponse:
    """Puts a task that was done back on the list."""
    return _moved(request, pk, work.reopen, _("“%(title)s” is on the list again."))
