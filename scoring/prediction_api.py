"""REST: who is likely to become a customer, why, and how well that is foretold."""

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.response import Response

from contacts.models import Contact
from contacts.parameters import IdFilter
from contacts.problems import Unprocessable
from contacts.rest import Resource
from scoring import training
from scoring.models import ContactPrediction, PredictionModel
from scoring.prediction import as_data, prediction_of


class PredictionFilters(filters.FilterSet):
    contact = IdFilter(field_name="contact_id")
    value_gte = filters.NumberFilter(field_name="value", lookup_expr="gte")

    class Meta:
        model = ContactPrediction
        fields: list[str] = []


class PredictionSerializer(serializers.ModelSerializer):
    version = serializers.IntegerField(source="model.version", read_only=True)

    class Meta:
        model = ContactPrediction
        fields = ["id", "contact", "value", "version", "computed_at"]
        read_only_fields = fields


class ContributionSerializer(serializers.Serializer):
    points = serializers.FloatField(help_text="percentage points, against the average")
    says = serializers.CharField()


class PredictionWhySerializer(serializers.Serializer):
    value = serializers.FloatField()
    at = serializers.DateTimeField()
    version = serializers.IntegerField()
    says = serializers.CharField()
    window_days = serializers.IntegerField()
    contributions = ContributionSerializer(many=True)


class PredictionModelSerializer(serializers.Serializer):
    version = serializers.IntegerField(allow_null=True, help_text="null: no version is in use")
    trained_at = serializers.DateTimeField(allow_null=True)
    window_days = serializers.IntegerField(allow_null=True)
    won = serializers.IntegerField(allow_null=True)
    lost = serializers.IntegerField(allow_null=True)
    auc = serializers.FloatField(allow_null=True)
    brier = serializers.FloatField(allow_null=True)
    log_loss = serializers.FloatField(allow_null=True)
    refused = serializers.CharField(help_text="why the latest training made no version; empty where it did")


class Predictions(ListModelMixin, RetrieveModelMixin, Resource):
    """How likely each known contact is to become a customer, as of the last hour, by the version in use."""

    needs = {"list": "read", "retrieve": "read", "why": "read", "model": "read scoring.view_predictionmodel"}
    filterset_class = PredictionFilters
    serializer_class = PredictionSerializer
    queryset = ContactPrediction.objects.none()

    def get_queryset(self) -> QuerySet[ContactPrediction]:
        predictions = ContactPrediction.objects.select_related("model")
        if self.request.user.has_perm("scoring.view_contactprediction"):
            return predictions
        return predictions.filter(contact__in=Contact.objects.visible_to(self.request.user))

    @extend_schema(responses=PredictionWhySerializer, filters=False)
    @action(detail=True, pagination_class=None)
    def why(self, request, pk):
        """The chance at this moment, with what weighs most in it."""
        one = self.get_object()
        found = as_data(prediction_of(one.contact, timezone.now()))
        if found is None:
            raise Unprocessable(_("Nobody asks about this contact any more."))
        return Response(found)

    @extend_schema(responses=PredictionModelSerializer, filters=False)
    @action(detail=False, pagination_class=None)
    def model(self, request):
        """The version in use, how well it foretells, and why the latest training was refused."""
        live = PredictionModel.objects.live().first()
        return Response({
            "version": live and live.version, "trained_at": live and live.made_at,
            "window_days": live and live.window.days, "won": live and live.won, "lost": live and live.lost,
            "auc": live and live.auc, "brier": live and live.brier, "log_loss": live and live.log_loss,
            "refused": training.why_none(),
        })  # fmt: skip


def _refused() -> bool:
    return PredictionModel.objects.filter(state="refused").exists()
