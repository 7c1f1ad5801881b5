"""The closed loop by REST."""

from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from leads.loop import Loop, Speed, loop, sentence, span_of
from leads.models import Team

MOST_DAYS = 365


class AmountsField(serializers.DictField):
    """Amounts by currency: those in different ones are never added."""

    child = serializers.DecimalField(max_digits=20, decimal_places=2)


class FunnelSerializer(serializers.Serializer):
    handed_over = serializers.IntegerField()
    claimed = serializers.IntegerField()
    accepted = serializers.IntegerField()
    won = serializers.IntegerField()
    rejected = serializers.IntegerField()
    unfinished = serializers.IntegerField()
    unclaimed = serializers.IntegerField()


class ReasonSerializer(serializers.Serializer):
    reason = serializers.CharField()
    track = serializers.CharField()
    is_final = serializers.BooleanField()
    leads = serializers.IntegerField()
    returned = serializers.IntegerField()


class SpeedSerializer(serializers.Serializer):
    """Times in seconds of working time."""

    name = serializers.CharField()
    claimed = serializers.IntegerField()
    claim_median = serializers.FloatField(allow_null=True)
    claim_p90 = serializers.FloatField(allow_null=True)
    answered = serializers.IntegerField()
    answer_median = serializers.FloatField(allow_null=True)
    answer_p90 = serializers.FloatField(allow_null=True)
    promised = serializers.IntegerField()
    kept = serializers.IntegerField()


class OriginSerializer(serializers.Serializer):
    key = serializers.CharField()
    leads = serializers.IntegerField()
    accepted = serializers.IntegerField()
    won = serializers.IntegerField()
    values = AmountsField()


class LoopSerializer(serializers.Serializer):
    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    team = serializers.CharField(allow_null=True)
    summary = serializers.CharField()
    funnel = FunnelSerializer()
    values = AmountsField()
    rejected_by_reason = ReasonSerializer(many=True)
    speed = SpeedSerializer(allow_null=True)
    speed_by_team = SpeedSerializer(many=True)
    speed_by_rep = SpeedSerializer(many=True)
    won_by_source = OriginSerializer(many=True)
    won_by_journey = OriginSerializer(many=True)
    won_by_points = OriginSerializer(many=True)


class ReportMixin:
    """Adds the report to the resource of leads."""

    @extend_schema(
        parameters=[
            OpenApiParameter("days", {"type": "integer", "minimum": 1, "maximum": MOST_DAYS, "default": 90}),
            OpenApiParameter("team", str, description="The key of a team."),
        ],
        responses=LoopSerializer,
        filters=False,
    )
    @action(detail=False)
    def report(self, request: Request) -> Response:
        """The closed loop: what sales made of the leads that were handed over in the last days."""
        days = request.query_params.get("days", "90")
        if not (days.isascii() and days.isdecimal() and 1 <= int(days[:9]) <= MOST_DAYS):
            raise ValidationError({"days": _("This must be a whole number from 1 to %(most)s.") % {"most": MOST_DAYS}})
        team = None
        if key := request.query_params.get("team"):
            team = Team.objects.filter(key=key).first()
            if team is None:
                raise ValidationError({"team": _("There is no such team.")})
        now = timezone.now()
        return Response(LoopSerializer(_told(loop(span_of(int(days), team, now), now))).data)


def _told(found: Loop) -> dict[str, Any]:
    counts = {step.key: step.number.count for step in found.funnel}
    names = {"all": "handed_over", "open": "unclaimed"}
    return {
        "since": found.span.since,
        "until": found.span.until,
        "team": found.span.team.key if found.span.team else None,
        "summary": sentence(found),
        "funnel": {names.get(key, key): count for key, count in counts.items()},
        "values": found.won_values,
        "rejected_by_reason": [
            {
                "reason": one.key,
                "track": one.track,
                "is_final": one.is_final,
                "leads": one.number.count,
                "returned": one.returned.count,
            }
            for one in found.reasons
        ],
        "speed": _speed(found.speed) if found.speed else None,
        "speed_by_team": [_speed(one) for one in found.teams],
        "speed_by_rep": [_speed(one) for one in found.reps],
        "won_by_source": [_origin(one) for one in found.sources],
        "won_by_journey": [_origin(one) for one in found.tracks],
        "won_by_points": [_origin(one) for one in found.bands],
    }


def _speed(one: Speed) -> dict[str, Any]:
    names = SpeedSerializer().fields
    return {name: one.label if name == "name" else getattr(one, name) for name in names}


def _origin(one: Any) -> dict[str, Any]:
    return {
        "key": one.key,
        "leads": one.leads.count,
        "accepted": one.accepted.count,
        "won": one.won.count,
        "values": one.values,
    }
