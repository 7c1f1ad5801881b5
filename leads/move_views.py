"""The moves of the workspace: one address each; every one goes back to the lead as it is now."""

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any
from urllib.parse import parse_qsl, urlencode

from django import forms
from django.contrib import messages
from django.contrib.auth import get_user_model
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from leads import activities, desk, handing, holding, moves, tasks
from leads.forms import AssignForm, CallForm, ConvertForm, HoldForm, NoteForm, RejectForm, SnoozeForm, TaskForm
from leads.models import Lead, LeadMove
from leads.views import page, visible
from leads.wording import in_language
from messaging.planned import names_of_tracks


def _logged_in(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Whose session is over logs in and comes back to the lead: the address of a move shows nothing."""

    @wraps(view)
    def asked(request: HttpRequest, pk: int) -> HttpResponse:
        if not request.user.is_authenticated:
            return redirect_to_login(reverse("sales:lead", args=[pk]))
        return view(request, pk)

    return asked


def _worker(request: HttpRequest) -> Any:
    if not request.user.has_perm("leads.work_lead"):
        raise PermissionDenied(_("You may look at leads but not work on them."))
    return request.user


def _one(request: HttpRequest, pk: int) -> Any:
    return get_object_or_404(visible(_worker(request)), pk=pk)


def _back(request: HttpRequest, pk: int) -> HttpResponse:
    """To the lead as it is now, or to its list where it is no longer this user's to see."""
    told = {key: value for key, value in parse_qsl(request.POST.get("here", "")[:300]) if key in ("tab", "page", "q")}
    query = f"?{urlencode(told)}" if told else ""
    if Lead.objects.visible_to(request.user).filter(pk=pk).exists():
        return HttpResponseRedirect(f"{reverse('sales:lead', args=[pk])}{query}")
    return HttpResponseRedirect(f"{reverse('sales:inbox')}{query or '?tab=unclaimed'}")


def _moved(
    request: HttpRequest, one: Lead, move: Callable[..., Any], said: str, can_undo: bool = True, **more: Any
) -> HttpResponse:
    """Makes the move and goes back to the lead; where it was refused, the reason stands on the page."""
    try:
        move(lead=one, by=request.user, now=timezone.now(), **more)
    except desk.DeskError as error:
        messages.error(request, str(error))
    else:
        # What is said offers the way back: its tags carry the lead's number.
        messages.success(request, said, extra_tags=str(one.pk) if can_undo else "")
    return _back(request, one.pk)


def _filled_in(
    request: HttpRequest, one: Lead, name: str, form: forms.Form, move: Callable[[Any], Any], said: Callable[[], str],
    can_undo: bool = True,
) -> HttpResponse:  # fmt: skip
    """Makes a move that needs words; a form with something wrong comes back as it was filled in, and says what."""
    if form.is_valid():
        try:
            move(timezone.now())
        except desk.WrongWords as error:
            form.add_error(error.field if error.field in form.fields else None, str(error))
        except desk.DeskError as error:
            messages.error(request, str(error))
            return _back(request, one.pk)
        else:
            messages.success(request, said(), extra_tags=str(one.pk) if can_undo else "")
            return _back(request, one.pk)
    # To the script, which reads the answer, 422 would be a failure that browsers report as an error of the page.
    status = 200 if "X-In-Place" in request.headers else 422
    return page(request, one, status=status, **{name: form})


# Who has it ----------------------------------------------------------------------------------------------------------


@_logged_in
@require_POST
def claim(request: HttpRequest, pk: int) -> HttpResponse:
    """Takes an open lead; who comes second is told who was first."""
    _worker(request)
    # A lead that a colleague took a moment ago is no longer this user's to see, and yet he must learn who has it.
    one = get_object_or_404(Lead.objects.select_related("contact"), pk=pk)
    if one.state not in ("open", "claimed", "accepted") and not Lead.objects.visible_to(request.user).filter(pk=pk):
        raise Http404
    return _moved(request, one, desk.claim, _("%(name)s is yours now.") % {"name": one.contact.name})


@_logged_in
@require_POST
def release(request: HttpRequest, pk: int) -> HttpResponse:
    """Puts a claimed lead back for the others."""
    one = _one(request, pk)
    return _moved(request, one, desk.release, _("%(name)s is free for others again.") % {"name": one.contact.name})


@_logged_in
@require_POST
def accept(request: HttpRequest, pk: int) -> HttpResponse:
    """Agrees to work on a claimed lead."""
    one = _one(request, pk)
    return _moved(request, one, desk.accept, _("You work on %(name)s.") % {"name": one.contact.name})


@_logged_in
@require_POST
def assign(request: HttpRequest, pk: int) -> HttpResponse:
    """Gives a lead to a colleague."""
    one = _one(request, pk)
    form = AssignForm(request.POST, by=request.user, auto_id="assign_%s")
    given: list[Any] = []

    def move(now: Any) -> None:
        given.append(get_object_or_404(get_user_model(), pk=form.cleaned_data["to"]))
        handing.assign(lead=one, by=request.user, now=now, to=given[0])

    return _filled_in(
        request, one, "assign_form", form, move,
        lambda: _("%(name)s was given to %(who)s.") % {"name": one.contact.name, "who": desk.name_of(given[0])},
    )  # fmt: skip


# What happens with it ------------------------------------------------------------------------------------------------


@_logged_in
@require_POST
def call(request: HttpRequest, pk: int) -> HttpResponse:
    """Notes how a call went."""
    one = _one(request, pk)
    form = CallForm(request.POST, auto_id="call_%s")
    return _filled_in(
        request, one, "call_form", form,
        lambda now: activities.call(lead=one, by=request.user, now=now, **form.cleaned_data),
        lambda: _("The call with %(name)s is noted: %(outcome)s.")
        % {"name": one.contact.name, "outcome": dict(form.fields["outcome"].choices)[form.cleaned_data["outcome"]]},  # type: ignore[attr-defined]
    )  # fmt: skip


@_logged_in
@require_POST
def note(request: HttpRequest, pk: int) -> HttpResponse:
    """Writes a note."""
    one = _one(request, pk)
    form = NoteForm(request.POST, auto_id="note_%s")
    return _filled_in(
        request, one, "note_form", form,
        lambda now: activities.note(lead=one, by=request.user, now=now, **form.cleaned_data),
        lambda: _("The note is kept."), can_undo=False,
    )  # fmt: skip


@_logged_in
@require_POST
def snooze(request: HttpRequest, pk: int) -> HttpResponse:
    """Lets a lead sleep."""
    one = _one(request, pk)
    form = SnoozeForm(request.POST, auto_id="snooze_%s")
    until: dict[str, Any] = {}

    def move(now: Any) -> None:
        until.update(form.move(now))
        desk.snooze(lead=one, by=request.user, now=now, **until)

    return _filled_in(
        request, one, "snooze_form", form, move,
        lambda: _("%(name)s sleeps until %(moment)s.")
        % {
            "name": one.contact.name,
            "moment": date_format(timezone.localtime(until["until"]), "SHORT_DATETIME_FORMAT"),
        },
    )  # fmt: skip


@_logged_in
@require_POST
def wake(request: HttpRequest, pk: int) -> HttpResponse:
    """Wakes a lead before its time."""
    one = _one(request, pk)
    return _moved(request, one, desk.unsnooze, _("%(name)s is awake again.") % {"name": one.contact.name})


@_logged_in
@require_POST
def task(request: HttpRequest, pk: int) -> HttpResponse:
    """Makes a task for the lead's person, for the rep himself."""
    one = _one(request, pk)
    form = TaskForm(request.POST, auto_id="task_%s")
    return _filled_in(
        request, one, "task_form", form,
        lambda now: tasks.make(contact=one.contact, by=request.user, now=now, **form.cleaned_data),
        lambda: _("“%(title)s” is on your list.") % {"title": form.cleaned_data["title"]}, can_undo=False,
    )  # fmt: skip


@_logged_in
@require_POST
def hold(request: HttpRequest, pk: int) -> HttpResponse:
    """Holds marketing for the lead's person."""
    one = _one(request, pk)
    form = HoldForm(request.POST, auto_id="hold_%s")

    def move(now: Any) -> None:
        until = now + timedelta(days=form.cleaned_data["days"])
        holding.hold_marketing(lead=one, by=request.user, now=now, until=until, reason=form.cleaned_data["reason"])

    return _filled_in(
        request, one, "hold_form", form, move,
        lambda: _("Marketing leaves %(name)s in peace.") % {"name": one.contact.name}, can_undo=False,
    )  # fmt: skip


@_logged_in
@require_POST
def unhold(request: HttpRequest, pk: int) -> HttpResponse:
    """Lets marketing write to the lead's person again."""
    one = _one(request, pk)
    said = _("Marketing may write to %(name)s again.") % {"name": one.contact.name}
    return _moved(request, one, holding.release_marketing, said, can_undo=False)


# How it ends ---------------------------------------------------------------------------------------------------------


@_logged_in
@require_POST
def reject(request: HttpRequest, pk: int) -> HttpResponse:
    """Gives a lead back with a reason; a form without one comes back with what is missing."""
    one = _one(request, pk)
    tracks = names_of_tracks()
    form = RejectForm(request.POST, auto_id="reject_%s", tracks=tracks)

    def said() -> str:
        reason = form.cleaned_data["reason"]
        told = {"name": one.contact.name, "reason": in_language(reason.names, reason.name)}
        if reason.track_key and not reason.is_final:
            told["track"] = tracks.get(reason.track_key, reason.track_key)
            return _("%(name)s was rejected: %(reason)s. Next stop: the track %(track)s.") % told
        return _("%(name)s was rejected: %(reason)s.") % told

    return _filled_in(
        request, one, "reject_form", form,
        lambda now: desk.reject(lead=one, by=request.user, now=now, **form.cleaned_data), said,
    )  # fmt: skip


@_logged_in
@require_POST
def convert(request: HttpRequest, pk: int) -> HttpResponse:
    """Notes that an accepted lead has become a customer, with the deal's value and its order."""
    one = _one(request, pk)
    form = ConvertForm(request.POST, auto_id="convert_%s")
    return _filled_in(
        request, one, "convert_form", form,
        lambda now: desk.convert(lead=one, by=request.user, now=now, **form.move()),
        lambda: _("%(name)s is a customer now.") % {"name": one.contact.name},
    )  # fmt: skip


@_logged_in
@require_POST
def undo(request: HttpRequest, pk: int) -> HttpResponse:
    """Takes back the user's last move of a lead, also of one that this move took out of his sight."""
    user = _worker(request)
    one = get_object_or_404(Lead.objects.select_related("contact"), pk=pk)
    is_mine = LeadMove.objects.filter(lead=pk, by=user).exists()
    if not is_mine and not Lead.objects.visible_to(user).filter(pk=pk).exists():
        raise Http404
    return _moved(request, one, moves.undo, _("Undone: %(name)s is as before.") % {"name": one.contact.name}, False)
