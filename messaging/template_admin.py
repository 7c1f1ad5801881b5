"""The screen of templates: the editor over the form, the preview of what is saved, and test sends."""

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from contacts.forms import JSONText
from contacts.models import Contact
from messaging import blocks, template_views, trials
from messaging.linting import problems_of
from messaging.models import Template
from messaging.preview import NotRendered, sample
from messaging.sms_counter import counter
from messaging.template_views import mail_page
from messaging.uses import users_of


class TemplateForm(forms.ModelForm):
    """All that a template says, as plain fields; the editor stands before those of the text."""

    class Meta:
        model = Template
        fields = [
            "name", "key", "channel", "message_class", "topic", "is_repeatable", "quiet_hours", "holdout", "language",
            "subject", "preheader", "body_format", "body", "translations", "utm",
        ]  # fmt: skip
        field_classes = {"translations": JSONText, "utm": JSONText}
        widgets = {
            **{name: forms.TextInput(attrs={"class": "vTextField"}) for name in ("name", "subject", "preheader")},
            "language": forms.TextInput(attrs={"size": 8}),
            "body": forms.Textarea(attrs={"rows": 20, "class": "vLargeTextField", "spellcheck": "false"}),
            "translations": forms.Textarea(attrs={"rows": 8, "class": "vLargeTextField", "spellcheck": "false"}),
            "utm": forms.Textarea(attrs={"rows": 2, "class": "vLargeTextField", "spellcheck": "false"}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The editor hides these fields, and a browser says nothing where it cannot show the field it complains of.
        for name in ("subject", "body"):
            if name in self.fields:
                self.fields[name].widget.use_required_attribute = lambda initial: False

    def clean_utm(self) -> dict[str, Any]:
        return self.cleaned_data["utm"] or {}

    def clean_translations(self) -> dict[str, Any]:
        return self.cleaned_data["translations"] or {}

    def clean(self) -> dict[str, Any]:
        """Blocks are kept in their one form, however they were written."""
        told = super().clean() or {}
        if told.get("body_format") == "blocks":
            told["body"] = blocks.tidied(told.get("body") or "")
            translations = told.get("translations")
            for variant in translations.values() if isinstance(translations, dict) else ():
                if isinstance(variant, dict) and isinstance(variant.get("body"), str) and variant["body"]:
                    variant["body"] = blocks.tidied(variant["body"])
        return told


@admin.register(Template)
class TemplateAdmin(admin.ModelAdmin):
    form = TemplateForm
    change_form_template = "messaging/template_change_form.html"
    list_display = ["title", "key", "channel", "message_class", "topic", "languages", "updated_at", "look", "clicked"]
    list_filter = ["channel", "message_class"]
    list_select_related = ["topic"]
    search_fields = ["key", "name", "subject"]
    prepopulated_fields = {"key": ["name"]}
    fieldsets = [
        (None, {"fields": [("name", "key"), ("channel", "message_class", "topic"), ("language", "is_repeatable")]}),
        (_("Text"), {"fields": ["subject", "preheader", "body_format", "body"], "classes": ["mail-source"]}),
        (_("Other languages"), {"fields": ["translations"], "classes": ["mail-source"]}),
        (_("When and to whom"), {"fields": [("quiet_hours", "holdout")], "classes": ["collapse"]}),
        (_("Links"), {"fields": ["utm"], "classes": ["collapse"]}),
    ]

    class Media:
        js = ["messaging/sms.js"]

    def count(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        return counter(request)

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

    @admin.display(description=_("clicks"))
    def clicked(self, template: Template) -> str:
        url = f"{reverse('admin:messaging_hit_report')}?{urlencode({'template': template.key})}"
        return format_html('<a class="button is-small" href="{}">{}</a>', url, _("Who clicked what"))

    def get_readonly_fields(self, request: HttpRequest, obj: Template | None = None) -> list[str]:
        # Journeys know a template by its key.
        return ["key"] if obj else []

    def get_prepopulated_fields(self, request: HttpRequest, obj: Template | None = None) -> dict:
        return {} if obj else self.prepopulated_fields

    def get_urls(self) -> list:
        wrap = self.admin_site.admin_view
        return [
            path("count/", wrap(self.count), name="messaging_template_count"),
            path("draw/", wrap(template_views.draw), name="messaging_template_draw"),
            path("draw/mail/", wrap(template_views.draw_mail), name="messaging_template_draw_mail"),
            path("people/", wrap(template_views.people), name="messaging_template_people"),
            path("try/", wrap(template_views.try_out), name="messaging_template_try"),
            path("tries/", wrap(template_views.tries), name="messaging_template_tries"),
            path("<int:pk>/preview/", wrap(self.preview), name="messaging_template_preview"),
            path("<int:pk>/preview/mail/", wrap(self.preview_mail), name="messaging_template_preview_mail"),
            *super().get_urls(),
        ]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict | None = None,
    ) -> HttpResponse:
        told = {"editor": template_views.equipment(request), "is_mail": True, **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, told)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple:
        # What is named as protected is shown, and neither the page nor the action on many deletes it.
        found = super().get_deleted_objects(objs, request)
        users = [f"{template}: {user}" for template in objs for user in users_of(template)]
        return *found[:3], [*found[3], *users]

    def save_model(self, request: HttpRequest, obj: Template, form: Any, change: bool) -> None:
        obj.updated_at = timezone.now()
        super().save_model(request, obj, form, change)
        for problem in problems_of(obj):
            say = messages.error if problem.severity == "error" else messages.warning
            say(request, f"{problem.field}: {problem.sentence}")

    # What is saved, looked at without script

    def _asked(self, request: HttpRequest, pk: int) -> tuple[Template, Contact | None, str]:
        """The template, the contact it is shown as, and the language asked for."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        template = get_object_or_404(Template.objects.select_related("topic"), pk=pk)
        contact = None
        if number := request.GET.get("contact", ""):
            contact = template_views.person(request, number)
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
                "most_addresses": trials.MOST_ADDRESSES,
                "tests": trials.latest(by=request.user, template=template.pk),
            },
        )

    def preview_mail(self, request: HttpRequest, pk: int) -> HttpResponse:
        template, contact, language = self._asked(request, pk)
        try:
            return mail_page(sample(template=template, contact=contact, language=language, now=timezone.now()).html)
        except NotRendered:
            raise Http404 from None
