"""REST: leads, and what one does with them. Notes, calls and tasks stand in `leads.activity_api`."""

from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from contacts.models import Contact
from contacts.parameters import IdFilter
from contacts.problems import PreconditionFailed
from contacts.rest import MomentField, Resource, StrictSerializer
from leads import activities, desk, handing, holding, moves, syncing
from leads.activity_api import (
    Activities,
    ActivitySerializer,
    CallSerializer,
    ColleagueField,
    NoteSerializer,
    NothingSerializer,
    Tasks,
    answered,
)
from leads.loop_api import ReportMixin
from leads.models import Activity, Lead, RejectReason

_WORK = "sync leads.work_lead"
_MOVES = [
    "claim", "release", "accept", "reject", "convert", "snooze", "unsnooze", "assign", "note", "call", "undo", "hold",
    "unhold",
]  # fmt: skip


class LeadFilters(filters.FilterSet):
    state = filters.ChoiceFilter(choices=Lead.STATES)
    team = filters.CharFilter(field_name="team__key")
    owner = filters.CharFilter(field_name="owner__username")
    assigned_to = filters.CharFilter(field_name="assigned_to__username")
    contact = IdFilter(field_name="contact_id")
    crm_id = filters.CharFilter()
    created_after = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gt")
    updated_after = filters.IsoDateTimeFilter(field_name="updated_at", lookup_expr="gt")
    overdue = filters.BooleanFilter(method="by_clock")
    snoozed = filters.BooleanFilter(method="by_sleep")

    class Meta:
        model = Lead
        fields: list[str] = []

    def by_clock(self, leads: Any, name: str, value: bool) -> Any:
        late = leads.overdue(timezone.now())
        return late if value else leads.exclude(pk__in=late.order_by().values("pk"))

    def by_sleep(self, leads: Any, name: str, value: bool) -> Any:
        return leads.snoozed(timezone.now()) if value else leads.awake(timezone.now())


class LeadSerializer(serializers.ModelSerializer):
    team = serializers.CharField(source="team.key", default=None, read_only=True, allow_null=True)
    owner = serializers.CharField(source="owner.username", default=None, read_only=True, allow_null=True)
    assigned_to = serializers.CharField(source="assigned_to.username", default=None, read_only=True, allow_null=True)
    reject_reason = serializers.CharField(source="reject_reason.key", default=None, read_only=True, allow_null=True)

    class Meta:
        model = Lead
        fields = [
            "id", "version", "crm_id", "contact", "state", "team", "owner", "assigned_to", "headline", "evidence",
            "score", "created_at", "assigned_at", "due_at", "claimed_at", "accepted_at", "ended_at", "snoozed_until",
            "snooze_reason", "reject_reason", "note", "value", "currency", "order_number", "order_total", "updated_at",
        ]  # fmt: skip
        read_only_fields = fields


class CurrencyField(serializers.RegexField):
    def __init__(self, **kwargs: Any) -> None:
        said = {"invalid": _("This must be an ISO code of three letters such as EUR.")}
        super().__init__(r"^[A-Z]{3}$", error_messages=said, **kwargs)


class AmountField(serializers.DecimalField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_digits=14, decimal_places=2, min_value=0, allow_null=True, required=False, **kwargs)


class RejectSerializer(StrictSerializer, serializers.Serializer):
    reason = serializers.SlugRelatedField(slug_field="key", queryset=RejectReason.objects.all())
    note = serializers.CharField(required=False, allow_blank=True, max_length=4000)


class ConvertSerializer(StrictSerializer, serializers.Serializer):
    value = AmountField()
    currency = CurrencyField(required=False)
    order_number = serializers.CharField(required=False, allow_blank=True, max_length=200)
    order_total = AmountField()
    note = serializers.CharField(required=False, allow_blank=True, max_length=4000)


class SnoozeSerializer(StrictSerializer, serializers.Serializer):
    until = MomentField()
    reason = serializers.CharField(required=False, allow_blank=True, max_length=500)


class AssignSerializer(StrictSerializer, serializers.Serializer):
    to = ColleagueField()


