"""Mails to sales: claimed, written of what is true at that moment, handed to the channel and marked.

They are no messages: they go to users, past every gate. A worker that dies on the way leaves a lease behind; when it is
over the mail goes again under the same Message-ID, as transactional mail does: a lead that nobody hears of is worse.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from contacts.sql import load
from leads.alerts import preference_of
from leads.clock import clock
from leads.digest import digest
from leads.dossier import reasons_of
from leads.models import Lead, SalesMail
from messaging.alerts import write
from messaging.channels import Outgoing, choose
from messaging.links import host
from messaging.models import Brand
from scoring.waterfalls import scores_of

SQL = load(__file__)
log = structlog.get_logger(__name__)

# More alerts than that for one user at once leave as one mail.
MOST_SINGLE = 5
SIZE = 200
LISTED = 20
LEASE = timedelta(minutes=5)
PAUSE = timedelta(minutes=1)
# So often a mail is handed over of which nobody knows whether it arrived: the server may take each copy.
MOST_COPIES = 3
# What could not leave for so long is stale; the lead is in the inbox.
TOO_LATE = timedelta(hours=12)
KEPT = timedelta(days=90)


@dataclass(frozen=True)
class Letter:
    subject: str
    text: str
    html: str


def deliver_mails(now: datetime) -> int:
    """Hands over the mails to sales that are due, and marks what became of them; how many left."""
    brand = Brand.objects.first()
    if brand is None:
        return 0
    # Late is late: after an outage, or where nothing delivered for a day, old news are no news.
    SalesMail.objects.filter(state="waiting", due_at__lte=now - TOO_LATE, attempts=0).update(
        state="dropped", finished_at=now
    )
    SalesMail.objects.filter(state="sending", lease_until__lte=now, attempts__gte=MOST_COPIES).update(
        state="failed", lease_until=None, finished_at=now
    )
    with transaction.atomic():
        claimed = SQL["claim_sales_mails"].rows(now=now, size=SIZE, lease_until=now + LEASE, most_single=MOST_SINGLE)
    bundles: dict[int, list[int]] = {}
    for pk, bundle in claimed:
        bundles.setdefault(bundle, []).append(pk)
    mails = []
    for bundle, pks in bundles.items():
        raw = _written(bundle, pks, brand, now)
        if raw is not None:
            mails.append(raw)
    sent = 0
    for result in choose(settings.EMAIL_URL)(mails) if mails else []:
        sent += _mark(-result.id, result.outcome, result.response, now)
    return sent


def forget_mails(now: datetime) -> int:
    """Deletes mails that left long ago; how many. The alerts stay, so that nobody is told again."""
    return SalesMail.objects.filter(finished_at__lt=now - KEPT).delete()[0]


def _mark(bundle: int, outcome: str, response: str, now: datetime) -> int:
    mine = SalesMail.objects.filter(bundle=bundle, state="sending")
    response = response.replace("\0", "")[:500]
    if outcome == "sent":
        return int(mine.update(state="sent", lease_until=None, finished_at=now, response=response) > 0)
    if outcome == "uncertain":
        # As after a worker's death: again, once the lease is over.
        mine.update(response=response)
    elif outcome == "failed":
        mine.update(state="failed", lease_until=None, finished_at=now, response=response)
    else:
        # It did not arrive, so that no copy of it is out there.
        mine.filter(due_at__gt=now - TOO_LATE).update(
            state="waiting", lease_until=now + PAUSE, attempts=1, response=response
        )
        mine.update(state="failed", lease_until=None, finished_at=now, response=response)
    return 0


def _written(bundle: int, pks: Sequence[int], brand: Brand, now: datetime) -> Outgoing | None:
    """The mail of some claimed rows of one user; None, and the rows dropped, where there is nothing to say any more."""
    rows = list(
        SalesMail.objects.filter(pk__in=pks)
        .select_related("user__alert_preference", "alert__lead__contact__company", "alert__lead__team")
        .order_by("pk")
    )
    if not rows:
        return None
    user, kind = rows[0].user, rows[0].kind
    mine = SalesMail.objects.filter(pk__in=pks, state="sending")
    with translation.override(preference_of(user).language), timezone.override(settings.TIME_ZONE):
        letter = _digest(user, rows[0], now) if kind == "digest" else _hot(user, rows, now)
    if letter is None or not user.is_active:
        mine.update(state="dropped", lease_until=None, finished_at=now)
        return None
    if not (user.email.isascii() and user.email.isprintable() and user.email):
        mine.update(state="failed", lease_until=None, finished_at=now, response=_("no usable address"))
        return None
    raw = write(
        sender=brand.sender,
        address=user.email,
        subject=" ".join(letter.subject.split())[:200],
        text=letter.text,
        html=letter.html,
        message_id=f"sales.{kind}.{bundle}@{host()}",
        date=format_datetime(now),
    )
    # Nothing may answer it; no message of the outbox has a number below 1.
    return Outgoing(-bundle, "", user.email, raw)


def _letter(subject: str, template: str, context: dict[str, Any]) -> Letter:
    language = translation.get_language()
    context |= {
        "subject": subject,
        "settings_url": _url("sales:alerts"),
        "language": language,
        "inbox_url": _url("sales:inbox"),
    }
    html = render_to_string(f"leads/mails/{template}.html", context)
    text = render_to_string(f"leads/mails/{template}.txt", context)
    # What a template's blocks leave between their lines is no text.
    lines = [line.rstrip() for line in text.splitlines()]
    kept = [line for place, line in enumerate(lines) if line or (place and lines[place - 1])]
    return Letter(subject, "\n".join(kept).strip() + "\n", html)


def _url(name: str, *args: Any) -> str:
    return f"{settings.BASE_URL}{reverse(name, args=args)}"


# Hot leads -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hot:
    """One hot lead as its mail tells it."""

    lead: Lead
    url: str
    score: str
    reasons: list[Any]
    clock: Any


def _hot(user: Any, rows: Sequence[SalesMail], now: datetime) -> Letter | None:
    still = Lead.objects.unfinished().filter(
        Q(owner=user) | Q(owner=None, assigned_to=user) | Q(owner=None, assigned_to=None)
    )
    ids = set(still.filter(hot_alerts__mails__in=rows).values_list("pk", flat=True))
    leads = {row.alert.lead_id: row.alert.lead for row in rows if row.alert and row.alert.lead_id in ids}
    if not leads:
        return None
    if len(leads) == 1:
        one = _told(next(iter(leads.values())), user, now)
        subject = _("Hot lead: %(name)s") % {"name": one.lead.contact.name}
        if one.lead.contact.company:
            subject = _("Hot lead: %(name)s, %(company)s") % {
                "name": one.lead.contact.name,
                "company": one.lead.contact.company,
            }
        return _letter(subject, "hot", {"one": one, "lead": one.lead, "user": user})
    found = sorted(leads.values(), key=lambda lead: (-(lead.score or 0), lead.pk))
    subject = ngettext("%(count)d hot lead", "%(count)d hot leads", len(found)) % {"count": len(found)}
    return _letter(
        subject, "hot_many", {"leads": found[:LISTED], "more": len(found) - LISTED, "site": settings.BASE_URL}
    )


def _told(lead: Lead, user: Any, now: datetime) -> Hot:
    scores = scores_of(lead.contact, now)
    return Hot(
        lead=lead,
        url=_url("sales:lead", lead.pk),
        score=" · ".join(f"{score.model} {score.value:.0f}" for score in scores),
        reasons=reasons_of(scores),
        clock=clock(lead, now),
    )


# Digests -------------------------------------------------------------------------------------------------------------


def _digest(user: Any, row: SalesMail, now: datetime) -> Letter | None:
    told = digest(user, row, now)
    if told is None:
        return None
    return _letter(told.subject, "digest", {"digest": told, "user": user, "site": settings.BASE_URL})
