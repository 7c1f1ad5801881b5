"""Brand, topics, templates with their preview, sent mail, and what holds mail back."""

from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from messaging import brake, tokens, utm
from messaging.explaining import why
from messaging.links import host
from messaging.models import Brand, Cap, Message, SegmentZone, SendingPolicy, Template, Topic, UtmRules
from messaging.preview import NotRendered, rendered
from messaging.reason_pages import ledger_page, why_page
from messaging.reasons import sentence
from messaging.template_views import mail_page

COLOURS = {
    "sent": "is-good",
    "ready": "is-info",
    "sending": "is-info",
    "uncertain": "is-warn",
    "skipped": "is-warn",
    "failed": "is-bad",
}


class OneRow(admin.ModelAdmin):
    """A model of one row: its list is its form."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and not self.model.objects.exists()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict | None = None) -> HttpResponse:
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        name = f"admin:messaging_{self.model._meta.model_name}"
        if self.model.objects.exists():
            return HttpResponseRedirect(reverse(f"{name}_change", args=[1]))
        if self.has_add_permission(request):
            return HttpResponseRedirect(reverse(f"{name}_add"))
        return super().changelist_view(request, extra_context)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        obj.pk = 1
        super().save_model(request, obj, form, change)


class CapInline(admin.TabularInline):
    model = Cap
    extra = 0
    fields = ["channel", "topic", "per_day", "per_week", "per_month"]


class SegmentZoneInline(admin.TabularInline):
    model = SegmentZone
    extra = 0
    fields = ["segment", "zone"]


@admin.register(SendingPolicy)
class SendingPolicyAdmin(OneRow):
    inlines = [CapInline, SegmentZoneInline]
    fieldsets = [
        (
            _("Quiet hours"),
            {
                "fields": [
                    ("quiet_from", "quiet_until"),
                    "sundays_are_quiet",
                    "holidays_are_quiet",
                    "max_defer",
                ]
            },
        ),
        (_("How often"), {"fields": [("per_day", "per_week", "per_month")]}),
        (_("After a pause or an outage"), {"fields": ["drain_per_minute"]}),
        (_("What marketing does"), {"fields": ["global_holdout"]}),
    ]


@admin.register(UtmRules)
class UtmRulesAdmin(OneRow):
    fieldsets = [
        (None, {"fields": ["is_active", "example"]}),
        (
            _("What is added"),
            {
                "fields": [*utm.PARAMETERS],
                "description": _(
                    "Texts with placeholders: {journey}, {template}, {topic}, {class}, {language}. An empty one adds "
                    "nothing, and what an author wrote into a link by hand stays."
                ),
            },
        ),
        (_("To which links"), {"fields": ["hosts", "is_everywhere"]}),
    ]
    readonly_fields = ["example"]

    @admin.display(description=_("example"))
    def example(self, rules: UtmRules) -> str:
        """A link as it would leave."""
        brand = Brand.objects.first()
        website = (brand.website if brand else "") or "https://www.example.com"
        names = {"template": "hello", "topic": "newsletter", "class": "marketing"}
        tags = utm.in_language(rules.tags(own={}, names=names, website=website), "en")
        return format_html("<code>{}</code>", utm.of_journey(utm.tag(f"{website}#plans", tags), "trial-onboarding"))


@admin.register(Topic)
class TopicAdmin(admin.ModelAdmin):
    list_display = ["key", "name", "is_opt_in", "is_double_opt_in"]
    prepopulated_fields = {"key": ["name"]}

    def get_readonly_fields(self, request: HttpRequest, obj: Topic | None = None) -> list[str]:
        # Consents know a topic by its key.
        return ["key"] if obj else []

    def get_prepopulated_fields(self, request: HttpRequest, obj: Topic | None = None) -> dict:
        return {} if obj else self.prepopulated_fields


class StateFilter(admin.SimpleListFilter):
    """Fixed choices, so that no query runs to find them."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list:
        return Message.STATES

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(state=self.value()) if self.value() in dict(Message.STATES) else queryset


class ClassFilter(admin.SimpleListFilter):
    title = _("class")
    parameter_name = "class"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list:
        return Template.CLASSES

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(message_class=self.value()) if self.value() in dict(Template.CLASSES) else queryset