class LeadChangeSerializer(StrictSerializer, serializers.Serializer):
    """What a CRM may write back; `updated_at` is that of the lead it has read: an older one is refused with a 412."""

    crm_id = serializers.CharField(required=False, allow_blank=True, max_length=200)
    value = AmountField()
    currency = CurrencyField(required=False)
    owner = ColleagueField(required=False)
    updated_at = MomentField(required=False)


def _answers(request: Any, description: str, body: dict[str, Any] | None = None) -> Any:
    """How a move stands in the OpenAPI document."""
    examples = [OpenApiExample("example", value=body, request_only=True)] if body else []
    responses = {200: LeadSerializer}
    return extend_schema(request=request, responses=responses, description=description, examples=examples)


@extend_schema_view(
    list=extend_schema(parameters=[OpenApiParameter("overdue", bool), OpenApiParameter("snoozed", bool)]),
    partial_update=_answers(
        LeadChangeSerializer, "Writes back what another system knows.", {"crm_id": "006-17", "value": "1250.00"}
    ),
)
class Leads(ReportMixin, ListModelMixin, RetrieveModelMixin, Resource):
    """Leads: all of them, or for a sales rep his own and the unclaimed ones.

    A move that comes too late is a 409 whose document names the `owner`.
    """

    needs = {
        "list": "read", "retrieve": "read", "activities": "read", "partial_update": _WORK,
        "report": "read leads.view_lead", **dict.fromkeys(_MOVES, _WORK),
    }  # fmt: skip
    orderings = {
        "-id": ("-id",), "id": ("id",), "-created_at": ("-created_at", "-id"), "updated_at": ("updated_at", "id"),
    }  # fmt: skip
    parameters = {"activities": ("cursor", "limit"), "report": ("days", "team")}
    filterset_class = LeadFilters
    serializer_class = LeadSerializer
    queryset = Lead.objects.none()

    def get_queryset(self) -> QuerySet[Lead]:
        user = self.request.user
        leads = Lead.objects.visible_to(user)
        if self.action == "claim":
            # Whoever comes second must be told who was first, and that lead is no longer his to see.
            leads = Lead.objects.all()
        elif self.action == "undo":
            # So must who gave it away by mistake.
            mine = Lead.objects.filter(moves__by=user, moves__undone_at=None).values("pk")
            leads = Lead.objects.filter(Q(pk__in=leads.order_by().values("pk")) | Q(pk__in=mine))
        return leads.select_related("team", "owner", "assigned_to", "reject_reason", "contact")

    def filter_queryset(self, queryset: QuerySet) -> QuerySet:
        # The parameters of one lead's moves and activities are no filters of leads.
        return super().filter_queryset(queryset) if self.action == "list" else queryset

    def get_object(self) -> Lead:
        if self.action == "partial_update" and self.kwargs["pk"].isdecimal() and len(self.kwargs["pk"]) < 19:
            # The person first, as every move does, so that neither shuts the other out.
            list(Contact.objects.filter(leads=self.kwargs["pk"]).select_for_update(no_key=True, of=("self",)))
        return super().get_object()

    def _move(self, move: Any, words: type[serializers.Serializer]) -> Response:
        lead = self.get_object()
        self.check_match(lead)
        said = answered(move, words, self.request, lead=lead, source=self.source("rest"))
        return Response(self.get_serializer(said).data)

    def partial_update(self, request: Request, pk: str | None = None) -> Response:
        """Writes back what another system knows of a lead: its number there, the value, whose it is."""
        lead = self.get_object()
        serializer = LeadChangeSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        told = serializer.validated_data
        seen = told.pop("updated_at", None)
        if seen is not None and seen < lead.updated_at:
            raise PreconditionFailed(_("It has changed since you read it. Read it again."))
        changed = answered(syncing.write_back, None, request, lead=lead, source=self.source("rest"), told=told)
        return Response(self.get_serializer(changed).data)

    @_answers(NothingSerializer, "Takes an open lead; 409 says who was first.")
    @action(detail=True, methods=["post"])
    def claim(self, request: Request, pk: str | None = None) -> Response:
        return self._move(desk.claim, NothingSerializer)

    @_answers(NothingSerializer, "Puts a claimed lead back for the others.")
    @action(detail=True, methods=["post"])
    def release(self, request: Request, pk: str | None = None) -> Response:
        return self._move(desk.release, NothingSerializer)

    @_answers(NothingSerializer, "Agrees to work on a lead that one has claimed, or that nobody has.")
    @action(detail=True, methods=["post"])
    def accept(self, request: Request, pk: str | None = None) -> Response:
        return self._move(desk.accept, NothingSerializer)

    @_answers(RejectSerializer, "Gives a lead back with a reason.", {"reason": "no-budget", "note": "Asks for spring"})
    @action(detail=True, methods=["post"])
    def reject(self, request: Request, pk: str | None = None) -> Response:
        return self._move(desk.reject, RejectSerializer)

    @_answers(
        ConvertSerializer, "Notes that an accepted lead has become a customer, and with an order's number an order.",
        {"value": "1250.00", "currency": "EUR", "order_number": "2027-17"},
    )  # fmt: skip
    @action(detail=True, methods=["post"])
    def convert(self, request: Request, pk: str | None = None) -> Response:
        return self._move(desk.convert, ConvertSerializer)

    @_answers(
        SnoozeSerializer, "Lets a lead in hand sleep until a moment.",
        {"until": "2027-03-01T08:00:00Z", "reason": "On holiday"},
    )  # fmt: skip
    @action(detail=True, methods=["post"])
    def snooze(self, request: Request, pk: str | None = None) -> Response:
        return self._move(desk.snooze, SnoozeSerializer)

    @_answers(NothingSerializer, "Wakes a sleeping lead.")
    @action(detail=True, methods=["post"])
    def unsnooze(self, request: Request, pk: str | None = None) -> Response:
        return self._move(desk.unsnooze, NothingSerializer)

    @_answers(AssignSerializer, "Gives a lead to a colleague.", {"to": "jan"})
    @action(detail=True, methods=["post"])
    def assign(self, request: Request, pk: str | None = None) -> Response:
        return self._move(handing.assign, AssignSerializer)

    @_answers(
        CallSerializer, "Notes how a call went.",
        {"outcome": "call_back", "body": "At lunch", "back_at": "2027-03-01T13:00:00Z"},
    )  # fmt: skip
    @action(detail=True, methods=["post"])
    def call(self, request: Request, pk: str | None = None) -> Response:
        return self._move(activities.call, CallSerializer)

    @_answers(NothingSerializer, "Takes back one's own last move, until others were told of it; 409 says why not.")
    @action(detail=True, methods=["post"])
    def undo(self, request: Request, pk: str | None = None) -> Response:
        return self._move(moves.undo, NothingSerializer)

    @extend_schema(request=NoteSerializer, responses={201: ActivitySerializer})
    @action(detail=True, methods=["post"])
    def note(self, request: Request, pk: str | None = None) -> Response:
        """Writes a note at a lead."""
        written = answered(activities.note, NoteSerializer, request, lead=self.get_object(), source=self.source("rest"))
        return Response(ActivitySerializer(written).data, status=201)

    @extend_schema(responses=ActivitySerializer(many=True), filters=False)
    @action(detail=True, methods=["get"])
    def activities(self, request: Request, pk: str | None = None) -> Response:
        """The notes and calls of a lead, the newest first."""
        written = Activity.objects.filter(lead=self.get_object()).select_related("by")
        rows = self.paginate_queryset(written)
        return self.get_paginated_response(ActivitySerializer(rows, many=True).data)

    @_answers(
        SnoozeSerializer, "Holds marketing for the lead's person until a moment, 30 days at most.",
        {"until": "2027-03-01T08:00:00Z", "reason": "We are negotiating"},
    )  # fmt: skip
    @action(detail=True, methods=["post"])
    def hold(self, request: Request, pk: str | None = None) -> Response:
        lead = self.get_object()
        answered(holding.hold_marketing, SnoozeSerializer, request, lead=lead, source=self.source("rest"))
        return Response(self.get_serializer(lead).data)

    @_answers(NothingSerializer, "Lets marketing write to the lead's person again.")
    @action(detail=True, methods=["post"])
    def unhold(self, request: Request, pk: str | None = None) -> Response:
        lead = self.get_object()
        answered(holding.release_marketing, NothingSerializer, request, lead=lead, source=self.source("rest"))
        return Response(self.get_serializer(lead).data)


ROUTES: dict[str, type] = {"leads": Leads, "activities": Activities, "tasks": Tasks}
