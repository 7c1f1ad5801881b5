"""Why, or why not: what the gates said of one message, or would say, as a checklist in words."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Q
from django.utils.translation import gettext as _

from contacts.models import Contact
from contacts.sql import Fragment
from messaging.checklist import Check, as_it_was, capped_by, checklist, in_words, numbers_of
from messaging.gates import COLUMNS, SQL, judged
from messaging.models import Brake, Message, Template
from messaging.reasons import WAITS, sentence

_ROW = (
    "id", "template_id", "topic", "failed", "quiet_end", "is_closed", "contact_zone", "zone_from", "calendar", "counts",
    "caps", "walk", "new_state", "end_reason", "new_due", "valid_until", "message_class", "stopped_by", "paused_until",
    "protected_until", "held_until", "most_per_week", "is_held_out", "in_quiet_hours",
)  # fmt: skip
_COUNTED = {"state__in": ["ready", "sending", "sent", "uncertain"], "message_class__in": ["marketing", "operational"]}


@dataclass(frozen=True)
class Explanation:
    """Why a message left, or why not: the gates in their order, and in one sentence how it ended.

    `facts` are what else one wants to know, a sentence each: which message took the place, and by which clock.
    `caps` are numbers: what the person has had and may have in a day, in 7 days and in 30, under each cap.
    """

    state: str
    reason: str
    sentence: str
    checks: list[Check]
    facts: list[str] = field(default_factory=list)
    caps: list[dict[str, Any]] = field(default_factory=list)
    zone: str = ""
    zone_from: str = ""
    asked_again: datetime | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "reason": self.reason,
            "sentence": self.sentence,
            "checks": [{"gate": one.gate, "passed": one.is_passed, "sentence": one.sentence} for one in self.checks],
            "facts": self.facts,
            "caps": self.caps,
            "zone": self.zone,
            "zone_from": self.zone_from,
            "asked_again": self.asked_again,
        }


def _judge(asked: Fragment, message: int, now: datetime) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the gates would say of one message as of now, and of its rivals for the same room, in their order."""
    found = SQL["read_judged"].rows(fragments={"judged": judged(asked, now, message)}, now=now)
    rows = [dict(zip(_ROW, row, strict=True)) for row in found]
    return next(row for row in rows if row["id"] == message), [row for row in rows if row["id"] != message]


# Facts ---------------------------------------------------------------------------------------------------------------


def _rival(row: dict[str, Any], rivals: Sequence[dict[str, Any]], contact: Contact, now: datetime) -> list[str]:
    """Which message took the place of one that waits for room."""
    if row["stopped_by"] != "frequency":
        return []
    ahead = [one for one in rivals if one["stopped_by"] == "" and one["message_class"] != "transactional"]
    if ahead:
        template = Template.objects.get(pk=ahead[0]["template_id"])
        return [_("“%(message)s” goes before it.") % {"message": template}]
    last = (
        Message.objects.filter(contact=contact, is_ghost=False, **_COUNTED)
        .filter(Q(sent_at__lte=now) | Q(sent_at=None))
        .exclude(pk=row["id"])
        .select_related("template")
        .order_by("-sent_at")
        .first()
    )
    if last is None:
        return []
    if last.sent_at is None:
        return [_("“%(message)s” goes before it.") % {"message": last.template}]
    return [
        _("“%(message)s” took the place on %(moment)s.") % {"message": last.template, "moment": in_words(last.sent_at)}
    ]


def _clock(zone: str, zone_from: str, contact: Contact) -> list[str]:
    """By which clock, and why that one."""
    if not zone:
        return []
    values = {"zone": zone, "country": contact.country, "told": contact.timezone}
    if zone_from == "explicit":
        return [_("The clock is that of %(zone)s, as the person's data say.") % values]
    if zone_from == "inferred":
        return [_("The clock is that of %(zone)s, because the country is %(country)s.") % values]
    if zone_from == "segment":
        return [_("The clock is that of %(zone)s, because of a segment that the person is in.") % values]
    if contact.timezone and not contact.zone:
        return [_("The clock is the workspace's (%(zone)s), for there is no time zone “%(told)s”.") % values]
    return [_("The clock is the workspace's (%(zone)s), for nothing tells where the person lives.") % values]


def _caps_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    if row["message_class"] != "marketing":
        return []
    return [{"channel": one.channel, "topic": one.topic, **numbers_of(row, one)} for one in capped_by(row)]


# Answers -------------------------------------------------------------------------------------------------------------


