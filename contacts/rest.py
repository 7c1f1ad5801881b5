"""What every REST resource shares: cursors, strict parameters, ETags, streams.

A resource is a `Resource` with DRF's own mixins:

    class Companies(ListModelMixin, RetrieveModelMixin, Resource):
        needs = {"list": "read contacts.view_company", "retrieve": "read contacts.view_company"}
        orderings = {"id": ("id",), "-updated_at": ("-updated_at", "-id")}
        filterset_class = CompanyFilters          # an explicit FilterSet; other parameters are refused
        serializer_class = CompanySerializer      # a StrictSerializer with explicit fields
        queryset = Company.objects.all()

    ROUTES = {"companies": Companies}
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC
from hashlib import sha256
from typing import Any

import orjson
import structlog
from django.db import DatabaseError, InterfaceError, models, transaction
from django.db.models import Q
from django.http import Http404, HttpResponse, HttpResponseNotModified, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import serializers
from rest_framework.exceptions import APIException, ParseError, ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.viewsets import GenericViewSet

from contacts import throttling, tokens
from contacts.idempotency import once
from contacts.problems import PreconditionFailed, plain_problem
from contacts.wire import NDJSON, NdjsonRenderer, dumps, line

log = structlog.get_logger(__name__)

# So many rows of a stream are read at once.
CHUNK = 2_000
_REPLACES = {"PUT", "PATCH", "DELETE"}

# Lists ---------------------------------------------------------------------------------------------------------------


class Filters(DjangoFilterBackend):
    """django-filter; that no other parameter is taken is checked by `Resource`, for every action."""


class Keyset(BasePagination):
    """Pages by position in an order, not by number: as fast on the last page as on the first, and nothing is skipped.

    `limit` (at most 500), `ordering` (one of the view's `orderings`) and the opaque `cursor` of the `next` link.
    An ordering is a tuple of fields of one direction that ends with a unique one and holds no nulls.
    """

    parameters = ("cursor", "limit", "ordering")
    default_limit, max_limit = 100, 500

    def paginate_queryset(self, queryset, request, view=None, limit=None):
        self.request, self.model = request, queryset.model
        self.limit = limit or self.limit_of(request)
        orderings = getattr(view, "orderings", None) or {"id": ("id",)}
        self.name = request.query_params.get("ordering") or next(iter(orderings))
        if self.name not in orderings:
            raise ValidationError({"ordering": _("This must be one of: %(names)s.") % {"names": ", ".join(orderings)}})
        self.fields = [field.lstrip("-") for field in orderings[self.name]]
        operator = "lt" if orderings[self.name][0].startswith("-") else "gt"
        queryset = queryset.order_by(*orderings[self.name])
        if cursor := request.query_params.get("cursor"):
            queryset = queryset.filter(self._after(self._read(cursor), operator))
        rows = list(queryset[: self.limit + 1])
        self.has_more = len(rows) > self.limit
        self.rows = rows[: self.limit]
        return self.rows

    def walk(self, queryset, request, view) -> Iterator[list]:
        """All rows behind `cursor`, some thousand at a time, each time asked anew: nobody's transaction stays open."""
        for name in set(request.query_params) & {"limit"}:
            raise ValidationError({name: _("All rows come as application/x-ndjson. Leave this out.")})
        rows = self.paginate_queryset(queryset, request, view, limit=CHUNK)
        return self._walked(queryset.order_by(*view.orderings[self.name]), rows)

    def _walked(self, queryset, rows: list) -> Iterator[list]:
        operator = "lt" if queryset.query.order_by[0].startswith("-") else "gt"
        while rows:
            # Before the rows are given away, and changed.
            after = self._last() if self.has_more else None
            yield rows
            if after is None:
                return
            found = list(queryset.filter(self._after(after, operator))[: CHUNK + 1])
            self.has_more = len(found) > CHUNK
            self.rows = rows = found[:CHUNK]

    def get_paginated_response(self, data):
        return Response({"results": data, "next": self._next()})

    def get_paginated_response_schema(self, schema):
        return {
            "type": "object",
            "required": ["results", "next"],
            "properties": {"results": schema, "next": {"type": ["string", "null"], "format": "uri"}},
        }

    def get_schema_operation_parameters(self, view):
        orderings = list(getattr(view, "orderings", None) or {"id": ("id",)})
        return [
            {"name": "cursor", "in": "query", "required": False, "schema": {"type": "string"}},
            {
                "name": "limit",
                "in": "query",
                "required": False,
                "schema": {"type": "integer", "minimum": 1, "maximum": self.max_limit, "default": self.default_limit},
            },
            {"name": "ordering", "in": "query", "required": False, "schema": {"type": "string", "enum": orderings}},
        ]

    @classmethod
    def limit_of(cls, request) -> int:
        """The parameter `limit`. Raises ValidationError."""
        text = request.query_params.get("limit") or str(cls.default_limit)
        if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= cls.max_limit):
            raise ValidationError(
                {"limit": _("This must be a whole number from 1 to %(most)s.") % {"most": cls.max_limit}}
            )
        return int(text)

    def _next(self) -> str | None:
        if not self.has_more:
            return None
        cursor = urlsafe_b64encode(dumps([self.name, *self._last()])).decode().rstrip("=")
        return replace_query_param(self.request.build_absolute_uri(), "cursor", cursor)

    def _last(self) -> list:
        last = self.rows[-1]
        return [last[field] if isinstance(last, dict) else getattr(last, field) for field in self.fields]

    def _read(self, cursor: str) -> list:
        try:
            name, *values = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
            if name != self.name or len(values) != len(self.fields):
                raise ValueError
            return [self._typed(field, value) for field, value in zip(self.fields, values, strict=True)]
        except (ValueError, TypeError, OverflowError):
            raise ValidationError(
                {"cursor": _("This cursor is not ours, or belongs to another ordering. Begin again without it.")}
            ) from None

    def _typed(self, name: str, value: Any) -> Any:
        """A value of a cursor as its column holds them. Raises ValueError or TypeError for what no row can have."""
        column = self.model._meta.get_field(name)
        if isinstance(column, models.DateTimeField):
            moment = parse_datetime(value)
            if moment is None or moment.tzinfo is None:
                raise ValueError
            return moment.astimezone(UTC)
        is_number = isinstance(column, models.IntegerField | models.ForeignKey)
        is_right = type(value) is int and abs(value) < 2**63 if is_number else type(value) is str and "\0" not in value
        if not is_right:
            raise ValueError
        return value

    def _after(self, values: list, operator: str) -> Q:
        """`(a, b) > (x, y)` in a form that Django writes and an index on (a, b) answers."""
        first = self.fields[0]
        if len(self.fields) == 1:
            return Q(**{f"{first}__{operator}": values[0]})
        inside, equal = Q(), Q()
        for field, value in zip(self.fields, values, strict=True):
            inside |= equal & Q(**{f"{field}__{operator}": value})
            equal &= Q(**{field: value})
        return Q(**{f"{first}__{operator}e": values[0]}) & inside


