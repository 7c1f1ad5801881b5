"""Outgoing webhooks by Standard Webhooks: other systems are told what happens, at least once and each time signed.

A step of the tick puts touchpoints into the outbox, once for each endpoint that wants them. Workers claim them, one
endpoint at a time, post them one event a request over kept connections, and mark what became of them. An endpoint that
hangs keeps its own few lines busy and nobody else's: it has one line until it does well again, and after some failures
in a row its breaker opens: nothing is sent but one trial now and then.
"""

import base64
import binascii
import hashlib
import hmac
import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.client import HTTPException

import structlog
from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from contacts import outward
from contacts.models import Webhook, WebhookDelivery
from contacts.models.webhooks import event_id
from contacts.sql import load
from contacts.wire import dumps

SQL = load(__file__)
log = structlog.get_logger(__name__)

# After each failed attempt the next waits so long, give or take a fifth: eleven attempts in some 22 hours.
WAITS = [timedelta(seconds=one) for one in (5, 30, 120, 600, 1800, 3600, 7200, 14400, 21600, 28800)]
# So many failures in a row open an endpoint's breaker: then one trial, after half a minute, a minute … an hour.
BREAKS_AFTER = 5
FIRST_TRIAL, LAST_TRIAL = timedelta(seconds=30), timedelta(hours=1)
# Whoever fails for so long is switched off.
SWITCHED_OFF_AFTER = timedelta(days=3)

LINES_IN_ALL = 24  # connections of one worker at once
LINES = 4  # connections to one endpoint at once, over all workers
SIZE = 25  # deliveries that one line takes
LINE_SECONDS = 5  # a line begins no further delivery after so long
LEASE = timedelta(minutes=2)
BUDGET = 60.0  # seconds after which a worker claims nothing more: the next alarm's does

KEEP = timedelta(days=14)
KEEP_WAITING = timedelta(days=30)
OVERLAP = timedelta(hours=24)

# Properties that are told to nobody outside.
PRIVATE = ["ip", "ip_address", "user_agent", "password", "secret", "token"]
KIND = re.compile(r"[a-z][a-z0-9_]*\.([a-z][a-z0-9_]*|\*)")


# Endpoints -----------------------------------------------------------------------------------------------------------


def make_secret() -> str:
    """A new secret in the written form of Standard Webhooks."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def check_kinds(kinds: Sequence[str]) -> list[str]:
    """Kinds without repeats, as `noun.verbed` or `noun.*`. Raises ValueError with a sentence for anything else."""
    tidy = list(dict.fromkeys(kind.strip() for kind in kinds))
    for kind in tidy:
        if not KIND.fullmatch(kind) or len(kind) > 200:
            raise ValueError(
                _("“%(kind)s” is no kind, such as order.placed, or lead.* for all of them.") % {"kind": kind}
            )
    return tidy


def rotate(webhook: Webhook, *, now: datetime) -> str:
    """Gives an endpoint a new secret and returns it; the one it had signs beside it for another day."""
    webhook.previous_secret, webhook.previous_until = webhook.secret, now + OVERLAP
    webhook.secret = make_secret()
    webhook.save(update_fields=["secret", "previous_secret", "previous_until"])
    return webhook.secret


def send_test(webhook: Webhook, *, now: datetime) -> WebhookDelivery:
    """Puts a test event into the outbox; also the trial of an endpoint whose breaker is open."""
    Webhook.objects.filter(pk=webhook.pk, retry_at__gt=now).update(retry_at=now)
    return WebhookDelivery.objects.create(
        webhook=webhook,
        kind="webhook.tested",
        payload={
            "type": "webhook.tested",
            "timestamp": now.isoformat(),
            "data": {"webhook": webhook.pk, "name": webhook.name},
        },
        created_at=now,
        # Before everything else that waits.
        due_at=now - timedelta(days=365),
    )


def send_again(deliveries: QuerySet[WebhookDelivery], *, now: datetime) -> int:
    """Sends what has ended once more, with the same id and payload; how many."""
    return deliveries.filter(finished_at__isnull=False).update(
        state="waiting", due_at=now, attempts=0, finished_at=None
    )


def counts(now: datetime) -> dict[str, int]:
    """For the health page: {waiting, failed_in_a_day, open_breakers, switched_off}."""
    [row] = SQL["count_webhooks"].rows(now=now)
    return dict(zip(("waiting", "failed_in_a_day", "open_breakers", "switched_off"), row, strict=True))


def forget(*, now: datetime) -> int:
    """Deletes deliveries that ended two weeks ago, and those that waited a month in vain; how many."""
    return SQL["forget_webhook_deliveries"].run(before=now - KEEP, long_before=now - KEEP_WAITING)


# The step ------------------------------------------------------------------------------------------------------------


def tell(now: datetime, after: int, upto: int) -> int:
    """The step of the tick: puts the touchpoints of a window into the outbox; how many deliveries that makes."""
    if upto <= after or not Webhook.objects.filter(is_active=True).exists():
        return 0
    return SQL["tell_webhooks"].run(now=now, after=after, upto=upto, private=PRIVATE)


# Signing -------------------------------------------------------------------------------------------------------------


def sign(keys: Sequence[str], webhook_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: one `v1,…` for each living secret, over id, time and the raw body."""
    told = f"{webhook_id}.{timestamp}.".encode() + body
    return " ".join("v1," + base64.b64encode(hmac.digest(_key(key), told, hashlib.sha256)).decode() for key in keys)


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        return secret.encode()


