"""`/v1/onsite`: what `track.js` asks for its visitor, and tells of what it showed. Open to every origin, like tracking.

Nothing is answered but the text of a message for the very visitor who asks, and no cache keeps it.
"""

from datetime import datetime
from typing import Any

import msgspec
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import Throttled

from contacts import throttling
from contacts.calls import Refused
from contacts.tracking import answer, authenticate, decoded, read_body
from messaging import onsite, tokens


class Asked(msgspec.Struct):
    """What the page sends: who asks, or of which message it tells."""

    writeKey: str | None = None  # noqa: N815 - the names of the wire
    anonymousId: str | None = None  # noqa: N815
    userId: str | None = None  # noqa: N815
    token: str = ""


_decode = msgspec.json.Decoder(Asked).decode


@csrf_exempt
def next_message(request: HttpRequest) -> HttpResponse:
    """`POST /v1/onsite`: the next message for this visitor, or null."""
    return _answered(request, _next)


@csrf_exempt
def told(request: HttpRequest, event: str) -> HttpResponse:
    """`POST /v1/onsite/shown` and `/dismissed`: what became of a message; told again it changes nothing."""
    do = {"shown": onsite.show, "dismissed": onsite.dismiss}[event]

    def note(asked: Asked, now: datetime) -> dict[str, Any]:
        try:
            [message] = tokens.read(tokens.ONSITE, asked.token)
        except tokens.BadToken:
            raise Refused(404, _("There is no such message.")) from None
        do(message, now)
        return {"success": True}

    return _answered(request, note)


def _next(asked: Asked, now: datetime) -> dict[str, Any]:
    person = onsite.reader((asked.anonymousId or "")[:255], (asked.userId or "")[:255])
    return {"message": onsite.next_for(person, now) if person else None}


def _answered(request: HttpRequest, do: Any) -> HttpResponse:
    if request.method == "OPTIONS":
        return answer(204, None)
    if request.method != "POST":
        return answer(405, {"success": False, "message": _("Send a POST.")}, Allow="POST, OPTIONS")
    now = timezone.now()
    try:
        asked = decoded(read_body(request), _decode)
        token = authenticate(request, asked.writeKey, now)
        throttling.take(token, "requests", 1, now=now)
        return answer(200, do(asked, now))
    except Throttled as slow:
        return answer(429, {"success": False, "message": str(slow.detail)}, **{"Retry-After": str(slow.wait)})
    except Refused as refused:
        return answer(refused.status, {"success": False, "message": str(refused)})
    except (OperationalError, InterfaceError):
        message = _("The database is not available at the moment.")
        return answer(503, {"success": False, "message": message}, **{"Retry-After": "5"})
