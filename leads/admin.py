"""Teams, reasons to reject, and an overview of leads in the admin; the work on leads is done in /sales/."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from contacts.rulefields import Vocabulary
from contacts.rulerows import in_words, why_not_asked
from contacts.rules import RuleError, parse
from leads.loop import behind
from leads.models import Lead, RejectReason, Rep, Task, Team


class TeamForm(forms.ModelForm):
    def clean_rule(self) -> Any:
        rule = self.cleaned_data["rule"]
        if rule is None:
            return None
        try:
            parse(rule)
        except RuleError as error:
            raise forms.ValidationError(str(error)) from None
        return rule


class RepInline(admin.TabularInline):
    model = Rep
    extra = 0


@admin.register(Team)
class TeamAdmin(admin.ModelAdmin):
    form = TeamForm
    list_display = ["key", "name", "position", "hours", "sla", "who"]
    inlines = [RepInline]

    @admin.display(description=_("which leads"))
    def who(self, team: Team) -> str:
        if team.rule is None:
            return "–"
        names = Vocabulary()
        return why_not_asked(team.rule, names) or in_words(team.rule, names)


@admin.register(RejectReason)
class RejectReasonAdmin(admin.ModelAdmin):
    list_display = ["name", "key", "track_key", "is_final", "position"]
    list_editable = ["position"]


class BehindANumber(admin.SimpleListFilter):
    """The leads behind a number of the closed-loop report; shown only when one came from there."""

    title = _("closed loop")
    parameter_name = "loop"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, Any]]:
        asked = request.GET.get(self.parameter_name)
        return [(asked, _("those of the number"))] if asked else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Lead]) -> QuerySet[Lead]:
        if not (asked := self.value()):
            return queryset
        try:
            return queryset.filter(pk__in=behind(asked))
        except ValueError as error:
            raise IncorrectLookupParameters(str(error)) from None


@admin.register(Lead)
class LeadAdmin(admin.ModelAdmin):
    """All leads at a glance; nobody moves them here, for each move is told to the stream."""

    list_display = ["contact", "state", "headline", "score", "team", "owner", "created_at", "due_at"]
    list_filter = [BehindANumber, "state", "team", "reject_reason", "created_at"]
    list_select_related = ["contact", "team", "owner"]
    search_fields = ["contact__email", "contact__last_name"]
    show_full_result_count = False
    fields = [
        "contact", "state", "headline", "evidence", "score", "team", "owner", "created_at", "due_at", "claimed_at",
        "accepted_at", "ended_at", "reject_reason", "note", "value",
    ]  # fmt: skip

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
