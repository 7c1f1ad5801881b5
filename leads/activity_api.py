"""REST: notes and calls, and tasks."""

from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from contacts.models import Contact
from contacts.parameters import IdFilter
from contacts.problems import Conflict
from contacts.rest import MomentField, Resource, StrictSerializer
from leads import activities, desk, tasks
from leads.models import Activity, Task

_WORK = "sync leads.work_lead"


def answered(move: Any, words: type[serializers.Serializer] | None, request: Request, **more: Any) -> Any:
    """Makes a move with the words of a request; what is refused is a 400 that names the field, or a 409."""
    if words is not None:
        serializer = words(data=request.data or {})
        serializer.is_valid(raise_exception=True)
        more |= serializer.validated_data
    try:
        return move(by=request.user, now=timezone.now(), **more)
    except desk.WrongWords as error:
        raise ValidationError({error.field: str(error)}) from None
    except desk.TakenByOther as error:
        raise Conflict(str(error), extra={"owner": error.owner.get_username()}) from None
    except desk.DeskError as error:
        raise Conflict(str(error)) from None


class NothingSerializer(StrictSerializer, serializers.Serializer):
    """A move that needs no words."""


class ColleagueField(serializers.SlugRelatedField):
    """A user by their name; whether they are a colleague is for the move to say."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(slug_field="username", queryset=get_user_model().objects.filter(is_active=True), **kwargs)


# Notes and calls -----------------------------------------------------------------------------------------------------


class ActivitySerializer(serializers.ModelSerializer):
    # Read as it stands: a note has none.
    outcome = serializers.CharField(read_only=True)
    by = serializers.CharField(source="by.username", default=None, read_only=True, allow_null=True)

    class Meta:
        model = Activity
        fields = ["id", "lead", "contact", "kind", "outcome", "body", "by", "at", "edited_at"]
        read_only_fields = fields


class NoteSerializer(StrictSerializer, serializers.Serializer):
    body = serializers.CharField(max_length=activities.LONGEST)


class CallSerializer(StrictSerializer, serializers.Serializer):
    outcome = serializers.ChoiceField(choices=Activity.OUTCOMES)
    body = serializers.CharField(required=False, allow_blank=True, max_length=activities.LONGEST)
    back_at = MomentField(required=False, allow_null=True)


class ActivityFilters(filters.FilterSet):
    lead = IdFilter(field_name="lead_id")
    contact = IdFilter(field_name="contact_id")
    kind = filters.ChoiceFilter(choices=Activity.KINDS)

    class Meta:
        model = Activity
        fields: list[str] = []


@extend_schema_view(partial_update=extend_schema(request=NoteSerializer, responses=ActivitySerializer))
class Activities(ListModelMixin, RetrieveModelMixin, Resource):
    """Notes and calls of the leads that one sees. One's own words may be changed for a day."""

    needs = {"list": "read", "retrieve": "read", "partial_update": _WORK, "destroy": _WORK}
    orderings = {"-id": ("-id",), "id": ("id",)}
    filterset_class = ActivityFilters
    serializer_class = ActivitySerializer
    queryset = Activity.objects.none()

    def get_queryset(self) -> QuerySet[Activity]:
        return Activity.objects.visible_to(self.request.user).select_related("by")

    def partial_update(self, request: Request, pk: str | None = None) -> Response:
        """Changes one's own words."""
        written = answered(activities.edit_note, NoteSerializer, request, activity=self.get_object())
        return Response(self.get_serializer(written).data)

    def destroy(self, request: Request, pk: str | None = None) -> Response:
        """Takes one's own note away."""
        answered(activities.delete_note, None, request, activity=self.get_object())
        return Response(status=204)


# Tasks ---------------------------------------------------------------------------------------------------------------


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
    created_by = serializers.CharField(source="created_by.username", default=None, read_only=True, allow_null=True)
    done_by = serializers.CharField(source="done_by.username", default=None, read_only=True, allow_null=True)

    class Meta:
        model = Task
        fields = [
            "id", "contact", "title", "state", "team", "assignee", "due_at", "source", "created_at", "created_by",
            "done_at", "done_by", "updated_at",
        ]  # fmt: skip
        read_only_fields = fields


class NewTaskSerializer(StrictSerializer, serializers.Serializer):
    contact = serializers.IntegerField(min_value=1, max_value=2**63 - 1)
    title = serializers.CharField(max_length=tasks.LONGEST)
    assignee = ColleagueField(required=False)
    due_at = MomentField(required=False, allow_null=True)


_EXAMPLE = {"contact": 2402, "title": "Send the offer", "assignee": "jan", "due_at": "2027-03-01T08:00:00Z"}


@extend_schema_view(
    create=extend_schema(
        request=NewTaskSerializer, responses={201: TaskSerializer},
        examples=[OpenApiExample("example", value=_EXAMPLE, request_only=True)],
    ),
    done=extend_schema(request=NothingSerializer, responses=TaskSerializer),
    reopen=extend_schema(request=NothingSerializer, responses=TaskSerializer),
)  # fmt: skip
class Tasks(ListModelMixin, RetrieveModelMixin, Resource):
    """What is to be done for people: all of it, or for a sales rep his own, his teams' and nobody's."""

    needs = {"list": "read", "retrieve": "read", "create": _WORK, "done": _WORK, "reopen": _WORK}
    orderings = {"-id": ("-id",), "id": ("id",)}
    filterset_class = TaskFilters
    serializer_class = TaskSerializer
    queryset = Task.objects.none()

    def get_queryset(self) -> QuerySet[Task]:
        tasks_of_user = Task.objects.visible_to(self.request.user)
        return tasks_of_user.select_related("team", "assignee", "created_by", "done_by")

    def create(self, request: Request) -> Response:
        """Makes a task for oneself or a colleague, for a contact that one sees."""
        serializer = NewTaskSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        told = serializer.validated_data
        contact = Contact.objects.visible_to(request.user).living().filter(pk=told.pop("contact")).first()
        if contact is None:
            raise ValidationError({"contact": _("There is no such contact.")})
        task = answered(tasks.make, None, request, contact=contact, source=self.source("rest"), **told)
        return Response(self.get_serializer(task).data, status=201)

    def _move(self, move: Any) -> Response:
        task = self.get_object()
        moved = answered(move, NothingSerializer, self.request, task=task, source=self.source("rest"))
        return Response(self.get_serializer(moved).data)

    @action(detail=True, methods=["post"])
    def done(self, request: Request, pk: str | None = None) -> Response:
        """Notes that a task is done."""
        return self._move(tasks.finish)

    @action(detail=True, methods=["post"])
    def reopen(self, request: Request, pk: str | None = None) -> Response:
        """Takes it back that a task is done."""
        return self._move(tasks.reopen)
