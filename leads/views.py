"""The sales workspace: leads by reason to act now, one person's dossier, and the next move."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.db.models import Count, F, Min, Q, Window
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from leads import desk
from leads.clock import Clock, clock
from leads.dossier import dossier, with_holdouts
from leads.forms import ConvertForm, RejectForm
from leads.models import Lead, LeadQuerySet, RejectReason, Task
from leads.wording import in_language

PAGE = 50


@dataclass(frozen=True)
class Tab:
    key: str
    label: str
    count: int | None
    url: str


@dataclass(frozen=True)
class Row:
    """A line of the list. What came in within a day says how long ago, the rest on which day."""

    lead: Lead
    clock: Clock | None
    is_recent: bool


class _CountedPaginator(Paginator):
    """A paginator that is told its count, which the tabs know already."""

    def __init__(self, leads: LeadQuerySet, count: int):
        super().__init__(leads, PAGE)
        self._count = count

    @cached_property
    def count(self) -> int:
        return self._count


def _may_look(user: Any) -> None:
    if not (user.has_perm("leads.work_lead") or user.has_perm("leads.view_lead")):
        raise PermissionDenied(_("You do not work on leads."))


# Pages ---------------------------------------------------------------------------------------------------------------


@login_required
@require_safe
def inbox(request: HttpRequest) -> HttpResponse:
    """The list of leads, the most urgent reason first, with the first lead's dossier beside it."""
    _may_look(request.user)
    return _page(request, None)


@login_required
@require_safe
def lead(request: HttpRequest, pk: int) -> HttpResponse:
    """One lead's dossier beside the list. 404 where it is not this user's to see."""
    _may_look(request.user)
    return _page(request, get_object_or_404(_visible(request.user), pk=pk))


def _visible(user: Any) -> LeadQuerySet:
    leads = Lead.objects.visible_to(user).select_related("contact__company", "owner", "team", "reject_reason")
    return with_holdouts(leads)


def _page(request: HttpRequest, chosen: Lead | None, status: int = 200, **forms: Any) -> HttpResponse:
    now, user = timezone.now(), request.user
    is_worker = user.has_perm("leads.work_lead")
    counts = _counts(user)
    tab = _tab(request.GET.get("tab", ""), chosen, user, counts)
    page = _CountedPaginator(_urgent_first(_in_tab(tab, user)), counts[tab]).get_page(request.GET.get("page"))
    leads = list(page.object_list)
    is_list = chosen is None
    chosen = chosen or (leads[0] if leads else None)
    if chosen:
        mine = is_worker and chosen.owner_id == user.pk
        if mine and chosen.state in ("claimed", "accepted"):
            forms.setdefault("reject_form", RejectForm(auto_id="reject_%s"))
        if mine and chosen.state == "accepted":
            forms.setdefault("convert_form", ConvertForm(auto_id="convert_%s"))
    previous_url, next_url = _neighbours(tab, page, leads, chosen)
    context = {
        "title": _("Leads"),
        "tabs": [
            Tab(key, label, counts.get(key), _url("sales:inbox", tab=key)) for key, label in _tabs(user, counts).items()
        ],
        "tab": tab,
        "open_tasks": Task.objects.open().visible_to(user).count(),
        "counts": counts,
        "page": page,
        "rows": [Row(row, clock(row, now), now - row.created_at < timedelta(days=1)) for row in leads],
        "here": urlencode({"tab": tab, **({"page": page.number} if page.number > 1 else {})}),
        "newer_url": _url("sales:inbox", tab=tab, page=page.number - 1) if page.has_previous() else "",
        "older_url": _url("sales:inbox", tab=tab, page=page.number + 1) if page.has_next() else "",
        "previous_url": previous_url,
        "next_url": next_url,
        "lead": chosen,
        "is_list": is_list,
        "is_worker": is_worker,
        "reject_reason": _reason(chosen.reject_reason) if chosen and chosen.reject_reason else "",
        "clock": clock(chosen, now) if chosen else None,
        "dossier": dossier(chosen, now, request.GET.get("before", "")) if chosen else None,
        "story_at": reverse("sales:lead", args=[chosen.pk]) if chosen else "",
        "is_earlier": "before" in request.GET,
        "now": now,
        **forms,
    }
    return render(request, "leads/workspace.html", context, status=status)


def _reason(reason: RejectReason) -> str:
    return in_language(reason.names, reason.name)


# The list ------------------------------------------------------------------------------------------------------------


def _tabs(user: Any, counts: dict[str, int]) -> dict[str, str]:
    tabs = {"mine": _("Mine"), "unclaimed": _("Unclaimed"), "all": _("All"), "done": _("Done")}
    if not user.has_perm("leads.work_lead"):
        del tabs["mine"]
    if not user.has_perm("leads.view_lead"):
        del tabs["all"]
    return tabs


def _counts(user: Any) -> dict[str, int]:
    counts: dict[str, int] = Lead.objects.visible_to(user).aggregate(
        mine=Count("pk", filter=Q(owner=user) & ~Q(state__in=["rejected", "converted"])),
        unclaimed=Count("pk", filter=Q(state="open", owner=None)),
        all=Count("pk", filter=~Q(state__in=["rejected", "converted"])),
        done=Count("pk", filter=Q(state__in=["rejected", "converted"])),
    )
    return counts


def _tab(asked: str, chosen: Lead | None, user: Any, counts: dict[str, int]) -> str:
    """The tab that was asked for, else the one where the chosen lead is, else the first with something to do."""
    allowed = _tabs(user, counts)
    if asked in allowed:
        return asked
    if chosen and chosen.state in ("rejected", "converted"):
        return "done"
    if chosen and chosen.state == "open":
        return "unclaimed"
    if chosen and chosen.owner_id != user.pk and "all" in allowed:
        return "all"
    if "mine" in allowed and (chosen or counts["mine"]):
        return "mine"
    return "unclaimed" if counts["unclaimed"] or "all" not in allowed else "all"


