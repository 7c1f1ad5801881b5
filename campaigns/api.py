"""REST resources of this app."""

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns import fuse, publishing
from campaigns.draft_api import ChoicesSerializer, DraftActions, refusal
from campaigns.models import Enrolment, Journey, Sendout
from campaigns.requests import enrol_contacts
from campaigns.result_api import ResultsSerializer
from campaigns.results import results
from campaigns.sendouts import progress_of
from contacts.models import Contact
from contacts.parameters import IdFilter
from contacts.problems import Conflict, PreconditionFailed
from contacts.rest import Resource, StrictSerializer


class JourneyFilters(filters.FilterSet):
    kind = filters.ChoiceFilter(choices=Journey.KINDS)
    state = filters.ChoiceFilter(choices=Journey.STATES)

    class Meta:
        model = Journey
        fields: list[str] = []


class JourneySerializer(serializers.ModelSerializer):
    version = serializers.IntegerField(source="version.number", read_only=True, default=None)
    published_at = serializers.DateTimeField(source="version.published_at", read_only=True, default=None)
    definition = serializers.JSONField(source="version.definition", read_only=True, default=None)
    # Why the fuse paused it, as a sentence; empty where a person did, or nobody.
    pause_reason = serializers.SerializerMethodField()

    class Meta:
        model = Journey
        fields = ["key", "name", "kind", "state", "pause_reason", "tier", "version", "published_at", "definition"]
        read_only_fields = fields

    def get_pause_reason(self, journey: Journey) -> str:
        return fuse.in_words(journey.pause_reason)


class PublishSerializer(ChoicesSerializer):
    enrol_matching = serializers.BooleanField(default=False)


class EnrolSerializer(StrictSerializer, serializers.Serializer):
    contacts = serializers.ListField(child=serializers.IntegerField(min_value=1), min_length=1, max_length=10_000)
    entry_key = serializers.CharField(default="", allow_blank=True, max_length=200)


class RequestedSerializer(serializers.Serializer):
    requested = serializers.IntegerField()


class SendoutSerializer(serializers.ModelSerializer):
    """One sending of a broadcast. `sent`, `waiting`, `held_back` and `failed` are together the audience."""

    version = serializers.IntegerField(source="version.number", read_only=True)
    sent = serializers.IntegerField(source="progress.sent", read_only=True, default=None)
    opened = serializers.IntegerField(source="progress.opened", read_only=True, default=None)
    clicked = serializers.IntegerField(source="progress.clicked", read_only=True, default=None)
    waiting = serializers.IntegerField(source="progress.waiting", read_only=True, default=None)
    held_back = serializers.IntegerField(source="progress.held_back", read_only=True, default=None)
    failed = serializers.IntegerField(source="progress.failed", read_only=True, default=None)
    reasons = serializers.DictField(
        source="progress.reasons", child=serializers.IntegerField(), read_only=True, default=None
    )

    class Meta:
        model = Sendout
        fields = [
            "key", "state", "problem", "version", "starts_at", "snapshot_at", "audience", "unknown_zones", "sent",
            "opened", "clicked", "waiting", "held_back", "failed", "reasons", "finished_at",
        ]  # fmt: skip
        read_only_fields = fields


# Actions whose If-Match speaks of the draft.
_ON_DRAFT = {"draft", "replace_draft", "undo", "redo"}


