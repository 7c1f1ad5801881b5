"""The screens of segments: the list, the rule with a look at whom it means, and people put in or out by hand."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext_lazy

from contacts import segments
from contacts.forms import SegmentForm
from contacts.models import MembershipOverride, Segment
from contacts.rule_views import draw_view, look_view, people_view
from contacts.rulefields import Vocabulary
from contacts.rulerows import in_words, why_not_asked
from contacts.rules import RuleError
from contacts.searching import EstimatingPaginator

# Ready-made rules to begin with: key → name, what it is good for, rule.
RECIPES = {
    "active": (
        gettext_lazy("Active lately"),
        gettext_lazy("Everybody who was seen in the last 14 days."),
        {"all": [{"field": "last_seen_at", "op": "within_last", "value": "14d"}]},
    ),
    "new-without-order": (
        gettext_lazy("New, without an order"),
        gettext_lazy("Came in the last 30 days and has not ordered anything yet."),
        {
            "all": [
                {"field": "created_at", "op": "within_last", "value": "30d"},
                {"not": {"did": "order.placed"}},
            ]
        },
    ),
    "sleeping-customers": (
        gettext_lazy("Customers who went quiet"),
        gettext_lazy("Is a customer, and did not look at a single page for 60 days."),
        {
            "all": [
                {"field": "stage", "op": "in", "value": ["customer", "ambassador"]},
                {"not": {"did": "page.viewed", "within": "60d"}},
            ]
        },
    ),
}


class OverrideForm(forms.ModelForm):
    is_member = forms.BooleanField(
        label=pgettext_lazy("member by hand", "Where"),
        required=False,
        initial=True,
        widget=forms.Select(
            choices=[("True", gettext_lazy("in, whatever the rule says")), ("False", gettext_lazy("kept out"))]
        ),
    )


class OverrideInline(admin.TabularInline):
    model = MembershipOverride
    form = OverrideForm
    extra = 0
    autocomplete_fields = ["contact"]
    fields = ["contact", "is_member", "expires_at", "maker"]
    readonly_fields = ["maker"]
    verbose_name_plural = gettext_lazy("People put in or kept out by hand")

    @admin.display(description=gettext_lazy("by"))
    def maker(self, override):
        return override.made_by or "–"


class SegmentList(ChangeList):
    """A page of segments, whose rules are all read with one look at what they may ask."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        names = Vocabulary()
        for segment in self.result_list:
            segment.names = names


@admin.register(Segment)
class SegmentAdmin(admin.ModelAdmin):
    form = SegmentForm
    list_display = ["name", "who", "members", "by_hand"]
    search_fields = ["name", "key"]
    prepopulated_fields = {"key": ["name"]}
    list_per_page = 50
    change_form_template = "contacts/segment_change_form.html"
    change_list_template = "contacts/segment_change_list.html"
    # More than a page of manual members is work for the API and the import.
    most_overrides = 100
    # The list of contacts shows all of them, by segment.
    most_members = 20

    # The list

    def get_queryset(self, request: HttpRequest) -> QuerySet[Segment]:
        now = timezone.now()
        held = ~Q(overrides__expires_at__lte=now)
        return (
            super()
            .get_queryset(request)
            .annotate(
                held_in=Count("overrides", filter=held & Q(overrides__is_member=True)),
                held_out=Count("overrides", filter=held & Q(overrides__is_member=False)),
            )
        )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return SegmentList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        recipes = [{"key": key, "name": name, "about": about} for key, (name, about, _rule) in RECIPES.items()]
        return super().changelist_view(request, {**(extra_context or {}), "recipes": recipes})

    @admin.display(description=gettext_lazy("who belongs here"))
    def who(self, segment: Any) -> str:
        if segment.rule is None:
            return _("Only people put in by hand.")
        return why_not_asked(segment.rule, segment.names) or in_words(segment.rule, segment.names)

    @admin.display(description=gettext_lazy("members"))
    def members(self, segment: Segment) -> str:
        count = EstimatingPaginator(segment.memberships.order_by("pk"), 1).count
        return format_html(
            '<a href="{}?segment={}">{}</a>', reverse("admin:contacts_contact_changelist"), segment.key, f"{count:,}"
        )

    @admin.display(description=gettext_lazy("by hand"))
    def by_hand(self, segment: Any) -> str:
        shown = []
        if segment.held_in:
            shown.append(ngettext("%(count)d in", "%(count)d in", segment.held_in) % {"count": segment.held_in})
        if segment.held_out:
            shown.append(ngettext("%(count)d out", "%(count)d out", segment.held_out) % {"count": segment.held_out})
        return ", ".join(shown) or "–"

    # The page

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        initial: dict[str, Any] = dict(super().get_changeform_initial_data(request))
        key = str(initial.pop("recipe", ""))
        if key in RECIPES:
            name, _about, rule = RECIPES[key]
            initial |= {"name": str(name), "key": key, "rule": rule}
        return initial

    def get_fields(self, request: HttpRequest, obj: Segment | None = None) -> Any:
        return ["name", "key", "rule"]

    def get_readonly_fields(self, request: HttpRequest, obj: Segment | None = None) -> list[str]:
        return ["key"] if obj else []

    def get_prepopulated_fields(self, request: HttpRequest, obj: Segment | None = None) -> Any:
        return {} if obj else {"key": ["name"]}

    def get_inlines(self, request: HttpRequest, obj: Segment | None) -> list[Any]:
        if obj is None or obj.overrides.count() > self.most_overrides:
            return []
        return [OverrideInline]

    def get_urls(self) -> list[Any]:
        views = [("preview", look_view), ("draw", draw_view), ("people", people_view)]
        mine = [
            path(f"{name}/", self.admin_site.admin_view(view), name=f"contacts_segment_{name}") for name, view in views
        ]
        return [*mine, *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        segment = kwargs.get("obj")
        if segment is not None:
            people = segments.members(segment).visible_to(request.user).order_by("-pk")
            counted = EstimatingPaginator(people, self.most_members)
            users = segments.users_of(segment)
            context |= {"members": counted.get_page(request.GET.get("page")), "users": users}
            rule = context["adminform"].form.fields.get("rule")
            if rule is not None:
                rule.widget.users = users
            if segment.rule is not None:
                try:
                    words = in_words(segment.rule, Vocabulary())
                except RuleError as error:
                    context["refusal"] = error.message
                else:
                    # Who may not change the rule reads it.
                    context["words"] = "" if rule is not None else words
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Segment, form: Any, change: bool) -> None:
        if not change:
            super().save_model(request, obj, form, change)
            return
        if "name" in form.changed_data:
            obj.save(update_fields=["name"])
        if "rule" in form.changed_data:
            segments.change_rule(obj, form.cleaned_data["rule"])

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        about = {one.initial.get("contact") for one in formset.forms if one.has_changed()} - {None}
        for override in formset.save(commit=False):
            override.made_by, override.made_at = request.user, timezone.now()
            override.save()
            about.add(override.contact_id)
        for override in formset.deleted_objects:
            override.delete()
        formset.save_m2m()
        segments.ask_about(form.instance, about)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        # Memberships go with their segment; listing a million of them helps nobody.
        users = [f"{segment}: {user}" for segment in objs for user in segments.users_of(segment)]
        return [str(segment) for segment in objs], {}, set(), users
