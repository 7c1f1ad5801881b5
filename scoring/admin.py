"""Scores, stage rules and the ledger of stages in the admin."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from contacts.rule_widget import RuleField, RuleWidget
from contacts.rulefields import Vocabulary
from contacts.rulerows import in_words, why_not_asked
from contacts.rules import RuleError
from scoring import backtest_page
from scoring.models import ScoreModel, ScoreRule, StageChange, StageRule
from scoring.points import check_when


def refuse(error: RuleError) -> forms.ValidationError:
    """A rule's error for a form: the path of what is wrong, and what."""
    return forms.ValidationError(str(error))


class ScoreRuleForm(forms.ModelForm):
    """A rule inside the form of its score, whose kind says what may be asked."""

    class Meta:
        field_classes = {"when": RuleField}
        widgets = {"when": RuleWidget(has_panel=False)}

    def __init__(self, *args: Any, kind: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kind = kind

    def clean_when(self) -> Any:
        when = self.cleaned_data["when"]
        try:
            check_when(self.kind, when)
        except RuleError as error:
            raise refuse(error) from None
        return when


class ScoreRuleFormSet(forms.BaseInlineFormSet):
    def get_form_kwargs(self, index: int | None) -> dict[str, Any]:
        return {**super().get_form_kwargs(index), "kind": self.instance.kind}


class ScoreRules(admin.StackedInline):
    model = ScoreRule
    form = ScoreRuleForm
    formset = ScoreRuleFormSet
    extra = 0
    fields = [("key", "name", "is_active"), "when", ("points", "half_life", "cap_per_day")]


@admin.register(ScoreModel)
class ScoreModelAdmin(admin.ModelAdmin):
    list_display = ["key", "name", "kind", "qualify_at", "hysteresis", "asked"]
    inlines = [ScoreRules]
    actions = ["recount"]

    def get_urls(self) -> list:
        return [*backtest_page.urls(self.admin_site.admin_view), *super().get_urls()]

    def get_readonly_fields(self, request: HttpRequest, obj: ScoreModel | None = None) -> list[str]:
        # Rules of one kind make no sense in the other.
        return ["key", "kind"] if obj else []

    def get_queryset(self, request: HttpRequest) -> QuerySet[ScoreModel]:
        return super().get_queryset(request).prefetch_related("rules")

    @admin.display(description=_("rules"))
    def asked(self, score: ScoreModel) -> str:
        """How many rules are asked, and a red mark with the reason for each that cannot be."""
        names, rules = Vocabulary(), [rule for rule in score.rules.all() if rule.is_active]
        marks = [(rule, mark) for rule in rules if (mark := why_not_asked(rule.when, names))]
        if not marks:
            return str(len(rules))
        return format_html_join(mark_safe("<br>"), "{}: {}", marks)

    @admin.action(description=_("Recount from all touchpoints"), permissions=["change"])
    def recount(self, request: HttpRequest, queryset: QuerySet[ScoreModel]) -> None:
        """Leaves the work to the next tick: only it writes scores."""
        count = queryset.update(is_recount_asked=True)
        told = ngettext(
            "%(count)d score will be recounted in a moment.", "%(count)d scores will be recounted in a moment.", count
        )
        messages.success(request, told % {"count": count})


class StageRuleForm(forms.ModelForm):
    class Meta:
        field_classes = {"rule": RuleField}
        widgets = {"rule": RuleWidget}


@admin.register(StageRule)
class StageRuleAdmin(admin.ModelAdmin):
    form = StageRuleForm
    list_display = ["stage", "who"]

    @admin.display(description=_("rule"))
    def who(self, stage: StageRule) -> str:
        names = Vocabulary()
        return why_not_asked(stage.rule, names) or in_words(stage.rule, names)


@admin.register(StageChange)
class StageChangeAdmin(admin.ModelAdmin):
    """History: looked at, never edited."""

    list_display = ["changed_at", "contact", "from_stage", "to_stage", "reason"]
    list_display_links = None
    list_select_related = ["contact"]
    list_filter = ["to_stage"]
    fields = ["contact", "from_stage", "to_stage", "reason", "changed_at"]
    ordering = ["-pk"]
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: StageChange | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: StageChange | None = None) -> bool:
        return False


from scoring import prediction_admin  # noqa: E402, F401  registers its page
