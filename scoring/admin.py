"""Scores and their rules in the admin."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from contacts.rule_widget import RuleField, RuleWidget
from contacts.rulefields import Vocabulary
from contacts.rulerows import why_not_asked
from contacts.rules import RuleError
from scoring import backtest_page
from scoring.forms import SpanField
from scoring.models import ContactScore, GradeMatrix, ScoreEntry, ScoreGroup, ScoreModel, ScoreRule
from scoring.points import check_when
from scoring.recipes import RECIPES, recipe_of
from scoring.rulewords import in_short, use_of_rules
from scoring.whatif_admin import whatif_view


def refuse(error: RuleError) -> forms.ValidationError:
    """A rule's error for a form: the path of what is wrong, and what."""
    return forms.ValidationError(str(error))


class ScoreForm(forms.ModelForm):
    recount = forms.BooleanField(
        required=False,
        label=_("Recount after saving"),
        help_text=_("Everything that ever happened is counted by the new rules, in the next tick."),
    )


class ScoreRuleForm(forms.ModelForm):
    """A rule inside the form of its score, whose kind says what may be asked."""

    class Meta:
        field_classes = {"when": RuleField, "half_life": SpanField}
        widgets = {"when": RuleWidget(has_panel=False)}

    def __init__(self, *args: Any, kind: str, groups: QuerySet[ScoreGroup], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kind = kind
        self.fields["group"].queryset = groups  # type: ignore[attr-defined]

    def clean_when(self) -> Any:
        when = self.cleaned_data["when"]
        try:
            check_when(self.kind, when)
        except RuleError as error:
            raise refuse(error) from None
        return when

    def clean_group(self) -> ScoreGroup | None:
        group = self.cleaned_data["group"]
        if group and self.kind == "fit":
            raise forms.ValidationError(_("A group caps the points of a day; what a rule of fit gives has no day."))
        return group


class ScoreRuleFormSet(forms.BaseInlineFormSet):
    def get_form_kwargs(self, index: int | None) -> dict[str, Any]:
        groups = ScoreGroup.objects.filter(model=self.instance.pk)
        return {**super().get_form_kwargs(index), "kind": self.instance.kind, "groups": groups}


class ScoreRules(admin.StackedInline):
    model = ScoreRule
    form = ScoreRuleForm
    formset = ScoreRuleFormSet
    extra = 0
    fields = [
        ("name", "key", "is_active"),
        "when",
        ("points", "half_life", "cap_per_day", "group"),
        ("gives", "gave"),
    ]
    readonly_fields = ["gives", "gave"]
    # What each rule gave of late, read once for the page; None where that takes too long.
    use: dict[int, tuple[int, float]] | None = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[ScoreRule]:
        # An inline is made for each request.
        number = request.resolver_match.kwargs.get("object_id", "") if request.resolver_match else ""
        if number.isdecimal():
            self.use = use_of_rules(int(number), timezone.now())
        return super().get_queryset(request)

    def get_formset(self, request: HttpRequest, obj: ScoreModel | None = None, **kwargs: Any) -> Any:
        formset = super().get_formset(request, obj, **kwargs)
        # Nothing protects a rule from being deleted, and looking for it would read the rule's whole ledger.
        setattr(formset.form, "hand_clean_DELETE", lambda form: None)  # noqa: B010 - a method of Django's own making
        return formset

    def get_extra(self, request: HttpRequest, obj: ScoreModel | None = None, **kwargs: Any) -> int:
        return 0 if obj else len(recipe_of(request))

    @admin.display(description=_("in words"))
    def gives(self, rule: ScoreRule) -> str:
        return in_short(rule) if rule.pk else "–"

    @admin.display(description=_("in 30 days"))
    def gave(self, rule: ScoreRule) -> str:
        if not rule.pk or self.use is None:
            return "–"
        people, points = self.use.get(rule.pk, (0, 0.0))
        if not people:
            return str(_("nobody yet"))
        told = ngettext("%(people)s person, %(points)s points", "%(people)s people, %(points)s points", people)
        return told % {"people": number_format(people), "points": number_format(points, 0)}


class ScoreGroups(admin.TabularInline):
    model = ScoreGroup
    extra = 0
    fields = ["key", "name", "cap_per_day"]


@admin.register(ScoreModel)
class ScoreModelAdmin(admin.ModelAdmin):
    form = ScoreForm
    list_display = ["key", "name", "kind", "qualify_at", "hysteresis", "asked"]
    fields = ["name", "key", "kind", ("qualify_at", "hysteresis")]
    inlines = [ScoreRules, ScoreGroups]
    actions = ["recount"]
    change_form_template = "scoring/score_change_form.html"
    why_empty = _(
        "A score adds up what people do or who they are, by rules that anybody can read, and says from how many points"
        " on somebody is ready for sales. Every point keeps what it was earned for."
    )

    def get_readonly_fields(self, request: HttpRequest, obj: ScoreModel | None = None) -> list[str]:
        # Rules of one kind make no sense in the other.
        return ["key", "kind"] if obj else []

    def get_queryset(self, request: HttpRequest) -> QuerySet[ScoreModel]:
        return super().get_queryset(request).prefetch_related("rules")

    def get_urls(self) -> list[Any]:
        def weigh(request: HttpRequest) -> HttpResponse:
            return whatif_view(request, self)

        view = self.admin_site.admin_view(require_POST(weigh))
        return [
            path("whatif/", view, name="scoring_scoremodel_whatif"),
            *backtest_page.urls(self.admin_site.admin_view),
            *super().get_urls(),
        ]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        initial: dict[str, Any] = dict(super().get_changeform_initial_data(request))
        return initial | RECIPES.get(str(initial.pop("recipe", "")), RECIPES[""]).score

    def get_formset_kwargs(self, request: HttpRequest, obj: Any, inline: Any, prefix: str) -> dict[str, Any]:
        kwargs = super().get_formset_kwargs(request, obj, inline, prefix)
        if request.method == "GET" and obj.pk is None and inline.model is ScoreRule:
            kwargs["initial"] = recipe_of(request)
        return kwargs

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        score = kwargs.get("obj")
        may = self.has_change_permission(request, score) if score else self.has_add_permission(request)
        if may:
            context["whatif_url"] = reverse("admin:scoring_scoremodel_whatif") + (f"?of={score.pk}" if score else "")
        if score is None:
            context["recipes"] = [(key, recipe.name) for key, recipe in RECIPES.items() if key]
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: ScoreModel, form: Any, change: bool) -> None:
        obj.is_recount_asked |= form.cleaned_data.get("recount", False)
        super().save_model(request, obj, form, change)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """What goes along, in numbers: a score has a line of the ledger for each person and day."""
        scores = [score.pk for score in objs]
        rules = ScoreRule.objects.filter(model__in=scores)
        counts = {
            ScoreModel._meta.verbose_name_plural: len(scores),
            ScoreRule._meta.verbose_name_plural: rules.count(),
            ScoreGroup._meta.verbose_name_plural: ScoreGroup.objects.filter(model__in=scores).count(),
            ContactScore._meta.verbose_name_plural: ContactScore.objects.filter(model__in=scores).count(),
            ScoreEntry._meta.verbose_name_plural: ScoreEntry.objects.filter(rule__in=rules).count(),
        }
        read = GradeMatrix.objects.filter(Q(fit__in=scores) | Q(engagement__in=scores))
        return (
            [str(score) for score in objs],
            counts,
            set(),
            [f"{matrix._meta.verbose_name}: {matrix}" for matrix in read],
        )

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


# The other screens of this app register themselves when they are read.
from scoring import grade_admin, prediction_admin, stage_admin  # noqa: E402, F401