def why(message: Message, now: datetime) -> Explanation:
    """Why this message left or did not: what happened to it, and what the gates said when it left, or say as of now."""
    asked = Fragment(
        f"SELECT {COLUMNS} FROM messaging_message WHERE id = %(asked_id)s OR contact_id = %(asked_contact)s "  # noqa: S608
        "AND state = 'pending' AND due_at <= %(now)s AND NOT is_held",
        {"asked_id": message.pk, "asked_contact": message.contact_id},
    )
    left_at = message.sent_at if message.state == "sent" else None
    row, rivals = _judge(asked, message.pk, left_at or now)
    is_open = message.state in Message.OPEN
    if left_at:
        # It passed; what became true afterwards (it expired, she unsubscribed) is no answer to why it left.
        row |= dict.fromkeys(("failed", "quiet_end", "paused_until", "protected_until", "held_until"))
        row["stopped_by"] = ""
    checks = checklist(row, message.contact, message.template)
    asked_again = None
    if message.state in ("skipped", "failed", "cancelled"):
        checks = as_it_was(checks, message.reason)
        said = sentence(message.reason)
    elif message.state in ("sent", "sending", "uncertain"):
        checks = [Check(one.gate, True, one.sentence) for one in checks] if message.state == "sent" else checks
        said = {
            "sent": _("It was sent on %(moment)s.") % {"moment": in_words(message.sent_at)} if message.sent_at else "",
            "sending": _("It is being sent."),
            "uncertain": _(
                "It may have been sent: the worker ended before the answer came. It is not sent again by itself."
            ),
        }[message.state]
    else:
        said, asked_again = _outlook(row, message, now)
    zone, zone_from = row["contact_zone"], row["zone_from"]
    if message.zone and not is_open:
        zone, zone_from = message.zone, message.zone_from
    return Explanation(
        message.state,
        message.reason,
        said,
        checks,
        [
            *(_rival(row, rivals, message.contact, now) if message.state == "pending" else []),
            *_clock(zone, zone_from, message.contact),
        ],
        _caps_of(row),
        zone,
        zone_from,
        asked_again,
    )


def _outlook(row: dict[str, Any], message: Message | None, now: datetime) -> tuple[str, datetime | None]:
    """What would become of it now, in a sentence; and when the gates ask it (again), where they do."""
    if message is not None and message.is_held:
        return _("It waits because its journey is paused."), None
    if message is not None and row["message_class"] == "marketing" and Brake.objects.filter(released_at=None).exists():
        return _("It waits because all marketing is held back: too many people complained."), None
    if message is not None and message.state == "ready":
        return _("It passed the gates and waits for a worker."), None
    if message is not None and message.reason == "throttled" and message.due_at > now:
        moment = {"moment": in_words(message.due_at)}
        return _("It waits for a sending limit until %(moment)s.") % moment, message.due_at
    if message is not None and message.due_at > now:
        moment = {"moment": in_words(message.due_at)}
        if message.waits_for in WAITS:
            return str(WAITS[message.waits_for]) % moment, message.due_at
        return _("It is due on %(moment)s.") % moment, message.due_at
    if row["new_state"] == "ready":
        return _("It may be sent now."), None
    if row["new_state"] == "pending":
        return str(WAITS[row["stopped_by"]]) % {"moment": in_words(row["new_due"])}, row["new_due"]
    return sentence(row["end_reason"]), None


def outlook(message: int, now: datetime) -> tuple[str, str]:
    """What all gates would make of one message as of now: ready, pending or skipped, and the reason."""
    asked = Fragment(f"SELECT {COLUMNS} FROM messaging_message WHERE id = %(asked_id)s", {"asked_id": message})  # noqa: S608
    row, _rivals = _judge(asked, message, now)
    return row["new_state"], row["end_reason"] if row["new_state"] == "skipped" else ""


def explain_message(*, contact: Contact, key: str, now: datetime) -> Explanation:
    """Why did, or would, this person get it? `key` is a message's key or a template's.

    For a template that this person was never meant to get, the answer is what the gates would say now. Raises
    `Template.DoesNotExist` where there is neither such a message nor such a template.
    """
    message = (
        Message.objects.filter(Q(key=key) | Q(template__key=key), contact=contact)
        .select_related("contact", "template__topic")
        .order_by("-created_at", "-pk")
        .first()
    )
    if message is not None:
        return why(message, now)
    template = Template.objects.select_related("topic").get(key=key)
    asked = Fragment(
        "SELECT 0::bigint AS id, %(asked_contact)s::bigint AS contact_id, %(asked_template)s::bigint AS template_id, "
        "%(asked_class)s AS message_class, %(asked_channel)s::text AS channel, false AS is_ghost, 3 AS tier, "
        "%(now)s AS due_at, NULL::timestamptz AS wanted_at, NULL::timestamptz AS valid_until, "
        "NULL::bigint AS enrolment_id, false AS is_promotion, '' AS journey_key",
        {
            "asked_contact": contact.pk,
            "asked_template": template.pk,
            "asked_class": template.message_class,
            "asked_channel": template.channel,
        },
    )
    row, _rivals = _judge(asked, 0, now)
    said, asked_again = _outlook(row, None, now)
    reason = row["end_reason"] if row["new_state"] == "skipped" else ""
    return Explanation(
        "",
        reason,
        said,
        checklist(row, contact, template),
        [*_rival(row, [], contact, now), *_clock(row["contact_zone"], row["zone_from"], contact)],
        _caps_of(row),
        row["contact_zone"],
        row["zone_from"],
        asked_again,
    )
