"""Lists of people of any length, read and answered line by line in little memory."""

import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from rest_framework.exceptions import Throttled

from contacts import syncing, throttling
from contacts.models import ApiToken
from contacts.wire import NDJSON, dumps, line

# Each batch is a transaction of its own.
BATCH = 5_000
# A stream waits for its token's allowance, but not for ever.
LONGEST_WAIT = timedelta(minutes=10)
_IN_MEMORY = 2 * 1024 * 1024


def upsert_stream(
    rows: Iterator[Any], *, token: ApiToken, source: str, may_raise_consent: bool, in_lines: bool
) -> HttpResponseBase:
    """Upserts rows as they come in, batch by batch, and answers one result a row when the last has come.

    Until then the results wait on disk: most clients read no answer before they have sent everything, and would block
    us while we block them. Whoever breaks off may send all again: what is stored is unchanged then.
    """
    waits_until = timezone.now() + LONGEST_WAIT
    results = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - the answer closes it
    try:
        begin, between = (b"", b"") if in_lines else (b"[", b",")
        for first, batch in _batches(rows):
            _take(token, len(batch), waits_until)
            written = syncing.upsert(
                batch, source=source, now=timezone.now(), actor=token.user.get_username(),
                may_raise_consent=may_raise_consent, by=token.user,
            )  # fmt: skip
            for result in written:
                result["index"] += first
            results.write(begin if first == 0 else between)
            results.write(b"".join(map(line, written)) if in_lines else dumps(written)[1:-1])
        if not in_lines:
            results.write(b"]" if results.tell() else b"[]")
    except BaseException:
        results.close()
        raise
    size, kind = results.tell(), NDJSON if in_lines else "application/json"
    results.seek(0)
    if size <= _IN_MEMORY:
        with results:
            return HttpResponse(results.read(), content_type=kind)
    return StreamingHttpResponse(_read(results), content_type=kind)


def _batches(rows: Iterator[Any]) -> Iterator[tuple[int, list[Any]]]:
    first = 0
    while batch := list(islice(rows, BATCH)):
        yield first, batch
        first += len(batch)


def _take(token: ApiToken, amount: int, waits_until) -> None:
    while True:
        now = timezone.now()
        try:
            throttling.take(token, "rows", amount, now=now)
            return
        except Throttled as slow:
            if now + timedelta(seconds=slow.wait or 1) > waits_until:
                raise
            time.sleep(slow.wait or 1)


def _read(results: Any) -> Iterator[bytes]:
    with results:
        while chunk := results.read(256 * 1024):
            yield chunk
