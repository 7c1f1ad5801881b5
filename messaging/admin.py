"""Brand, topics, templates with their preview, sent mail, and what holds mail back."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from contacts.models import Contact
from messaging import tokens
from messaging.gates import why
from messaging.links import host
from messaging.models import Brand, Message, SendingPolicy, Suppression, Template, Topic
from messaging.preview import NotRendered, rendered, sample
from messaging.reasons import sentence
from messaging.uses import users_of

COLOURS = {
    "sent": "is-good",
    "ready": "is-info",
    "sending": "is-info",
    "uncertain": "is-warn",
    "skipped": "is-warn",
    "failed": "is-bad",
}


def mail_page(html: str) -> HttpResponse:
    """A mail for an iframe: it may show pictures and colours, and neither run scripts nor reach the page around it."""
    response = HttpResponse(html)
    response["Content-Security-Policy"] = (
        "sandbox; default-src 'none'; img-src https: http: data:; style-src 'unsafe-inline'; form-action 'none'; "
        "base-uri 'none'; frame-ancestors 'self'"
    )
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "no-referrer"
    return response


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


@admin.register(Brand)
class BrandAdmin(OneRow):
    fieldsets = [
        (None, {"fields": ["name", "sender", "reply_to", "postal_address", "website"]}),
        (_("Look"), {"fields": ["logo_url", "colours"]}),
        (_("Words"), {"fields": ["banned_words", "legal"]}),
    ]


@admin.register(SendingPolicy)
class SendingPolicyAdmin(OneRow):
    fieldsets = [
        (_("Quiet hours"), {"fields": [("quiet_from", "quiet_until"), "max_defer"]}),
        (_("How often"), {"fields": [("per_day", "per_week", "per_month")]}),
        (_("What marketing does"), {"fields": ["global_holdout"]}),
    ]


@admin.register(Topic)
class TopicAdmin(admin.ModelAdmin):
    list_display = ["key", "name", "is_opt_in", "is_double_opt_in"]
    prepopulated_fields = {"key": ["name"]}

    def get_readonly_fields(self, request: HttpRequest, obj: Topic | None = None) -> list[str]:
        # Consents know a topic by its key.
        return ["key"] if obj else []

    def get_prepopulated_fields(self, request: HttpRequest, obj: Topic | None = None) -> dict:
        return {} if obj else self.prepopulated_fields


@admin.register(Template)
class TemplateAdmin(admin.ModelAdmin):
    list_display = ["title", "key", "channel", "message_class", "topic", "languages", "updated_at", "look"]
    list_filter = ["channel", "message_class"]
    list_select_related = ["topic"]
    search_fields = ["key", "name", "subject"]
    prepopulated_fields = {"key": ["name"]}
    fieldsets = [
        (None, {"fields": [("name", "key"), ("channel", "message_class", "topic"), "is_repeatable"]}),
        (_("Text"), {"fields": ["language", "subject", "preheader", "body_format", "body"]}),
        (_("Other languages"), {"fields": ["translations"]}),
    ]

    @admin.display(description=_("template"), ordering="name")
    def title(self, template: Template) -> str:
        return str(template)

    @admin.display(description=_("languages"))
    def languages(self, template: Template) -> str:
        return ", ".join(template.variants)

    @admin.display(description=_("preview"))
    def look(self, template: Template) -> str:
        url = reverse("admin:messaging_template_preview", args=[template.pk])
        return format_html('<a class="button is-small" href="{}">{}</a>', url, _("Preview"))

    def get_readonly_fields(self, request: HttpRequest, obj: Template | None = None) -> list[str]:
        # Journeys know a template by its key.
        return ["key"] if obj else []

    def get_prepopulated_fields(self, request: HttpRequest, obj: Template | None = None) -> dict:
        return {} if obj else self.prepopulated_fields

    def get_urls(self) -> list:
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/preview/", wrap(self.preview), name="messaging_template_preview"),
            path("<int:pk>/preview/mail/", wrap(self.preview_mail), name="messaging_template_preview_mail"),
            *super().get_urls(),
        ]

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple:
        # What is named as protected is shown, and neither the page nor the action on many deletes it.
        found = super().get_deleted_objects(objs, request)
        users = [f"{template}: {user}" for template in objs for user in users_of(template)]
        return *found[:3], [*found[3], *users]

    def save_model(self, request: HttpRequest, obj: Template, form: Any, change: bool) -> None:
        obj.updated_at = timezone.now()
        super().save_model(request, obj, form, change)
        brand = Brand.objects.first()
        for problem in obj.problems(brand.banned_words if brand else ()):
            messages.warning(request, f"{problem.field}: {problem.sentence}")

    def _asked(self, request: HttpRequest, pk: int) -> tuple[Template, Contact | None, str]:
        """The template, the contact it is shown as, and the language asked for."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        template = get_object_or_404(Template.objects.select_related("topic"), pk=pk)
        contact = None
        if number := request.GET.get("contact", ""):
            people = Contact.objects.visible_to(request.user).living().select_related("company")
            wanted = (
                {"pk": int(number)} if number.isdecimal() and len(number) < 19 else {"email": number.strip().lower()}
            )
            contact = people.filter(**wanted).first()
            if contact is None:
                raise Http404
        return template, contact, request.GET.get("language", "")

    def preview(self, request: HttpRequest, pk: int) -> HttpResponse:
        missing = ""
        try:
            template, contact, language = self._asked(request, pk)
        except Http404:
            if not request.GET.get("contact"):
                raise
            template, contact, language = get_object_or_404(Template, pk=pk), None, request.GET.get("language", "")
            missing = gettext("There is no such contact.")
        shown, problem = None, missing
        try:
            shown = sample(template=template, contact=contact, language=language, now=timezone.now())
        except NotRendered as error:
            problem = str(error)
        return render(
            request,
            "messaging/preview.html",
            {
                **self.admin_site.each_context(request),
                "title": template,
                "template": template,
                "opts": self.opts,
                "contact": contact,
                "shown": shown,
                "problem": problem,
                "languages": list(template.variants),
                "language": language,
            },
        )

    def preview_mail(self, request: HttpRequest, pk: int) -> HttpResponse:
        template, contact, language = self._asked(request, pk)
        try:
            return mail_page(sample(template=template, contact=contact, language=language, now=timezone.now()).html)
        except NotRendered:
            raise Http404 from None


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
        return [path("<int:pk>/mail/", wrap(self.mail), name="messaging_message_mail"), *super().get_urls()]

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


class SuppressionReason(admin.SimpleListFilter):
    title = _("reason")
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list:
        return Suppression.REASONS

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(reason=self.value()) if self.value() in dict(Suppression.REASONS) else queryset


@admin.register(Suppression)
class SuppressionAdmin(admin.ModelAdmin):
    list_display = ["address", "reason", "suppressed_at", "detail"]
    list_filter = [SuppressionReason]
    search_fields = ["address"]
    ordering = ["-suppressed_at", "-pk"]
    fields = ["address", "reason", "detail"]
    show_full_result_count = False


# The other screens of this app register themselves when they are read.
from messaging import limit_admin, signup_admin  # noqa: E402, F401
