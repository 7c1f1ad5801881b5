"""A small typed client of Journey CRM's REST API, in one file and without dependencies: copy it and make it yours.

    crm = Client("https://crm.example", "jc_…")
    for contact in crm.contacts(stage="lead"):
        print(contact["email"])

Every POST carries an `Idempotency-Key` and is repeated when the connection breaks or the server asks for patience, so
that nothing is done twice and nothing is lost.
"""

import base64
import binascii
import hashlib
import hmac
import json
import random
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict, cast


class Contact(TypedDict, total=False):
    """The fields that most clients read; a contact has more."""

    id: int
    email: str
    user_id: str | None
    first_name: str
    last_name: str
    stage: str
    owner: str | None
    attributes: dict[str, Any]
    updated_at: str


class FieldError(TypedDict):
    field: str
    message: str


class RowResult(TypedDict):
    """What became of one row of a bulk upsert: created, updated, unchanged or rejected."""

    index: int
    id: int | None
    status: str
    errors: list[FieldError]


class Touchpoint(TypedDict):
    """One thing that happened; `id` is its place in the feed."""

    id: int
    contact: int
    kind: str
    channel: str
    occurred_at: str
    received_at: str
    source: str
    properties: dict[str, Any]
    is_machine: bool


class Event(TypedDict):
    """What a webhook tells."""

    type: str
    timestamp: str
    data: dict[str, Any]


class Problem(Exception):
    """A refusal, as the problem document says it; `errors` names the fields."""

    def __init__(self, status: int, document: Mapping[str, Any]) -> None:
        self.status = status
        self.errors = cast(list[FieldError], document.get("errors") or [])
        super().__init__(f"{status} {document.get('detail') or document.get('title') or 'refused'}")


