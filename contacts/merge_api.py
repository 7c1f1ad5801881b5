"""REST: making two contacts one, with a look at it before, the log, and the way back."""

from django.db import transaction
from django.db.models import Q
from django.http import Http404
from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response

from contacts import merging, unmerging
from contacts.merge_preview import preview
from contacts.models import Contact, Merge
from contacts.problems import Conflict
from contacts.stream import wait_for_tick_lock

# What the actions below need, for the resource that takes them up.
NEEDS = {
    "merge": "admin contacts.change_contact contacts.delete_contact",
    "preview_merge": "read contacts.change_contact contacts.delete_contact",
    "merges": "read contacts.view_merge",
    "undo_merge": "admin contacts.change_contact contacts.delete_contact",
}
PARAMETERS = {"preview_merge": ("other",)}


class MergeSerializer(serializers.Serializer):
    other = serializers.IntegerField(min_value=1, help_text="the contact that becomes one with this")
    reason = serializers.CharField(max_length=200, required=False, default="rest")


class LoggedMergeSerializer(serializers.ModelSerializer):
    """One merge of the log."""

    survivor = serializers.IntegerField(source="survivor_id", read_only=True)
    loser = serializers.IntegerField(source="loser_id", read_only=True)
    merged_by = serializers.CharField(source="merged_by.username", allow_null=True, default=None, read_only=True)
    undone_by = serializers.CharField(source="undone_by.username", allow_null=True, default=None, read_only=True)

    class Meta:
        model = Merge
        fields = ["id", "survivor", "loser", "reason", "merged_at", "merged_by", "undone_at", "undone_by"]
        read_only_fields = fields


class OutcomeSerializer(serializers.Serializer):
    field = serializers.CharField()  # type: ignore[assignment]
    label = serializers.CharField()  # type: ignore[assignment]
    survivor = serializers.JSONField(allow_null=True)
    loser = serializers.JSONField(allow_null=True)
    result = serializers.JSONField(allow_null=True)


class RelationSerializer(serializers.Serializer):
    relation = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    moves = serializers.IntegerField()
    drops = serializers.IntegerField()


class SaidSerializer(serializers.Serializer):
    topic = serializers.CharField(allow_blank=True)
    channel = serializers.CharField()
    survivor = serializers.CharField(allow_blank=True)
    loser = serializers.CharField(allow_blank=True)
    result = serializers.CharField()


class HandleSerializer(serializers.Serializer):
    kind = serializers.CharField()
    value = serializers.CharField()


class PreviewSerializer(serializers.Serializer):
    """What a merge would do; `drops` are rows of the loser that give way to one of the survivor's."""

    survivor = serializers.IntegerField()
    loser = serializers.IntegerField()
    fields = OutcomeSerializer(many=True)  # type: ignore[assignment]
    relations = RelationSerializer(many=True)
    consents = SaidSerializer(many=True)
    identities = HandleSerializer(many=True)


class MergeActions:
    """The actions of contacts that make two of them one, and two of one."""

    @action(detail=True, methods=["post"])
    @transaction.atomic
    def merge(self, request, pk):
        """Makes `other` and this contact one; who was identified first stays. Answers the survivor."""
        serializer = MergeSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        told = serializer.validated_data
        # Before the rows are locked: the tick takes the two in this order.
        wait_for_tick_lock()
        survivor, loser = merging.older(self.get_object(), self._other(told["other"]))
        try:
            log = merging.merge(
                survivor=survivor,
                loser=loser,
                reason=told["reason"],
                by=request.user,
                now=timezone.now(),
                source=self.source("rest"),  # type: ignore[attr-defined]
            )
        except ValueError as error:
            raise ValidationError({"other": str(error)}) from None
        return Response({**self.represent(survivor), "merge_id": log.pk})

    @extend_schema(
        responses=PreviewSerializer,
        parameters=[OpenApiParameter("other", int, required=True, description="the contact to merge with this")],
        filters=False,
    )
    @merge.mapping.get
    def preview_merge(self, request, pk):
        """What a merge with `other` would do: which rows move, which values win, what consent becomes."""
        other = request.query_params.get("other", "")
        if not (other.isascii() and other.isdecimal() and len(other) < 19):
            raise ValidationError({"other": _("This must be the number of a contact.")})
        try:
            found = preview(self.get_object(), self._other(int(other)), now=timezone.now())
        except ValueError as error:
            raise ValidationError({"other": str(error)}) from None
        return Response(found.as_data())

    @extend_schema(responses=LoggedMergeSerializer(many=True), filters=False)
    @action(detail=True, pagination_class=None)
    def merges(self, request, pk):
        """The merges that this contact had a part in, the newest first; at most 500."""
        contact = self.get_object()
        rows = Merge.objects.filter(Q(survivor=contact) | Q(loser=contact)).select_related("merged_by", "undone_by")
        return Response(LoggedMergeSerializer(rows.order_by("-pk")[:500], many=True).data)

    @extend_schema(request=None, responses=LoggedMergeSerializer)
    @action(detail=True, methods=["post"], url_path="merge/(?P<merge_id>[0-9]{1,18})/undo")
    @transaction.atomic
    def undo_merge(self, request, pk, merge_id):
        """Takes a merge back: two contacts again, each with what was theirs. 409 with the reason where it cannot be."""
        wait_for_tick_lock()
        contact = self.get_object()
        merge = Merge.objects.filter(Q(survivor=contact) | Q(loser=contact) | Q(loser=pk), pk=merge_id).first()
        if merge is None:
            raise Http404
        try:
            source = self.source("rest")  # type: ignore[attr-defined]
            merge = unmerging.unmerge(merge, by=request.user, now=timezone.now(), source=source)
        except ValueError as error:
            raise Conflict(str(error)) from None
        return Response(LoggedMergeSerializer(merge).data)

    def _other(self, pk: int) -> Contact:
        other = self.get_queryset().filter(pk=pk).first()  # type: ignore[attr-defined]
        if other is None:
            raise ValidationError({"other": _("There is no such contact.")})
        return other
