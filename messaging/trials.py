"""Test sends: a mail as somebody would get it, to the people who write it. It counts nowhere.

It goes the way of every mail (asked for, claimed, handed to the channel, marked), through an outbox of its own: no cap,
no report and no timeline can see it. Its links lead straight to their pages, and its way out unsubscribes nobody.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from email.utils import format_datetime

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from contacts.identity import normalise
from contacts.models import Contact
from contacts.throttling import draw
from messaging import links, liquid, markup, tokens, utm
from messaging.channels import Outgoing, choose
from messaging.headers import HeaderInjection
from messaging.models import Suppression, Template, TrialMail
from messaging.preview import NotRendered, prepared
from messaging.skeleton import Addressee, Skeleton
from messaging.versions import NoBrand

MOST_ADDRESSES = 5
# So many test mails may one person ask for in so long.
MOST, WITHIN = 30, timedelta(minutes=10)
LEASE = timedelta(minutes=5)
# What could not leave for an hour is no test any more.
_TOO_LATE = timedelta(hours=1)
_PAUSE = timedelta(seconds=30)
KEPT = timedelta(days=30)


class NotAsked(ValueError):
    """The test can not be sent; the message says why, in a sentence."""


def ask(
    *, template: Template, contact: Contact | None, language: str, addresses: Sequence[str], by, now: datetime
) -> list[TrialMail]:
    """Writes a test of the template, saved or not, to each address; they leave with the next delivery.

    It has the values and, unless told, the language of `contact`. Raises NotAsked.
    """
    if template.channel != "email":
        raise NotAsked(_("Only mails have a test send."))
    readers = _readers(addresses)
    try:
        content, chosen, context = prepared(template=template, contact=contact, language=language)
        variant = content["variants"][chosen]
        content["variants"] = {chosen: {**variant, "subject": f"[Test] {variant['subject']}"}}
        compiled = Skeleton(content, chosen)
        mails = [_write(compiled, context, address, now) for address in readers]
    except HeaderInjection:
        raise NotAsked(_("The subject would hold a line break.")) from None
    except (NotRendered, NoBrand, liquid.RenderError, markup.MarkupError, ValueError) as error:
        raise NotAsked(str(error)) from error
    _full_at, is_taken = draw(f"trial:{by.pk}", len(readers), most=MOST, within=WITHIN, now=now)
    if not is_taken:
        raise NotAsked(
            _("That are many tests: at most %(most)d in %(minutes)d minutes. Wait a little.")
            % {"most": MOST, "minutes": WITHIN.total_seconds() // 60}
        )
    return TrialMail.objects.bulk_create(
        TrialMail(
            template=template if template.pk else None,
            shown_as=contact.pk if contact else None,
            address=address,
            sender=compiled.envelope_sender,
            raw=raw,
            asked_by=by,
            asked_at=now,
        )
        for address, raw in zip(readers, mails, strict=True)
    )


def _readers(addresses: Sequence[str]) -> list[str]:
    """The addresses in their one form, each once. Raises NotAsked."""
    found: list[str] = []
    for written in addresses:
        if not written.strip():
            continue
        try:
            address = normalise("email", written)
        except ValueError:
            raise NotAsked(_("%(address)s is no e-mail address.") % {"address": written.strip()[:100]}) from None
        if address not in found:
            found.append(address)
    if not found:
        raise NotAsked(_("Say to which address the test goes."))
    if len(found) > MOST_ADDRESSES:
        raise NotAsked(_("A test goes to at most %(count)d addresses.") % {"count": MOST_ADDRESSES})
    # Who only unsubscribed may still test; who bounced, complained or was blocked gets nothing.
    dead = Suppression.objects.filter(address__in=found).exclude(reason="unsubscribed").first()
    if dead is not None:
        raise NotAsked(
            _("No mail goes to %(address)s: %(reason)s.")
            % {"address": dead.address, "reason": dead.get_reason_display()}
        )
    return found


def _write(compiled: Skeleton, context: dict, address: str, now: datetime) -> bytes:
    # Nobody's token: the pages open, and there is nobody whom they could unsubscribe.
    nobody = tokens.current().token(tokens.PERSON, 0, 0)
    base = settings.BASE_URL
    to = Addressee(
        message=0,
        address=address,
        message_id=f"test-{secrets.token_hex(12)}@{links.host()}",
        date=format_datetime(now),
        links={
            "open": "data:,",
            "hidden": "#",
            "unsubscribe": f"{base}/u/{nobody}/",
            "preferences": f"{base}/p/{nobody}/",
            "confirm": base,
        },
        tracked={f"l{number}": utm.of_journey(url, "") for number, url in enumerate(compiled.letter.links)},
    )
    values = compiled.values(context, to, now.isoformat())
    compiled.personal_links(values)  # asks whether they are allowed
    _subject, raw = compiled.mail(values, to, {})
    return raw


def deliver_trials(now: datetime) -> int:
    """Claims the tests that wait, hands them to the channel and marks what became of them; how many left."""
    TrialMail.objects.filter(state="sending", lease_until__lte=now).update(
        state="uncertain", raw=b"", lease_until=None, finished_at=now
    )
    with transaction.atomic():
        due = TrialMail.objects.filter(Q(lease_until=None) | Q(lease_until__lte=now), state="queued")
        mine = list(due.select_for_update(skip_locked=True).order_by("pk")[:100])
        ids = [one.pk for one in mine]
        TrialMail.objects.filter(pk__in=ids).update(state="sending", lease_until=now + LEASE)
    if not mine:
        return 0
    asked_at = {one.pk: one.asked_at for one in mine}
    mails = [Outgoing(one.pk, one.sender, one.address, bytes(one.raw)) for one in mine]
    sent = 0
    for result in choose(settings.EMAIL_URL)(mails):
        claimed = TrialMail.objects.filter(pk=result.id, state="sending")
        response = result.response.replace("\0", "")[:500]
        is_later = result.outcome in ("later", "unreachable")
        if is_later and now - asked_at[result.id] < _TOO_LATE:
            claimed.update(state="queued", lease_until=now + _PAUSE, response=response)
            continue
        state = "failed" if is_later else result.outcome
        marked = claimed.update(state=state, raw=b"", lease_until=None, finished_at=now, response=response)
        sent += marked if state == "sent" else 0
    return sent


def forget_trials(now: datetime) -> int:
    """Deletes the tests that nobody looks back at any more; how many."""
    return TrialMail.objects.filter(asked_at__lt=now - KEPT).delete()[0]


def latest(*, by, template: int | None) -> list[TrialMail]:
    """The last tests that somebody asked for, of one template."""
    found = TrialMail.objects.filter(asked_by=by).order_by("-pk")
    found = found.filter(template=None) if template is None else found.filter(template_id=template)
    return list(found.defer("raw")[:MOST_ADDRESSES])
