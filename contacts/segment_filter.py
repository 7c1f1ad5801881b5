"""Choosing people by segment in the list of contacts."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from contacts import segments
from contacts.models import Segment

# A longer list is no list to choose from; a link to the members of any segment still works.
_MOST = 200


class SegmentFilter(admin.SimpleListFilter):
    """The members of one segment, as of the last tick."""

    title = gettext_lazy("segment")
    parameter_name = "segment"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        if not request.user.has_perm("contacts.view_segment"):
            return []
        return list(Segment.objects.order_by("name").values_list("key", "name")[:_MOST])

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if self.value() is None:
            return queryset
        segment = Segment.objects.filter(key=self.value()).first()
        if segment is None or not request.user.has_perm("contacts.view_segment"):
            return queryset.none()
        return queryset.filter(pk__in=segments.members(segment).values("pk"))
