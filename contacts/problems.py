"""Every refusal of the REST API is a problem document (RFC 9457) that names the field."""

from collections.abc import Mapping
from typing import Any

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import HttpResponse
from django.utils.translation import gettext as _
from django.views import defaults
from rest_framework import status
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler

from contacts.wire import dumps

log = structlog.get_logger(__name__)

# Classes of SQLSTATE: connection, rolled back for another, out of means, in use, stopped by an operator, system.
_AWAY = {"08", "40", "53", "55", "57", "58"}


class Conflict(APIException):
    """What is asked for is not possible as things are; `extra` stands in the document, such as who was first."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"

    def __init__(self, detail: Any = None, extra: Mapping[str, Any] | None = None):
        super().__init__(detail)
        self.extra = dict(extra or {})


class PreconditionFailed(APIException):
    status_code = status.HTTP_412_PRECONDITION_FAILED
    default_code = "precondition_failed"


class Unprocessable(APIException):
    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY
    default_code = "unprocessable"


class Unavailable(APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "unavailable"
    wait = 5  # seconds; DRF puts it into Retry-After


def problem(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """DRF's exception handler: every refusal is a problem document; what we did not foresee is raised on."""
    if is_database_away(error):
        log.warning("database_unavailable", reason=str(error))
        error = Unavailable(_("The database is not available at the moment."))
    response = exception_handler(error, context)
    if response is None:
        return None
    document: dict[str, Any] = {"type": "about:blank", "status": response.status_code}
    if isinstance(error, ValidationError):
        document["title"] = _("The request is not valid.")
        document["errors"] = flatten(error.detail)
        document["detail"] = " ".join(
            f"{one['field']}: {one['message']}" if one["field"] else one["message"] for one in document["errors"][:5]
        )
    else:
        detail = response.data.get("detail") if isinstance(response.data, dict) else response.data
        document["title"] = str(detail or _("The request was refused."))
        document["code"] = getattr(detail, "code", getattr(error, "default_code", "error"))
        document |= getattr(error, "extra", {})
    response.data = document
    response.content_type = "application/problem+json"
    return response


def is_database_away(error: Exception) -> bool:
    """Whether the database does not answer, or can write nothing: out of connections, of disk, read-only, in the way.

    What it refuses for what we told it, such as a value too long for an index, is an error of ours.
    """
    if not isinstance(error, DatabaseError | InterfaceError):
        return False
    state = getattr(error.__cause__, "sqlstate", None)
    if state is None:
        return isinstance(error, OperationalError | InterfaceError)
    return state == "25006" or state[:2] in _AWAY


def flatten(detail: Any, path: str = "") -> list[dict[str, str]]:
    """DRF's tree of errors as a list of {field, message}; a field inside another is written with dots."""
    if isinstance(detail, dict):
        found = []
        for key, value in detail.items():
            inner = path if key == "non_field_errors" else f"{path}.{key}" if path else str(key)
            found += flatten(value, inner)
        return found
    if isinstance(detail, list):
        found = []
        for number, one in enumerate(detail):
            found += flatten(one, f"{path}[{number}]" if isinstance(one, dict | list) else path)
        return found
    return [{"field": path, "message": str(detail)}]


def _document(status_code: int, title: str) -> bytes:
    return dumps({"type": "about:blank", "status": status_code, "title": title})


def _is_api(request) -> bool:
    return request.path.startswith(("/api/", "/v1/"))


def not_found(request, exception):
    """`handler404`: a problem document under /api/, the page everywhere else."""
    if not _is_api(request):
        return defaults.page_not_found(request, exception)
    body = _document(404, _("There is nothing at this address."))
    return HttpResponse(body, status=404, content_type="application/problem+json")


def server_error(request):
    """`handler500`: a problem document under /api/, the page everywhere else."""
    if not _is_api(request):
        return defaults.server_error(request)
    return HttpResponse(server_error_body(), status=500, content_type="application/problem+json")


def server_error_body() -> bytes:
    return _document(500, _("Something went wrong on our side; it was logged."))


def plain_problem(error: Exception) -> HttpResponse:
    """A refusal outside of DRF's own work. What we did not foresee is raised on."""
    if is_database_away(error):
        error = Unavailable(_("The database is not available at the moment."))
    if not isinstance(error, APIException):
        raise error
    headers = {"Retry-After": str(error.wait)} if getattr(error, "wait", None) else {}
    document = _document(error.status_code, str(error.detail))
    return HttpResponse(document, status=error.status_code, content_type="application/problem+json", headers=headers)
