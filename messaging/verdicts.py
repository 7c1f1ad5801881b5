"""What follows when mail comes back: one function for a list of verdicts, whoever told them and in whatever order.

States only get graver: a "delivered" behind a complaint or a hard bounce changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson
from django.db import transaction
from django.utils.translation import gettext_noop

from contacts.consent import CHANNELS, refuse
from contacts.sql import load
from messaging.models import Feedback, Message
from messaging.outbox import cancel

SQL = load(__file__)

# An address is worn out by so many bounces of the soft kind within so long, with nothing delivered in between.
WORN_OUT, WITHIN = 5, timedelta(days=30)
_GRAVITY = [verdict for verdict, _name in Feedback.VERDICTS]


@dataclass(frozen=True)
class Verdict:
    """What was told of one message of ours: a kind of `Feedback.VERDICTS`, or `unsubscribed`."""

    message: int
    kind: str
    occurred_at: datetime
    code: str = ""
    detail: str = ""


@transaction.atomic
def settle(verdicts: Sequence[Verdict], *, source: str, now: datetime) -> set[int]:
    """Writes verdicts with all that follows; the messages that they were about. Repeats in any order are harmless.

    Hard bounces and complaints suppress the address, as soft bounces do when they wear it out; who complained, or
    unsubscribed at the provider, refuses from here on. `source` stands as the proof of a refusal.
    """
    if not verdicts:
        return set()
    rows = SQL["settle_verdicts"].rows(told=_as_json(verdicts), gravity=_GRAVITY, now=now)
    by_kind: dict[str, list[int]] = {}
    for message, kind, _address in rows:
        by_kind.setdefault(kind, []).append(message)
    if grave := by_kind.get("hard", []) + by_kind.get("complaint", []):
        SQL["suppress_verdicts"].run(messages=grave, now=now)
    if soft := by_kind.get("soft", []) + by_kind.get("unknown", []):
        SQL["suppress_worn_out"].run(
            messages=soft, now=now, within=WITHIN, times=WORN_OUT, detail=gettext_noop("came back again and again")
        )
    for kind, proof in (("complaint", f"complaint:{source}"), ("unsubscribed", source)):
        _refuse(by_kind.get(kind, []), proof, now)
    return {message for message, _kind, _address in rows}


def _refuse(messages: list[int], proof: str, now: datetime) -> None:
    people = [pk for (pk,) in SQL["readers_of"].rows(messages=messages)] if messages else []
    if not people:
        return
    refuse(contacts=people, channels=CHANNELS, source=proof, now=now)
    waiting = Message.objects.filter(contact__in=people).exclude(message_class="transactional")
    cancel(now=now, reason="unsubscribed", messages=waiting)


def _as_json(verdicts: Sequence[Verdict]) -> str:
    told = [
        {
            "message": one.message, "kind": one.kind, "occurred_at": one.occurred_at, "code": one.code,
            "detail": one.detail.replace("\0", "").encode("utf-8", "replace").decode()[:500],
        }
        for one in verdicts
    ]  # fmt: skip
    return orjson.dumps(told).decode()
