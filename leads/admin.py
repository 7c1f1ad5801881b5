"""Reasons to reject, and an overview of leads in the admin; the work on leads is done in /sales/."""

from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from leads.desk import DeskError
from leads.handing import hand_over
from leads.loop_admin import BehindANumber
from leads.models import Lead, RejectReason, Task
from leads.routing import REASONS
from leads.routing_admin import HandOverForm, WaitingFilter


@admin.register(RejectReason)
class RejectReasonAdmin(admin.ModelAdmin):
    list_display = ["name", "key", "track_key", "is_final", "position"]
    list_editable = ["position"]


@admin.register(Lead)
class LeadAdmin(admin.ModelAdmin):
    """All leads at a glance, and who waits for whom. They are moved in the workspace; a manager hands over here."""

    list_display = ["contact", "state", "headline", "points", "team", "whose", "created_at", "due_at"]
    list_filter = [BehindANumber, WaitingFilter, "state", "team", "reject_reason", "created_at"]
    list_select_related = ["contact", "team", "owner", "assigned_to"]
    actions = ["hand_over_to"]
    action_form = HandOverForm
    search_fields = ["contact__email", "contact__last_name"]
    show_full_result_count = False
    fields = [
        "contact", "state", "headline", "evidence", "points", "team", "owner", "assigned_to", "assigned_at",
        "reassigned", "nobodys_because", "created_at", "due_at", "claimed_at", "accepted_at",
        "ended_at", "reject_reason", "note", "value",
    ]  # fmt: skip

    @admin.display(description=_("score at hand-off"), ordering="score", empty_value="–")
    def points(self, lead: Lead) -> int | None:
        return None if lead.score is None else round(lead.score)

    @admin.display(description=_("whose"), ordering="owner")
    def whose(self, lead: Lead) -> str:
        """Whoever claimed it; else whom it waits for; else why it is nobody's."""
        if lead.owner is not None:
            return lead.owner.get_full_name() or lead.owner.get_username()
        if lead.assigned_to is not None:
            name = lead.assigned_to.get_full_name() or lead.assigned_to.get_username()
            return format_html('{} <span class="chip">{}</span>', name, _("assigned"))
        return format_html('<span class="chip is-warn">{}</span>', self.nobodys_because(lead))

    @admin.display(description=_("nobody's because"))
    def nobodys_because(self, lead: Lead) -> str:
        return str(REASONS.get(lead.unrouted_because, "–"))

    def has_route_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("leads.route_lead")

    @admin.action(description=_("Hand over to…"), permissions=["route"])
    def hand_over_to(self, request: HttpRequest, queryset: QuerySet[Lead]) -> None:
        chosen = request.POST.get("to", "")
        to = get_user_model().objects.filter(pk=chosen).first() if chosen.isdecimal() else None
        if to is None:
            messages.error(request, _("Choose to whom the leads shall go."))
            return
        try:
            count = hand_over(
                Lead.objects.filter(pk__in=queryset.values("pk")), to=to, by=request.user, now=timezone.now()
            )
        except (PermissionDenied, DeskError) as refused:
            messages.error(request, str(refused))
            return
        told = ngettext("%(count)d lead was handed over.", "%(count)d leads were handed over.", count)
        messages.success(request, told % {"count": count})

    def get_queryset(self, request: HttpRequest) -> QuerySet[Lead]:
        return super().get_queryset(request).filter(pk__in=Lead.objects.visible_to(request.user).values("pk"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Lead | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Lead | None = None) -> bool:
        return False


@admin.register(Task)
class TaskAdmin(admin.ModelAdmin):
    """All tasks at a glance; they are done in the sales workspace, for that is told to the stream."""

    list_display = ["title", "contact", "state", "assignee", "team", "due_at", "created_at", "source"]
    list_filter = ["state", "team"]
    list_select_related = ["contact", "assignee", "team"]
    search_fields = ["title", "contact__email", "contact__last_name"]
    show_full_result_count = False
    fields = [
        "title", "contact", "state", "assignee", "team", "due_at", "source", "created_at", "done_at", "done_by",
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        return super().get_queryset(request).filter(pk__in=Task.objects.visible_to(request.user).values("pk"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Task | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Task | None = None) -> bool:
        return False
