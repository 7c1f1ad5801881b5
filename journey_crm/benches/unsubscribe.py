"""One-click unsubscribes (RFC 8058) over HTTP on two granian workers, each durable before its answer."""

from collections.abc import Callable
from datetime import UTC, datetime

from contacts.models import Consent, ConsentChange, Contact, Identity
from journey_crm.benches import Result, Stopwatch, slices
from journey_crm.benches.clicks import BROWSER
from journey_crm.benches.web import get, send, server
from messaging import tokens
from messaging.models import Message, Template, Topic

ROWS = 4_000
CLIENTS = 32


def run(rows: int, say: Callable[[str], object]) -> Result:
    now = datetime.now(UTC)
    messages = _send(rows + CLIENTS * 4, now)
    signer = tokens.current()
    requests = [_press(f"/u/{signer.token(tokens.PERSON, one.pk, one.contact_id)}/") for one in messages]
    empty = get("/empty/", BROWSER)
    ours, limit = Stopwatch(), Stopwatch()
    with server() as port, server("journey_crm.benches.empty:application") as bare:
        # The workers' first requests load code and read keys.
        warm, requests = requests[: CLIENTS * 4], requests[CLIENTS * 4 :]
        send(port, warm, CLIENTS)
        send(bare, [empty] * len(warm), CLIENTS)
        say(f"by turns: {rows:,} people unsubscribe over {CLIENTS} connections, and as many requests to an empty view")
        done = len(warm)
        for part in slices(rows):
            with ours:
                send(port, [requests[number] for number in part], CLIENTS)
            done += len(part)
            # Durable before the answer: all of them, at once.
            stored = Consent.objects.filter(topic="", channel="email", state="denied").count()
            if stored != done:
                raise RuntimeError(f"Of {done} people {stored} are unsubscribed.")
            with limit:
                send(bare, [empty] * len(part), CLIENTS)
    return Result(
        "unsubscribe", "people/s", rows, rows / ours.seconds, rows / limit.seconds, 0.15,
        "an empty Django view without any middleware on the same server and options",
        {"refusals in the ledger": ConsentChange.objects.filter(state="denied").count()},
    )  # fmt: skip


def _press(path: str) -> bytes:
    """What a mail program sends when somebody presses its button."""
    body = b"List-Unsubscribe=One-Click"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _send(number: int, now: datetime) -> list[Message]:
    """So many people with a mail that reached them."""
    topic = Topic.objects.create(key="bench-news", name="News", is_opt_in=False)
    template = Template.objects.create(key="bench-news", topic=topic, subject="News", body="News")
    people = Contact.objects.bulk_create(
        Contact(email=f"p{n}@bench.example", first_name="Eva", stage="known", language="en") for n in range(number)
    )
    Identity.objects.bulk_create(Identity(contact=one, kind="email", value=one.email, created_at=now) for one in people)
    return Message.objects.bulk_create(
        Message(
            key=f"bench:{one.pk}", contact=one, template=template, message_class="marketing", state="sent",
            created_at=now, due_at=now, sent_at=now, address=one.email, language="en",
        )
        for one in people
    )  # fmt: skip
