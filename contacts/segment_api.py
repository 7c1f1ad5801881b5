"""REST: segments, who is in them, and people put in or out by hand."""

from datetime import timedelta
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.response import Response

from contacts import segments
from contacts.contact_api import ContactSerializer, page_of
from contacts.explaining import said_by_hand
from contacts.identity import normalise
from contacts.models import Contact, Identity, Membership, MembershipOverride, Segment
from contacts.problems import Conflict, Unprocessable
from contacts.rest import MomentField, Resource, StrictSerializer
from contacts.rules import RuleError, parse
from contacts.sql import in_time

MOST_PEOPLE = 10_000


class SegmentSerializer(StrictSerializer, serializers.ModelSerializer):
    key = serializers.SlugField(max_length=64)
    name = serializers.CharField(max_length=200, required=False)
    rule = serializers.JSONField(
        required=False, allow_null=True, help_text="a rule as in journeys as code; null: only people added by hand"
    )
    problem = serializers.SerializerMethodField(help_text="why it cannot be asked any more; its members then stay")
    is_swept = serializers.SerializerMethodField(
        help_text="nobody can say when the clock turns an answer, so everybody is asked every 15 minutes"
    )

    class Meta:
        model = Segment
        fields = ["id", "key", "name", "rule", "problem", "is_swept", "created_at"]
        read_only_fields = ["id", "created_at"]

    def get_problem(self, segment: Segment) -> str:
        return self._problems().get(segment.key, "")

    def get_is_swept(self, segment: Segment) -> bool:
        try:
            return segments.is_swept(parse(segment.rule) if segment.rule is not None else None, timezone.now())
        except RuleError:
            return False

    def _problems(self) -> dict[str, str]:
        if "problems" not in self.context:
            self._context["problems"] = segments.problems()
        return self.context["problems"]


class RuleSerializer(StrictSerializer, serializers.Serializer):
    rule = serializers.JSONField(help_text="a rule as in journeys as code")


class CountSerializer(serializers.Serializer):
    count = serializers.IntegerField()
    sample = serializers.ListField(child=serializers.IntegerField(), help_text="ids of the first ten")


class ByHandSerializer(serializers.Serializer):
    is_member = serializers.BooleanField(help_text="put in, or kept out")
    until = serializers.DateTimeField(allow_null=True)
    by = serializers.CharField(allow_null=True)
    at = serializers.DateTimeField()


class MemberSerializer(ContactSerializer):
    entered_at = serializers.DateTimeField(read_only=True)
    by_hand = ByHandSerializer(read_only=True, allow_null=True)


class PeopleSerializer(StrictSerializer, serializers.Serializer):
    contacts = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=2**63 - 1), required=False, default=list
    )
    emails = serializers.ListField(child=serializers.CharField(max_length=320), required=False, default=list)
    until = MomentField(required=False, allow_null=True, default=None)

    def validate(self, data):
        if not data["contacts"] and not data["emails"]:
            raise ValidationError({"contacts": _("Name somebody, by contacts (ids) or emails.")})
        if len(data["contacts"]) + len(data["emails"]) > MOST_PEOPLE:
            raise ValidationError({"contacts": _("A request may name %(most)s people.") % {"most": MOST_PEOPLE}})
        if data["until"] and data["until"] <= timezone.now():
            raise ValidationError({"until": _("This is over already.")})
        return data


_DONE = inline_serializer(
    "PutByHand",
    {
        "changed": serializers.IntegerField(help_text="about how many people something was said; the next tick acts"),
        "unknown": serializers.ListField(help_text="ids and addresses of nobody whom you may see"),
    },
)