# Delivery ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parcel:
    """One event for one endpoint: the id that is the same over all attempts, and the body that is signed."""

    id: int
    event_id: str
    body: bytes
    attempts: int


@dataclass(frozen=True)
class _Claim:
    """What one line has to send."""

    worker: str
    webhook: Webhook
    parcels: list[Parcel]


@dataclass(frozen=True)
class Outcome:
    """What became of one delivery: `state` is empty where the line did not come to it."""

    parcel: Parcel
    state: str = ""
    status: int | None = None
    error: str = ""
    retry_after: int | None = None


def deliver(*, clock: Callable[[], datetime], seconds: float = BUDGET) -> int:
    """Sends what is due until nothing is, or `seconds` are over; how many arrived. Many workers may do it at once.

    It may last, so it is given a clock and not a moment: what falls due meanwhile goes, too, if the clock moves on.
    """
    started = time.monotonic()
    SQL["free_webhook_claims"].run(now=clock())
    arrived = 0
    lines: dict[Future[list[Outcome]], _Claim] = {}
    with ThreadPoolExecutor(LINES_IN_ALL, thread_name_prefix="webhook") as pool:
        while True:
            while len(lines) < LINES_IN_ALL and time.monotonic() - started < seconds:
                claim = _claim(clock())
                if claim is None:
                    break
                lines[pool.submit(post, claim.webhook, claim.parcels, clock)] = claim
            if not lines:
                return arrived
            # Meanwhile others may have something to send.
            for line in wait(lines, timeout=0.2, return_when=FIRST_COMPLETED).done:
                arrived += _settle(lines.pop(line), line.result(), clock())


@transaction.atomic
def _claim(now: datetime) -> _Claim | None:
    """The next line's work; None where nothing is due, or whoever has something due has lines enough."""
    chosen = SQL["choose_webhook"].value(now=now, lines=LINES)
    if chosen is None:
        return None
    worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(6)}"
    rows = SQL["claim_webhook_deliveries"].rows(
        webhook=chosen, now=now, size=SIZE, worker=worker, lease_until=now + LEASE
    )
    if not rows:
        return None
    parcels = [
        Parcel(pk, event_id(chosen, touchpoint, pk), payload.encode(), attempts)
        for pk, touchpoint, payload, attempts in rows
    ]
    return _Claim(worker, Webhook.objects.get(pk=chosen), parcels)


