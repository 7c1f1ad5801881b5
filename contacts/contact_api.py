"""REST: contacts, one by one and in bulk."""

from io import BytesIO
from itertools import islice
from typing import Any

import orjson
from django.contrib.postgres.expressions import ArraySubquery
from django.db import transaction
from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import JSONObject
from django.http import Http404
from django.utils import timezone
from django.utils.translation import gettext as _
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.response import Response

from contacts import explain_api, export_api, handles, merge_api, privacy_api, syncing, throttling
from contacts.bulk import upsert_stream
from contacts.erasure import erase
from contacts.explain_api import ExplainActions
from contacts.export_api import ExportActions
from contacts.identity import normalise
from contacts.merge_api import MergeActions, MergeSerializer
from contacts.models import Contact, Identity, Touchpoint
from contacts.parameters import IdFilter
from contacts.privacy_api import PrivacyActions, asks_to_raise
from contacts.problems import Conflict
from contacts.records import COLUMNS, Reader, Wrong
from contacts.rest import Resource
from contacts.rules import RuleError, parse, to_q
from contacts.searching import by_name
from contacts.stages import STAGES
from contacts.stream import wait_for_tick_lock
from contacts.touchpoint_api import TouchpointSerializer, kinds_of, represent
from contacts.wire import NDJSON, NdjsonParser, OrjsonParser, dumps, lines, read_line

_PLAIN = (
    "id", *COLUMNS, "zone", "stage", "highest_stage", "stage_changed_at", "attributes", "created_at", "updated_at",
    "identified_at", "last_seen_at", "paused_until", "most_per_week",
)  # fmt: skip
_JOINED = ("company_id", "company__name", "company__domain", "owner__username", "user_id")


# Somebody with more devices than this is a robot.
_MOST_HANDLES = 100


class ContactFilters(filters.FilterSet):
    email = filters.CharFilter(method="by_email")
    user_id = filters.CharFilter(method="by_user_id")
    stage = filters.MultipleChoiceFilter(choices=STAGES)
    segment = filters.CharFilter(field_name="memberships__segment__key")
    owner = filters.CharFilter(field_name="owner__username")
    company = IdFilter(field_name="company_id", help_text="the number of a company")
    updated_after = filters.IsoDateTimeFilter(field_name="updated_at", lookup_expr="gt")
    # The scores stand in an app above; the relation is asked by its name.
    score_gte = filters.NumberFilter(method="by_score")
    grade = filters.CharFilter(method="by_grade", help_text="of a matrix, such as product:A1; at this moment")
    q = filters.CharFilter(method="by_words")

    class Meta:
        model = Contact
        fields: list[str] = []

    def by_email(self, queryset, name, value):
        try:
            return queryset.filter(pk__in=_named("email", normalise("email", value)))
        except ValueError as error:
            raise ValidationError({"email": str(error)}) from None

    def by_user_id(self, queryset, name, value):
        return queryset.filter(pk__in=_named("user_id", value.strip()))

    def by_score(self, queryset, name, value):
        return queryset.filter(pk__in=Contact.objects.filter(scores__value__gte=value).values("pk"))

    def by_grade(self, queryset, name, value):
        key, _colon, grade = value.partition(":")
        now = timezone.now()
        try:
            # Grades stand in an app above, too; the rule language knows them.
            return queryset.filter(to_q(parse({"grade": key, "op": "eq", "value": grade}), now))
        except RuleError as error:
            raise ValidationError({"grade": error.message}) from None

    def by_words(self, queryset, name, value):
        return by_name(queryset, value)


def _named(kind: str, value: str) -> QuerySet:
    return Identity.objects.filter(kind=kind, value=value).values("contact_id")


