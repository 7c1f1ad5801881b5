"""The pages of the workspace: leads by reason to act now, a dossier, the next move; and what keeps them live."""

import json
from datetime import datetime
from hashlib import sha256
from typing import Any

from django.contrib.auth.decorators import login_required
from django.contrib.humanize.templatetags.humanize import intcomma
from django.core.exceptions import PermissionDenied
from django.db.models import Max, OuterRef, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from contacts.models import Touchpoint
from contacts.timeline import SUBJECTS
from leads import lists
from leads.clock import clock
from leads.contacting import with_consents, with_hold, with_holdouts
from leads.desk import TakenByOther
from leads.dossier import dossier
from leads.forms import AssignForm, CallForm, ConvertForm, HoldForm, NoteForm, RejectForm, SnoozeForm, TaskForm
from leads.holding import may_hold
from leads.lists import Place, Shown, Tab
from leads.models import Lead, LeadQuerySet, RejectReason
from leads.person import with_colleagues, with_origin
from leads.standing import with_standing
from leads.wording import in_language
from leads.written import may_undo, with_activities, with_last_move
from messaging.models import Message
from messaging.planned import names_of_tracks


def may_look(user: Any) -> None:
    """Raises PermissionDenied for whoever has nothing to do with leads."""
    if not (user.has_perm("leads.work_lead") or user.has_perm("leads.view_lead")):
        raise PermissionDenied(_("You do not work on leads."))


# Pages ---------------------------------------------------------------------------------------------------------------


@login_required
@require_safe
def inbox(request: HttpRequest) -> HttpResponse:
    """The list of leads, the most urgent reason first, with the first lead's dossier beside it."""
    may_look(request.user)
    return page(request, None)


@login_required
@require_safe
def lead(request: HttpRequest, pk: int) -> HttpResponse:
    """One lead's dossier beside the list. 404 where it is not this user's to see."""
    may_look(request.user)
    return page(request, get_object_or_404(visible(request.user), pk=pk))


@login_required
@require_safe
def panes(request: HttpRequest, pk: int) -> HttpResponse:
    """One lead's dossier and next move alone: what the script puts in the place of another lead's.

    204 where the lead is not this user's to see: it is asked for ahead, and a colleague may just have taken it.
    """
    may_look(request.user)
    one = visible(request.user).filter(pk=pk).first()
    if one is None:
        return HttpResponse(status=204)
    place = lists.place_of(request.GET, one, request.user, timezone.now(), {})
    return render(request, "leads/panes.html", {"here": place.query(), **_about(request, one)})


def visible(user: Any) -> LeadQuerySet:
    """The leads that a user sees, with what their dossiers show."""
    leads = Lead.objects.visible_to(user)
    leads = leads.select_related("contact__company", "owner", "assigned_to", "team", "reject_reason")
    now = timezone.now()
    leads = with_standing(with_consents(with_hold(with_holdouts(leads), now)), now)
    leads = with_last_move(with_activities(leads, user))
    return _with_news(with_colleagues(with_origin(leads), user))


def page(request: HttpRequest, chosen: Lead | None, status: int = 200, **forms: Any) -> HttpResponse:
    """The whole workspace, with a chosen lead's dossier, else the first one's; `forms` are those with what is wrong."""
    now, user = timezone.now(), request.user
    counts = lists.counts_of(user, now, lists.words_of(request.GET))
    shown = lists.shown(lists.place_of(request.GET, chosen, user, now, counts), user, now, counts)
    is_list = chosen is None
    if chosen is None and shown.leads:
        chosen = visible(user).filter(pk=shown.leads[0].pk).first()
    previous_url, next_url = lists.neighbours(shown, chosen)
    context = {
        "title": _("Leads"),
        "is_list": is_list,
        "previous_url": previous_url,
        "next_url": next_url,
        **_list(user, shown, counts, now),
        **_about(request, chosen, **forms),
    }
    return render(request, "leads/workspace.html", context, status=status)


def _list(user: Any, shown: Shown, counts: dict[str, int], now: datetime) -> dict[str, Any]:
    place = shown.place
    return {
        "tabs": [
            Tab(key, label, counts.get(key), f"{reverse('sales:inbox')}?{Place(key).query()}")
            for key, label in lists.tab_names(user).items()
        ],
        "tab": "" if place.words else place.tab,
        "words": place.words,
        "counts": counts,
        "tasks": lists.tasks_of(user, now),
        "page": shown.page,
        "sections": shown.sections,
        "here": place.query(),
        "live_url": f"{reverse('sales:live')}?{place.query()}",
        "newer_url": lists.inbox_url(place, place.page - 1) if shown.page.has_previous() else "",
        "older_url": lists.inbox_url(place, place.page + 1) if shown.page.has_next() else "",
        "now": now,
    }


