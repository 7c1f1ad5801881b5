"""`Idempotency-Key`: the first answer to a POST with a key is kept a day and given again."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from hashlib import sha256

from django.core.exceptions import RequestDataTooBig
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.http import HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework.exceptions import ParseError

from contacts.models import IdempotencyKey
from contacts.problems import Conflict, Unprocessable, server_error_body
from contacts.wire import NDJSON, TooLarge, dumps

# An answer is kept so long.
KEEP_ANSWERS = timedelta(hours=24)


def once(token, key: str, request, answer) -> HttpResponse:
    """Gives the first answer to this key of this token again, or makes it: with its effects in one transaction."""
    with held(token, key) as is_mine:
        return _answered(token, key, request, answer, is_mine)


@contextmanager
def held(token, key: str) -> Iterator[bool]:
    """Whether nobody else is at the request with this key. A process that dies lets go by itself."""
    number = int.from_bytes(sha256(f"idempotency {token.pk} {key}".encode()).digest()[:8], signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [number])
        is_mine = cursor.fetchone()[0]
    try:
        yield is_mine
    finally:
        # Where the connection is gone, so is the lock.
        if is_mine:
            with suppress(DatabaseError, InterfaceError), connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [number])


def _answered(token, key: str, request, answer, is_mine: bool) -> HttpResponse:
    row = _claim(token, key, request, timezone.now(), is_mine)
    if row.status is not None:
        lines = NDJSON in request.headers.get("Accept", "")
        kind = "application/problem+json" if row.status >= 400 else NDJSON if lines else "application/json"
        body = bytes(row.body or b"")
        return HttpResponse(body, status=row.status, content_type=kind, headers={"Idempotent-Replayed": "true"})
    try:
        with transaction.atomic():
            response = answer()
            response.render()
            if response.status_code < 400:
                # A secret that is shown once is not kept for whoever asks again.
                kept = getattr(response, "kept", None)
                _keep(row, response.status_code, response.content if kept is None else dumps(kept))
            else:
                transaction.set_rollback(True)
    except Exception:
        _keep(row, 500, server_error_body())
        raise
    if response.status_code in {401, 429, 503}:
        # Nothing was tried: the client is asked to come again with the same key.
        row.delete()
    elif response.status_code >= 400:
        _keep(row, response.status_code, response.content)
    return response


def _claim(token, key: str, request, now: datetime, is_mine: bool) -> IdempotencyKey:
    """The row of this key: fresh, with a stored answer, or taken over from a request that died."""
    if not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        raise ParseError(_("Idempotency-Key must be 1 to 255 printable ASCII characters."))
    try:
        body = request.body
    except RequestDataTooBig:
        raise TooLarge(_("A body with an Idempotency-Key may have at most 32 MB.")) from None
    wants = b"lines" if NDJSON in request.headers.get("Accept", "") else b""
    digest = sha256(b"\n".join([request.get_full_path().encode(), wants, body])).hexdigest()
    row = IdempotencyKey.objects.filter(token=token, key=key).first()
    if row is None and not is_mine:
        raise Conflict(_("A request with this Idempotency-Key is being worked on."))
    if row is None:
        return IdempotencyKey.objects.create(token=token, key=key, request_digest=digest, created_at=now)
    same = IdempotencyKey.objects.filter(pk=row.pk, created_at=row.created_at)
    if row.created_at < now - KEEP_ANSWERS:
        if is_mine and same.update(created_at=now, request_digest=digest, status=None, body=None):
            row.status = None
            return row
    elif row.request_digest != digest:
        raise Unprocessable(_("This Idempotency-Key was used for another request."))
    elif row.status is not None or (is_mine and same.update(created_at=now)):
        return row
    raise Conflict(_("A request with this Idempotency-Key is being worked on."))


def _keep(row: IdempotencyKey, status_code: int, body: bytes) -> None:
    IdempotencyKey.objects.filter(pk=row.pk).update(status=status_code, body=body)


def forget_answers(*, now: datetime) -> int:
    """Deletes stored answers that are older than a day; how many."""
    return IdempotencyKey.objects.filter(created_at__lt=now - KEEP_ANSWERS).delete()[0]
