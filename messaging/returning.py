"""Mail that comes back is kept first and read then: once, and what cannot be read or placed waits for a person."""

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext_noop

from contacts.sql import load
from messaging import tokens
from messaging.bounces import mailboxes, reading
from messaging.bounces.returnpath import message_among
from messaging.models import MailboxNote, ReportCount, ReturnedMail
from messaging.verdicts import Verdict, settle

SQL = load(__file__)

# So many are read together, and each is begun so often at most.
BATCH, MOST_ATTEMPTS = 100, 3
# Of a mailbox so many are fetched together, and so many in one go: the rest waits a minute.
FETCHED, MOST_AT_ONCE = 20, 1_000
# A dead letter holds addresses, so it is not kept for ever; nor are the notes of what was handled.
KEPT_DAYS = 90

# Why a mail is put aside, as it is kept; the page says it in the reader's language.
UNKNOWN_TOKEN = gettext_noop("It carries a sign like ours that we never gave out: forged, or of another installation.")
NOT_OURS = gettext_noop("It reports about a mail, but does not say which one of ours.")
ENDLESS = gettext_noop("Reading it never came to an end.")
GONE = gettext_noop("The message that it is about is not here any more, or never left.")


def keep(mails: Iterable[bytes], *, source: str, now: datetime) -> int:
    """Puts mails away to be read; one that was kept before is not kept again. How many were new."""
    rows = [
        ReturnedMail(
            digest=hashlib.sha256(raw).digest(), source=source, received_at=now, raw=raw[: reading.MOST_BYTES],
            size=len(raw),
        )
        for raw in mails
    ]  # fmt: skip
    before = set(ReturnedMail.objects.filter(digest__in=[row.digest for row in rows]).values_list("digest", flat=True))
    fresh = {bytes(row.digest): row for row in rows if bytes(row.digest) not in {bytes(one) for one in before}}
    ReturnedMail.objects.bulk_create(fresh.values(), ignore_conflicts=True)
    return len(fresh)


def read_waiting(*, now: datetime) -> int:
    """Reads what was kept and does what follows; how many mails. Two at once share them."""
    SQL["bury_returned"].run(now=now, most=MOST_ATTEMPTS, reason=ENDLESS)
    done = 0
    while True:
        # That it was begun is committed before it is read: what kills its reader is not read for ever.
        with transaction.atomic():
            rows = SQL["take_returned"].rows(now=now, limit=BATCH, most=MOST_ATTEMPTS)
        if not rows:
            return done
        _settle([(pk, bytes(raw), received_at, source) for pk, raw, received_at, source in sorted(rows)], now)
        done += len(rows)


def _settle(rows: list[tuple[int, bytes, datetime, str]], now: datetime) -> None:
    verdicts: dict[int, Verdict] = {}
    told: list[dict[str, Any]] = []
    signer = tokens.first()
    for pk, raw, received_at, _source in rows:
        state, kind, reason, verdict = judge(raw, received_at, signer)
        if verdict is not None:
            verdicts[pk] = verdict
        told.append({"id": pk, "state": state, "kind": kind, "reason": reason})
    with transaction.atomic():
        known = settle(list(verdicts.values()), source="mail", now=now)
        for one in told:
            if one["state"] == "handled" and verdicts[one["id"]].message not in known:
                one |= {"state": "dead", "reason": GONE}
        SQL["settle_returned"].run(told=json.dumps(told), now=now)


def judge(raw: bytes, received_at: datetime, signer: tokens.Signer) -> tuple[str, str, str, Verdict | None]:
    """(state, kind, reason, verdict) of one mail; `signer` is `tokens.first()`."""
    try:
        report = reading.read(raw)
    except reading.Unreadable as error:
        return "dead", "", str(error), None
    if report.kind in (reading.AUTOMATIC, reading.DELAYED, reading.OTHER):
        return "ignored", report.kind, "", None
    message = message_among(report.references, signer)
    if message is None:
        return "dead", report.kind, UNKNOWN_TOKEN if report.references else NOT_OURS, None
    return "handled", report.kind, "", Verdict(message, report.kind, received_at, report.code, report.detail)


def is_ours_to_take(raw: bytes) -> bool:
    """Does a mail in a mailbox belong to us: a report or an automatic answer, not what a person wrote?"""
    try:
        return reading.read(raw).kind != reading.OTHER
    except reading.Unreadable:
        return True


def again(*, mails: Iterable[int]) -> int:
    """Dead letters are read once more, as if they had just come in; how many."""
    return ReturnedMail.objects.filter(pk__in=list(mails), state="dead").update(
        state="waiting", reason="", kind="", attempts=0, begun_at=None, handled_at=None
    )


def drop(*, mails: Iterable[int], now: datetime) -> int:
    """Somebody looked at these dead letters and needs them no more; how many."""
    return ReturnedMail.objects.filter(pk__in=list(mails), state="dead").update(
        state="dropped", raw=b"", handled_at=now
    )


# From a mailbox ------------------------------------------------------------------------------------------------------


def empty_mailbox(*, now: datetime) -> int:
    """Looks into the mailbox of BOUNCES_URL; how many mails it took. Raises ImproperlyConfigured and MailboxAway.

    Each mail is kept in the database, and that committed, before it is taken out of the mailbox.
    """
    if not settings.BOUNCES_URL:
        return 0
    taken = 0
    with mailboxes.opened(mailboxes.place(settings.BOUNCES_URL)) as box:
        ids = box.ids()
        places = {f"{box.name}/{one}": one for one in ids}
        noted = set(MailboxNote.objects.filter(place__in=places).values_list("place", flat=True))
        # Of what people have taken out since, nothing needs to be known.
        MailboxNote.objects.filter(place__startswith=f"{box.name}/").exclude(place__in=places).delete()
        waiting = [one for where, one in places.items() if where not in noted][:MOST_AT_ONCE]
        for first in range(0, len(waiting), FETCHED):
            taken += _take(box, waiting[first : first + FETCHED], now)
    return taken


def _take(box: mailboxes.Mailbox, ids: list[str], now: datetime) -> int:
    mails = {one: box.fetch(one) for one in ids}
    ours = {one: raw for one, raw in mails.items() if raw and is_ours_to_take(raw)}
    keep(ours.values(), source=box.name.partition(":")[0], now=now)
    read_waiting(now=now)
    MailboxNote.objects.bulk_create(
        [MailboxNote(place=f"{box.name}/{one}", seen_at=now) for one in mails if one not in ours], ignore_conflicts=True
    )
    if ours:
        box.take_out(list(ours))
    return len(ours)


def forget(*, now: datetime) -> None:
    """Drops what was handled, and dead letters that nobody looked at, after a while."""
    old = now - timedelta(days=KEPT_DAYS)
    ReturnedMail.objects.exclude(state="waiting").filter(received_at__lt=old).delete()
    ReportCount.objects.filter(day__lt=old.date()).delete()