def _about(request: HttpRequest, chosen: Lead | None, **forms: Any) -> dict[str, Any]:
    """What the middle and the right pane show of a lead."""
    now, user = timezone.now(), request.user
    is_worker = user.has_perm("leads.work_lead")
    if chosen is None:
        return {"lead": None, "is_worker": is_worker}
    offered = _forms(chosen, user, is_worker, now) | forms
    return {
        "lead": chosen,
        "mark": mark_of(chosen),
        "is_worker": is_worker,
        "is_mine": chosen.owner_id == user.pk,
        "is_asleep": chosen.snoozed_until is not None and chosen.snoozed_until > now,
        "may_undo": is_worker and may_undo(chosen, user, now),
        "reject_reason": reason_of(chosen.reject_reason) if chosen.reject_reason else "",
        "clock": clock(chosen, now),
        "dossier": dossier(chosen, now, request.GET.get("before", ""), request.GET.get("about", "")),
        "subjects": _subjects(),
        "story_at": reverse("sales:lead", args=[chosen.pk]),
        "story_keeps": "".join(f"&{key}={request.GET[key]}" for key in ("about",) if request.GET.get(key) in SUBJECTS),
        "is_earlier": "before" in request.GET,
        "now": now,
        **offered,
    }


def _forms(chosen: Lead, user: Any, is_worker: bool, now: datetime) -> dict[str, Any]:
    """The moves that are open to a user and need words."""
    if not is_worker:
        return {}
    is_open = chosen.state in ("open", "claimed", "accepted")
    in_hand = chosen.owner_id == user.pk and chosen.state in ("claimed", "accepted")
    offered: dict[str, Any] = {"note_form": NoteForm(auto_id="note_%s"), "task_form": TaskForm(auto_id="task_%s")}
    if may_hold(chosen, user):
        offered["hold_form"] = HoldForm(auto_id="hold_%s")
    if in_hand:
        offered |= {
            "call_form": CallForm(auto_id="call_%s"),
            "snooze_form": SnoozeForm(auto_id="snooze_%s", initial={"when": "1"}),
            "reject_form": RejectForm(auto_id="reject_%s", tracks=names_of_tracks()),
        }
        if chosen.state == "accepted":
            offered["convert_form"] = ConvertForm(auto_id="convert_%s")
    if is_open and (in_hand or chosen.state == "open" or user.has_perm("leads.route_lead")):
        offered["assign_form"] = AssignForm(by=user, auto_id="assign_%s")
    return offered


def _subjects() -> dict[str, str]:
    words = {"messages": _("Messages"), "deeds": _("Deeds"), "sales": _("Sales"), "scores": _("Scores and stages")}
    return {"": _("All"), **{key: words[key] for key in SUBJECTS if key in words}}


def reason_of(reason: RejectReason) -> str:
    """A reason to reject in the reader's language."""
    return in_language(reason.names, reason.name)


# Live ----------------------------------------------------------------------------------------------------------------


@login_required
@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """What may have changed on an open page: the list, the numbers, and whether `lead` is as it was.

    304 where nothing did. `mark` is the chosen lead's, `gone` why it is not this user's any more.
    """
    may_look(request.user)
    now, user = timezone.now(), request.user
    counts = lists.counts_of(user, now, lists.words_of(request.GET))
    shown = lists.shown(lists.place_of(request.GET, None, user, now, counts), user, now, counts)
    told = request.GET.get("lead", "")
    asked = int(told) if told.isdecimal() and len(told) < 19 else None
    context = {**_list(user, shown, counts, now), "lead": None if asked is None else {"pk": asked}}
    answer = {
        "counts": {
            key: intcomma(count) for key, count in {**counts, "tasks": context["tasks"].count}.items() if key != "found"
        },
        "list": render_to_string("leads/list.html", context, request),
        **({} if asked is None else _news(user, asked)),
    }
    tag = f'"{sha256(json.dumps(answer, sort_keys=True).encode()).hexdigest()[:24]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-store"}
    if request.headers.get("If-None-Match") == tag:
        return HttpResponseNotModified(headers=headers)
    return JsonResponse(answer, headers=headers)


def _with_news(leads: LeadQuerySet) -> LeadQuerySet:
    """Leads that know the newest that happened with their contact, and the newest message meant for them."""
    newest = {"contact": OuterRef("contact")}
    return leads.annotate(
        newest_touchpoint=Subquery(
            Touchpoint.objects.filter(**newest).order_by().values("contact").annotate(at=Max("pk")).values("at")
        ),
        newest_message=Subquery(
            Message.objects.filter(**newest).order_by().values("contact").annotate(at=Max("pk")).values("at")
        ),
    )


def mark_of(lead: Any) -> str:
    """What changes whenever the lead's dossier or next move would look different."""
    return f"{lead.updated_at.timestamp():.6f}-{lead.newest_touchpoint or 0}-{lead.newest_message or 0}"


def _news(user: Any, pk: int) -> dict[str, str]:
    found = _with_news(Lead.objects.visible_to(user)).filter(pk=pk).first()
    if found is not None:
        return {"mark": mark_of(found)}
    taken = Lead.objects.filter(pk=pk, state__in=["claimed", "accepted"]).select_related("owner").first()
    if taken is not None and taken.owner is not None:
        return {"gone": str(TakenByOther(taken.owner))}
    return {"gone": _("This lead is no longer yours to see.")}
