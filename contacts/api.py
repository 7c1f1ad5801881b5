"""REST resources of this app."""

from django.utils import timezone
from django.utils.translation import gettext as _
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.response import Response

from contacts.company_api import Companies
from contacts.consent import CHANNELS, NotRaised, known_topics, record_consent
from contacts.contact_api import Contacts
from contacts.field_api import Fields
from contacts.models import Consent, Contact
from contacts.parameters import IdFilter
from contacts.privacy_api import asks_to_raise
from contacts.rest import Resource, StrictSerializer
from contacts.segment_api import Segments
from contacts.touchpoint_api import Changes, Touchpoints
from contacts.webhook_api import Webhooks


class ConsentFilters(filters.FilterSet):
    contact = IdFilter(field_name="contact_id")
    topic = filters.CharFilter()
    channel = filters.CharFilter()
    state = filters.ChoiceFilter(choices=Consent.STATES)

    class Meta:
        model = Consent
        fields: list[str] = []


class ConsentSerializer(StrictSerializer, serializers.ModelSerializer):
    source = serializers.CharField(write_only=True, max_length=200)
    wording = serializers.CharField(write_only=True, required=False, max_length=10_000, default="")
    contact = serializers.PrimaryKeyRelatedField(queryset=Contact.objects.none())
    topic = serializers.CharField(max_length=100, allow_blank=True)
    channel = serializers.CharField(max_length=100, default="email")

    def validate_topic(self, topic):
        if topic not in known_topics():
            raise serializers.ValidationError(_("There is no topic “%(topic)s”.") % {"topic": topic})
        return topic

    def validate_channel(self, channel):
        if channel not in CHANNELS:
            raise serializers.ValidationError(_("There is no channel “%(channel)s”.") % {"channel": channel})
        return channel

    class Meta:
        model = Consent
        fields = ["id", "contact", "topic", "channel", "state", "changed_at", "source", "wording"]
        read_only_fields = ["id", "changed_at"]
        validators: list = []

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if request := self.context.get("request"):
            self.fields["contact"].queryset = Contact.objects.living().visible_to(request.user)


class Consents(ListModelMixin, RetrieveModelMixin, Resource):
    """What people allow now. A POST says what somebody answered, where (`source`) and to which words: the proof."""

    needs = {"list": "read", "retrieve": "read", "create": "sync contacts.add_consent"}
    parameters = {"create": ("allow_consent_raise",)}
    filterset_class = ConsentFilters
    serializer_class = ConsentSerializer
    queryset = Consent.objects.none()
    lookup_value_regex = "[0-9]{1,18}"

    def get_queryset(self):
        visible = Contact.objects.visible_to(self.request.user)
        return Consent.objects.filter(contact__in=visible.values("pk"))

    @extend_schema(
        parameters=[OpenApiParameter("allow_consent_raise", bool, description="needs the scope admin, and the right")]
    )
    def create(self, request):
        """Notes what somebody answered; more than they allowed before only where that is asked for and allowed."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        told = serializer.validated_data
        try:
            record_consent(
                **told, actor=request.user.get_username(), may_raise=asks_to_raise(request),
                door=self.source("rest"), now=timezone.now(),
            )  # fmt: skip
        except NotRaised as error:
            raise PermissionDenied(f"state: {error}") from None
        except ValueError as error:
            raise ValidationError({"state": str(error)}) from None
        row = Consent.objects.get(contact=told["contact"], topic=told["topic"], channel=told["channel"])
        return Response(self.get_serializer(row).data, status=201)


ROUTES: dict[str, type] = {
    "contacts": Contacts,
    "changes": Changes,
    "companies": Companies,
    "fields": Fields,
    "segments": Segments,
    "touchpoints": Touchpoints,
    "consents": Consents,
    "webhooks": Webhooks,
}
