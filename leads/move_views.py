"""The moves of the workspace: one address each; every one goes back to the lead as it is now."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from leads import desk
from leads.forms import ConvertForm, RejectForm
from leads.models import Lead
from leads.views import page, reason_of, visible


def worker(request: HttpRequest) -> Any:
    """The user. Raises PermissionDenied for whoever may only look."""
    if not request.user.has_perm("leads.work_lead"):
        raise PermissionDenied(_("You may look at leads but not work on them."))
    return request.user


def back(request: HttpRequest) -> str:
    """The place in the lists that the form was sent from, as a query with its question mark; empty where none is told."""
    told = {key: value for key, value in parse_qsl(request.POST.get("here", "")[:300]) if key in ("tab", "page", "q")}
    return f"?{urlencode(told)}" if told else ""


def moved(request: HttpRequest, one: Lead, move: Callable[..., Any], said: str, undo: bool = True, **more: Any) -> HttpResponse:
    """Makes the move and goes back to the lead as it is now; where it was refused, the reason stands on the page."""
    here = back(request)
    try:
        move(lead=one, by=request.user, now=timezone.now(), **more)
    except desk.DeskError as error:
        messages.error(request, str(error))
    else:
        # The toast offers to undo it: its tags carry the lead's number.
        messages.success(request, said, extra_tags=str(one.pk) if undo else "")
    if not Lead.objects.visible_to(request.user).filter(pk=one.pk).exists():
        return HttpResponseRedirect(f"{reverse('sales:inbox')}{here or '?tab=unclaimed'}")
    return HttpResponseRedirect(f"{reverse('sales:lead', args=[one.pk])}{here}")
