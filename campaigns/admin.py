"""Six screens over one engine: tracks, sequences, cross-sell campaigns, broadcasts, follow-ups and win-backs."""

import re
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, IntegerField, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns import broadcast_page, drawing, flow, forms, fuse, graph, onboarding, publishing
from campaigns.click_pages import ClickPages
from campaigns.models import (
    Broadcast,
    CrossSellCampaign,
    Enrolment,
    FollowUp,
    Journey,
    NurtureTrack,
    OnboardingSequence,
    Sendout,
    WinBack,
)
from campaigns.results import results_of_page
from campaigns.version_admin import VersionPages

CHIPS = {"live": "is-good is-dot", "paused": "is-warn is-dot", "closing": "is-info is-dot", "draft": "", "archived": ""}


class JourneyAdmin(ClickPages, VersionPages, admin.ModelAdmin):
    """The list of one kind of journey; its page is the drawing, with a form for the selected step."""

    kind = ""
    page = "campaigns/journey.html"
    list_display = ["name_or_key", "state_chip", "live_version", "inside_now", "entered_lately", "last_published"]
    list_filter = ["state"]
    search_fields = ["name", "key"]
    fields = ["name", "key", "tier"]
    prepopulated_fields = {"key": ["name"]}  # a key once given stays: journeys have no change form
    ordering = ["name", "key"]
    list_select_related = ["version"]

    def get_queryset(self, request: HttpRequest) -> Any:
        enrolments = Enrolment.objects.filter(journey_id=OuterRef("pk")).order_by().values("journey_id")
        since = timezone.now() - timedelta(days=30)

        def count(rows: Any) -> Coalesce:
            counted = rows.annotate(count=Count("pk")).values("count")
            return Coalesce(Subquery(counted, output_field=IntegerField()), 0)

        return (
            super()
            .get_queryset(request)
            .annotate(
                inside=count(enrolments.filter(state="open")),
                entered=count(enrolments.filter(enrolled_at__gte=since)),
            )
        )

    @admin.display(description=gettext_lazy("name"), ordering="name")
    def name_or_key(self, journey: Journey) -> str:
        return str(journey)

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def state_chip(self, journey: Journey) -> str:
        return format_html('<span class="chip {}">{}</span>', CHIPS[journey.state], journey.get_state_display())

    @admin.display(description=gettext_lazy("version"))
    def live_version(self, journey: Journey) -> str:
        return f"v{journey.version.number}" if journey.version else "–"

    @admin.display(description=gettext_lazy("inside now"), ordering="inside")
    def inside_now(self, journey: Any) -> int:
        return journey.inside

    @admin.display(description=gettext_lazy("entered in 30 days"), ordering="entered")
    def entered_lately(self, journey: Any) -> int:
        return journey.entered

    @admin.display(description=gettext_lazy("last published"), ordering="version__published_at")
    def last_published(self, journey: Journey) -> Any:
        return journey.version.published_at if journey.version else None

    # A new journey --------------------------------------------------------------------------------------------------

    def save_model(self, request: HttpRequest, obj: Journey, form: Any, change: bool) -> None:
        """A new journey begins with an empty drawing; later it is changed by its drawing only."""
        obj.kind = self.kind
        obj.save()
        empty: dict[str, Any] = {"key": obj.key, "name": obj.name, "kind": self.kind, **self.beginning()}
        if obj.tier != graph.tier_of(empty):
            empty["tier"] = obj.tier
        publishing.save_draft(
            journey=obj, definition=empty, by=request.user, now=timezone.now(), message=_("Journey begun.")
        )

    def beginning(self) -> dict[str, Any]:
        """What a new journey of this kind says beside its names."""
        return {"trigger": "manual", "streams" if self.kind == "nurture" else "steps": []}

    def response_add(self, request: HttpRequest, obj: Journey, post_url_continue: str | None = None) -> HttpResponse:
        return self._back(obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only what never ran may be deleted; anything else is archived, for its people have a history."""
        return super().has_delete_permission(request, obj) and (obj is None or obj.version_id is None)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    # The page -------------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[Any]:
        def of(view: Any, name: str) -> Any:
            address = f"<int:journey_id>/{name}/"
            return path(address, self.admin_site.admin_view(view), name=self._name(name))

        return [
            of(self.step_view, "step"),
            of(self.text_view, "text"),
            of(self.publish_view, "publish"),
            of(self.versions_view, "versions"),
            of(self.act_view, "act"),
            of(self.clicks_view, "clicks"),
            *super().get_urls(),
        ]

    def _name(self, view: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{view}"

    def _url(self, view: str, journey: Journey) -> str:
        return reverse(f"{self.admin_site.name}:{self._name(view)}", args=[journey.pk])

    def _back(self, journey: Journey, key: str = "") -> HttpResponse:
        query = f"?step={key}" if key else ""
        return HttpResponseRedirect(self._url("change", journey) + query)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        if _number(object_id) is None:
            raise Http404
        journey = get_object_or_404(self.get_queryset(request), pk=object_id)
        if not self.has_view_or_change_permission(request, journey):
            raise PermissionDenied
        if request.method != "GET":
            return HttpResponseNotAllowed(["GET"])
        return self._page(request, journey, key=request.GET.get("step", ""))

    def _page(
        self,
        request: HttpRequest,
        journey: Journey,
        key: str,
        form: Any = None,
        text_form: Any = None,
        status: int = 200,
    ) -> HttpResponse:
        draft = publishing.draft_of(journey)
        found = flow.find(draft, key)
        step = found[0][found[1]] if found else None
        may_change = self.has_change_permission(request, journey)
        if step is not None and form is None and may_change and (verb := forms.kind_of(step)):
            form = forms.StepForm(verb, step=step)
        problems = publishing.problems(draft)
        is_track = "streams" in draft
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": str(journey),
            "journey": journey,
            "chip": CHIPS[journey.state],
            "steps": drawing.tree(journey, draft, problems, self._url("change", journey), key),
            "problems": problems,
            "errors": [problem for problem in problems if problem.level != "warning"],
            "is_changed": publishing.is_changed(journey),
            "step": step,
            "step_key": key,
            "step_title": drawing.kinds().get(forms.kind_of(step)) if step else "",
            "step_paths": flow.paths_of(step) if step else [],
            "onboarding": onboarding.numbers(journey, draft) if journey.kind == "onboarding" else None,
            "form": form,
            "kinds": [(kind, words) for kind, words in drawing.kinds().items() if (kind == "stream") == is_track],
            "text_form": text_form or forms.DefinitionForm(initial={"definition": draft}),
            "pause_reason": fuse.in_words(journey.pause_reason),
            "results": results_of_page(journey) if journey.version else None,
            "may_change": may_change,
            "may_copy": may_change and self.has_add_permission(request),
            "may_publish": request.user.has_perm("campaigns.publish_journey"),
            "urls": {
                name: self._url(name, journey)
                for name in ("change", "step", "text", "publish", "act", "versions", "clicks")
            },
        }
        return TemplateResponse(request, self.page, context | self.more(request, journey, draft, form), status=status)

    def more(self, request: HttpRequest, journey: Journey, draft: dict[str, Any], form: Any) -> dict[str, Any]:
        """What the page of this kind shows besides."""
        return {}

    def outcome(self, request: HttpRequest, draft: dict[str, Any]) -> list[str]:
        """What a publish would bring about, in sentences, where this kind can tell."""
        return []

    def _changing(self, request: HttpRequest, journey_id: int) -> Journey:
        journey = get_object_or_404(self.get_queryset(request), pk=journey_id)
        if not self.has_change_permission(request, journey):
            raise PermissionDenied
        return journey

    def _save(self, request: HttpRequest, journey: Journey, definition: Any, message: str) -> None:
        """Keeps an edit. Raises Stale where somebody else was faster."""
        publishing.save_draft(
            journey=journey,
            definition=definition,
            by=request.user,
            now=timezone.now(),
            message=message,
            revision=_seen(request),
        )
        messages.success(request, message)

    def _stale(
        self, request: HttpRequest, journey: Journey, stale: publishing.Stale, key: str = "", text_form: Any = None
    ) -> HttpResponse:
        """The page as it is now, with a word on who was faster."""
        messages.error(request, str(stale))
        journey.refresh_from_db(fields=["revision", "name", "state"])
        return self._page(request, journey, key, text_form=text_form, status=409)

    def step_view(self, request: HttpRequest, journey_id: int) -> HttpResponse:
        """One edit of the drawing: configure, insert, delete or move a step."""
        journey = self._changing(request, journey_id)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        key, do = request.POST.get("key", ""), request.POST.get("do", "")
        draft = publishing.draft_of(journey)
        op: dict[str, Any] = {"do": do, "key": key}
        if do == "configure":
            found = flow.find(draft, key)
            verb = forms.kind_of(found[0][found[1]]) if found else ""
            if not verb:
                messages.error(request, _("The step “%(key)s” is not there any more.") % {"key": key})
                return self._back(journey)
            form = forms.StepForm(verb, request.POST)
            if not form.is_valid():
                return self._page(request, journey, key, form=form, status=422)
            op["step"] = form.step()
        elif do == "insert":
            op["step"] = forms.FIRST.get(request.POST.get("kind", ""), {})
            label = request.POST.get("path", "")
            op |= {"into": [key, label]} if label else {"after": key}
        elif do == "move":
            op["by"] = -1 if request.POST.get("by") == "-1" else 1
        try:
            definition, message, shown = flow.apply(draft, op)
        except flow.Refused as refused:
            messages.error(request, str(refused))
            return self._back(journey, key)
        try:
            self._save(request, journey, definition, message)
        except publishing.Stale as stale:
            return self._stale(request, journey, stale, key)
        return self._back(journey, shown)

    def text_view(self, request: HttpRequest, journey_id: int) -> HttpResponse:
        """The whole draft, written as text."""
        journey = self._changing(request, journey_id)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        form = forms.DefinitionForm(request.POST)
        if not form.is_valid():
            return self._page(request, journey, "", text_form=form, status=422)
        try:
            self._save(request, journey, form.cleaned_data["definition"], _("The journey was written as text."))
        except publishing.Stale as stale:
            return self._stale(request, journey, stale, text_form=form)
        return self._back(journey)

    # Going live ------------------------------------------------------------------------------------------------------

    def _publishing(self, request: HttpRequest, journey_id: int) -> Journey:
        journey = self._changing(request, journey_id)
        if not request.user.has_perm("campaigns.publish_journey"):
            raise PermissionDenied
        return journey

    def act_view(self, request: HttpRequest, journey_id: int) -> HttpResponse:
        """Pause, resume, archive, undo, redo, restore or copy: by POST only."""
        act = request.POST.get("act", "")
        is_edit = act in ("undo", "redo", "restore", "clone")
        journey = self._changing(request, journey_id) if is_edit else self._publishing(request, journey_id)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        try:
            if act == "restore":
                self._restore(request, journey, _seen(request))
            elif act == "clone":
                if not self.has_add_permission(request):
                    raise PermissionDenied
                copy = publishing.clone(journey=journey, by=request.user, now=timezone.now())
                messages.success(request, _("This is the copy: a draft that lets nobody in yet."))
                return self._back(copy)
            elif is_edit:
                step = publishing.undo if act == "undo" else publishing.redo
                if step(journey=journey, revision=_seen(request)) is None:
                    messages.warning(request, _("There is nothing more to undo or redo."))
            elif act == "pause":
                publishing.pause(journey=journey, by=request.user, now=timezone.now())
                messages.success(request, _("The journey is paused: everybody stands still, nothing goes out."))
            elif act == "resume":
                publishing.resume(journey=journey, by=request.user, now=timezone.now())
                messages.success(request, _("The journey goes on."))
            elif act == "archive":
                people = "finish" if request.POST.get("people") == "finish" else "exit"
                publishing.archive(journey=journey, by=request.user, now=timezone.now(), people=people)
                if people == "finish":
                    messages.success(request, _("Nobody gets in any more; whoever is inside finishes."))
                else:
                    messages.success(request, _("The journey is archived; whoever is inside leaves it now."))
        except publishing.Stale as stale:
            return self._stale(request, journey, stale)
        except publishing.WrongState as wrong:
            messages.error(request, str(wrong))
        return self._back(journey)


def _number(text: str) -> int | None:
    """A whole number in plain digits, as our own pages write it; None for anything else."""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def _seen(request: HttpRequest) -> int:
    """The draft that the editor saw; one that never was where the request does not say, and so it is stale."""
    number = _number(request.POST.get("revision", ""))
    return -1 if number is None else number


@admin.register(NurtureTrack)
class NurtureTrackAdmin(JourneyAdmin):
    kind = "nurture"


@admin.register(OnboardingSequence)
class OnboardingSequenceAdmin(JourneyAdmin):
    kind = "onboarding"


@admin.register(CrossSellCampaign)
class CrossSellCampaignAdmin(JourneyAdmin):
    kind = "cross_sell"


@admin.register(FollowUp)
class FollowUpAdmin(JourneyAdmin):
    kind = "follow_up"


@admin.register(WinBack)
class WinBackAdmin(JourneyAdmin):
    kind = "win_back"


@admin.register(Broadcast)
class BroadcastAdmin(JourneyAdmin):
    """A broadcast has no drawing: one form, and how its occasions stand."""

    kind = "broadcast"
    page = "campaigns/broadcast.html"
    list_display = ["name_or_key", "state_chip", "moment", "occasion_chip", "audience", "last_published"]

    def get_queryset(self, request: HttpRequest) -> Any:
        newest = Sendout.objects.filter(journey_id=OuterRef("pk")).order_by("-starts_at", "-pk")
        return (
            super()
            .get_queryset(request)
            .annotate(
                sendout_key=Subquery(newest.values("key")[:1]),
                sendout_state=Subquery(newest.values("state")[:1]),
                sendout_audience=Subquery(newest.values("audience")[:1]),
            )
        )

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"tier": graph.tier_of({"kind": self.kind}), **super().get_changeform_initial_data(request)}

    def beginning(self) -> dict[str, Any]:
        return {}

    @admin.display(description=gettext_lazy("moment"))
    def moment(self, journey: Any) -> str:
        return journey.sendout_key or "–"

    @admin.display(description=gettext_lazy("occasion"))
    def occasion_chip(self, journey: Any) -> str:
        if not journey.sendout_state:
            return "–"
        words = dict(Sendout.STATES)[journey.sendout_state]
        return format_html('<span class="chip {}">{}</span>', broadcast_page.COLOURS[journey.sendout_state], words)

    @admin.display(description=gettext_lazy("audience"))
    def audience(self, journey: Any) -> Any:
        return "–" if journey.sendout_audience is None else journey.sendout_audience

    def get_urls(self) -> list[Any]:
        plan = self.admin_site.admin_view(self.plan_view)
        return [path("<int:journey_id>/plan/", plan, name=self._name("plan")), *super().get_urls()]

    def more(self, request: HttpRequest, journey: Journey, draft: dict[str, Any], form: Any) -> dict[str, Any]:
        urls = {name: self._url(name, journey) for name in ("change", "plan", "text", "publish", "act", "clicks")}
        shown = broadcast_page.context(journey, draft, request.user, timezone.now())
        return shown | {"plan_form": form or broadcast_page.BroadcastForm(draft=draft), "draft": draft, "urls": urls}

    def outcome(self, request: HttpRequest, draft: dict[str, Any]) -> list[str]:
        return broadcast_page.summary(draft, request.user, timezone.now())

    def plan_view(self, request: HttpRequest, journey_id: int) -> HttpResponse:
        """The form: to whom, what and when."""
        journey = self._changing(request, journey_id)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        form = broadcast_page.BroadcastForm(request.POST)
        if not form.is_valid():
            return self._page(request, journey, "", form=form, status=422)
        definition = form.definition(publishing.draft_of(journey))
        try:
            self._save(request, journey, definition, _("The broadcast was changed."))
        except publishing.Stale as stale:
            return self._stale(request, journey, stale)
        return self._back(journey)
