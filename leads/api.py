"""REST resources of this app."""

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from django_filters import rest_framework as filters
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from contacts.parameters import IdFilter
from contacts.problems import Conflict
from contacts.rest import Resource, StrictSerializer
from leads import desk, tasks
from leads.loop_api import ReportMixin
from leads.models import Lead, RejectReason, Task

_WORK = "sync leads.work_lead"


class LeadFilters(filters.FilterSet):
    state = filters.ChoiceFilter(choices=Lead.STATES)
    team = filters.CharFilter(field_name="team__key")
    owner = filters.CharFilter(field_name="owner__username")
    contact = IdFilter(field_name="contact_id")

    class Meta:
        model = Lead
        fields: list[str] = []


class LeadSerializer(serializers.ModelSerializer):
    team = serializers.CharField(source="team.key", default=None, read_only=True, allow_null=True)
    owner = serializers.CharField(source="owner.username", default=None, read_only=True, allow_null=True)
    reject_reason = serializers.CharField(source="reject_reason.key", default=None, read_only=True, allow_null=True)

    class Meta:
        model = Lead
        fields = [
            "id", "contact", "state", "team", "owner", "headline", "evidence", "score", "created_at", "due_at",
            "claimed_at", "accepted_at", "ended_at", "reject_reason", "note", "value", "updated_at",
        ]  # fmt: skip
        read_only_fields = fields


class NothingSerializer(StrictSerializer, serializers.Serializer):
    """A move that needs no words."""


class RejectSerializer(StrictSerializer, serializers.Serializer):
    reason = serializers.SlugRelatedField(slug_field="key", queryset=RejectReason.objects.all())
    note = serializers.CharField(required=False, allow_blank=True, max_length=4000)


class ConvertSerializer(StrictSerializer, serializers.Serializer):
    value = serializers.DecimalField(max_digits=14, decimal_places=2, min_value=0, required=False, allow_null=True)
    note = serializers.CharField(required=False, allow_blank=True, max_length=4000)


class Leads(ReportMixin, ListModelMixin, RetrieveModelMixin, Resource):
    """Leads: all of them, or for a sales rep his own and the unclaimed ones."""

    needs = {
        "list": "read", "retrieve": "read", "claim": _WORK, "release": _WORK, "accept": _WORK, "reject": _WORK,
        "convert": _WORK, "report": "read leads.view_lead",
    }  # fmt: skip
    parameters = {"report": ("days", "team")}
    orderings = {"-id": ("-id",), "id": ("id",), "-created_at": ("-created_at", "-id")}
    filterset_class = LeadFilters
    serializer_class = LeadSerializer
    queryset = Lead.objects.none()

    def get_queryset(self) -> QuerySet[Lead]:
        # Whoever comes second must be told who was first, and that lead is no longer his to see.
        leads = Lead.objects.all() if self.action == "claim" else Lead.objects.visible_to(self.request.user)
        return leads.select_related("team", "owner", "reject_reason")

    def _move(self, move: Any, words: type[serializers.Serializer]) -> Response:
        lead = self.get_object()
        serializer = words(data=self.request.data or {})
        serializer.is_valid(raise_exception=True)
        try:
            moved = move(
                lead=lead, by=self.request.user, now=timezone.now(), source=self.source("rest"),
                **serializer.validated_data,
            )  # fmt: skip
        except desk.DeskError as error:
            raise Conflict(str(error)) from None
        return Response(self.get_serializer(moved).data)

    @action(detail=True, methods=["post"])
    def claim(self, request: Request, pk: str | None = None) -> Response:
        """Takes an open lead; 409 says who was first."""
        return self._move(desk.claim, NothingSerializer)

    @action(detail=True, methods=["post"])
    def release(self, request: Request, pk: str | None = None) -> Response:
        """Puts a claimed lead back for the others."""
        return self._move(desk.release, NothingSerializer)

    @action(detail=True, methods=["post"])
    def accept(self, request: Request, pk: str | None = None) -> Response:
        """Agrees to work on a claimed lead."""
        return self._move(desk.accept, NothingSerializer)

    @action(detail=True, methods=["post"])
    def reject(self, request: Request, pk: str | None = None) -> Response:
        """Gives a lead back with a reason: `{"reason": "no-budget", "note": "…"}`."""
        return self._move(desk.reject, RejectSerializer)

    @action(detail=True, methods=["post"])
    def convert(self, request: Request, pk: str | None = None) -> Response:
        """Notes that an accepted lead has become a customer: `{"value": "1250.00"}`."""
        return self._move(desk.convert, ConvertSerializer)


class TaskFilters(filters.FilterSet):
    state = filters.ChoiceFilter(choices=Task.STATES)
    team = filters.CharFilter(field_name="team__key")
    assignee = filters.CharFilter(field_name="assignee__username")
    contact = IdFilter(field_name="contact_id")

    class Meta:
        model = Task
        fields: list[str] = []


class TaskSerializer(serializers.ModelSerializer):
    team = serializers.CharField(source="team.key", default=None, read_only=True, allow_null=True)
    assignee = serializers.CharField(source="assignee.username", default=None, read_only=True, allow_null=True)
    done_by = serializers.CharField(source="done_by.username", default=None, read_only=True, allow_null=True)

    class Meta:
        model = Task
        fields = [
            "id", "contact", "title", "state", "team", "assignee", "due_at", "source", "created_at", "done_at",
            "done_by", "updated_at",
        ]  # fmt: skip
        read_only_fields = fields


class Tasks(ListModelMixin, RetrieveModelMixin, Resource):
    """Tasks that journeys asked for: all of them, or for a sales rep his own, his teams' and nobody's."""

    needs = {"list": "read", "retrieve": "read", "done": _WORK, "reopen": _WORK}
    orderings = {"-id": ("-id",), "id": ("id",)}
    filterset_class = TaskFilters
    serializer_class = TaskSerializer
    queryset = Task.objects.none()

    def get_queryset(self) -> QuerySet[Task]:
        return Task.objects.visible_to(self.request.user).select_related("team", "assignee", "done_by")

    def _move(self, move: Any) -> Response:
        task = self.get_object()
        NothingSerializer(data=self.request.data or {}).is_valid(raise_exception=True)
        try:
            moved = move(task=task, by=self.request.user, now=timezone.now(), source=self.source("rest"))
        except desk.DeskError as error:
            raise Conflict(str(error)) from None
        return Response(self.get_serializer(moved).data)

    @action(detail=True, methods=["post"])
    def done(self, request: Request, pk: str | None = None) -> Response:
        """Notes that a task is done."""
        return self._move(tasks.finish)

    @action(detail=True, methods=["post"])
    def reopen(self, request: Request, pk: str | None = None) -> Response:
        """Takes it back that a task is done."""
        return self._move(tasks.reopen)


ROUTES: dict[str, type] = {"leads": Leads, "tasks": Tasks}
