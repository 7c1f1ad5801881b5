"""REST: what history says of a score."""

from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response

from contacts.problems import Unprocessable
from contacts.sql import in_time
from scoring import backtest
from scoring.backtest_form import LIMIT, Asked
from scoring.models import ScoreModel

NEEDS = {"backtest": "read scoring.view_scoremodel"}
PARAMETERS = {"backtest": ("score", "by", "days", "per_week")}


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


class BacktestActions:
    """The action `backtest`, beside the others of scores."""

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