class Segments(ListModelMixin, RetrieveModelMixin, Resource):
    """Named groups of people. Who is in them is as of the last tick, a second ago."""

    needs = {
        "list": "read contacts.view_segment",
        "retrieve": "read contacts.view_segment",
        "create": "admin contacts.add_segment",
        "update": "admin contacts.change_segment",
        "partial_update": "admin contacts.change_segment",
        "destroy": "admin contacts.delete_segment",
        "members": "read contacts.view_segment",
        "add_members": "sync contacts.change_segment",
        "remove_members": "sync contacts.change_segment",
        "release_members": "sync contacts.change_segment",
        "preview": "read contacts.view_segment contacts.view_contact",
        "try_rule": "read contacts.view_segment contacts.view_contact",
    }
    parameters = {"members": ("cursor", "limit", "ordering")}
    serializer_class = SegmentSerializer
    queryset = Segment.objects.all()
    lookup_field = "key"
    # For each statement of a preview.
    time_limit = timedelta(seconds=5)

    # Segments

    def create(self, request):
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        data = serializer.validated_data
        if Segment.objects.filter(key=data["key"]).exists():
            raise Conflict(_("There is a segment with this key already."))
        try:
            segment = segments.create(key=data["key"], name=data.get("name", ""), rule=data.get("rule"))
        except RuleError as error:
            raise _refused(error) from None
        address = request.build_absolute_uri(f"{request.path}{segment.key}/")
        return Response(self.get_serializer(segment).data, status=201, headers={"Location": address})

    def partial_update(self, request, key):
        """A changed rule is asked of everybody by the next tick. The key stays: others ask for the segment by it."""
        segment = self.get_object()
        serializer = self.get_serializer(segment, data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        data = serializer.validated_data
        if data.get("key", segment.key) != segment.key:
            raise ValidationError({"key": _("The key of a segment never changes.")})
        if data.get("name", segment.name) != segment.name:
            segment.name = data["name"]
            segment.save(update_fields=["name"])
        if "rule" in data:
            try:
                segments.change_rule(segment, data["rule"])
            except RuleError as error:
                raise _refused(error) from None
        return Response(self.get_serializer(segment).data)

    def update(self, request, key):
        """As PATCH: an omitted field is not an empty one."""
        return self.partial_update(request, key)

    @extend_schema(responses={204: None})
    def destroy(self, request, key):
        """Deletes a segment that nobody asks about; otherwise 409 names who does."""
        try:
            segments.remove(self.get_object())
        except segments.InUse as error:
            raise Conflict(str(error)) from None
        return Response(status=204)

    # People

    @extend_schema(responses=MemberSerializer(many=True), filters=False)
    @action(detail=True)
    def members(self, request, key):
        """Who is in the segment, as of the last tick; `by_hand` where somebody put them in."""
        segment = self.get_object()
        answer = page_of(self, segments.members(segment).visible_to(request.user))
        rows = answer.data["results"]
        ids = [row["id"] for row in rows]
        entered = dict(
            Membership.objects.filter(segment=segment, contact__in=ids).values_list("contact_id", "entered_at")
        )
        said = MembershipOverride.objects.filter(segment=segment, contact__in=ids).select_related("made_by")
        by_hand = {one.contact_id: said_by_hand(one) for one in said}
        for row in rows:
            row["entered_at"], row["by_hand"] = entered.get(row["id"]), by_hand.get(row["id"])
        return answer

    @extend_schema(request=PeopleSerializer, responses=_DONE, filters=False)
    @members.mapping.post
    def add_members(self, request, key):
        """Puts people in by hand, whatever the rule says, for ever or `until` a moment."""
        return self._say(request, is_member=True)

    @extend_schema(request=PeopleSerializer, responses=_DONE, filters=False)
    @action(detail=True, methods=["post"], url_path="members/remove", pagination_class=None)
    def remove_members(self, request, key):
        """Keeps people out by hand, whatever the rule says, for ever or `until` a moment."""
        return self._say(request, is_member=False)

    @extend_schema(request=PeopleSerializer, responses=_DONE, filters=False)
    @action(detail=True, methods=["post"], url_path="members/release", pagination_class=None)
    def release_members(self, request, key):
        """Takes back what was said by hand about people: the rule decides again."""
        return self._say(request, is_member=None)

    def _say(self, request, *, is_member: bool | None) -> Response:
        serializer = PeopleSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        told = serializer.validated_data
        segment = self.get_object()
        found, unknown = _people(told["contacts"], told["emails"], request.user)
        if is_member is None:
            changed = segments.let_decide(segment=segment, contacts=found)
        else:
            changed = segments.override(
                segment=segment, contacts=found, is_member=is_member, by=request.user, now=timezone.now(),
                expires_at=told["until"],
            )  # fmt: skip
        return Response({"changed": changed, "unknown": unknown})

    # Asking

    @extend_schema(responses=CountSerializer, filters=False)
    @action(detail=True, pagination_class=None)
    def preview(self, request, key):
        """Whom the segment would hold if it were asked at this moment."""
        return self._count(lambda now: segments.audience(self.get_object(), now), request)

    @extend_schema(request=RuleSerializer, responses=CountSerializer, filters=False)
    @preview.mapping.post
    def try_rule(self, request, key):
        """Whom another rule would hold, before it is saved."""
        serializer = RuleSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        self.get_object()
        return self._count(lambda now: segments.preview(serializer.validated_data["rule"], now), request)

    def _count(self, audience, request) -> Response:
        try:
            contacts = audience(timezone.now()).visible_to(request.user)
        except RuleError as error:
            raise _refused(error) from None
        count, sample = 0, []
        with in_time(self.time_limit) as time:
            sample = list(contacts.order_by("pk").values_list("pk", flat=True)[:10])
            count = contacts.count()
        if time.is_up:
            raise Unprocessable(_("This rule takes too long to count now. Save it, and ask for its members."))
        return Response({"count": count, "sample": sample})


def _refused(error: RuleError) -> ValidationError:
    return ValidationError({f"rule.{error.path}" if error.path else "rule": error.message})


def _people(ids: list[int], emails: list[str], user: Any) -> tuple[list[int], list[int | str]]:
    """The contacts that are meant, and who is meant by nobody; an old id leads to whom the person became."""
    heirs = {
        pk: heir or pk
        for pk, heir in Contact.objects.filter(pk__in=ids).values_list("pk", "merged_into_id")
    }  # fmt: skip
    addresses: dict[str, str] = {}
    for text in emails:
        try:
            addresses[text] = normalise("email", text)
        except ValueError:
            continue
    named = dict(Identity.objects.filter(kind="email", value__in=addresses.values()).values_list("value", "contact_id"))
    meant: dict[int | str, int | None] = {pk: heirs.get(pk) for pk in ids}
    meant |= {text: named.get(addresses.get(text, "")) for text in emails}
    visible = set(
        Contact.objects.living().visible_to(user).filter(pk__in=set(meant.values())).values_list("pk", flat=True)
    )
    return sorted(visible & set(meant.values())), [name for name, pk in meant.items() if pk not in visible]
