"""REST resources of this app."""

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from rest_framework import serializers
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin

from contacts.models import Contact
from contacts.parameters import IdFilter
from contacts.rest import Resource
from scoring.backtest_api import NEEDS as BACKTEST_NEEDS
from scoring.backtest_api import PARAMETERS as BACKTEST_PARAMETERS
from scoring.backtest_api import BacktestActions
from scoring.models import ContactScore
from scoring.prediction_api import Predictions


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


class Scores(BacktestActions, ListModelMixin, RetrieveModelMixin, Resource):
    """Where each contact stood at `computed_at`; points fade from then on. Ask a rule for the score of this moment."""

    needs = {"list": "read", "retrieve": "read", **BACKTEST_NEEDS}
    parameters = {**BACKTEST_PARAMETERS}
    filterset_class = ScoreFilters
    serializer_class = ScoreSerializer
    queryset = ContactScore.objects.none()

    def get_queryset(self) -> QuerySet[ContactScore]:
        scores = ContactScore.objects.select_related("model")
        if self.request.user.has_perm("scoring.view_contactscore"):
            return scores
        return scores.filter(contact__in=Contact.objects.visible_to(self.request.user))


ROUTES: dict[str, type] = {"scores": Scores, "predictions": Predictions}
