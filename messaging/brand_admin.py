"""The screen of the brand."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from messaging.admin import OneRow
from messaging.brand_forms import BrandForm, fieldsets_of, own_fields
from messaging.models import Brand

# What is kept as JSON, as it is shown to those who may look at it only: they get no inputs that could show it.
_KEPT = ("colours", "fonts", "languages", "tone", "banned_words", "glossary", "legal")


def _in_lines(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name}: {_in_line(one)}" if name else _in_line(one) for name, one in value.items())
    return _in_line(value)


def _in_line(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_in_line(one)}" for name, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _shown(name: str) -> Any:
    field: Any = Brand._meta.get_field(name)

    @admin.display(description=field.verbose_name)
    def shown(model_admin: "BrandAdmin", brand: Brand) -> str:
        return _in_lines(getattr(brand, name)) or "–"

    return shown


@admin.register(Brand)
class BrandAdmin(OneRow):
    form = BrandForm
    change_form_template = "messaging/brand_change_form.html"
    told_colours, told_fonts, told_languages, told_tone = map(_shown, ["colours", "fonts", "languages", "tone"])
    told_banned_words, told_glossary, told_legal = map(_shown, ["banned_words", "glossary", "legal"])

    def get_form(self, request, obj=None, change=False, **kwargs):
        kwargs["form"] = type(self.form)(self.form.__name__, (self.form,), own_fields(obj))
        return super().get_form(request, obj, change, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Brand | None = None) -> Any:
        if obj is not None and not self.has_change_permission(request, obj):
            return [(None, {"fields": [*BrandForm.Meta.fields, *(f"told_{name}" for name in _KEPT)]})]
        return fieldsets_of(obj)