def _in_tab(tab: str, user: Any) -> LeadQuerySet:
    leads = _visible(user)
    if tab == "mine":
        return leads.unfinished().owned_by(user)
    if tab == "unclaimed":
        return leads.unclaimed()
    if tab == "done":
        return leads.filter(state__in=["rejected", "converted"])
    return leads.unfinished()


def _urgent_first(leads: LeadQuerySet) -> LeadQuerySet:
    """By reason to act now: the reason whose first lead is due first, and within it who is due first.

    Finished leads come by their end, the newest first.
    """
    return leads.defer("evidence").annotate(
        reason_due_at=Window(Min("due_at"), partition_by=F("headline")),
        reason_since=Window(Min("created_at"), partition_by=F("headline")),
    ).order_by(
        F("ended_at").desc(nulls_last=True), F("reason_due_at").asc(nulls_last=True), "reason_since", "headline",
        F("due_at").asc(nulls_last=True), F("score").desc(nulls_last=True), "pk",
    )  # fmt: skip


def _neighbours(tab: str, page: Page, leads: list[Lead], chosen: Lead | None) -> tuple[str, str]:
    """Where J and K lead: the leads before and after the chosen one; beyond the page's end, the next page."""
    places = {row.pk: place for place, row in enumerate(leads)}
    at = places.get(chosen.pk) if chosen else None
    if at is None:  # it has just left this list
        return "", _lead_url(leads[0], tab, page) if leads else ""
    if at > 0:
        before = _lead_url(leads[at - 1], tab, page)
    else:
        before = _url("sales:inbox", tab=tab, page=page.number - 1) if page.has_previous() else ""
    if at + 1 < len(leads):
        return before, _lead_url(leads[at + 1], tab, page)
    return before, _url("sales:inbox", tab=tab, page=page.number + 1) if page.has_next() else ""


def _lead_url(row: Lead, tab: str, page: Page) -> str:
    more = {"page": page.number} if page.number > 1 else {}
    return _url("sales:lead", row.pk, tab=tab, **more)


def _url(name: str, *args: Any, **query: Any) -> str:
    return f"{reverse(name, args=args)}?{urlencode(query)}"


# Moves ---------------------------------------------------------------------------------------------------------------


def _worker(request: HttpRequest) -> Any:
    if not request.user.has_perm("leads.work_lead"):
        raise PermissionDenied(_("You may look at leads but not work on them."))
    return request.user


def _moved(request: HttpRequest, one: Lead, move: Callable[..., Lead], said: str, **more: Any) -> HttpResponse:
    """Makes the move and goes back to the lead as it is now; where it was refused, the reason stands on the page."""
    try:
        move(lead=one, by=request.user, now=timezone.now(), **more)
    except desk.DeskError as error:
        messages.error(request, str(error))
        if not Lead.objects.visible_to(request.user).filter(pk=one.pk).exists():
            return HttpResponseRedirect(_url("sales:inbox", tab="unclaimed"))
    else:
        messages.success(request, said)
    return HttpResponseRedirect(reverse("sales:lead", args=[one.pk]))


@login_required
@require_POST
def claim(request: HttpRequest, pk: int) -> HttpResponse:
    """Takes an open lead; who comes second is told who was first."""
    user = _worker(request)
    # A lead that a colleague took a moment ago is no longer this user's to see, and yet he must learn who has it.
    one = get_object_or_404(Lead.objects.select_related("contact"), pk=pk)
    if one.state not in ("open", "claimed", "accepted") and not Lead.objects.visible_to(user).filter(pk=pk).exists():
        raise Http404
    return _moved(request, one, desk.claim, _("%(name)s is yours now.") % {"name": one.contact.name})


@login_required
@require_POST
def release(request: HttpRequest, pk: int) -> HttpResponse:
    """Puts a claimed lead back for the others."""
    one = get_object_or_404(_visible(_worker(request)), pk=pk)
    return _moved(request, one, desk.release, _("%(name)s is free for others again.") % {"name": one.contact.name})


@login_required
@require_POST
def accept(request: HttpRequest, pk: int) -> HttpResponse:
    """Agrees to work on a claimed lead."""
    one = get_object_or_404(_visible(_worker(request)), pk=pk)
    return _moved(request, one, desk.accept, _("You work on %(name)s.") % {"name": one.contact.name})


@login_required
@require_POST
def reject(request: HttpRequest, pk: int) -> HttpResponse:
    """Gives a lead back with a reason; a form without one comes back with what is missing."""
    one = get_object_or_404(_visible(_worker(request)), pk=pk)
    form = RejectForm(request.POST, auto_id="reject_%s")
    if not form.is_valid():
        return _page(request, one, status=422, reject_form=form)
    said = _("%(name)s was rejected: %(reason)s.") % {
        "name": one.contact.name,
        "reason": _reason(form.cleaned_data["reason"]),
    }
    return _moved(request, one, desk.reject, said, **form.cleaned_data)


@login_required
@require_POST
def convert(request: HttpRequest, pk: int) -> HttpResponse:
    """Notes that an accepted lead has become a customer, with the deal's value."""
    one = get_object_or_404(_visible(_worker(request)), pk=pk)
    form = ConvertForm(request.POST, auto_id="convert_%s")
    if not form.is_valid():
        return _page(request, one, status=422, convert_form=form)
    return _moved(
        request, one, desk.convert, _("%(name)s is a customer now.") % {"name": one.contact.name}, **form.cleaned_data
    )