# Resources -----------------------------------------------------------------------------------------------------------


class StrictSerializer:
    """Put it before a serializer class: an unknown field is refused by its name; read-only fields are ignored.

    So that GET → PUT changes nothing, and a misspelt field does not vanish.
    """

    def to_internal_value(self, data):
        if isinstance(data, Mapping):
            refuse_unknown(data, self.fields)
        return super().to_internal_value(data)


class MomentField(serializers.DateTimeField):
    """A moment that somebody writes; DRF's own breaks at the ends of the calendar where no offset is told."""

    def to_internal_value(self, value):
        try:
            return super().to_internal_value(value)
        except OverflowError:
            self.fail("overflow")


def refuse_unknown(data: Mapping[str, Any], known) -> None:
    """Raises a ValidationError that names each key of `data` which is not in `known`."""
    if unknown := [key for key in data if key not in known]:
        raise ValidationError({key: _("There is no such field.") for key in unknown})


def etag(data: Any) -> str:
    """The ETag of a representation."""
    return '"' + sha256(dumps(data)).hexdigest()[:32] + '"'


class Resource(GenericViewSet):
    """A set of REST views: see the head of this module.

    Every POST may carry an `Idempotency-Key`; retrieve answers an ETag; `self.check_match(instance)` before a write
    honours If-Match. `parameters` names the query parameters that an action takes besides those of its filters.
    """

    needs: dict[str, str] = {}
    orderings: dict[str, tuple[str, ...]] = {"id": ("id",)}
    parameters: dict[str, tuple[str, ...]] = {}
    # The actions that also answer in application/x-ndjson.
    streams: tuple[str, ...] = ()
    pagination_class = Keyset
    filter_backends = [Filters]

    def dispatch(self, request, *args, **kwargs):
        def answer():
            return super(Resource, self).dispatch(request, *args, **kwargs)

        key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
        if key is None and request.method not in _REPLACES:
            return answer()
        now = timezone.now()
        try:
            kind, _space, secret = request.headers.get("Authorization", "").partition(" ")
            token = tokens.find(secret.strip(), now=now) if kind.lower() == "bearer" else None
            if token is None:
                return answer()
            # Before the transaction: a bucket must not be held until the end of it.
            request.allowance = throttling.take(token, "requests", 1, now=now)
            return _whole_or_not(answer) if key is None else once(token, key, request, answer)
        except (APIException, DatabaseError, InterfaceError) as error:
            return plain_problem(error)

    def initial(self, request, *args, **kwargs):
        super().initial(request, *args, **kwargs)
        if any("\0" in str(value) for value in kwargs.values()):
            raise Http404  # no key holds one, and PostgreSQL would not even look
        known = set(self.parameters.get(self.action, ()))
        if self.action == "list":
            known |= {*Keyset.parameters, *self._filter_names()}
        if unknown := set(request.query_params) - known:
            raise ValidationError({name: _("There is no such query parameter.") for name in sorted(unknown)})
        if any("\0" in value for values in request.query_params.lists() for value in values[1]):
            raise ParseError(_("A query parameter holds a NUL character."))

    def _filter_names(self):
        filterset = getattr(self, "filterset_class", None)
        return filterset.base_filters if filterset else ()

    def get_object(self):
        """As DRF's; an id that no row can have (not a number, too large) is not found rather than an error.

        Whoever replaces or deletes it holds it until the end, and If-Match is honoured.
        """
        rows = self.filter_queryset(self.get_queryset())
        if self.request.method in _REPLACES:
            rows = rows.select_for_update(of=("self",))
        value = self.kwargs[self.lookup_url_kwarg or self.lookup_field]
        try:
            instance = get_object_or_404(rows, **{self.lookup_field: value})
        except (ValueError, OverflowError, TypeError):
            raise Http404 from None
        self.check_object_permissions(self.request, instance)
        if self.request.method in _REPLACES:
            self.check_match(instance)
        return instance

    def represent(self, instance) -> Any:
        """What retrieve answers for an instance; the ETag is made of it."""
        return self.get_serializer(instance).data

    def check_match(self, instance) -> None:
        """Raises PreconditionFailed if the request's If-Match names another version than this one."""
        wanted = self.request.headers.get("If-Match")
        if wanted and wanted.strip() != "*":
            current = etag(self.represent(instance))
            if current not in [one.strip().removeprefix("W/") for one in wanted.split(",")]:
                raise PreconditionFailed(_("It has changed since you read it. Read it again."))

    def get_renderers(self):
        """Lists are also told line by line."""
        more = [NdjsonRenderer()] if self.action in self.streams else []
        return [*super().get_renderers(), *more]

    def source(self, door: str) -> str:
        """Where what this request writes came from: the door, and the partner system behind the token."""
        return f"{door}:{self.request.auth.origin}" if self.request.auth.origin else door

    def wants_lines(self) -> bool:
        return self.request.accepted_renderer.media_type == NDJSON

    def stream(self, rows: Iterable[list[Any]]) -> StreamingHttpResponse:
        """Rows as NDJSON, as many at a time as are read at once; the connection breaks where they do."""
        return StreamingHttpResponse((b"".join(map(line, some)) for some in rows), content_type=NDJSON)

    def finalize_response(self, request, response, *args, **kwargs):
        response = super().finalize_response(request, response, *args, **kwargs)
        response["Cache-Control"] = "no-store"
        if allowance := getattr(request, "allowance", None):
            for name, value in allowance.headers().items():
                response[name] = value
        single = getattr(self, "action", None) in {"retrieve", "update", "partial_update"}
        if single and response.status_code == 200 and isinstance(response, Response):
            tag = etag(response.data)
            if self.action == "retrieve" and tag in request.headers.get("If-None-Match", ""):
                return HttpResponseNotModified(headers={"ETag": tag, "Cache-Control": "no-store"})
            response["ETag"] = tag
        return response


def _whole_or_not(answer: Callable[[], HttpResponse]) -> HttpResponse:
    """A write is one transaction: what was refused in the middle has not happened."""
    with transaction.atomic():
        response = answer()
        if response.status_code >= 400:
            transaction.set_rollback(True)
        return response


class BearerScheme(OpenApiAuthenticationExtension):
    """How the OpenAPI document describes TokenAuthentication."""

    target_class = "contacts.tokens.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema):
        return {"type": "http", "scheme": "bearer"}
