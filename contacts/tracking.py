"""The tracking API: Segment's HTTP calls into the inbox, as plain Django views, for stock SDKs and our own snippet.

One request is one COPY and one commit, whatever the number of its events; an event that cannot be read is answered by
its number and does not spoil the rest. Nobody waits for the tick: a 200 says that the events are stored.
"""

import base64
import binascii
import re
import zlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import orjson
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from msgspec import UnsetType
from rest_framework.exceptions import Throttled

from contacts import throttling, tokens
from contacts.calls import COLUMNS, Batch, Call, Refused, Sender, line, row
from contacts.models import ApiToken

# Segment's own limits.
LARGEST_BATCH, LARGEST_EVENT = 500 * 1024, 32 * 1024
MOST_EVENTS = 2500

CALLS = {
    "identify": "identify", "i": "identify",
    "track": "track", "t": "track",
    "page": "page", "p": "page",
    "screen": "screen", "s": "screen",
    "group": "group", "g": "group",
    "alias": "alias", "a": "alias",
    "batch": "batch", "b": "batch", "import": "batch",
}  # fmt: skip

_decode_call = msgspec.json.Decoder(Call).decode
_decode_batch = msgspec.json.Decoder(Batch).decode

# Views ---------------------------------------------------------------------------------------------------------------


@csrf_exempt
def call(request: HttpRequest, name: str) -> HttpResponse:
    """`POST /v1/<call>`: takes one call, or a batch of them; 200 says that they are stored."""
    if request.method == "OPTIONS":
        return answer(204, None)
    if request.method != "POST":
        return answer(405, {"success": False, "message": _("Send a POST.")}, Allow="POST, OPTIONS")
    now = timezone.now()
    try:
        body = read_body(request)
        kind = CALLS[name]
        if kind == "batch":
            batch = _batch(body)
            token = authenticate(request, batch.writeKey, now)
            rows, rejected = _rows_of_batch(batch, _sender(request, token, now, batch))
        else:
            one = _one(body)
            token = authenticate(request, one.writeKey, now)
            one.type = kind
            rows, rejected = [row(one, _sender(request, token, now))], []
        throttling.take(token, "requests", 1, now=now)
        throttling.take(token, "rows", len(rows), now=now)
        _store(rows)
    except Throttled as slow:
        return answer(429, {"success": False, "message": str(slow.detail)}, **{"Retry-After": str(slow.wait)})
    except Refused as refused:
        return answer(refused.status, {"success": False, "message": str(refused)})
    except (OperationalError, InterfaceError):
        message = _("The database is not available at the moment.")
        return answer(503, {"success": False, "message": message}, **{"Retry-After": "5"})
    return answer(200, {"success": True, "rejected": rejected} if rejected else {"success": True})


def project_settings(request: HttpRequest, key: str) -> HttpResponse:
    """`GET /v1/projects/<key>/settings`: what analytics.js asks before it begins."""
    token = tokens.find(key, now=timezone.now())
    if token is None or not tokens.allows(token, "track"):
        return answer(404, {"success": False, "message": _("There is no such write key.")})
    scheme, _sep, host = settings.BASE_URL.partition("://")
    ours = {"apiKey": key, "apiHost": f"{host}/v1", "protocol": scheme, "type": "browser", "versionSettings": {}}
    return answer(
        200,
        {
            "integrations": {"Segment.io": ours},
            "plan": {"track": {"__default": {"enabled": True, "integrations": {}}}},
            "edgeFunction": {},
            "middlewareSettings": {},
            "enabledMiddleware": {},
            "metrics": {"sampleRate": 0},
            "remotePlugins": [],
        },
    )


_SNIPPET = (Path(__file__).parent / "static" / "contacts" / "track.js").read_bytes()


