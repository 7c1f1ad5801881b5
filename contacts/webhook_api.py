"""REST: endpoints of other systems, what each was told, and what may be done about it."""

from django.utils import timezone
from django.utils.translation import gettext as _
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin, UpdateModelMixin
from rest_framework.response import Response

from contacts import outward, webhooks
from contacts.models import Webhook, WebhookDelivery
from contacts.problems import Conflict
from contacts.rest import Resource, StrictSerializer


class WebhookFilters(filters.FilterSet):
    is_active = filters.BooleanFilter()
    origin = filters.CharFilter()

    class Meta:
        model = Webhook
        fields: list[str] = []


class WebhookSerializer(StrictSerializer, serializers.ModelSerializer):
    name = serializers.CharField(max_length=200)
    url = serializers.CharField(max_length=2000, help_text="begins with https://")
    kinds = serializers.ListField(
        child=serializers.CharField(max_length=200),
        required=False,
        max_length=100,
        help_text="such as order.placed or lead.*; empty: everything",
    )
    disabled_reason = serializers.CharField(
        read_only=True, help_text="by_hand, gone (it answered 410) or failing (for days); empty while it is active"
    )
    status = serializers.ChoiceField(
        choices=["working", "failing", "open", "off"],
        read_only=True,
        help_text="open: its breaker is; one trial is made at retry_at",
    )

    class Meta:
        model = Webhook
        fields = [
            "id", "name", "url", "kinds", "origin", "is_active", "status", "failures", "failing_since", "retry_at",
            "succeeded_at", "last_error", "disabled_at", "disabled_reason", "created_at",
        ]  # fmt: skip
        read_only_fields = [
            "id", "failures", "failing_since", "retry_at", "succeeded_at", "last_error", "disabled_at",
            "disabled_reason", "created_at",
        ]  # fmt: skip

    def validate_url(self, value):
        try:
            outward.parse(value)
        except outward.Forbidden as error:
            raise ValidationError(str(error)) from None
        return value

    def validate_kinds(self, value):
        try:
            return webhooks.check_kinds(value)
        except ValueError as error:
            raise ValidationError(str(error)) from None


class NewWebhookSerializer(WebhookSerializer):
    """The one answer that holds the secret."""

    class Meta(WebhookSerializer.Meta):
        fields = [*WebhookSerializer.Meta.fields, "secret"]
        read_only_fields = [*WebhookSerializer.Meta.read_only_fields, "secret"]


class NewSecretSerializer(serializers.Serializer):
    secret = serializers.CharField(help_text="shown once; the one before signs beside it until previous_until")
    previous_until = serializers.DateTimeField()


class DeliverySerializer(serializers.ModelSerializer):
    event_id = serializers.CharField(help_text="the header webhook-id: the same over all attempts")

    class Meta:
        model = WebhookDelivery
        fields = [
            "id", "event_id", "kind", "contact", "state", "attempts", "status_code", "error", "created_at", "due_at",
            "tried_at", "finished_at", "payload",
        ]  # fmt: skip
        read_only_fields = fields


class AgainSerializer(StrictSerializer, serializers.Serializer):
    deliveries = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=2**63 - 1), required=False, min_length=1, max_length=1000
    )
    state = serializers.ChoiceField(choices=["refused", "failed"], required=False)

    def validate(self, data):
        if ("deliveries" in data) == ("state" in data):
            raise ValidationError({"deliveries": _("Say either which deliveries, or all of which state.")})
        return data


class AgainAnswerSerializer(serializers.Serializer):
    waiting = serializers.IntegerField(help_text="how many wait to be sent again")


def _shown_once(data, status: int = 200) -> Response:
    """An answer with a secret. What is kept of it for a repeat with the same Idempotency-Key has an empty one."""
    answer = Response(data, status=status)
    answer.kept = {**data, "secret": ""}  # type: ignore[attr-defined]
    return answer


_SEE = "contacts.view_webhook contacts.view_contact"
_CHANGE = "admin contacts.change_webhook contacts.view_contact"


