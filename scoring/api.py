"""REST resources of this app."""

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.response import Response

from contacts.models import Contact
from contacts.parameters import IdFilter
from contacts.problems import Unprocessable
from contacts.rest import Resource
from contacts.sql import in_time
from scoring import backtest, training
from scoring.backtest_form import LIMIT, Asked
from scoring.models import ContactPrediction, ContactScore, PredictionModel, ScoreModel
from scoring.prediction import as_data, prediction_of


class ScoreFilters(filters.FilterSet):
    score = filters.CharFilter(field_name="model__key")
    contact = IdFilter(field_name="contact_id")
    is_over = filters.BooleanFilter()
    value_gte = filters.NumberFilter(field_name="value", lookup_expr="gte")

    class Meta:
        model = ContactScore
        fields: list[str] = []


class ScoreSerializer(serializers.ModelSerializer):
    score = serializers.CharField(source="model.key", read_only=True)

    class Meta:
        model = ContactScore
        fields = ["id", "contact", "score", "value", "computed_at", "is_over", "falls_at"]
        read_only_fields = fields


class StepSerializer(serializers.Serializer):
    threshold = serializers.FloatField()
    people = serializers.IntegerField(help_text="who had so many points or more")
    won = serializers.IntegerField()
    lost = serializers.IntegerField()
    precision = serializers.FloatField()
    recall = serializers.FloatField()
    false_alarms = serializers.FloatField(help_text="of the lost, the share over the line")
    people_a_week = serializers.FloatField()


class BacktestSerializer(serializers.Serializer):
    score = serializers.CharField()
    by = serializers.CharField()
    window_days = serializers.IntegerField()
    won = serializers.IntegerField()
    lost = serializers.IntegerField()
    is_enough = serializers.BooleanField(help_text="below the floor everything but the counts is empty")
    says = serializers.ListField(child=serializers.CharField(), help_text="the verdict in sentences")
    auc = serializers.FloatField(allow_null=True)
    auc_interval = serializers.ListField(child=serializers.FloatField(), allow_null=True)
    lift = serializers.FloatField(allow_null=True)
    today = StepSerializer(allow_null=True)
    proposed = StepSerializer(allow_null=True)
    best = StepSerializer(allow_null=True)
    tenths = StepSerializer(many=True)
    curve = serializers.ListField(
        child=serializers.ListField(child=serializers.FloatField()), help_text="[false alarms, recall, points]"
    )


class Scores(ListModelMixin, RetrieveModelMixin, Resource):
    """Where each contact stood at `computed_at`; points fade from then on. Ask a rule for the score of this moment."""

    needs = {"list": "read", "retrieve": "read", "backtest": "read scoring.view_scoremodel"}
    parameters = {"backtest": ("score", "by", "days", "per_week")}
    filterset_class = ScoreFilters
    serializer_class = ScoreSerializer
    queryset = ContactScore.objects.none()

    def get_queryset(self) -> QuerySet[ContactScore]:
        scores = ContactScore.objects.select_related("model")
        if self.request.user.has_perm("scoring.view_contactscore"):
            return scores
        return scores.filter(contact__in=Contact.objects.visible_to(self.request.user))

    @extend_schema(
        responses=BacktestSerializer,
        filters=False,
        parameters=[
            OpenApiParameter("score", str, required=True, description="its key"),
            OpenApiParameter("by", str, enum=[backtest.DATES, backtest.HANDOFF]),
            OpenApiParameter("days", int, description="won is who became a customer within so many; default 90"),
            OpenApiParameter("per_week", float, description="people that sales can take in a week"),
        ],
    )
    @action(detail=False, pagination_class=None)
    def backtest(self, request):
        """What history says of a score, and the threshold it proposes. Seconds, for very many people."""
        key = request.query_params.get("score", "")
        score = ScoreModel.objects.filter(key=key).first()
        if score is None:
            raise ValidationError({"score": _("There is no score “%(key)s”.") % {"key": key}})
        form = Asked(request.query_params)
        if not form.is_valid():
            raise ValidationError(form.errors)
        found = None
        with in_time(LIMIT):
            found = backtest.backtest(score, timezone.now(), **form.asked())
        if found is None:
            raise Unprocessable(_("History is too long to ask while you wait. Ask by the command “backtest”."))
        return Response(backtest.as_data(found))


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
            "refused": "" if live and not _refused() else training.why_none(),
        })  # fmt: skip


def _refused() -> bool:
    return PredictionModel.objects.filter(state="refused").exists()


ROUTES: dict[str, type] = {"scores": Scores, "predictions": Predictions}
