"""REST: people as a file."""

from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError

from contacts import exporting
from contacts.export_admin import as_file
from contacts.wire import OrjsonRenderer

# What the action below needs, for the resource that takes it up; it takes the filters of the list, too.
NEEDS = {"export": "read contacts.export_contact"}
PARAMETERS = ("format", "columns")


class CsvFile(OrjsonRenderer):
    """The file itself is streamed; these say what a client may accept, and write what was refused."""

    media_type = "text/csv"
    format = "csv"


class XlsxFile(OrjsonRenderer):
    media_type = exporting.MEDIA_TYPES["xlsx"]
    format = "xlsx"


class NdjsonFile(OrjsonRenderer):
    media_type = "application/x-ndjson"
    format = "ndjson"


class ExportActions:
    """The action of contacts that answers a file."""

    @extend_schema(
        parameters=[
            OpenApiParameter("format", str, enum=list(exporting.MEDIA_TYPES), description="csv, unless told"),
            OpenApiParameter("columns", str, description="names with commas between; all of them, unless told"),
        ],
        responses={(200, CsvFile.media_type): OpenApiResponse(OpenApiTypes.STR)},
    )
    @action(
        detail=False, pagination_class=None, renderer_classes=[OrjsonRenderer, CsvFile, XlsxFile, NdjsonFile],
    )  # fmt: skip
    def export(self, request):
        """The contacts that the filters mean as one file, streamed. Needs a right of its own, and is recorded."""
        known = exporting.columns()
        format = request.query_params.get("format", "csv")
        if format not in exporting.MEDIA_TYPES:
            names = ", ".join(exporting.MEDIA_TYPES)
            raise ValidationError({"format": _("This must be one of: %(names)s.") % {"names": names}})
        wanted = [name for name in request.query_params.get("columns", "").split(",") if name] or list(known)
        for name in wanted:
            if name not in known:
                raise ValidationError({"columns": _("There is no column “%(name)s”.") % {"name": name}})
        now = timezone.now()
        people = self.filter_queryset(self.get_queryset())
        blocks = exporting.export(
            people, format=format, wanted=list(dict.fromkeys(wanted)), by=request.user, door="rest",
            asked=request.query_params.urlencode(), now=now,
        )  # fmt: skip
        return as_file(blocks, format, f"contacts-{timezone.localtime(now):%Y-%m-%d}.{format}")
