"""REST resources of this app."""

from datetime import timedelta

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from contacts.models import Contact
from contacts.parameters import IdFilter
from contacts.rest import Resource
from messaging.channels import choices
from messaging.clicks import Scope, report
from messaging.models import Message, ReusableBlock, Template


class TemplateFilters(filters.FilterSet):
    topic = filters.CharFilter(field_name="topic__key")
    message_class = filters.ChoiceFilter(choices=Template.CLASSES)
    channel = filters.ChoiceFilter(choices=choices)

    class Meta:
        model = Template
        fields: list[str] = []


class TemplateSerializer(serializers.ModelSerializer):
    topic = serializers.CharField(source="topic.key", read_only=True, allow_null=True, default=None)

    class Meta:
        model = Template
        fields = [
            "id", "key", "name", "topic", "message_class", "channel", "language", "subject", "preheader", "body_format",
            "body", "translations", "utm", "is_repeatable", "updated_at",
        ]  # fmt: skip
        read_only_fields = fields


class HitCountSerializer(serializers.Serializer):
    times = serializers.IntegerField()
    people = serializers.IntegerField()


class HitCountsSerializer(serializers.Serializer):
    human = HitCountSerializer()
    privacy = HitCountSerializer()
    machine = HitCountSerializer()


class LinkClicksSerializer(serializers.Serializer):
    link = serializers.IntegerField()
    url = serializers.CharField()
    language = serializers.CharField()
    clicks = serializers.IntegerField()
    people = serializers.IntegerField()
    machine_clicks = serializers.IntegerField()


class ClicksSerializer(serializers.Serializer):
    clicks = HitCountsSerializer()
    opens = HitCountsSerializer()
    links = LinkClicksSerializer(many=True)


class Templates(ListModelMixin, RetrieveModelMixin, Resource):
    """Message templates; they are written by journeys as code or in the admin."""

    needs = {
        "list": "read messaging.view_template",
        "retrieve": "read messaging.view_template",
        "clicks": "read messaging.view_message",
    }
    parameters = {"clicks": ("days",)}
    filterset_class = TemplateFilters
    serializer_class = TemplateSerializer
    queryset = Template.objects.select_related("topic")
    lookup_field = "key"

    @extend_schema(
        parameters=[OpenApiParameter("days", {"type": "integer", "minimum": 1, "maximum": 365, "default": 90})],
        responses=ClicksSerializer,
        filters=False,
    )
    @action(detail=True)
    def clicks(self, request: Request, key: str) -> Response:
        """Who clicked and opened what in the last days: people, privacy proxies and machines apart."""
        days = request.query_params.get("days", "90")
        if not (days.isascii() and days.isdecimal() and 1 <= int(days[:9]) <= 365):
            raise ValidationError({"days": _("This must be a whole number from 1 to %(most)s.") % {"most": 365}})
        since = timezone.now() - timedelta(days=int(days))
        return Response(ClicksSerializer(report(Scope.of_template(self.get_object(), since))).data)


class ReusableBlockFilters(filters.FilterSet):
    language = filters.CharFilter()

    class Meta:
        model = ReusableBlock
        fields: list[str] = []


class ReusableBlockSerializer(serializers.ModelSerializer):
    class Meta:
        model = ReusableBlock
        fields = ["id", "key", "name", "language", "body_format", "body", "translations", "updated_at"]
        read_only_fields = fields


class ReusableBlocks(ListModelMixin, RetrieveModelMixin, Resource):
    """Parts of mails that are written once; they are written by journeys as code or in the admin."""

    needs = {"list": "read messaging.view_reusableblock", "retrieve": "read messaging.view_reusableblock"}
    filterset_class = ReusableBlockFilters
    serializer_class = ReusableBlockSerializer
    queryset = ReusableBlock.objects.all()
    lookup_field = "key"


class MessageFilters(filters.FilterSet):
    contact = IdFilter(field_name="contact_id")
    state = filters.ChoiceFilter(choices=Message.STATES)
    channel = filters.ChoiceFilter(choices=choices)
    reason = filters.CharFilter()
    template = filters.CharFilter(field_name="template__key")
    journey = filters.CharFilter(field_name="journey_key")
    key = filters.CharFilter()
    sent_after = filters.IsoDateTimeFilter(field_name="sent_at", lookup_expr="gt")

    class Meta:
        model = Message
        fields: list[str] = []


class MessageSerializer(serializers.ModelSerializer):
    template = serializers.CharField(source="template.key", read_only=True)
    journey = serializers.CharField(source="journey_key", read_only=True)

    class Meta:
        model = Message
        fields = [
            "id", "key", "contact", "template", "journey", "channel", "message_class", "state", "reason", "created_at",
            "due_at", "valid_until", "sent_at", "attempts", "language",
        ]  # fmt: skip
        read_only_fields = fields


class Messages(ListModelMixin, RetrieveModelMixin, Resource):
    """Every intent to tell somebody something, and what became of it."""

    needs = {"list": "read", "retrieve": "read"}
    orderings = {"id": ("id",), "-id": ("-id",)}
    filterset_class = MessageFilters
    serializer_class = MessageSerializer
    queryset = Message.objects.none()

    def get_queryset(self) -> QuerySet[Message]:
        found = Message.objects.select_related("template")
        if self.request.user.has_perm("messaging.view_message"):
            return found
        return found.filter(contact__in=Contact.objects.visible_to(self.request.user))


ROUTES: dict[str, type] = {
    "templates": Templates,
    "reusable_blocks": ReusableBlocks,
    "messages": Messages,
}
