"""The screen of reusable blocks, in the editor of mails with one part."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from contacts.forms import JSONText
from messaging import blocks, template_views
from messaging.models import ReusableBlock
from messaging.uses import users_of_reusable


class ReusableForm(forms.ModelForm):
    class Meta:
        model = ReusableBlock
        fields = ["name", "key", "language", "body_format", "body", "translations"]
        field_classes = {"translations": JSONText}
        widgets = {
            "name": forms.TextInput(attrs={"class": "vTextField"}),
            "language": forms.TextInput(attrs={"size": 8}),
            **{
                name: forms.Textarea(attrs={"rows": rows, "class": "vLargeTextField", "spellcheck": "false"})
                for name, rows in (("body", 14), ("translations", 6))
            },
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "body" in self.fields:
            self.fields["body"].widget.use_required_attribute = lambda initial: False

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


@admin.register(ReusableBlock)
class ReusableBlockAdmin(admin.ModelAdmin):
    form = ReusableForm
    change_form_template = "messaging/reusable_change_form.html"
    why_empty = _("A reusable block is written once and stands in many mails, such as a signature or an address.")
    list_display = ["title", "key", "languages", "used_by", "updated_at"]
    search_fields = ["key", "name"]
    prepopulated_fields = {"key": ["name"]}
    fieldsets = [
        (None, {"fields": [("name", "key"), "language", "used_by"]}),
        (_("Text"), {"fields": ["body_format", "body"], "classes": ["mail-source"]}),
        (_("Other languages"), {"fields": ["translations"], "classes": ["mail-source"]}),
    ]

    @admin.display(description=_("reusable block"), ordering="name")
    def title(self, one: ReusableBlock) -> str:
        return str(one)

    @admin.display(description=_("languages"))
    def languages(self, one: ReusableBlock) -> str:
        return ", ".join(one.bodies)

    @admin.display(description=_("used by"))
    def used_by(self, one: ReusableBlock) -> str:
        return ", ".join(users_of_reusable(one.key)) if one.key else "–"

    def get_readonly_fields(self, request: HttpRequest, obj: ReusableBlock | None = None) -> list[str]:
        # Templates know it by its key.
        return ["key", "used_by"] if obj else ["used_by"]

    def get_prepopulated_fields(self, request: HttpRequest, obj: ReusableBlock | None = None) -> dict:
        return {} if obj else self.prepopulated_fields

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict | None = None,
    ) -> HttpResponse:
        told = {"editor": template_views.equipment(request), **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, told)

    def save_model(self, request: HttpRequest, obj: ReusableBlock, form: Any, change: bool) -> None:
        obj.updated_at = timezone.now()
        super().save_model(request, obj, form, change)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple:
        # What is named as protected is shown, and neither the page nor the action on many deletes it.
        found = super().get_deleted_objects(objs, request)
        users = [f"{one}: {user}" for one in objs for user in users_of_reusable(one.key)]
        return *found[:3], [*found[3], *users]
