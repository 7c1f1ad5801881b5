"""The screen of sign-up forms."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from contacts.forms import JSONText
from messaging.models import SignupForm
from messaging.signup_forms import problems


class SignupFormForm(forms.ModelForm):
    class Meta:
        model = SignupForm
        fields = [
            "name", "key", "topics", "fields", "wording", "is_double_opt_in", "thanks_url", "origins", "is_active",
        ]  # fmt: skip
        field_classes = {"fields": JSONText, "wording": JSONText, "origins": JSONText}
        widgets = {
            "name": forms.TextInput(attrs={"class": "vTextField"}),
            "topics": forms.CheckboxSelectMultiple,
            **{
                name: forms.Textarea(attrs={"rows": rows, "class": "vLargeTextField", "spellcheck": "false"})
                for name, rows in (("fields", 2), ("wording", 8), ("origins", 2))
            },
        }

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        told = {"fields": data.get("fields") or [], "wording": data.get("wording") or {},
                "origins": data.get("origins") or []}  # fmt: skip
        data |= {name: value for name, value in told.items() if name in data}
        for name, sentence in problems(**told).items():
            if name in self.fields and name not in self.errors:
                self.add_error(name, sentence)
        return data


@admin.register(SignupForm)
class SignupFormAdmin(admin.ModelAdmin):
    form = SignupFormForm
    why_empty = _(
        "A sign-up form lets people ask for your topics on a page of ours or within your own site, and proves what "
        "they agreed to."
    )
    list_display = ["title", "about", "is_double_opt_in", "is_active", "page"]
    prepopulated_fields = {"key": ["name"]}
    fieldsets = [
        (None, {"fields": [("name", "key"), "topics", "is_double_opt_in", "is_active"]}),
        (_("What it says and asks"), {"fields": ["wording", "fields"]}),
        (_("Where it stands"), {"fields": ["origins", "thanks_url"]}),
    ]

    @admin.display(description=_("form"))
    def title(self, form: SignupForm) -> str:
        return str(form)

    @admin.display(description=_("topics"))
    def about(self, form: SignupForm) -> str:
        return ", ".join(str(topic) for topic in form.topics.all())

    @admin.display(description=_("page"))
    def page(self, form: SignupForm) -> str:
        url = reverse("signup-form", args=[form.key])
        return format_html('<a class="button is-small" href="{}">{}</a>', url, _("Look"))

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("topics")

    def get_readonly_fields(self, request: HttpRequest, obj: SignupForm | None = None) -> list[str]:
        # Pages that embed it know a form by its key.
        return ["key"] if obj else []

    def get_prepopulated_fields(self, request: HttpRequest, obj: SignupForm | None = None) -> dict:
        return {} if obj else self.prepopulated_fields
