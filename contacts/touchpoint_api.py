"""REST: the stream, as a list and as the gap-free feed of changes."""

from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django_filters import rest_framework as filters
from drf_spectacular.helpers import forced_singular_serializer
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.response import Response

from contacts.models import Contact, Touchpoint
from contacts.parameters import IdFilter
from contacts.rest import Keyset, Resource
from contacts.stream import head

_VALUES = ("id", "contact_id", "kind", "channel", "occurred_at", "received_at", "source", "properties", "is_machine")


class TouchpointSerializer(serializers.ModelSerializer):
    class Meta:
        model = Touchpoint
        fields = [
            "id", "contact", "kind", "channel", "occurred_at", "received_at", "source", "properties", "is_machine",
        ]  # fmt: skip
        read_only_fields = fields


class ChangesSerializer(serializers.Serializer):
    """A page of the feed."""

    results = TouchpointSerializer(many=True)
    last = serializers.IntegerField(help_text="go on behind this one")
    has_more = serializers.BooleanField()
    head = serializers.IntegerField(help_text="the newest of all")


class TouchpointFilters(filters.FilterSet):
    contact = IdFilter(field_name="contact_id")
    kind = filters.CharFilter()
    occurred_after = filters.IsoDateTimeFilter(field_name="occurred_at", lookup_expr="gt")
    occurred_before = filters.IsoDateTimeFilter(field_name="occurred_at", lookup_expr="lt")

    class Meta:
        model = Touchpoint
        fields: list[str] = []


class TouchpointRows(Resource):
    """What both resources share: only the touchpoints of contacts that this user may see."""

    serializer_class = TouchpointSerializer
    queryset = Touchpoint.objects.none()

    def get_queryset(self):
        user = self.request.user
        if user.is_active and user.has_perm("contacts.view_contact"):
            return Touchpoint.objects.all()
        return Touchpoint.objects.filter(contact__in=Contact.objects.visible_to(user).values("pk"))


class Touchpoints(TouchpointRows):
    """What happened: history, never edited."""

    needs = {"list": "read", "retrieve": "read"}
    orderings = {"id": ("id",), "-id": ("-id",), "-occurred_at": ("-occurred_at", "-id")}
    filterset_class = TouchpointFilters
    lookup_value_regex = "[0-9]{1,18}"

    def list(self, request):
        rows = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.paginator.get_paginated_response(represent(rows))

    def retrieve(self, request, pk):
        return Response(represent([self.get_object()])[0])


class Changes(TouchpointRows):
    """The feed of changes: touchpoints behind `after`, in their order. One writer gives out the ids: no gap, no loss.

    Begin with `after=0`, or with the `head` of a first answer; go on with `last`. Where `has_more` is false, ask again
    later with the same `last`. As application/x-ndjson all come up to now, a line each; go on with the id of the last.
    """

    needs = {"list": "read"}
    parameters = {"list": ("after", "kinds")}
    streams = ("list",)

    @extend_schema(
        parameters=[
            OpenApiParameter("after", int, required=True),
            OpenApiParameter("kinds", str),
            OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": Keyset.max_limit}),
        ],
        responses=forced_singular_serializer(ChangesSerializer),
        filters=False,
    )
    def list(self, request):
        text = request.query_params.get("after", "0")
        if not (text.isascii() and text.isdecimal() and len(text) <= 18):
            raise ValidationError({"after": _("This must be the id of a touchpoint, or 0.")})
        for name in ("cursor", "ordering"):
            if name in request.query_params:
                raise ValidationError({name: _("There is no such query parameter.")})
        newest = head()
        _refuse_forgotten(int(text))
        rows = kinds_of(request, self.get_queryset().filter(id__gt=int(text), id__lte=newest)).order_by("id")
        if self.wants_lines():
            return self.stream(map(represent, self.paginator.walk(rows, request, self)))
        limit = Keyset.limit_of(request)
        found = list(rows[: limit + 1])
        has_more = len(found) > limit
        found = found[:limit]
        # Kinds that were not asked for are passed over for good.
        last = found[-1].pk if has_more else max(newest, int(text))
        return Response({"results": represent(found), "last": last, "has_more": has_more, "head": newest})


class Gone(APIException):
    status_code = 410
    default_code = "gone"


def _refuse_forgotten(after: int) -> None:
    """Raises Gone for a reader who is so far behind that what came next may not be kept any more."""
    oldest = Touchpoint.objects.order_by("id").values_list("id", flat=True).first() or 0
    if 0 < after < oldest - 1:
        message = _("What came next is not kept any more. Read the contacts anew, and go on with after=%(after)d.")
        raise Gone(message % {"after": oldest - 1})


def kinds_of(request, touchpoints: QuerySet) -> QuerySet:
    """Only the kinds of the parameter `kinds`, if it is there: names separated by commas."""
    kinds = [kind.strip() for kind in request.query_params.get("kinds", "").split(",") if kind.strip()]
    return touchpoints.filter(kind__in=kinds) if kinds else touchpoints


def represent(touchpoints: list[Touchpoint]) -> list[dict[str, Any]]:
    return [
        {"contact" if name == "contact_id" else name: getattr(one, name) for name in _VALUES} for one in touchpoints
    ]