class Journeys(DraftActions, ListModelMixin, RetrieveModelMixin, Resource):
    """Journeys of every kind. What goes live is the draft: of the builder, of `manage.py apply`, or of `draft/`."""

    needs = {
        "list": "read campaigns.view_journey",
        "retrieve": "read campaigns.view_journey",
        "results": "read campaigns.view_journey",
        "create": "admin campaigns.add_journey",
        "draft": "read campaigns.view_journey",
        "replace_draft": "admin campaigns.change_journey",
        "undo": "admin campaigns.change_journey",
        "redo": "admin campaigns.change_journey",
        "impact": "read campaigns.view_journey",
        "try_choices": "read campaigns.view_journey",
        "versions": "read campaigns.view_journey",
        "clone": "admin campaigns.add_journey",
        "rollback": "admin campaigns.publish_journey",
        "archive": "admin campaigns.publish_journey",
        "publish": "admin campaigns.publish_journey",
        "pause": "admin campaigns.publish_journey",
        "resume": "admin campaigns.publish_journey",
        "enrol": "sync campaigns.publish_journey",
        "occasions": "read campaigns.view_journey",
    }
    filterset_class = JourneyFilters
    serializer_class = JourneySerializer
    queryset = Journey.objects.select_related("version")
    lookup_field = "key"

    def check_match(self, instance: Journey) -> None:
        """If-Match names the draft where the draft is meant."""
        if self.action not in _ON_DRAFT:
            return super().check_match(instance)
        wanted = self.request.headers.get("If-Match", "*").strip()
        tags = [one.strip().removeprefix("W/") for one in wanted.split(",")]
        if wanted != "*" and self.draft_tag(instance) not in tags:
            raise PreconditionFailed(_("It has changed since you read it. Read it again."))
        return None

    def _answer(self, journey: Journey) -> Response:
        return Response(self.represent(self.get_queryset().get(pk=journey.pk)))

    @extend_schema(request=PublishSerializer, responses=JourneySerializer, filters=False)
    @action(detail=True, methods=["post"])
    def publish(self, request: Request, key: str) -> Response:
        """Makes the draft the version that runs. People inside finish theirs, unless `choices` say otherwise."""
        asked = PublishSerializer(data=request.data or {})
        asked.is_valid(raise_exception=True)
        journey = self.get_object()
        self.check_match(journey)
        try:
            publishing.publish(journey=journey, by=request.user, now=timezone.now(), **asked.validated_data)
        except publishing.Unpublishable as wrong:
            raise refusal(wrong) from None
        except publishing.WrongState as wrong:
            raise Conflict(str(wrong)) from None
        return self._answer(journey)

    @extend_schema(request=None, responses=JourneySerializer, filters=False)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, key: str) -> Response:
        """Everybody stands still, and nothing goes out."""
        return self._turn(publishing.pause)

    @extend_schema(request=None, responses=JourneySerializer, filters=False)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, key: str) -> Response:
        """Everybody goes on."""
        return self._turn(publishing.resume)

    @extend_schema(responses=ResultsSerializer, filters=False)
    @action(detail=True, methods=["get"])
    def results(self, request: Request, key: str) -> Response:
        """What the journey did: against those it holds out, and path by path of its splits, with how sure that is."""
        return Response(ResultsSerializer(results(self.get_object())).data)

    def _turn(self, change: Any) -> Response:
        journey = self.get_object()
        self.check_match(journey)
        try:
            change(journey=journey, by=self.request.user, now=timezone.now())
        except publishing.WrongState as wrong:
            raise Conflict(str(wrong)) from None
        return self._answer(journey)

    @extend_schema(request=EnrolSerializer, responses={202: RequestedSerializer}, filters=False)
    @action(detail=True, methods=["post"])
    def enrol(self, request: Request, key: str) -> Response:
        """Asks the next tick to let contacts in; the journey's re-entry rule decides."""
        asked = EnrolSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        journey = self.get_object()
        if journey.kind == "broadcast":
            raise Conflict(_("A broadcast takes its audience itself."))
        if journey.state != "live":
            raise Conflict(_("Only a live journey lets people in."))
        wanted = set(asked.validated_data["contacts"])
        people = Contact.objects.living().visible_to(request.user).filter(pk__in=wanted)
        if missing := wanted - set(people.values_list("pk", flat=True)):
            raise ValidationError({"contacts": _("There is no contact %(id)d.") % {"id": min(missing)}})
        requested = enrol_contacts(
            journey=journey,
            contacts=Contact.objects.filter(pk__in=wanted),
            by=request.user,
            now=timezone.now(),
            entry_key=asked.validated_data["entry_key"],
        )
        return Response({"requested": requested}, status=202)

    @extend_schema(responses=SendoutSerializer(many=True), filters=False)
    @action(detail=True)
    def occasions(self, request: Request, key: str) -> Response:
        """The sendings of a broadcast, and what became of their audiences; empty for any other journey."""
        rows = self.paginate_queryset(self.get_object().sendouts.select_related("version"))
        progress = progress_of(rows)
        for row in rows:
            row.progress = progress.get(row.pk)
        return self.get_paginated_response(SendoutSerializer(rows, many=True).data)


class EnrolmentFilters(filters.FilterSet):
    journey = filters.CharFilter(field_name="journey__key")
    contact = IdFilter(field_name="contact_id")
    state = filters.ChoiceFilter(choices=Enrolment.STATES)

    class Meta:
        model = Enrolment
        fields: list[str] = []


class EnrolmentSerializer(serializers.ModelSerializer):
    journey = serializers.CharField(source="journey.key", read_only=True)
    version = serializers.IntegerField(source="version.number", read_only=True)

    class Meta:
        model = Enrolment
        fields = [
            "id", "contact", "journey", "version", "entry_key", "state", "exit_reason", "is_ghost", "enrolled_at",
            "ended_at", "goal_at", "superseded_at", "superseded_by",
        ]  # fmt: skip
        read_only_fields = fields


class Enrolments(ListModelMixin, RetrieveModelMixin, Resource):
    """Who is, or was, on which journey."""

    needs = {"list": "read campaigns.view_enrolment", "retrieve": "read campaigns.view_enrolment"}
    filterset_class = EnrolmentFilters
    serializer_class = EnrolmentSerializer
    queryset = Enrolment.objects.none()

    def get_queryset(self) -> QuerySet[Enrolment]:
        mine = Contact.objects.visible_to(self.request.user)
        rows = Enrolment.objects.select_related("journey", "version")
        return rows if self.request.user.has_perm("contacts.view_contact") else rows.filter(contact__in=mine)


ROUTES: dict[str, type] = {"journeys": Journeys, "enrolments": Enrolments}