class Webhooks(ListModelMixin, RetrieveModelMixin, UpdateModelMixin, Resource):
    """Addresses of other systems that are told what happens. Whoever makes one lets it see all contacts."""

    needs = {
        "list": f"read {_SEE}",
        "retrieve": f"read {_SEE}",
        "create": "admin contacts.add_webhook contacts.view_contact",
        "update": _CHANGE,
        "partial_update": _CHANGE,
        "destroy": "admin contacts.delete_webhook contacts.view_contact",
        "deliveries": f"read {_SEE}",
        "rotate": _CHANGE,
        "test": _CHANGE,
        "again": _CHANGE,
    }
    parameters = {"deliveries": ("cursor", "limit", "ordering", "state")}
    filterset_class = WebhookFilters
    serializer_class = WebhookSerializer
    queryset = Webhook.objects.all()
    lookup_value_regex = "[0-9]{1,18}"

    @extend_schema(responses={201: NewWebhookSerializer})
    def create(self, request):
        """The answer holds the secret, this once; repeated by its Idempotency-Key, it is empty. Then rotate it."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        told = dict(serializer.validated_data)
        is_active = told.pop("is_active", True)
        webhook = Webhook.objects.create(**told, secret=webhooks.make_secret(), made_by=request.user)
        if not is_active:
            webhook.switch_off("by_hand", timezone.now())
        answer = NewWebhookSerializer(webhook, context=self.get_serializer_context())
        return _shown_once(answer.data, status=201)

    def update(self, request, *args, **kwargs):
        """PUT is as PATCH: an omitted field is not an empty one. `is_active` true also closes its breaker."""
        return super().update(request, *args, **{**kwargs, "partial": True})

    def perform_update(self, serializer):
        webhook = serializer.instance
        self.check_match(webhook)
        is_active = serializer.validated_data.pop("is_active", None)
        if serializer.validated_data:
            for name, value in serializer.validated_data.items():
                setattr(webhook, name, value)
            webhook.save(update_fields=list(serializer.validated_data))
        if is_active:
            webhook.switch_on()
        elif is_active is False and webhook.is_active:
            webhook.switch_off("by_hand", timezone.now())

    def destroy(self, request, pk):
        """With everything that still waits to be told to it."""
        webhook = self.get_object()
        self.check_match(webhook)
        webhook.delete()
        return Response(status=204)

    @extend_schema(request=None, responses=NewSecretSerializer, filters=False)
    @action(detail=True, methods=["post"])
    def rotate(self, request, pk):
        """A new secret, answered this once (empty in a repeat by its key); for another day both sign."""
        webhook = self.get_object()
        secret = webhooks.rotate(webhook, now=timezone.now())
        return _shown_once({"secret": secret, "previous_until": webhook.previous_until})

    @extend_schema(request=None, responses={202: DeliverySerializer}, filters=False)
    @action(detail=True, methods=["post"])
    def test(self, request, pk):
        """Sends a test event `webhook.tested`, whatever kinds it asked for; also while its breaker is open."""
        webhook = self.get_object()
        if not webhook.is_active:
            raise Conflict(_("The webhook is switched off. Switch it on first."))
        return Response(DeliverySerializer(webhooks.send_test(webhook, now=timezone.now())).data, status=202)

    @extend_schema(request=AgainSerializer, responses=AgainAnswerSerializer, filters=False)
    @action(detail=True, methods=["post"])
    def again(self, request, pk):
        """Sends deliveries that have ended once more, with the same id and payload."""
        serializer = AgainSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        told = serializer.validated_data
        asked = self.get_object().deliveries.all()
        asked = asked.filter(pk__in=told["deliveries"]) if "deliveries" in told else asked.filter(state=told["state"])
        return Response({"waiting": webhooks.send_again(asked, now=timezone.now())})

    @extend_schema(responses=DeliverySerializer(many=True), filters=False)
    @action(detail=True)
    def deliveries(self, request, pk):
        """What it was told, and what waits, the newest first; `state` narrows it."""
        rows = self.get_object().deliveries.all()
        if state := request.query_params.get("state"):
            if state not in dict(WebhookDelivery.STATES):
                raise ValidationError({"state": _("There is no such state.")})
            rows = rows.filter(state=state)
        self.orderings = {"-id": ("-id",)}
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(DeliverySerializer(page, many=True).data)
