"""REST resources of this app."""

from collections.abc import Iterable

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from contacts.models import Contact
from contacts.parameters import IdFilter
from contacts.rest import Keyset, Resource, StrictSerializer
from contacts.stages import STAGES
from scoring.models import ContactScore, StageChange
from scoring.stages import LONGEST_REASON, request_stage
from scoring.velocity import PARTS, PERIODS, READINGS, period, velocity


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


class Scores(ListModelMixin, RetrieveModelMixin, Resource):
    """Where each contact stood at `computed_at`; points fade from then on. Ask a rule for the score of this moment."""

    needs = {"list": "read", "retrieve": "read"}
    filterset_class = ScoreFilters
    serializer_class = ScoreSerializer
    queryset = ContactScore.objects.none()

    def get_queryset(self) -> QuerySet[ContactScore]:
        scores = ContactScore.objects.select_related("model")
        if self.request.user.has_perm("scoring.view_contactscore"):
            return scores
        return scores.filter(contact__in=Contact.objects.visible_to(self.request.user))


class PaceSerializer(serializers.Serializer):
    """One stage or phase in a period, in all (`part` null) or in one month or of one source."""

    stage = serializers.CharField(source="key")
    part = serializers.CharField(allow_null=True)
    entered = serializers.IntegerField()
    went_up = serializers.IntegerField(help_text="of those who entered, how many went on up since")
    conversion = serializers.FloatField(allow_null=True, help_text="the same in per cent")
    left_up = serializers.IntegerField()
    left_down = serializers.IntegerField()
    median = serializers.FloatField(allow_null=True, help_text="days of the stays that ended in the period")
    p90 = serializers.FloatField(allow_null=True, help_text="days within which nine of ten of them ended")
    people = serializers.IntegerField(help_text="in it now; 0 where `part` is not null")
    late = serializers.IntegerField(help_text="of these, who stay longer than they may")


def _chosen(request: Request, name: str, known: Iterable[str], usual: str) -> str:
    value: str = request.query_params.get(name, usual)
    if value not in known:
        raise ValidationError({name: _("This must be one of: %(names)s.") % {"names": ", ".join(known)}})
    return value


class Stages(Resource):
    """How many people enter and leave each stage, and how long they stay."""

    needs = {"list": "read scoring.view_stagechange contacts.view_contact"}
    parameters = {"list": ("period", "as", "by")}
    serializer_class = PaceSerializer
    queryset = StageChange.objects.none()
    pagination_class = None  # type: ignore[assignment]

    @extend_schema(
        responses=PaceSerializer(many=True),
        parameters=[
            OpenApiParameter("period", str, enum=list(PERIODS), description="the last days, 90 if nothing is said"),
            OpenApiParameter("as", str, enum=list(READINGS)),
            OpenApiParameter("by", str, enum=list(PARTS)),
            OpenApiParameter("limit", int, description="the first so many, at most 500"),
        ],
    )
    def list(self, request: Request) -> Response:
        """Each stage or phase over the whole period, then by month or by source."""
        for name in set(request.query_params) & {"cursor", "ordering"}:
            raise ValidationError({name: _("There is no such query parameter.")})
        limit = Keyset.limit_of(request) if "limit" in request.query_params else Keyset.max_limit
        now = timezone.now()
        days = int(_chosen(request, "period", PERIODS, "90"))
        span = period(days, now, _chosen(request, "as", READINGS, "stages"), _chosen(request, "by", PARTS, "month"))
        return Response(PaceSerializer(velocity(span, now)[:limit], many=True).data)


class StageChangeFilters(filters.FilterSet):
    contact = IdFilter(field_name="contact_id")
    stage = filters.MultipleChoiceFilter(field_name="to_stage", choices=STAGES)
    changed_after = filters.IsoDateTimeFilter(field_name="changed_at", lookup_expr="gt")

    class Meta:
        model = StageChange
        fields: list[str] = []


class StageChangeSerializer(serializers.ModelSerializer):
    class Meta:
        model = StageChange
        fields = ["id", "contact", "from_stage", "to_stage", "reason", "is_by_hand", "changed_at", "overdue_at"]
        read_only_fields = fields


class StageRequestSerializer(StrictSerializer, serializers.Serializer):
    contact = serializers.IntegerField(min_value=1, max_value=2**63 - 1)
    to = serializers.ChoiceField(choices=[key for key, _label in STAGES if key != "visitor"])
    reason = serializers.CharField(max_length=LONGEST_REASON)


class StageChanges(ListModelMixin, RetrieveModelMixin, Resource):
    """The ledger of stages. POST asks for a stage by hand; the tick moves in a moment."""

    needs = {"list": "read", "retrieve": "read", "create": "sync scoring.request_stage"}
    orderings = {"id": ("id",), "-id": ("-id",)}
    filterset_class = StageChangeFilters
    serializer_class = StageChangeSerializer
    queryset = StageChange.objects.none()

    def get_queryset(self) -> QuerySet[StageChange]:
        changes = StageChange.objects.all()
        if self.request.user.has_perm("scoring.view_stagechange"):
            return changes
        return changes.filter(contact__in=Contact.objects.visible_to(self.request.user))

    @extend_schema(request=StageRequestSerializer, responses={202: StageRequestSerializer})
    def create(self, request: Request) -> Response:
        """Asks for a stage: `{"contact": 7, "to": "lead", "reason": "met at the fair"}`."""
        asked = StageRequestSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        told = asked.validated_data
        contact = Contact.objects.living().visible_to(request.user).filter(pk=told["contact"]).first()
        if contact is None:
            raise ValidationError({"contact": _("There is no such contact.")})
        try:
            request_stage(
                contact=contact, to=told["to"], reason=told["reason"], by=request.user, now=timezone.now(),
                source=self.source("rest"),
            )  # fmt: skip
        except ValueError as error:
            raise ValidationError({"to": str(error)}) from None
        return Response(told, status=status.HTTP_202_ACCEPTED)


ROUTES: dict[str, type] = {"scores": Scores, "stages": Stages, "stage_changes": StageChanges}