class BadSignature(Exception):
    """A webhook that is not ours, or not of this moment."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token to wherever it leads: it is an error."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


@dataclass
class Client:
    """One server and one token. `url` is the server's address without a path."""

    url: str
    token: str
    timeout: float = 30.0
    attempts: int = 5
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    # Contacts --------------------------------------------------------------------------------------------------------

    def contacts(self, **filters: str) -> Iterator[Contact]:
        """Every contact that matches: email, user_id, stage, segment, owner, updated_after, score_gte, q."""
        return cast(Iterator[Contact], self.pages("contacts/", **filters))

    def contact(self, contact_id: int) -> tuple[Contact, str]:
        """One contact with its ETag. Raises Problem (404)."""
        body, headers = self.call("GET", f"contacts/{contact_id}/")
        return cast(Contact, body), headers.get("ETag", "")

    def change(self, contact_id: int, fields: Mapping[str, Any], etag: str = "") -> Contact:
        """Writes some fields; None clears one. With an ETag it raises Problem (412) if somebody was faster."""
        headers = {"If-Match": etag} if etag else {}
        return cast(Contact, self.call("PATCH", f"contacts/{contact_id}/", fields, headers)[0])

    def upsert(self, rows: Iterable[Mapping[str, Any]], size: int = 5_000) -> Iterator[RowResult]:
        """Makes or changes people by `user_id`, else `email`; a result for each row, `index` counted over all."""
        first, chunk = 0, list[Mapping[str, Any]]()
        for row in rows:
            chunk.append(row)
            if len(chunk) == size:
                yield from self._upsert(first, chunk)
                first, chunk = first + size, []
        if chunk:
            yield from self._upsert(first, chunk)

    def _upsert(self, first: int, rows: list[Mapping[str, Any]]) -> Iterator[RowResult]:
        lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        results, _headers = self.call("POST", "contacts/bulk/", lines, {"Content-Type": "application/x-ndjson"})
        for result in cast(list[RowResult], results):
            result["index"] += first
            yield result

    # The feed of changes ---------------------------------------------------------------------------------------------

    def changes(self, after: int = 0, kinds: Iterable[str] = ()) -> Iterator[tuple[list[Touchpoint], int]]:
        """What happened behind `after`, page by page, up to now. Keep the number that comes with each page.

        Store the number in the transaction that stores what you made of the page: then nothing is lost or doubled.
        """
        while True:
            query = {"after": str(after), "limit": "500", **({"kinds": ",".join(kinds)} if kinds else {})}
            body = cast(dict[str, Any], self.call("GET", f"changes/?{urllib.parse.urlencode(query)}")[0])
            after = body["last"]
            if body["results"]:
                yield body["results"], after
            if not body["has_more"]:
                return

    def follow(
        self, after: int, handle: Callable[[list[Touchpoint], int], None], every: float = 5.0
    ) -> None:  # pragma: no cover - an endless loop
        """Hands every page to `handle(page, after)`, for ever."""
        while True:
            for page, last in self.changes(after):
                handle(page, last)
                after = last
            self.sleep(every)

    # Everything else -------------------------------------------------------------------------------------------------

    def pages(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """Every row of a list, page by page: `pages("leads/", state="open")`."""
        address = f"{path}?{urllib.parse.urlencode({'limit': '500', **query})}"
        while address:
            body = cast(dict[str, Any], self.call("GET", address)[0])
            yield from body["results"]
            address = body["next"] or ""

    def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[Any, Mapping[str, str]]:
        """One call with its repeats: the decoded answer and its headers. Raises Problem, or URLError in the end."""
        address = path if path.startswith("http") else f"{self.url}/api/v1/{path}"
        if not address.startswith(f"{self.url}/"):
            raise ValueError(f"{address} is not on {self.url}; the token stays here.")
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", **(headers or {})}
        if method == "POST":
            sent.setdefault("Idempotency-Key", str(uuid.uuid4()))
        # A PATCH says what shall be, so it may be repeated; with If-Match a repeat might meet its own change.
        attempts = 1 if "If-Match" in sent else self.attempts
        for attempt in range(1, attempts + 1):
            request = urllib.request.Request(address, data=data, headers=sent, method=method)  # noqa: S310 - ours
            try:
                with _OPENER.open(request, timeout=self.timeout) as answer:
                    text = answer.read()
                    return (json.loads(text) if text else None), answer.headers
            except urllib.error.HTTPError as error:
                document = _document(error.read())
                # 409: a call with this key is still being worked on.
                may_repeat = error.code in {429, 502, 503, 504} or (error.code == 409 and method == "POST")
                if not may_repeat or attempt == attempts:
                    raise Problem(error.code, document) from None
                asked = error.headers.get("Retry-After", "")
                self.sleep(float(asked) if asked.isdecimal() else _backoff(attempt))
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                if attempt == attempts:
                    raise
                self.sleep(_backoff(attempt))
        raise AssertionError("unreachable")


def _document(text: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _backoff(attempt: int) -> float:
    """Half a second, one, two, four …, give or take a half, so that clients do not come back together."""
    return float(2 ** (attempt - 2) * random.uniform(0.5, 1.5))


# Webhooks ------------------------------------------------------------------------------------------------------------


def verify(
    body: bytes, headers: Mapping[str, str], secrets: Iterable[str], *, tolerance: float = 300, now: float | None = None
) -> Event:
    """The event of a webhook: signed by one of our secrets (Standard Webhooks), and of these five minutes.

    `body` is the body as it came, before anything parsed it. Raises BadSignature. The same `webhook-id` may come again:
    remember those that you have seen.
    """
    small = {name.lower(): value for name, value in headers.items()}
    event_id, timestamp = small.get("webhook-id", ""), small.get("webhook-timestamp", "")
    signatures = [
        one.removeprefix("v1,") for one in small.get("webhook-signature", "").split() if one.startswith("v1,")
    ]
    if not (event_id and signatures and timestamp.isascii() and timestamp.isdecimal()):
        raise BadSignature("The headers webhook-id, webhook-timestamp and webhook-signature are needed.")
    if abs((time.time() if now is None else now) - int(timestamp)) > tolerance:
        raise BadSignature("It was signed at another time.")
    told = f"{event_id}.{timestamp}.".encode() + body
    for secret in secrets:
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            raise ValueError("This is no secret of a webhook.") from None
        expected = base64.b64encode(hmac.digest(key, told, hashlib.sha256)).decode()
        # All are compared, and each in the same time.
        if sum(hmac.compare_digest(expected.encode(), one.encode()) for one in signatures):
            return cast(Event, json.loads(body))
    raise BadSignature("None of the secrets made this signature.")
