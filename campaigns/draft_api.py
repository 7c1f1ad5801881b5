"""REST: drawing a journey (its drafts), what a publish would mean, its versions, copies and its end.

Part of the resource `Journeys`: these are actions on one journey.
"""

from collections.abc import Callable
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns import graph, publishing
from campaigns.findings import LONGEST_NAME
from campaigns.impact import DOES, EVERYBODY, Sheet
from campaigns.models import Draft, Journey, JourneyVersion
from contacts.problems import Conflict
from contacts.rest import StrictSerializer, etag
from contacts.written import unkeepable

_KINDS = [kind for kind, _name in Journey.KINDS]


class DefinitionSerializer(StrictSerializer, serializers.Serializer):
    definition = serializers.DictField(help_text="the journey as in journeys as code")
    message = serializers.CharField(
        default="", allow_blank=True, max_length=200, help_text="what this edit did, as a sentence"
    )

    def validate_definition(self, definition: dict[str, Any]) -> dict[str, Any]:
        if message := unkeepable(definition):
            raise ValidationError(message)
        return definition


class DraftProblemSerializer(serializers.Serializer):
    path = serializers.CharField()
    step = serializers.CharField(allow_blank=True)
    message = serializers.CharField()
    level = serializers.ChoiceField(choices=["error", "later", "warning"], help_text="only a warning may be published")


class DraftSerializer(serializers.Serializer):
    revision = serializers.IntegerField(help_text="the number of the draft; each edit has one of its own")
    definition = serializers.JSONField()
    message = serializers.CharField(allow_blank=True)
    made_at = serializers.DateTimeField(allow_null=True)
    made_by = serializers.CharField(allow_null=True)
    problems = DraftProblemSerializer(many=True)


class ChoiceSerializer(StrictSerializer, serializers.Serializer):
    do = serializers.ChoiceField(choices=[*DOES, "carry_on"])
    to = serializers.CharField(required=False, allow_null=True, help_text="of `move`: the key of a step")


class ChoicesSerializer(StrictSerializer, serializers.Serializer):
    everybody = serializers.ChoiceField(
        choices=EVERYBODY, default="finish", help_text="people inside finish their version, or follow to the new one"
    )
    choices = serializers.DictField(
        child=ChoiceSerializer(), default=dict, help_text="by the key of a step: what else becomes of whoever is there"
    )


class ImpactSerializer(ChoicesSerializer):
    version = serializers.IntegerField(
        required=False, min_value=1, max_value=2**31 - 1, help_text="of publishing this version again, not the draft"
    )


class RollbackSerializer(ChoicesSerializer):
    version = serializers.IntegerField(min_value=1, max_value=2**31 - 1)


class CloneSerializer(StrictSerializer, serializers.Serializer):
    key = serializers.CharField(default="", allow_blank=True, max_length=64)
    name = serializers.CharField(default="", allow_blank=True, max_length=LONGEST_NAME)


class ArchiveSerializer(StrictSerializer, serializers.Serializer):
    people = serializers.ChoiceField(
        choices=["exit", "finish"], default="exit", help_text="whoever is inside leaves at once, or finishes first"
    )


class HeadcountSerializer(serializers.Serializer):
    people = serializers.IntegerField()
    ghosts = serializers.IntegerField(help_text="held out: they walk the same way and get nothing")


class ImpactStepSerializer(serializers.Serializer):
    step = serializers.CharField(allow_blank=True, help_text="empty: the entry")
    kind = serializers.CharField()
    change = serializers.ChoiceField(choices=["same", "changed", "removed"])
    versions = serializers.ListField(child=serializers.IntegerField())
    before = HeadcountSerializer()
    here = HeadcountSerializer()
    past = HeadcountSerializer()
    do = serializers.ChoiceField(choices=[*DOES, "carry_on"])
    to = serializers.CharField(allow_null=True, help_text="null: the end of the journey, or nowhere")


class SheetSerializer(serializers.Serializer):
    everybody = serializers.ChoiceField(choices=EVERYBODY)
    inside = HeadcountSerializer()
    steps = ImpactStepSerializer(many=True)
    problems = DraftProblemSerializer(many=True)


class VersionSerializer(serializers.Serializer):
    number = serializers.IntegerField()
    is_live = serializers.BooleanField()
    published_at = serializers.DateTimeField()
    published_by = serializers.CharField(allow_null=True)
    definition = serializers.JSONField()
    sheet = serializers.JSONField(allow_null=True, help_text="what its publish said of people inside, and did")


