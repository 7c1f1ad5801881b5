"""REST resources of this app."""

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from rest_framework import serializers
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin

from contacts.models import Contact
from contacts.parameters import IdFilter
from contacts.rest import Resource
from messaging.channels import choices
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


class Templates(ListModelMixin, RetrieveModelMixin, Resource):
    """Message templates; they are written by journeys as code or in the admin."""

    needs = {"list": "read messaging.view_template", "retrieve": "read messaging.view_template"}
    filterset_class = TemplateFilters
    serializer_class = TemplateSerializer
    queryset = Template.objects.select_related("topic")
    lookup_field = "key"


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
