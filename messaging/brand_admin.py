"""The screen of the brand."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from messaging.admin import OneRow
from messaging.brand_forms import BrandForm, fieldsets_of, own_fields
from messaging.models import Brand


@admin.register(Brand)
class BrandAdmin(OneRow):
    form = BrandForm
    change_form_template = "messaging/brand_change_form.html"

    def get_form(self, request, obj=None, change=False, **kwargs):
        kwargs["form"] = type(self.form)(self.form.__name__, (self.form,), own_fields(obj))
        return super().get_form(request, obj, change, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Brand | None = None) -> Any:
        return fieldsets_of(obj)
