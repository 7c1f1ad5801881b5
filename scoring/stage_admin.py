"""Stages in the admin: their rules, the ledger of moves, how long they take, and a stage set by hand."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from contacts.durations import format_duration, parse_duration
from contacts.models import Contact
from contacts.rule_widget import RuleField, RuleWidget
from contacts.rulefields import Vocabulary
from contacts.rulerows import in_words, why_not_asked
from contacts.stages import STAGES
from scoring import velocity_pages
from scoring.models import StageChange, StageRule
from scoring.models.stages import LEAVES_TO
from scoring.phases import NAMES
from scoring.stages import LONGEST_REASON, because, problems_of, request_stage


class SpanField(forms.DurationField):
    """A span of time as people write it, such as 14d; Django's own way is read too."""

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str | None) else format_duration(value)

    def to_python(self, value: Any) -> Any:
        try:
            return parse_duration(value)
        except ValueError:
            return super().to_python(value)


class StageRuleForm(forms.ModelForm):
    class Meta:
        field_classes = {
            "rule": RuleField, "leave_rule": RuleField, "phase_rule": RuleField, "cold_after": SpanField,
            "sla": SpanField,
        }  # fmt: skip
        widgets = {
            "rule": RuleWidget,
            "leave_rule": RuleWidget(has_panel=False),
            "phase_rule": RuleWidget(has_panel=False),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "leave_to" in self.fields:
            ends = {end for some in LEAVES_TO.values() for end in some}
            self.fields["leave_to"].choices = [("", "–"), *(pair for pair in STAGES if pair[0] in ends)]  # type: ignore[attr-defined]

    def clean(self) -> Any:
        data = super().clean() or self.cleaned_data
        if not self.errors:
            told = {name: data[name] for name in data if name in {field.name for field in StageRule._meta.fields}}
            stage = told.pop("stage", self.instance.stage)
            for field, sentence in problems_of(StageRule(stage=stage, **told)).items():
                self.add_error(field, sentence)
        return data


@admin.register(StageRule)
class StageRuleAdmin(admin.ModelAdmin):
    form = StageRuleForm
    list_display = ["stage", "who", "who_leaves", "stays", "read_as"]
    fieldsets = [
        (None, {"fields": ["stage", "rule"]}),
        (gettext_lazy("The way down"), {"fields": ["leave_rule", "cold_after", "leave_to"]}),
        (gettext_lazy("Time"), {"fields": ["sla"]}),
        (gettext_lazy("In reports"), {"fields": ["phase", "phase_rule"]}),
    ]

    @admin.display(description=gettext_lazy("who enters"))
    def who(self, stage: StageRule) -> str:
        return _said(stage.rule)

    @admin.display(description=gettext_lazy("who leaves"))
    def who_leaves(self, stage: StageRule) -> str:
        if not stage.leave_to:
            return "–"
        # The words of a rule are markup.
        ways = [] if stage.leave_rule is None else [(_said(stage.leave_rule),)]
        if stage.cold_after:
            ways.append((_("under the line for %(span)s") % {"span": format_duration(stage.cold_after)},))
        return format_html(
            "{}: {}", _("to %(to)s") % {"to": stage.get_leave_to_display()}, format_html_join(" · ", "{}", ways)
        )

    @admin.display(description=gettext_lazy("stays at most"), empty_value="–")
    def stays(self, stage: StageRule) -> str | None:
        return format_duration(stage.sla) if stage.sla else None

    @admin.display(description=gettext_lazy("phase"))
    def read_as(self, stage: StageRule) -> str:
        return str(NAMES[stage.phase_now])


def _said(rule: Any) -> str:
    if rule is None:
        return "–"
    names = Vocabulary()
    return why_not_asked(rule, names) or in_words(rule, names)


class StageForm(forms.Form):
    """A stage set by hand, and why."""

    to = forms.ChoiceField(
        label=gettext_lazy("Stage"), choices=[("", "–"), *(pair for pair in STAGES if pair[0] != "visitor")]
    )
    reason = forms.CharField(
        label=gettext_lazy("Why"), max_length=LONGEST_REASON, widget=forms.Textarea(attrs={"rows": 3}),
        help_text=gettext_lazy("It stands in the history of the contact, with your name."),
    )  # fmt: skip


@admin.register(StageChange)
class StageChangeAdmin(admin.ModelAdmin):
    """History: looked at, never edited."""

    list_display = ["changed_at", "contact", "from_stage", "to_stage", "why"]
    list_display_links = None
    list_select_related = ["contact"]
    list_filter = ["to_stage", "is_by_hand"]
    fields = ["contact", "from_stage", "to_stage", "why", "changed_at", "is_by_hand", "overdue_at"]
    readonly_fields = ["why"]
    ordering = ["-pk"]
    show_full_result_count = False

    @admin.display(description=gettext_lazy("reason"))
    def why(self, change: StageChange) -> str:
        return because(change.reason)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: StageChange | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: StageChange | None = None) -> bool:
        return False

    def get_urls(self) -> list:
        pages = {"velocity": velocity_pages.velocity_page, "people": velocity_pages.people_page}
        own = [
            path(f"{name}/", self.admin_site.admin_view(page), name=f"scoring_stagechange_{name}")
            for name, page in pages.items()
        ]
        by_hand = self.admin_site.admin_view(set_stage)
        return [*own, path("set/", by_hand, name="scoring_stagechange_set"), *super().get_urls()]


def set_stage(request: HttpRequest) -> HttpResponse:
    """Asks the tick to move one `contact`; the form says to which stage, and why."""
    if not request.user.has_perm("scoring.request_stage"):
        raise PermissionDenied
    told = request.GET.get("contact", "")
    number = int(told) if told.isascii() and told.isdecimal() and len(told) < 19 else 0
    contact = Contact.objects.living().visible_to(request.user).filter(pk=number).first()
    if contact is None:
        raise Http404
    form = StageForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            request_stage(contact=contact, by=request.user, now=timezone.now(), **form.cleaned_data)
        except ValueError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, _("The stage changes in a moment."))
            return HttpResponseRedirect(reverse("admin:contacts_contact_change", args=[contact.pk]))
    context = {
        **admin.site.each_context(request),
        "opts": Contact._meta,
        "title": _("Change the stage of %(name)s") % {"name": contact.name},
        "contact": contact,
        "form": form,
        "history": [
            (change, because(change.reason)) for change in contact.stage_changes.order_by("-changed_at", "-pk")[:20]
        ],
    }
    return TemplateResponse(request, "scoring/set_stage.html", context)
