"""Messages to another system: signed posts to the endpoint that takes them, by the rules of our webhooks.

Signing, the check of addresses and the breaker are those of `contacts.webhooks`. A post is made at least once and its
id stays the same over all attempts, so what may have arrived goes again: nothing here is ever uncertain.
"""

from collections.abc import Iterable, Iterator

from django.db.models import Q
from django.utils import timezone

from contacts import webhooks
from contacts.models import Webhook
from messaging.channels.contract import Outgoing, Result, Send
from messaging.failpoints import FailpointError, hit

# An endpoint takes messages that names this kind; one that is told everything is told of them, and gets none.
KIND = "message.posted"


def channel() -> Send:
    """Posts to the oldest active endpoint that takes messages."""

    def send(messages: Iterable[Outgoing]) -> Iterator[Result]:
        waiting = [webhooks.Parcel(one.id, f"msg_{one.id}", one.raw, 0) for one in messages]
        if not waiting:
            return
        taking = Q(kinds__contains=[KIND]) | Q(kinds__contains=["message.*"])
        webhook = Webhook.objects.filter(taking, is_active=True).order_by("pk").first()
        while waiting:
            if webhook is None or not webhook.is_active:
                yield from _not_asked(waiting, f"no endpoint takes {KIND}")
                return
            if webhook.retry_at is not None and webhook.retry_at > timezone.now():
                yield from _not_asked(waiting, f"the breaker is open: {webhook.last_error}")
                return
            now, line, waiting = timezone.now(), waiting[: webhooks.SIZE], waiting[webhooks.SIZE :]
            outcomes = []
            try:
                hit("before_data")
                outcomes = webhooks.post(webhook, line, timezone.now)
                hit("after_data")
            except FailpointError as error:
                yield from (Result(one.id, "uncertain" if outcomes else "later", str(error)) for one in line)
                continue
            webhook = webhooks.note(webhook, outcomes, now)
            # Of what stood behind one that failed nobody was asked yet.
            waiting = [one.parcel for one in outcomes if not one.state] + waiting
            for outcome in outcomes:
                if outcome.state:
                    yield _result(outcome)

    return send


def _not_asked(parcels: Iterable[webhooks.Parcel], why: str) -> Iterator[Result]:
    return (Result(one.id, "unreachable", why[:500]) for one in parcels)


def _result(outcome: webhooks.Outcome) -> Result:
    found = {"delivered": "sent", "refused": "failed"}.get(outcome.state, "later")
    return Result(outcome.parcel.id, found, outcome.error or f"HTTP {outcome.status}")