class CompanyOfContact(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    domain = serializers.CharField(allow_null=True)


class ContactSerializer(serializers.Serializer):
    """How a contact looks; for the OpenAPI document. Reading and writing go by `represented` and `contacts.records`."""

    id = serializers.IntegerField(read_only=True)
    user_id = serializers.CharField(allow_null=True, required=False)
    email = serializers.EmailField(allow_blank=True, allow_null=True, required=False)
    phone = serializers.CharField(allow_blank=True, allow_null=True, required=False)
    first_name = serializers.CharField(allow_blank=True, allow_null=True, required=False)
    last_name = serializers.CharField(allow_blank=True, allow_null=True, required=False)
    salutation = serializers.CharField(allow_blank=True, allow_null=True, required=False)
    language = serializers.CharField(allow_blank=True, allow_null=True, required=False)
    country = serializers.CharField(allow_blank=True, allow_null=True, required=False)
    timezone = serializers.CharField(allow_blank=True, allow_null=True, required=False)
    zone = serializers.CharField(read_only=True)
    job_title = serializers.CharField(allow_blank=True, allow_null=True, required=False)
    company_role = serializers.CharField(allow_blank=True, allow_null=True, required=False)
    source = serializers.CharField(allow_blank=True, allow_null=True, required=False)
    company = CompanyOfContact(allow_null=True, required=False)
    owner = serializers.CharField(allow_null=True, required=False)
    attributes = serializers.DictField(allow_null=True, required=False)
    identities = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField()), allow_null=True, required=False,
        help_text="by kind; those of a client's own kinds may be written: {kind: value}, null clears the kind",
    )  # fmt: skip
    stage = serializers.ChoiceField(choices=STAGES, read_only=True)
    highest_stage = serializers.ChoiceField(choices=STAGES, read_only=True)
    stage_changed_at = serializers.DateTimeField(read_only=True, allow_null=True)
    created_at = serializers.DateTimeField(read_only=True)
    updated_at = serializers.DateTimeField(read_only=True)
    identified_at = serializers.DateTimeField(read_only=True, allow_null=True)
    last_seen_at = serializers.DateTimeField(read_only=True, allow_null=True)
    paused_until = serializers.DateTimeField(read_only=True, allow_null=True, help_text="no marketing until then")
    most_per_week = serializers.IntegerField(read_only=True, allow_null=True, help_text="marketing in 7 days at most")


class ErrorOfRow(serializers.Serializer):
    field = serializers.CharField()
    message = serializers.CharField()


class ResultSerializer(serializers.Serializer):
    index = serializers.IntegerField()
    id = serializers.IntegerField(allow_null=True)
    status = serializers.ChoiceField(choices=["created", "updated", "unchanged", "rejected"])
    errors = ErrorOfRow(many=True)


class MergedSerializer(ContactSerializer):
    merge_id = serializers.IntegerField(read_only=True, help_text="by which the merge can be undone")


def represented(row: dict[str, Any]) -> dict[str, Any]:
    """A contact as REST answers it, of a row of `.values()`."""
    company = row.pop("company_id"), row.pop("company__name"), row.pop("company__domain")
    row["company"] = None if company[0] is None else {"id": company[0], "name": company[1], "domain": company[2]}
    row["owner"] = row.pop("owner__username")
    row["identities"] = handles.shown(row.pop("named_by"))
    return row


