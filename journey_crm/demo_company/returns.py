"""What comes back of the company's mails, and what is in doubt: verdicts, dead letters, the suppression list."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from email.message import EmailMessage
from functools import partial
from io import BytesIO
from typing import Any

from django.contrib.auth import get_user_model
from django.test.utils import override_settings

from journey_crm.demo_company.people import Person
from messaging import delivery, onsite, returning, suppressing, throttle, tokens
from messaging.failpoints import FailpointError
from messaging.models import Cap, DomainLimit, Message, SendingPolicy, Suppression, Topic
from messaging.verdicts import Verdict, settle

# By their numbers: whose addresses are gone, and whose mailboxes are full at times.
_GONE, _FULL = (31, 7), (29, 11)
_REFUSED = "address,reason,detail\n" + "\n".join(
    [
        "office@studio-stara-mysl.example,manual,asked by telephone never to hear from us",
        "ucetni@salon-kvet.example,manual,role address of an accountant",
        "info@barber-za-rogiem.example,bounced,from the list of the former tool",
        "recepce@pilates-modra.example,legal_hold,dispute 2026/114",
    ]
)  # fmt: skip
_WRONGLY = "info@barber-za-rogiem.example"


def _is(person: Person, kind: tuple[int, int]) -> bool:
    every, rest = kind
    return person.number % every == rest


class Returns:
    """Whose mail came back, as far as the demo must remember it."""

    def __init__(self, start: datetime, end: datetime) -> None:
        self.start, self.end = start, end
        self.has_complained = self.has_died = False

    def comes_back(self, person: Person) -> bool:
        """Nobody reads what is sent to this person."""
        return _is(person, _GONE)

    def verdict(self, message: Message, person: Person, at: datetime) -> Verdict | None:
        """What the other side tells of a mail that left, if anything; a full mailbox is full on every third day."""
        if _is(person, _GONE):
            return Verdict(message.pk, "hard", at, "5.1.1", "550 5.1.1 The email account that you tried to reach does not exist")  # fmt: skip
        if _is(person, _FULL) and at.toordinal() % 3 == 0:
            return Verdict(message.pk, "soft", at, "4.2.2", "452 4.2.2 The recipient's inbox is out of storage space")
        is_late = at > self.start + 0.8 * (self.end - self.start)
        if is_late and not self.has_complained and message.message_class == "marketing" and person.number % 3 == 1:
            self.has_complained = True
            return Verdict(message.pk, "complaint", at, detail="abuse")
        return None

    def worker_dies(self, now: datetime) -> None:
        """Once, towards the end, a worker dies between handing a mail over and noting it: nobody knows whether it left."""
        if self.has_died or now < self.start + 0.9 * (self.end - self.start):
            return
        due = Message.objects.filter(channel="email", state="ready", due_at__lte=now)
        if due.filter(message_class="transactional").exists() or not due.exists():
            return
        self.has_died = True
        # The place where the tests of delivery kill workers; here, too, it is the only way to be in doubt.
        with override_settings(FAILPOINT="before_commit:raise"):
            try:
                delivery.deliver(now=now, limit=1, worker="mail-2")
            except FailpointError:
                delivery.sweep(now + 2 * delivery.LEASE)


def tell(verdicts: list[Verdict], now: datetime) -> None:
    """What came back of one delivery is settled together."""
    settle(verdicts, source="mail", now=now)


def acts(start: datetime, end: datetime) -> Iterator[tuple[datetime, Any]]:
    """What happens at which moment of the company's days."""
    span = end - start
    yield start + timedelta(minutes=30), prepare_limits
    yield start + 0.55 * span, bring_refused
    yield start + 0.87 * span, lift_one
    yield end - timedelta(hours=20), letters_come_in