def snippet(request: HttpRequest) -> HttpResponse:
    """`/js/track.js`: our own small tracker."""
    response = HttpResponse(_SNIPPET, content_type="text/javascript; charset=utf-8")
    response["Cache-Control"] = "public, max-age=3600"
    response["Access-Control-Allow-Origin"] = "*"
    response["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response


def answer(status: int, data: Any, **headers: str) -> HttpResponse:
    """Open to every origin, without cookies: the write key is public by nature."""
    response = HttpResponse(b"" if data is None else orjson.dumps(data), status=status, content_type="application/json")
    response["Access-Control-Allow-Origin"] = "*"
    response["Cross-Origin-Resource-Policy"] = "cross-origin"
    response["Cache-Control"] = "no-store"
    if status == 204:
        response["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
        response["Access-Control-Allow-Headers"] = "Authorization, Content-Type, Content-Encoding, AnonymousId"
        response["Access-Control-Max-Age"] = "86400"
    for name, value in headers.items():
        response[name] = value
    return response


# Reading -------------------------------------------------------------------------------------------------------------


def read_body(request: HttpRequest) -> bytes:
    """The body, unpacked, within Segment's limits."""
    try:
        length = int(request.headers.get("content-length") or 0)
    except ValueError:
        length = 0
    too_large = Refused(413, _("A request may have at most 500 kB."))
    if length > LARGEST_BATCH:
        raise too_large
    body = request.read(LARGEST_BATCH + 1)
    if request.headers.get("Content-Encoding", "").strip().lower() == "gzip" or body[:2] == b"\x1f\x8b":
        try:
            body = zlib.decompressobj(wbits=31).decompress(body, LARGEST_BATCH + 1)
        except zlib.error:
            raise Refused(400, _("The body is not valid gzip.")) from None
    if len(body) > LARGEST_BATCH:
        raise too_large
    return body


def decoded(body: bytes, decode: Callable[[bytes], Any]) -> Any:
    try:
        try:
            return decode(body)
        except msgspec.DecodeError:
            # Browsers cut texts in the middle of an emoji, and write the half of it that is left as an escape.
            return decode(_ESCAPE.sub(lambda match: match[0] if match[1] or match[0] == b"\\\\" else b"\\ufffd", body))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Refused(400, _("The body cannot be read: %(reason)s.") % {"reason": error}) from None


# A backslash that stands for itself, a whole pair of surrogates (with a group), or half of one.
_ESCAPE = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}(\\u[dD][c-fC-F][0-9a-fA-F]{2})?|\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)


def _batch(body: bytes) -> Batch:
    batch = decoded(body, _decode_batch)
    if isinstance(batch.batch, UnsetType):
        raise Refused(400, _("The body must have a list “batch”."))
    if len(batch.batch) > MOST_EVENTS:
        raise Refused(413, _("A batch may have at most %(most)s events.") % {"most": MOST_EVENTS})
    return batch


def _one(body: bytes) -> Call:
    if len(body) > LARGEST_EVENT:
        raise Refused(413, _("One event may have at most 32 kB."))
    return decoded(body, _decode_call)


def authenticate(request: HttpRequest, key: str | None, now: datetime) -> ApiToken:
    """The token of the write key: the user name of Basic, a Bearer token, or `writeKey` in the body."""
    kind, _space, value = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            key = base64.b64decode(value.strip(), validate=True).decode().partition(":")[0] or key
        except (binascii.Error, UnicodeDecodeError):
            raise Refused(401, _("The Authorization header cannot be read.")) from None
    elif kind.lower() == "bearer":
        key = value.strip()
    if not key:
        raise Refused(401, _("A write key is missing: send it as the user name of Basic authentication."))
    token = tokens.find_key(key, now=now)
    if token is None:
        raise Refused(401, _("This write key is unknown, expired or revoked."))
    if not tokens.allows(token, "track"):
        raise Refused(403, _("This token may not track: it needs the scope “track”."))
    return token


def _sender(request: HttpRequest, token: ApiToken, now: datetime, batch: Batch | None = None) -> Sender:
    return Sender(
        source=f"segment:{token.pk}",
        now=now,
        user_agent=request.headers.get("User-Agent", ""),
        address=request.META.get("REMOTE_ADDR", ""),
        context=batch.context if batch else None,
        sent_at=batch.sentAt if batch else None,
    )


def _rows_of_batch(batch: Batch, sender: Sender) -> tuple[list[tuple], list[dict[str, Any]]]:
    assert not isinstance(batch.batch, UnsetType), "`_batch` has refused that"
    rows, rejected = [], []
    for index, raw in enumerate(batch.batch):
        try:
            if len(raw) > LARGEST_EVENT:
                raise Refused(413, _("One event may have at most 32 kB."))
            rows.append(row(_decode_call(raw), sender))
        except (Refused, msgspec.DecodeError, UnicodeError, RecursionError) as error:
            rejected.append({"index": index, "message": str(error)})
    return rows, rejected


# Storing -------------------------------------------------------------------------------------------------------------

_COPY = f"COPY contacts_incoming ({', '.join(COLUMNS)}) FROM STDIN"


def _store(rows: list[tuple]) -> None:
    """One COPY, which is its own transaction: when it returns, the events are durable."""
    if rows:
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            copy.write(b"\n".join(map(line, rows)) + b"\n")
