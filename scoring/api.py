"""REST resources of this app."""

from collections.abc import Iterable

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from contacts.definitions import DefinitionError
from contacts.models import Contact
from contacts.moments import as_of
from contacts.parameters import IdFilter
from contacts.rest import Keyset, Resource, StrictSerializer
from contacts.stages import STAGES
from scoring.backtest_api import NEEDS as BACKTEST_NEEDS
from scoring.backtest_api import PARAMETERS as BACKTEST_PARAMETERS
from scoring.backtest_api import BacktestActions
from scoring.definitions import drafted
from scoring.explaining import explain_score
from scoring.grades import count_grades
from scoring.models import ContactScore, GradeMatrix, StageChange
from scoring.prediction_api import Predictions
from scoring.stages import LONGEST_REASON, request_stage
from scoring.velocity import PARTS, PERIODS, READINGS, period, velocity
from scoring.waterfalls import curve_of
from scoring.whatif import as_json, what_if


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


class PointsSerializer(serializers.Serializer):
    """What one rule gave on one day, and what was left of it."""

    rule = serializers.CharField()
    day = serializers.DateField()
    events = serializers.IntegerField()
    earned = serializers.FloatField()
    worth_now = serializers.FloatField()
    half_life = serializers.CharField(allow_null=True)
    touchpoints = serializers.ListField(child=serializers.IntegerField())


class InstantSerializer(serializers.Serializer):
    at = serializers.DateTimeField()
    value = serializers.FloatField()


class WaterfallSerializer(serializers.Serializer):
    """A score at an instant, with the points that it is made of, and its way there and on from day to day."""

    contact = serializers.IntegerField()
    score = serializers.CharField()
    at = serializers.DateTimeField()
    value = serializers.FloatField()
    qualified_at = serializers.FloatField(allow_null=True, help_text="points from which people are qualified")
    is_over = serializers.BooleanField(help_text="as of the last tick")
    falls_under_at = serializers.DateTimeField(allow_null=True, help_text="if nothing more happens")
    points = PointsSerializer(many=True)
    curve = InstantSerializer(many=True)


class WhatIfSerializer(serializers.Serializer):
    """What saving a score would change; an outcome is null where there is no such answer, or none in time."""

    is_estimate = serializers.BooleanField()
    is_late = serializers.BooleanField()
    at_once = serializers.DictField(allow_null=True)
    recounted = serializers.DictField(allow_null=True)


class Scores(BacktestActions, ListModelMixin, RetrieveModelMixin, Resource):
    """Where each contact stood at `computed_at`; points fade from then on. Ask a rule for the score of this moment."""

    needs = {
        "list": "read",
        "retrieve": "read",
        "waterfall": "read",
        "what_if": "read scoring.change_scoremodel",
        **BACKTEST_NEEDS,
    }
    parameters = {"waterfall": ("at",), **BACKTEST_PARAMETERS}
    filterset_class = ScoreFilters
    serializer_class = ScoreSerializer
    queryset = ContactScore.objects.none()

    def get_queryset(self) -> QuerySet[ContactScore]:
        scores = ContactScore.objects.select_related("model")
        if self.request.user.has_perm("scoring.view_contactscore"):
            return scores
        return scores.filter(contact__in=Contact.objects.visible_to(self.request.user))

    @extend_schema(
        responses=WaterfallSerializer,
        filters=False,
        parameters=[OpenApiParameter("at", str, description="an instant, a day (its end), or so long ago, as -14d")],
    )
    @action(detail=True, pagination_class=None)
    def waterfall(self, request, pk):
        """Why this score is what it is, or was at any instant: every point with its day and its events."""
        standing = self.get_object()
        try:
            at = as_of(request.query_params.get("at", ""), timezone.now())
        except (ValueError, OverflowError) as error:
            raise ValidationError({"at": str(error)}) from None
        told = explain_score(standing.contact, standing.model.key, at)
        curve = [{"at": instant, "value": round(value, 4)} for instant, value in curve_of(standing, at)]
        return Response({"contact": standing.contact_id, **told, "curve": curve})

    @extend_schema(request=OpenApiTypes.OBJECT, responses=WhatIfSerializer, filters=False)
    @action(detail=False, methods=["post"], url_path="what-if", pagination_class=None)
    def what_if(self, request):
        """Whom a score, written as in a file, would move over its line and under it, were it saved. Nothing is."""
        if not isinstance(request.data, dict):
            raise ValidationError(_("The body must be a score, as in a file of definitions."))
        try:
            draft = drafted(request.data)
        except DefinitionError as error:
            raise ValidationError({error.path or "score": error.message}) from None
        return Response(as_json(what_if(draft, request.user, timezone.now())))


class GradeSerializer(serializers.ModelSerializer):
    fit = serializers.CharField(source="fit.key", read_only=True)
    engagement = serializers.CharField(source="engagement.key", read_only=True)

    class Meta:
        model = GradeMatrix
        fields = ["key", "name", "fit", "engagement", "fit_from", "engagement_from", "grades"]
        read_only_fields = fields


class CountedGradeSerializer(GradeSerializer):
    people = serializers.DictField(
        child=serializers.IntegerField(), read_only=True, allow_null=True,
        help_text="how many people each grade has now, of those whom the user may see; null: it took too long",
    )  # fmt: skip

    class Meta(GradeSerializer.Meta):
        fields = [*GradeSerializer.Meta.fields, "people"]


class Grades(ListModelMixin, RetrieveModelMixin, Resource):
    """Grade matrices. Whose grade is A1 is asked by a rule, `{grade: product, op: eq, value: A1}`."""

    needs = {
        "list": "read scoring.view_gradematrix",
        "retrieve": "read scoring.view_gradematrix scoring.view_contactscore",
    }
    lookup_field = "key"
    lookup_value_regex = "[-a-zA-Z0-9_]{1,64}"
    serializer_class = GradeSerializer
    queryset = GradeMatrix.objects.select_related("fit", "engagement")

    def get_serializer_class(self):
        return CountedGradeSerializer if self.action == "retrieve" else GradeSerializer

    @extend_schema(responses=CountedGradeSerializer)
    def retrieve(self, request, key):
        """A matrix with the number of people of each grade."""
        matrix = self.get_object()
        matrix.people = count_grades(matrix, request.user, timezone.now())
        return Response(self.represent(matrix))


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


ROUTES: dict[str, type] = {
    "scores": Scores, "grades": Grades, "predictions": Predictions, "stages": Stages, "stage_changes": StageChanges,
}  # fmt: skip