def prepare_limits(now: datetime) -> None:
    """Limits by provider and a warm-up that nobody switched on, for there is nobody to be slow for; and a cap of offers."""
    throttle.make_examples()
    DomainLimit.objects.get_or_create(
        name="Warm-up of the new sender",
        defaults={
            "scope": "all", "per_day": 20_000, "warm_up_from": now.date(), "warm_up_first": 200, "warm_up_growth": 35,
        },
    )  # fmt: skip
    policy, _is_new = SendingPolicy.objects.get_or_create(pk=1)
    cap = Cap(policy=policy, topic=Topic.objects.get(key="offers"), per_week=1, per_month=3)
    cap.full_clean()
    cap.save()


def bring_refused(now: datetime) -> None:
    """The list of a former tool."""
    file = BytesIO(_REFUSED.encode())
    file.name = "refused.csv"
    suppressing.bring(file, why="List of the former mail tool", by=_user("lenka"), now=now)


def lift_one(now: datetime) -> None:
    """One of them wrote that it was a mistake."""
    for row in Suppression.objects.filter(address=_WRONGLY):
        suppressing.remove(
            suppression=row, why="Their mailbox works again; they wrote to us.", by=_user("lenka"), may_lift=True,
            is_sure=True, now=now,
        )  # fmt: skip


def letters_come_in(now: datetime) -> None:
    """Five mails lie where bounces do: one of each that nobody can place, an automatic answer, and a real report."""
    signer = tokens.first()
    known = Message.objects.filter(channel="email", state="sent", message_class="operational").order_by("pk").first()
    mails = [
        _report("someone@posta.example", None, "5.1.1"),
        _report("nobody@skrzynka.example", "m17.00000000000000000000", "5.1.1"),
        _report("gone@mail.example", f"m999999.{signer.message_tag(999999)}", "5.2.1"),
        _away(),
    ]
    if known is not None:
        mails.append(_report(known.address, f"m{known.pk}.{signer.message_tag(known.pk)}", "4.4.7"))
    returning.keep(mails, source="imap", now=now)
    returning.read_waiting(now=now)


def _report(address: str, sign: str | None, status: str) -> bytes:
    """A server's report (RFC 3464) that a mail did not arrive; `sign` stands where our Message-ID would."""
    about = f"Message-ID: <{sign}@lumeo.example>\n" if sign else ""
    return (
        "From: Mail Delivery System <MAILER-DAEMON@mx.example>\nTo: bounces@lumeo.example\n"
        f"Subject: Undelivered Mail Returned to Sender\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="=_cut"\n\n'
        f"--=_cut\nContent-Type: text/plain\n\nYour message to {address} could not be delivered.\n\n"
        "--=_cut\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example\n\n"
        f"Final-Recipient: rfc822; {address}\nAction: failed\nStatus: {status}\n"
        f"Diagnostic-Code: smtp; 550 {status} {address}\n\n"
        f"--=_cut\nContent-Type: text/rfc822-headers\n\nSubject: Lumeo\n{about}\n--=_cut--\n"
    ).encode()


def _away() -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"] = "jana@posta.example", "bounces@lumeo.example"
    mail["Subject"], mail["Auto-Submitted"] = "Out of the office", "auto-replied"
    mail.set_content("I am back on Monday.")
    return mail.as_bytes()


def visit(now: datetime, *, most: int = 3) -> None:
    """Some of those for whom a message waits on the website come by and see it, some close it; for the others it ends,
    as workers see to it."""
    onsite.expire(now)
    waiting = Message.objects.filter(channel="onsite", state="ready", due_at__lte=now).select_related("contact")
    for message in waiting.order_by("contact__email")[:most]:
        is_shown = onsite.next_for(message.contact_id, now) and onsite.show(message.pk, now)
        if is_shown and len(message.contact.email) % 3 == 0:
            onsite.dismiss(message.pk, now)


def _user(name: str) -> Any:
    return get_user_model().objects.get(username=name)


def planned(verdicts: list[Verdict]) -> Any:
    """An act that tells these."""
    return partial(tell, verdicts)
