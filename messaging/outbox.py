"""The outbox: what we intend to say to whom. Intents are made here or by set statements of the apps above."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db.models import Q, QuerySet

from contacts.models import Contact
from contacts.sql import Fragment, load, named
from messaging.channels import CHANNELS
from messaging.models import Message, Template

SQL = load(__file__)


def intend(
    *,
    key: str,
    contact: Contact,
    template: Template,
    now: datetime,
    due_at: datetime | None = None,
    valid_until: datetime | None = None,
    tier: int = 3,
    source: str = "",
    journey_key: str = "",
    is_ghost: bool = False,
    is_promotion: bool = False,
    context: Mapping[str, Any] | None = None,
) -> Message:
    """Makes one send intent; where there is one with this key already, that one is returned and nothing changes.

    `due_at` is now unless told. `context` adds plain values that the text may print, such as a coupon's code.
    """
    message, _ = Message.objects.get_or_create(
        key=key,
        defaults={
            "contact": contact,
            "template": template,
            "message_class": template.message_class,
            "channel": template.channel,
            "created_at": now,
            "due_at": due_at or now,
            "valid_until": valid_until,
            "tier": tier,
            "source": source,
            "journey_key": journey_key,
            "is_ghost": is_ghost,
            "is_promotion": is_promotion,
            "context": dict(context or {}),
        },
    )
    return message


def cancel(
    *,
    now: datetime,
    reason: str,
    enrolments: Fragment | Sequence[int] | None = None,
    messages: QuerySet[Message] | None = None,
) -> int:
    """Withdraws intents that no worker has claimed yet; how many. Tell by exactly one of the two which.

    `enrolments`: ids, or a piece of SQL that selects ids. A claimed message can not be called back.
    """
    if (enrolments is None) == (messages is None):
        raise TypeError("cancel() needs either enrolments or messages.")
    if messages is not None:
        try:
            sql, params = messages.order_by().values("pk").query.sql_with_params()
        except EmptyResultSet:
            # Somebody refuses a channel of a client's own, by which we send nothing.
            return 0
        which = named(f"id IN ({sql})", params)
    elif isinstance(enrolments, Fragment):
        which = Fragment(f"enrolment_id IN ({enrolments.sql})", enrolments.params)
    else:
        which = Fragment("enrolment_id = ANY(%(enrolments)s)", {"enrolments": list(enrolments or [])})
    return int(SQL["withdraw_messages"].value(fragments={"which": which}, now=now, reason=reason))


def hold(*, journey_key: str, is_held: bool) -> int:
    """A pause keeps a journey's unclaimed messages where they are; its end lets them through all gates again."""
    return SQL["hold_messages"].run(journey=journey_key, is_held=is_held)


def withdraw_refused(*, contact: Contact, channel: str, topic: str, now: datetime) -> int:
    """After a refusal: withdraws what the person no longer wants at once, rather than at the door.

    Also what would come by another door that asks for the same consent.
    """
    doors = [one.key for one in CHANNELS.values() if one.consent == channel]
    which = Q(contact=contact, channel__in=doors) & ~Q(message_class="transactional")
    if topic:
        which &= Q(template__topic__key=topic)
    return cancel(now=now, reason="topic_refused" if topic else "unsubscribed", messages=Message.objects.filter(which))


def ask_again(*, contact: Contact, now: datetime) -> int:
    """Leads this person's marketing through all gates once more, also what was put off: they chose anew how much."""
    theirs = Message.objects.filter(contact=contact, message_class="marketing")
    put_off = theirs.filter(state="pending", wanted_at__isnull=False, due_at__gt=now).update(due_at=now)
    return put_off + theirs.filter(state="ready").update(state="pending")
