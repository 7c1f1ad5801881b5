"""REST: why, or why not, of one contact."""

from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.response import Response

from contacts import explaining
from contacts.moments import as_of

NEEDS = {"explain": "read"}
# What the apps above let explain besides segments; the answers are theirs.
_KINDS = ("segment", "score", "grade", "journey", "message")
PARAMETERS = {"explain": (*_KINDS, "at")}


class ExplainedSerializer(serializers.Serializer):
    """What every answer has; the rest is of what was asked: conditions with evidence, points, steps, gates."""

    contact = serializers.IntegerField()
    name = serializers.CharField()


class ExplainActions:
    """The action `explain`, beside the others of a contact."""

    @extend_schema(
        responses=ExplainedSerializer,
        filters=False,
        parameters=[
            *(OpenApiParameter(kind, str, description="its key; exactly one of these is asked") for kind in _KINDS),
            OpenApiParameter("at", str, description="as of this instant or the end of this day, such as -14d"),
        ],
    )
    @action(detail=True, pagination_class=None)
    def explain(self, request, pk):
        """Why this person is in a segment, has a score, is on a journey or got a message, or why not."""
        asked = [(kind, key) for kind, key in request.query_params.items() if key and kind != "at"]
        if len(asked) != 1:
            raise ValidationError(
                {"segment": _("Name exactly one of these, by its key: %(kinds)s.") % {"kinds": ", ".join(_KINDS)}}
            )
        [(kind, key)] = asked
        if not request.user.has_perm(explaining.permission_for(kind)):
            raise PermissionDenied
        contact = self.get_object()  # type: ignore[attr-defined]
        try:
            at = as_of(request.query_params.get("at", ""), timezone.now())
        except ValueError as error:
            raise ValidationError({"at": str(error)}) from None
        try:
            return Response(explaining.explain(kind, key, contact, at))
        except explaining.NothingThere as error:
            raise ValidationError({kind: str(error)}) from None