def post(webhook: Webhook, parcels: Sequence[Parcel], clock: Callable[[], datetime]) -> list[Outcome]:
    """Posts over one connection until something goes wrong or time is up. In a thread of its own: no database here."""
    begun, outcomes = time.monotonic(), []
    line = None
    is_well = True
    for parcel in parcels:
        if not is_well or time.monotonic() - begun > LINE_SECONDS:
            outcomes.append(Outcome(parcel))
            continue
        try:
            line = line or outward.Line(outward.parse(webhook.url))
            moment = clock()
            timestamp = int(moment.timestamp())
            signature = sign(webhook.living_secrets(moment), parcel.event_id, timestamp, parcel.body)
            answer = line.post(
                parcel.body,
                {
                    "Content-Type": "application/json",
                    "User-Agent": "JourneyCRM-Webhooks/1",
                    "webhook-id": parcel.event_id,
                    "webhook-timestamp": str(timestamp),
                    "webhook-signature": signature,
                },
            )
            outcome = _judged(parcel, answer)
        except (OSError, HTTPException, ValueError) as error:
            reason = str(error) if isinstance(error, outward.Forbidden) else f"{type(error).__name__}: {error}"
            outcome = Outcome(parcel, "waiting", error=reason[:500])
        is_well = outcome.state == "delivered"
        outcomes.append(outcome)
    if line:
        line.close()
    return outcomes


def _judged(parcel: Parcel, answer: outward.Answer) -> Outcome:
    """What an answer means: 2xx is well, most of 4xx is final, everything else is worth another attempt."""
    if 200 <= answer.status < 300:
        return Outcome(parcel, "delivered", answer.status)
    is_final = 400 <= answer.status < 500 and answer.status not in {408, 409, 425, 429}
    error = f"HTTP {answer.status} {answer.text}".strip()[:500]
    return Outcome(parcel, "refused" if is_final else "waiting", answer.status, error, answer.retry_after)


@transaction.atomic
def _settle(claim: _Claim, outcomes: Sequence[Outcome], now: datetime) -> int:
    """Writes what became of a line, and what that says of its endpoint; how many deliveries arrived."""
    told = [_told(outcome, now) for outcome in outcomes]
    SQL["mark_webhook_deliveries"].run(told=dumps(told).decode(), worker=claim.worker, now=now)
    note(claim.webhook, outcomes, now)
    return sum(outcome.state == "delivered" for outcome in outcomes)


@transaction.atomic
def note(webhook: Webhook, outcomes: Sequence[Outcome], now: datetime) -> Webhook | None:
    """Writes what the outcomes say of their endpoint, its breaker included; the endpoint by now, or None."""
    found = Webhook.objects.select_for_update(no_key=True).filter(pk=webhook.pk).first()
    if found is None:
        return None
    if any(outcome.state == "delivered" for outcome in outcomes):
        found.note_success(now)
    failed = next((one for one in outcomes if one.state in {"waiting", "refused"}), None)
    if failed is not None:
        _fail(found, failed, now)
    return found


def _fail(webhook: Webhook, outcome: Outcome, now: datetime) -> None:
    """Counts a failure of an endpoint: opens its breaker after some in a row, switches it off after days or a 410."""
    beyond = webhook.failures + 1 - BREAKS_AFTER
    retry_at = None
    if beyond >= 0:
        pause = min(FIRST_TRIAL * 2 ** min(beyond, 10), LAST_TRIAL)
        retry_at = now + _jittered(pause, webhook.pk, webhook.failures)
    webhook.note_failure(outcome.error, retry_at, now)
    if not webhook.is_active:
        return
    if outcome.status == 410:
        webhook.switch_off("gone", now)
    elif webhook.failing_since and now - webhook.failing_since > SWITCHED_OFF_AFTER:
        webhook.switch_off("failing", now)
    if not webhook.is_active:
        log.warning("webhook_switched_off", webhook=webhook.pk, reason=webhook.disabled_reason)


def _told(outcome: Outcome, now: datetime) -> dict:
    """The row of a delivery as `mark_webhook_deliveries` reads it."""
    attempts = outcome.parcel.attempts
    state, due_at = outcome.state or "waiting", None
    if outcome.state == "waiting":
        if attempts >= len(WAITS):
            state = "failed"
        else:
            asked = timedelta(seconds=outcome.retry_after or 0)
            due_at = now + max(_jittered(WAITS[attempts], outcome.parcel.id, attempts), min(asked, LAST_TRIAL))
    return {
        "id": outcome.parcel.id,
        "state": state,
        "status_code": outcome.status,
        "error": outcome.error.replace("\0", ""),
        "due_at": due_at,
        "is_tried": bool(outcome.state),
    }


def _jittered(wait: timedelta, *which: int) -> timedelta:
    """Give or take a fifth, fixed for each occasion, so that what failed together does not come back together."""
    share = int(hashlib.sha256(repr(which).encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return wait * (0.8 + 0.4 * share)