def drawn(journey: Journey, draft: Draft | None) -> dict[str, Any]:
    """A draft as it is answered."""
    definition = draft.definition if draft else {}
    return {
        "revision": draft.revision if draft else 0,
        "definition": definition,
        "message": draft.message if draft else "",
        "made_at": draft.made_at if draft else None,
        "made_by": draft.made_by.get_username() if draft and draft.made_by else None,
        "problems": _plain(publishing.problems(definition)),
    }


def _plain(problems: list[graph.Problem]) -> list[dict[str, str]]:
    return [{"path": p.path, "step": p.step_key, "message": p.message, "level": p.level} for p in problems]


def refusal(wrong: publishing.Unpublishable) -> ValidationError:
    """What keeps a journey from going live, by path."""
    return ValidationError({problem.path or "definition": problem.message for problem in wrong.problems})


class DraftActions:
    """The actions; `Journeys` has what they stand on."""

    request: Any
    get_object: Callable[..., Journey]
    check_match: Callable[..., None]
    _answer: Callable[[Journey], Response]
    get_serializer: Any

    # Drafts

    def draft_tag(self, journey: Journey) -> str:
        """The ETag of the current draft: another edit has another, whatever it says."""
        return etag({"journey": journey.pk, "revision": journey.revision})

    def _drawn(self, journey: Journey, status: int = 200) -> Response:
        journey = Journey.objects.get(pk=journey.pk)
        draft = publishing.current_draft(journey)
        return Response(drawn(journey, draft), status=status, headers={"ETag": self.draft_tag(journey)})

    @extend_schema(request=DefinitionSerializer, filters=False)
    def create(self, request: Request) -> Response:
        """A new journey, as a draft: its definition says its key and kind."""
        asked = DefinitionSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        definition, message = asked.validated_data["definition"], asked.validated_data["message"]
        key, kind, name = definition.get("key"), definition.get("kind"), definition.get("name")
        if not graph.is_key(key):
            raise ValidationError({"definition.key": _("A key is letters, digits, - and _, at most 64.")})
        if kind not in _KINDS:
            raise ValidationError(
                {"definition.kind": _("The kind must be one of: %(kinds)s.") % {"kinds": ", ".join(_KINDS)}}
            )
        if Journey.objects.filter(key=key).exists():
            raise Conflict(_("There is a journey with this key already."))
        name = name if isinstance(name, str) and 0 < len(name) <= LONGEST_NAME else str(key)
        journey = Journey.objects.create(key=key, kind=kind, name=name)
        publishing.save_draft(
            journey=journey, definition=definition, by=request.user, now=timezone.now(), message=message
        )
        return self._made(journey)

    def _made(self, journey: Journey) -> Response:
        answer = self._answer(journey)
        address = self.request.build_absolute_uri(f"/api/v1/journeys/{journey.key}/")
        return Response(answer.data, status=201, headers={"Location": address})

    @extend_schema(responses=DraftSerializer, filters=False)
    @action(detail=True)
    def draft(self, request: Request, key: str) -> Response:
        """The current draft, with its problems; its ETag is for If-Match."""
        return self._drawn(self.get_object())

    @extend_schema(request=DefinitionSerializer, responses=DraftSerializer, filters=False)
    @draft.mapping.put
    def replace_draft(self, request: Request, key: str) -> Response:
        """Keeps a new draft. One with problems is kept too; nothing goes live. With If-Match, only over that draft."""
        journey = self.get_object()
        asked = DefinitionSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        publishing.save_draft(journey=journey, by=request.user, now=timezone.now(), **asked.validated_data)
        return self._drawn(journey)

    @extend_schema(request=None, responses=DraftSerializer, filters=False)
    @action(detail=True, methods=["post"])
    def undo(self, request: Request, key: str) -> Response:
        """Goes back to the draft before. With If-Match, only from that draft."""
        return self._step(publishing.undo)

    @extend_schema(request=None, responses=DraftSerializer, filters=False)
    @action(detail=True, methods=["post"])
    def redo(self, request: Request, key: str) -> Response:
        """Goes forward to the draft that was undone last. With If-Match, only from that draft."""
        return self._step(publishing.redo)

    def _step(self, step: Callable[..., Draft | None]) -> Response:
        journey = self.get_object()
        self.check_match(journey)
        try:
            # Between the look at If-Match and the step, somebody else may have been faster.
            done = step(journey=journey, revision=journey.revision)
        except publishing.Stale as stale:
            raise Conflict(str(stale)) from None
        if done is None:
            raise Conflict(_("There is nothing more to undo or redo."))
        return self._drawn(journey)

    # Going live

    def _sheet(self, journey: Journey, asked: dict[str, Any]) -> Sheet:
        number = asked.pop("version", None)
        definition = None
        if number is not None:
            version = journey.versions.filter(number=number).first()
            if version is None:
                raise ValidationError({"version": _("There is no version %(number)d.") % {"number": number}})
            definition = version.definition
        try:
            return publishing.impact_of(journey, definition, **asked)
        except publishing.Unpublishable as wrong:
            raise refusal(wrong) from None
        except publishing.WrongState as wrong:
            raise Conflict(str(wrong)) from None

    @extend_schema(responses=SheetSerializer, filters=False)
    @action(detail=True)
    def impact(self, request: Request, key: str) -> Response:
        """What publishing the current draft would mean for the people inside, who all finish their version."""
        sheet = self._sheet(self.get_object(), {})
        return Response(sheet.plain() | {"problems": _plain(sheet.problems)})

    @extend_schema(request=ImpactSerializer, responses=SheetSerializer, filters=False)
    @impact.mapping.post
    def try_choices(self, request: Request, key: str) -> Response:
        """The same with other choices, or for an older version; nothing happens."""
        asked = ImpactSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        sheet = self._sheet(self.get_object(), dict(asked.validated_data))
        return Response(sheet.plain() | {"problems": _plain(sheet.problems)})

    @extend_schema(request=RollbackSerializer, filters=False)
    @action(detail=True, methods=["post"])
    def rollback(self, request: Request, key: str) -> Response:
        """Publishes an older version once more, as the newest one, with choices as `publish/` takes them."""
        asked = RollbackSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        data = dict(asked.validated_data)
        journey = self.get_object()
        self.check_match(journey)
        try:
            publishing.rollback(
                journey=journey, number=data.pop("version"), by=request.user, now=timezone.now(), **data
            )
        except publishing.Unpublishable as wrong:
            raise refusal(wrong) from None
        except publishing.WrongState as wrong:
            raise Conflict(str(wrong)) from None
        return self._answer(journey)

    @extend_schema(responses=VersionSerializer(many=True), filters=False)
    @action(detail=True, pagination_class=None)
    def versions(self, request: Request, key: str) -> Response:
        """Everything that was ever published, the newest first."""
        journey = self.get_object()
        rows = JourneyVersion.objects.filter(journey=journey).select_related("published_by").order_by("-number")
        return Response(
            [
                {
                    "number": row.number,
                    "is_live": row.pk == journey.version_id,
                    "published_at": row.published_at,
                    "published_by": row.published_by.get_username() if row.published_by else None,
                    "definition": row.definition,
                    "sheet": row.sheet,
                }
                for row in rows
            ]
        )

    @extend_schema(request=CloneSerializer, filters=False)
    @action(detail=True, methods=["post"])
    def clone(self, request: Request, key: str) -> Response:
        """A copy as a draft of its own, without a date on which it would go out."""
        asked = CloneSerializer(data=request.data or {})
        asked.is_valid(raise_exception=True)
        data = asked.validated_data
        if data["key"] and not graph.is_key(data["key"]):
            raise ValidationError({"key": _("A key is letters, digits, - and _, at most 64.")})
        try:
            made = publishing.clone(journey=self.get_object(), by=request.user, now=timezone.now(), **data)
        except publishing.Taken as taken:
            raise Conflict(str(taken)) from None
        return self._made(made)

    @extend_schema(request=ArchiveSerializer, filters=False)
    @action(detail=True, methods=["post"])
    def archive(self, request: Request, key: str) -> Response:
        """Ends the journey for good: nobody gets in any more."""
        asked = ArchiveSerializer(data=request.data or {})
        asked.is_valid(raise_exception=True)
        journey = self.get_object()
        self.check_match(journey)
        try:
            publishing.archive(journey=journey, by=request.user, now=timezone.now(), **asked.validated_data)
        except publishing.WrongState as wrong:
            raise Conflict(str(wrong)) from None
        return self._answer(journey)