@admin.register(Message)
class MessageAdmin(admin.ModelAdmin):
    """Sent mail, and what was not sent: looked at, never edited."""

    list_display = ["when", "who", "what", "journey_key", "state_chip", "why_not"]
    list_display_links = ["when"]
    list_select_related = ["contact", "template"]
    list_filter = [StateFilter, ClassFilter]
    search_fields = ["=key", "=address", "=journey_key", "=template__key", "=contact__email"]
    ordering = ["-pk"]
    list_per_page = 50
    show_full_result_count = False
    change_list_template = "messaging/message_change_list.html"
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Message | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Message | None = None) -> bool:
        return False

    @admin.display(description=_("when"))
    def when(self, message: Message) -> Any:
        return message.sent_at or message.finished_at or message.due_at

    @admin.display(description=_("who"))
    def who(self, message: Message) -> str:
        return str(message.contact)

    @admin.display(description=_("template"))
    def what(self, message: Message) -> str:
        return str(message.template)

    @admin.display(description=_("state"), ordering="state")
    def state_chip(self, message: Message) -> str:
        return format_html(
            '<span class="chip {}">{}</span>', COLOURS.get(message.state, ""), message.get_state_display()
        )

    @admin.display(description=_("reason"))
    def why_not(self, message: Message) -> str:
        return sentence(message.reason) if message.reason else ""

    def get_urls(self) -> list:
        wrap = self.admin_site.admin_view
        return [
            path("ledger/", wrap(partial(ledger_page, self)), name="messaging_message_ledger"),
            path("why/", wrap(partial(why_page, self)), name="messaging_message_why"),
            path("<int:pk>/mail/", wrap(self.mail), name="messaging_message_mail"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict | None = None
    ) -> HttpResponse:
        """The mail as it left, and why it left or did not."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if not object_id.isdecimal() or len(object_id) > 18:
            raise Http404
        message = get_object_or_404(
            Message.objects.select_related("contact", "template__topic", "version"), pk=object_id
        )
        shown, problem = None, ""
        try:
            shown = rendered(message)
        except NotRendered as error:
            problem = str(error)
        wanted = message.contact.language.split("-")[0]
        return render(
            request,
            "messaging/message.html",
            {
                **self.admin_site.each_context(request),
                "title": shown.subject if shown else message.template,
                "opts": self.opts,
                "message": message,
                "colour": COLOURS.get(message.state, ""),
                "reason": sentence(message.reason) if message.reason else "",
                "shown": shown,
                "problem": problem,
                "is_fallback": bool(wanted and message.language and message.language.split("-")[0] != wanted),
                "why": why(message, timezone.now()),
                "message_id": tokens.message_id(tokens.first(), message.pk, host()),
            },
        )

    def mail(self, request: HttpRequest, pk: int) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            return mail_page(rendered(get_object_or_404(Message.objects.select_related("version"), pk=pk)).html)
        except NotRendered:
            raise Http404 from None

    def changelist_view(self, request: HttpRequest, extra_context: dict | None = None) -> HttpResponse:
        if request.method == "GET" and (held := brake.pulled()):
            messages.error(
                request,
                format_html(
                    '{} {} <a href="{}">{}</a>', _("All marketing is held back."), brake.in_words(held),
                    reverse("admin:messaging_brake_changelist"), _("Look at the brake"),
                ),
            )  # fmt: skip
        uncertain = Message.objects.uncertain().aggregate(count=Count("pk"))["count"]
        if uncertain and request.method == "GET" and request.GET.get("state") != "uncertain":
            messages.warning(
                request,
                format_html(
                    '{} <a href="?state=uncertain">{}</a>',
                    _("Some mails may have been sent although nobody knows for sure: %(count)d.")
                    % {"count": uncertain},
                    _("Show them"),
                ),
            )
        return super().changelist_view(request, extra_context)


# The other screens of this app register themselves when they are read.
from messaging import (  # noqa: E402
    brand_admin,  # noqa: F401
    click_admin,  # noqa: F401
    limit_admin,  # noqa: F401
    return_admin,  # noqa: F401
    reusable_admin,  # noqa: F401
    signup_admin,  # noqa: F401
    suppression_admin,  # noqa: F401
    template_admin,  # noqa: F401
)