@extend_schema_view(merge=extend_schema(request=MergeSerializer, responses=MergedSerializer))
class Contacts(ExplainActions, ExportActions, MergeActions, PrivacyActions, Resource):
    """People. A merged contact's id leads to whom they became; an erased one is not found."""

    needs = {
        "list": "read",
        "retrieve": "read",
        "timeline": "read",
        "create": "sync contacts.add_contact",
        "update": "sync contacts.change_contact",
        "partial_update": "sync contacts.change_contact",
        "destroy": "admin contacts.delete_contact",
        "bulk": "sync contacts.add_contact contacts.change_contact",
        **explain_api.NEEDS,
        **merge_api.NEEDS,
        **export_api.NEEDS,
        **privacy_api.NEEDS,
    }
    orderings = {
        "id": ("id",), "-id": ("-id",), "-updated_at": ("-updated_at", "-id"), "updated_at": ("updated_at", "id"),
    }  # fmt: skip
    parameters = {
        **explain_api.PARAMETERS,
        **merge_api.PARAMETERS,
        **privacy_api.PARAMETERS,
        "timeline": ("cursor", "limit", "kinds"),
        "bulk": ("allow_consent_raise",),
        "export": (*export_api.PARAMETERS, *ContactFilters.base_filters),
    }
    filterset_class = ContactFilters
    serializer_class = ContactSerializer
    queryset = Contact.objects.none()
    lookup_value_regex = "[0-9]{1,18}"
    streams = ("list", "bulk")

    def get_queryset(self):
        return Contact.objects.living().visible_to(self.request.user)

    # Reading

    def list(self, request):
        """A page of contacts; all of them, a line each, as application/x-ndjson: that takes the right to export."""
        contacts = self.filter_queryset(self.get_queryset())
        if not self.wants_lines():
            return page_of(self, contacts)
        if not request.user.has_perm("contacts.export_contact"):
            raise PermissionDenied(_("To take all contacts out, a user needs the right to export them."))
        chunks = self.paginator.walk(_rows(contacts), request, self)
        return self.stream([represented(row) for row in rows] for rows in chunks)

    def retrieve(self, request, pk):
        return Response(self.represent(self.get_object()))

    def get_object(self) -> Contact:
        """Whom the id leads to, if this user may see them."""
        pk = int(self.kwargs["pk"])
        while into := Contact.objects.filter(pk=pk).values_list("merged_into", flat=True).first():
            pk = into
        contacts = self.get_queryset()
        if self.request.method not in {"GET", "HEAD"}:
            contacts = contacts.select_for_update(of=("self",))
        contact = contacts.filter(pk=pk).first()
        if contact is None:
            raise Http404
        return contact

    def represent(self, instance: Contact) -> dict[str, Any]:
        return represented(_rows(Contact.objects.filter(pk=instance.pk)).get())

    @extend_schema(
        responses=TouchpointSerializer(many=True), parameters=[OpenApiParameter("kinds", str)], filters=False
    )
    @action(detail=True)
    def timeline(self, request, pk):
        """What happened with this person, the newest first."""
        self.orderings = {"-occurred_at": ("-occurred_at", "-id")}
        rows = kinds_of(request, Touchpoint.objects.filter(contact_id=self.get_object().pk))
        return self.paginator.get_paginated_response(represent(self.paginate_queryset(rows)))

    # Writing

    @transaction.atomic
    def create(self, request):
        data = _object(request.data)
        data.pop("id", None)
        actor = request.user.get_username()
        [result] = syncing.upsert([data], source=self.source("rest"), now=timezone.now(), actor=actor, by=request.user)
        _refuse(result)
        if result["status"] != "created":
            raise Conflict(_("This is contact %(id)s already.") % {"id": result["id"]})
        body = self.represent(Contact(pk=result["id"]))
        address = request.build_absolute_uri(f"{request.path}{result['id']}/")
        return Response(body, status=status.HTTP_201_CREATED, headers={"Location": address})

    @transaction.atomic
    def partial_update(self, request, pk):
        """An omitted field stays, null clears; fields that only we write are ignored."""
        contact = self.get_object()
        self.check_match(contact)
        data = _object(request.data)
        if data.get("id") not in (None, contact.pk, int(pk)):
            raise ValidationError({"id": _("This is another contact.")})
        current = self.represent(contact)
        # What only repeats our own answer is nothing told, in whatever form it was stored once.
        spoken = orjson.loads(dumps(current))
        told = {name: value for name, value in data.items() if name not in spoken or spoken[name] != value}
        told.pop("id", None)
        if not told.keys() - {"updated_at"}:
            return Response(current)
        now = timezone.now()
        try:
            record = Reader(now, [told["owner"]] if isinstance(told.get("owner"), str) else ()).read(0, told)
        except Wrong as wrong:
            raise ValidationError({wrong.error["field"]: wrong.error["message"]}) from None
        # Who tells a time must have known the newest change. Our own, sent back, is not among what was told.
        newest = max(contact.updated_at, contact.synced_at or contact.updated_at)
        if record.told_at and record.told_at < newest:
            raise Conflict(_("updated_at: we know a newer change of this contact; nothing was overwritten."))
        record.contact_id = contact.pk
        result: syncing.Result = {"index": 0, "id": None, "status": "", "errors": []}
        syncing.write(
            {0: [record]}, [result], source=self.source("rest"), now=now, actor=request.user.get_username(),
            by=request.user,
        )  # fmt: skip
        _refuse(result)
        return Response(self.represent(contact))

    def update(self, request, pk):
        """As PATCH: an omitted field is not an empty one."""
        return self.partial_update(request, pk)

    @transaction.atomic
    def destroy(self, request, pk):
        """Erases the person, for good."""
        # Before the row is locked: the tick takes the two in this order.
        wait_for_tick_lock()
        contact = self.get_object()
        self.check_match(contact)
        try:
            erase(contact, by=request.user, now=timezone.now())
        except ValueError as error:
            raise Conflict(str(error)) from None
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(
        request=ContactSerializer(many=True), responses=ResultSerializer(many=True), filters=False,
        parameters=[OpenApiParameter("allow_consent_raise", bool, description="needs the scope admin, and the right")],
    )  # fmt: skip
    @action(detail=False, methods=["post"], parser_classes=[OrjsonParser, NdjsonParser], pagination_class=None)
    def bulk(self, request):
        """Makes or changes up to 10,000 contacts by user_id, else email; one result a row.

        As application/x-ndjson, a contact a line, there may be any number; they are stored in batches of 5,000. With
        Accept: application/x-ndjson the results come in lines too.
        """
        may_raise = asks_to_raise(request)
        rows = request.data
        if NDJSON in request.content_type and not isinstance(rows, map):
            # Without a length Django gives nothing; the server behind it knows where a body in chunks ends.
            is_chunked = "chunked" in request.headers.get("Transfer-Encoding", "").lower()
            rows = map(read_line, lines(request.META["wsgi.input"] if is_chunked else BytesIO()))
        source = self.source("sync")
        if isinstance(rows, map):
            if "Idempotency-Key" not in request.headers:
                return upsert_stream(
                    rows, token=request.auth, source=source, may_raise_consent=may_raise, in_lines=self.wants_lines()
                )
            # What is to be answered again is done as a whole.
            rows = list(islice(rows, syncing.MOST_ROWS + 1))
        if not isinstance(rows, list):
            raise ValidationError(_("The body must be a list of contacts."))
        if len(rows) > syncing.MOST_ROWS:
            raise ValidationError(_("A request may have at most %(most)s rows.") % {"most": syncing.MOST_ROWS})
        now = timezone.now()
        if rows:
            throttling.take(request.auth, "rows", len(rows), now=now)
        actor = request.user.get_username()
        return Response(
            syncing.upsert(rows, source=source, now=now, actor=actor, may_raise_consent=may_raise, by=request.user)
        )


def page_of(view: Resource, contacts: QuerySet) -> Response:
    """A page of contacts, by the paginator of a view."""
    rows = view.paginate_queryset(_rows(contacts))
    return view.paginator.get_paginated_response([represented(row) for row in rows])


def _rows(contacts: QuerySet) -> QuerySet:
    user_ids = Identity.objects.filter(contact=OuterRef("pk"), kind="user_id").order_by("-pk")
    handles_of = Identity.objects.filter(contact=OuterRef("pk")).order_by("kind", "pk")[:_MOST_HANDLES]
    return contacts.annotate(
        user_id=Subquery(user_ids.values("value")[:1]),
        named_by=ArraySubquery(handles_of.values(one=JSONObject(kind="kind", value="value"))),
    ).values(*_PLAIN, *_JOINED, "named_by")


def _object(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ValidationError(_("The body must be an object."))
    return dict(data)


def _refuse(result: syncing.Result) -> None:
    """A single write is done as a whole or not at all."""
    if result["errors"]:
        raise ValidationError({one["field"] or "non_field_errors": one["message"] for one in result["errors"]})
