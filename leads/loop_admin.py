"""The lists of leads that the closed-loop report leads to."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from leads.loop import behind
from leads.models import Lead


class BehindANumber(admin.SimpleListFilter):
    """The leads behind a number of the report; shown only when one came from there."""

    title = _("closed loop")
    parameter_name = "loop"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, Any]]:
        asked = request.GET.get(self.parameter_name)
        return [(asked, _("those of the number"))] if asked else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Lead]) -> QuerySet[Lead]:
        if not (asked := self.value()):
            return queryset
        try:
            return queryset.filter(pk__in=behind(asked))
        except ValueError as error:
            raise IncorrectLookupParameters(str(error)) from None
