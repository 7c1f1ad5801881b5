"""REST: all that is held about a person, the proof of what they allowed, and what they asked us to refrain from."""

from django.db import transaction
from django.http import HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.response import Response

from contacts import tokens
from contacts.consent import KEEP, proof, set_limits
from contacts.consent_export import as_csv
from contacts.person_export import everything_about
from contacts.rest import MomentField, StrictSerializer

NEEDS = {
    "person": "admin contacts.export_person",
    "proof": "read contacts.view_consentchange",
    "limits": "sync contacts.change_contact",
}
PARAMETERS = {"proof": ("as",)}


class ProofSerializer(serializers.Serializer):
    """One word of a person: what they said, when, where, and to which words."""

    topic = serializers.CharField(allow_blank=True, help_text="empty: all of the channel")
    channel = serializers.CharField()
    state = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]
    wording = serializers.CharField(allow_blank=True, help_text="the words themselves")
    wording_sha256 = serializers.CharField(allow_blank=True, help_text="their SHA-256")
    actor = serializers.CharField(allow_blank=True)
    ip = serializers.IPAddressField(source="ip_address", allow_null=True)
    user_agent = serializers.CharField(allow_blank=True)
    changed_at = serializers.DateTimeField()


class LimitsSerializer(StrictSerializer, serializers.Serializer):
    paused_until = MomentField(required=False, allow_null=True)
    most_per_week = serializers.IntegerField(required=False, allow_null=True, min_value=1, max_value=100)
    allow_raise = serializers.BooleanField(
        required=False, default=False, write_only=True,
        help_text="to end a pause or lift a limit; needs the scope admin",
    )  # fmt: skip


def demand_right_to_raise(request) -> None:
    """Who asks that more be allowed than a person said to us needs the scope and the right. Raises PermissionDenied."""
    if not tokens.allows(request.auth, "admin"):
        raise PermissionDenied(_("Raising consent needs a token with the scope “admin”."))
    if not request.user.has_perm("contacts.raise_consent"):
        raise PermissionDenied(_("Raising consent needs the right “%(right)s”.") % {"right": "contacts.raise_consent"})


def asks_to_raise(request) -> bool:
    """Does `allow_consent_raise` of the query ask for it? Raises PermissionDenied, and ValidationError for nonsense."""
    raises = request.query_params.get("allow_consent_raise", "0")
    if raises not in {"0", "1", "true", "false"}:
        raise ValidationError({"allow_consent_raise": _("This must be 1 or 0.")})
    if raises in {"0", "false"}:
        return False
    demand_right_to_raise(request)
    return True


class PrivacyActions:
    """For the resource of contacts."""

    @extend_schema(responses=OpenApiTypes.OBJECT, filters=False)
    @action(detail=True)
    def person(self, request, pk):
        """All that is held about this person, whatever the app that holds it, by the names of its tables."""
        return Response(everything_about(self.get_object(), timezone.now()))  # type: ignore[attr-defined]

    @extend_schema(
        responses=ProofSerializer(many=True), filters=False,
        parameters=[OpenApiParameter("as", str, enum=["json", "csv"])],
    )  # fmt: skip
    @action(detail=True, pagination_class=None)
    def proof(self, request, pk):
        """The whole ledger of this person's consent, the oldest first, with the words that they saw."""
        form = request.query_params.get("as", "json")
        if form not in ("json", "csv"):
            raise ValidationError({"as": _("This must be one of: %(names)s.") % {"names": "json, csv"}})
        contact = self.get_object()  # type: ignore[attr-defined]
        rows = proof(contact)
        if form == "csv":
            answer = HttpResponse(as_csv(rows), content_type="text/csv; charset=utf-8")
            answer["Content-Disposition"] = f'attachment; filename="consent-{contact.pk}.csv"'
            return answer
        return Response(ProofSerializer(rows, many=True).data)

    @extend_schema(request=LimitsSerializer, responses=LimitsSerializer)
    @action(detail=True, methods=["post"])
    @transaction.atomic
    def limits(self, request, pk):
        """Notes a pause or a limit that the person asked for. A pause only grows and a limit only falls, unless
        `allow_raise` says that the person asked for that."""
        serializer = LimitsSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        told = serializer.validated_data
        if told["allow_raise"]:
            demand_right_to_raise(request)
        contact = self.get_object()  # type: ignore[attr-defined]
        try:
            person = set_limits(
                contact=contact, paused_until=told.get("paused_until", KEEP),
                most_per_week=told.get("most_per_week", KEEP), source=self.source("rest"),  # type: ignore[attr-defined]
                actor=request.user.get_username(), may_raise=told["allow_raise"], now=timezone.now(),
            )  # fmt: skip
        except ValueError as error:
            raise ValidationError({"paused_until" if "paused_until" in told else "most_per_week": str(error)}) from None
        return Response({"paused_until": person.paused_until, "most_per_week": person.most_per_week})
