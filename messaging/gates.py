"""The gates: what must be true before a message may leave, in one order, for all due messages in one statement.

The first gate that fails is the message's reason. `why` asks the same statement about one message and puts it in words.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Q
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from contacts.models import Contact
from contacts.sql import Fragment, join, load
from messaging.addresses import PIECES, WRONG, address_of
from messaging.models import Message, SendingPolicy, Suppression, Template
from messaging.reasons import sentence

SQL = load(__file__)

# Asked twice in the same words: by the gates, and once more in the statement that claims a message.
# Transactional mail needs no consent, but nobody writes to an address that bounced, complained or was blocked.
REFUSAL = Fragment(r"""CASE
            WHEN c.erased_at IS NOT NULL THEN 'erased'
            WHEN c.merged_into_id IS NOT NULL THEN 'merged'
            WHEN s.reason = 'unsubscribed' AND m.message_class <> 'transactional' THEN 'unsubscribed'
            WHEN s.reason <> 'unsubscribed' THEN 'suppressed'
            WHEN m.message_class = 'transactional' THEN NULL
            WHEN veto.state = 'denied' THEN 'unsubscribed'
            WHEN said.state = 'denied' THEN 'topic_refused'
            -- Somebody typed this address into a form; whether it is theirs is not known yet.
            WHEN 'pending' IN (veto.state, said.state) THEN 'no_consent'
            WHEN topic.is_opt_in AND coalesce(said.state, '') <> 'granted' THEN 'no_consent'
            END""")
_COLUMNS = """id, contact_id, template_id, message_class, channel, is_ghost, tier, due_at, wanted_at, valid_until,
    enrolment_id, is_promotion"""

_gates: list[Callable[[datetime], Fragment]] = []


def register_gate(gate: Callable[[datetime], Fragment]) -> None:
    """Adds a question of an app above, after consent and address and once more at the door.

    `gate(now)` gives a piece of SQL over the message `m`: the reason why it must not leave, or NULL. Call it from
    `AppConfig.ready`.
    """
    if gate not in _gates:
        _gates.append(gate)


def refusal(now: datetime) -> Fragment:
    """What is asked of a message at the door: a piece of SQL over `m`, `c`, `s` and consents, its reason or NULL."""
    return _first_of([REFUSAL], now)


def _first_of(own: list[Fragment], now: datetime) -> Fragment:
    asked = join(", ", own + [gate(now) for gate in _gates])
    return Fragment(f"coalesce({asked.sql})", asked.params)


def _judged(asked: Fragment, now: datetime) -> Fragment:
    refused = _first_of([REFUSAL, WRONG], now)
    sql = SQL["judge_messages"].sql
    for name, piece in (PIECES | {"refusal": refused, "asked": asked}).items():
        sql = sql.replace(f"{{{name}}}", piece.sql)
    return Fragment(sql, asked.params | refused.params)


def arbitrate(now: datetime, after: int, upto: int) -> int:
    """The tick's step: leads every intent that is due at `now` through all gates; how many were judged.

    It reads the outbox, not the stream, so the window does not matter.
    """
    # Most ticks find nothing due; the statement of all gates is dear even then.
    if not Message.objects.filter(state="pending", is_held=False, due_at__lte=now).exists():
        return 0
    SQL["draw_global_holdout"].run(now=now)
    due = f"SELECT {_COLUMNS} FROM messaging_message WHERE state = 'pending' AND due_at <= %(now)s AND NOT is_held"  # noqa: S608
    judged = _judged(Fragment(due), now)
    return int(SQL["arbitrate_messages"].value(fragments={"judged": judged}, now=now, zone=settings.TIME_ZONE))


# Why? ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """One line of a checklist: passed, failed, or (None) not reached."""

    gate: str
    is_passed: bool | None
    sentence: str


@dataclass(frozen=True)
class Explanation:
    """Why a message left, or why not: the gates in their order, and in one sentence how it ended."""

    state: str
    reason: str
    sentence: str
    checks: list[Check]

    def as_dict(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "reason": self.reason,
            "sentence": self.sentence,
            "checks": [{"gate": one.gate, "passed": one.is_passed, "sentence": one.sentence} for one in self.checks],
        }


def _moment(moment: datetime) -> str:
    return date_format(localtime(moment), "SHORT_DATETIME_FORMAT")


def _judge(asked: Fragment, message: int, now: datetime) -> dict[str, Any]:
    """What the gates would say of one message as of now, with its rivals for the same room."""
    statement = _judged(asked, now)
    names = (
        "id", "email", "topic", "refusal", "failed", "is_repeatable", "quiet_end", "contact_zone", "per_day",
        "per_week", "per_month", "had_day", "had_week", "had_month", "room", "place", "new_state",
        "new_reason", "new_due", "valid_until", "is_ghost", "message_class", "pause_end", "paused_until",
        "most_per_week", "is_protected", "protected_until", "is_held_out",
    )  # fmt: skip
    rows = SQL["read_judged"].rows(fragments={"judged": statement}, now=now, zone=settings.TIME_ZONE, message=message)
    return dict(zip(names, rows[0], strict=True))


def _checklist(row: dict[str, Any], contact: Contact, template: Template) -> list[Check]:
    """The gates in their order; behind the first that fails, none is reached."""
    policy = SendingPolicy.objects.first() or SendingPolicy()
    is_marketing = row["message_class"] == "marketing"
    topic = str(template.topic) if template.topic else ""
    address = address_of(contact, template.channel)
    suppression = Suppression.objects.filter(address=address).first() if address else None
    valid_until = _moment(row["valid_until"]) if row["valid_until"] else ""
    counts = {"day": row["had_day"], "week": row["had_week"], "month": row["had_month"]}
    limits = {"per_day": policy.per_day, "per_week": row["per_week"], "per_month": policy.per_month}
    gates = [
        ("person", ("erased", "merged"), _("The contact is a living record.")),
        (
            "suppression",
            ("suppressed",),
            _("The address is not suppressed.")
            if suppression is None
            else _("The address has been suppressed since %(since)s: %(reason)s.")
            % {"since": _moment(suppression.suppressed_at), "reason": suppression.get_reason_display()},
        ),
        (
            "consent",
            ("unsubscribed", "topic_refused", "no_consent"),
            _("Transactional mail needs no consent.")
            if row["message_class"] == "transactional"
            else (_("Mail about “%(topic)s” is allowed.") % {"topic": topic} if topic else _("Mail is allowed.")),
        ),
        (
            "address",
            ("no_address", "invalid_address"),
            _("The address %(address)s is valid.") % {"address": address} if address else _("It needs no address."),
        ),
        (
            "journey",
            ("exited", "goal_reached", "journey_stopped"),
            _("The person is still on its journey, if it has one."),
        ),
        ("once", ("already_sent",), _("The person has not got this content before, or it may be repeated.")),
        (
            "valid",
            ("expired",),
            _("It is valid until %(moment)s.") % {"moment": valid_until} if valid_until else _("It does not expire."),
        ),
        ("holdout", ("holdout",), _("The person is not in a holdout group.")),
    ]
    checks, is_open = [], True
    for gate, reasons, passed in gates:
        is_failed = is_open and row["failed"] in reasons
        said = passed
        if is_failed:
            said = passed if gate == "suppression" else sentence(row["failed"])
            if gate == "holdout" and row["is_held_out"]:
                said = _("The person is one of those who get no marketing at all, so that its effect can be measured.")
        checks.append(Check(gate, (not is_failed) if is_open else None, said))
        is_open = is_open and not is_failed
    is_protected = bool(row["is_protected"]) and row["pause_end"] is not None
    peace = _("Nobody new is left in peace from it.")
    if is_protected:
        peace = _("The person is new to something and left in peace until %(moment)s.") % {
            "moment": _moment(row["protected_until"])
        }
    checks.append(Check("protection", not is_protected if is_open else None, peace))
    is_open = is_open and not is_protected
    is_paused = row["pause_end"] is not None
    checks.append(Check("pause", not is_paused if is_open else None, _pause(row, is_marketing)))
    is_open = is_open and not is_paused
    quiet = _("It is not in the quiet hours of the person's zone (%(zone)s).") % {"zone": row["contact_zone"]}
    if row["quiet_end"]:
        quiet = _("It is quiet where the person lives (%(zone)s) until %(moment)s.") % {
            "zone": row["contact_zone"], "moment": _moment(row["quiet_end"]),
        }  # fmt: skip
    checks.append(Check("quiet_hours", not row["quiet_end"] if is_open else None, quiet))
    is_open = is_open and not row["quiet_end"]
    is_capped = is_marketing and row["place"] > row["room"]
    had = _(
        "The person has had %(day)d of %(per_day)d marketing messages today, %(week)d of %(per_week)d in 7 days, "
        "%(month)d of %(per_month)d in 30 days."
    ) % (counts | limits)
    if row["most_per_week"] and row["most_per_week"] == row["per_week"]:
        had = _(
            "The person wants at most %(per_week)d marketing messages in 7 days and has had %(week)d; today it were "
            "%(day)d of %(per_day)d, in 30 days %(month)d of %(per_month)d."
        ) % (counts | limits)
    checks.append(
        Check("frequency", not is_capped if is_open else None, had if is_marketing else _("It is not capped."))
    )
    return checks


def _pause(row: dict[str, Any], is_marketing: bool) -> str:
    if not is_marketing:
        return _("A pause holds back marketing alone.")
    if row["pause_end"] is None:
        return _("The person did not ask for a pause.")
    return _("The person wants no marketing until %(moment)s.") % {"moment": _moment(row["paused_until"])}


def why(message: Message, now: datetime) -> Explanation:
    """Why this message left or did not: what happened to it, and what the gates said when it left, or say as of now."""
    asked = Fragment(
        f"SELECT {_COLUMNS} FROM messaging_message WHERE id = %(asked_id)s OR contact_id = %(asked_contact)s "  # noqa: S608
        "AND state = 'pending' AND due_at <= %(now)s AND NOT is_held",
        {"asked_id": message.pk, "asked_contact": message.contact_id},
    )
    left_at = message.sent_at if message.state == "sent" else None
    row = _judge(asked, message.pk, left_at or now)
    if left_at:
        # It passed; what became true afterwards (it expired, she unsubscribed) is no answer to why it left.
        row |= {"failed": None, "quiet_end": None, "pause_end": None}
    checks = _checklist(row, message.contact, message.template)
    if message.state in ("skipped", "failed", "cancelled"):
        checks = _as_it_was(checks, message.reason)
        said = sentence(message.reason)
    elif message.state in ("sent", "sending", "uncertain"):
        checks = [Check(one.gate, True, one.sentence) for one in checks] if message.state == "sent" else checks
        said = {
            "sent": _("It was sent on %(moment)s.") % {"moment": _moment(message.sent_at)} if message.sent_at else "",
            "sending": _("It is being sent."),
            "uncertain": _(
                "It may have been sent: the worker ended before the answer came. It is not sent again by itself."
            ),
        }[message.state]
    else:
        said = _outlook(row, message, now)
    return Explanation(message.state, message.reason, said, checks)


def _as_it_was(checks: list[Check], reason: str) -> list[Check]:
    """The checklist of a message that ended for a reason: that gate failed, whatever it would say today."""
    failing = {
        "erased": "person", "merged": "person", "suppressed": "suppression", "unsubscribed": "consent",
        "topic_refused": "consent", "no_consent": "consent", "no_address": "address", "invalid_address": "address",
        "exited": "journey", "goal_reached": "journey", "journey_stopped": "journey", "already_sent": "once",
        "expired": "valid", "holdout": "holdout", "paused": "pause", "capped": "frequency",
        "onboarding_protection": "protection",
    }.get(reason)  # fmt: skip
    if failing is None:
        return [Check(one.gate, True, one.sentence) for one in checks] + [Check("delivery", False, sentence(reason))]
    out, is_open = [], True
    for one in checks:
        is_failed = one.gate == failing
        out.append(Check(one.gate, False if is_failed else (True if is_open else None),
                         sentence(reason) if is_failed else one.sentence))  # fmt: skip
        is_open = is_open and not is_failed
    return out


def _outlook(row: dict[str, Any], message: Message | None, now: datetime) -> str:
    """What would become of it now, in a sentence."""
    if message is not None and message.is_held:
        return _("It waits because its journey is paused.")
    if message is not None and message.state == "ready":
        return _("It passed the gates and waits for a worker.")
    if message is not None and message.reason == "throttled" and message.due_at > now:
        return _("It waits for a sending limit until %(moment)s.") % {"moment": _moment(message.due_at)}
    if message is not None and message.due_at > now:
        return _("It is due on %(moment)s.") % {"moment": _moment(message.due_at)}
    if row["new_state"] == "ready":
        return _("It may be sent now.")
    if row["new_state"] == "pending":
        return _("It waits until %(moment)s.") % {"moment": _moment(row["new_due"])}
    return sentence(row["new_reason"])


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
        "NULL::bigint AS enrolment_id, false AS is_promotion",
        {
            "asked_contact": contact.pk,
            "asked_template": template.pk,
            "asked_class": template.message_class,
            "asked_channel": template.channel,
        },
    )
    row = _judge(asked, 0, now)
    return Explanation("", row["new_reason"], _outlook(row, None, now), _checklist(row, contact, template))
