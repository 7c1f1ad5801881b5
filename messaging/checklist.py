"""The checklist of one message: each gate in its order with what it says, in words."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from contacts.models import Contact
from messaging.addresses import address_of
from messaging.gates import Limit, limits
from messaging.models import SendingPolicy, Suppression, Template
from messaging.reasons import GATE_OF, sentence


@dataclass(frozen=True)
class Check:
    """One line of a checklist: passed, failed, or (None) not reached."""

    gate: str
    is_passed: bool | None
    sentence: str


def in_words(moment: datetime) -> str:
    """A moment, short, by the reader's clock."""
    return date_format(localtime(moment), "SHORT_DATETIME_FORMAT")


def checklist(row: dict[str, Any], contact: Contact, template: Template) -> list[Check]:
    """The gates in their order; behind the first that fails, none is reached."""
    failing = GATE_OF.get(row["failed"], "") if row["failed"] else _STOPS.get(row["stopped_by"], "")
    checks, is_open = [], True
    for gate, passed in _sentences(row, contact, template):
        is_failed = is_open and gate == failing
        said = passed
        if is_failed and row["failed"] and gate != "suppression":
            said = sentence(row["failed"])
            if gate == "holdout" and row["is_held_out"]:
                said = _("The person is one of those who get no marketing at all, so that its effect can be measured.")
        checks.append(Check(gate, (not is_failed) if is_open else None, said))
        is_open = is_open and not is_failed
    return checks


# Which line of the checklist a message that is put off fails at.
_STOPS = {
    "onboarding_protection": "protection",
    "held_by_sales": "hold",
    "paused": "pause",
    "quiet_hours": "quiet_hours",
    "frequency": "frequency",
    "throttle": "throttle",
    "twin": "once",
}


def _sentences(row: dict[str, Any], contact: Contact, template: Template) -> list[tuple[str, str]]:
    """Each gate with what it says: passed, or where it puts off until when."""
    topic = str(template.topic) if template.topic else ""
    address = address_of(contact, template.channel)
    suppression = Suppression.objects.filter(address=address).first() if address else None
    return [
        ("person", _("The contact is a living record.")),
        ("legal", _("There is no legal hold on the address.")),
        (
            "consent",
            _("Transactional mail needs no consent.")
            if row["message_class"] == "transactional"
            else (_("Mail about “%(topic)s” is allowed.") % {"topic": topic} if topic else _("Mail is allowed.")),
        ),
        (
            "address",
            _("The address %(address)s is valid.") % {"address": address} if address else _("It needs no address."),
        ),
        (
            "suppression",
            _("The address is not suppressed.")
            if suppression is None
            else _("The address has been suppressed since %(since)s: %(reason)s.")
            % {"since": in_words(suppression.suppressed_at), "reason": suppression.get_reason_display()},
        ),
        ("journey", _("The person is still on its journey, if it has one.")),
        ("once", _("The person has not got this content before, or it may be repeated.")),
        (
            "valid",
            _("It is valid until %(moment)s.") % {"moment": in_words(row["valid_until"])}
            if row["valid_until"]
            else _("It does not expire."),
        ),
        ("holdout", _("The person is not in a holdout group.")),
        ("protection", _peace(row)),
        ("hold", _hold(row)),
        ("pause", _pause(row)),
        ("quiet_hours", _quiet(row)),
        *(("frequency", one) for one in _frequency(row)),
        *([("throttle", _("It is late, and what is late leaves at a throttle."))] if _is_throttled(row) else []),
    ]


def _is_throttled(row: dict[str, Any]) -> bool:
    return bool(row["stopped_by"] == "throttle")


def _peace(row: dict[str, Any]) -> str:
    if row["protected_until"] is None:
        return _("Nobody new is left in peace from it.")
    return _("The person is new to something and left in peace until %(moment)s.") % {
        "moment": in_words(row["protected_until"])
    }


def _hold(row: dict[str, Any]) -> str:
    if row["held_until"] is None:
        return _("Sales does not hold it back.")
    return _("Sales holds marketing for this person until %(moment)s.") % {"moment": in_words(row["held_until"])}


def _pause(row: dict[str, Any]) -> str:
    if row["message_class"] != "marketing":
        return _("A pause holds back marketing alone.")
    if row["paused_until"] is None:
        return _("The person did not ask for a pause.")
    return _("The person wants no marketing until %(moment)s.") % {"moment": in_words(row["paused_until"])}


def _quiet(row: dict[str, Any]) -> str:
    if row["in_quiet_hours"] == "ignore":
        return _("Quiet hours do not count for it.")
    values = {"zone": row["contact_zone"]}
    if not row["quiet_end"]:
        return _("It is not in the quiet hours of the person's zone (%(zone)s).") % values
    values["moment"] = in_words(row["quiet_end"])
    if row["is_closed"]:
        return _("It is a Sunday or a holiday where the person lives (%(zone)s) until %(moment)s.") % values
    return _("It is quiet where the person lives (%(zone)s) until %(moment)s.") % values


def capped_by(row: dict[str, Any]) -> list[Limit]:
    """The caps that hold for it."""
    policy = SendingPolicy.objects.first() or SendingPolicy()
    return [one for one in limits(policy) if one.number in (row["caps"] or [])]


def numbers_of(row: dict[str, Any], limit: Limit) -> dict[str, int | None]:
    """What the person has had and may have under a cap, in a day, 7 days and 30."""
    had = row["counts"][limit.number - 1] if row["counts"] else [0, 0, 0]
    day, week, month = limit.most
    if limit.number == 1 and row["most_per_week"] is not None:
        week = row["most_per_week"] if week is None else min(week, row["most_per_week"])
    return {"day": had[0], "per_day": day, "week": had[1], "per_week": week, "month": had[2], "per_month": month}


def _frequency(row: dict[str, Any]) -> list[str]:
    """One sentence for each cap that holds."""
    if row["message_class"] != "marketing":
        return [_("It is not capped.")]
    said = []
    for limit in capped_by(row):
        numbers = numbers_of(row, limit)
        if limit.number > 1:
            about = str(_about(limit))
            spans = [
                _("%(had)d of %(most)d today") % {"had": numbers["day"], "most": numbers["per_day"]}
                if numbers["per_day"] is not None
                else "",
                _("%(had)d of %(most)d in 7 days") % {"had": numbers["week"], "most": numbers["per_week"]}
                if numbers["per_week"] is not None
                else "",
                _("%(had)d of %(most)d in 30 days") % {"had": numbers["month"], "most": numbers["per_month"]}
                if numbers["per_month"] is not None
                else "",
            ]
            said.append(
                _("Of %(about)s: %(numbers)s.") % {"about": about, "numbers": ", ".join(one for one in spans if one)}
            )
        elif row["most_per_week"] and row["most_per_week"] == numbers["per_week"]:
            said.append(
                _(
                    "The person wants at most %(per_week)d marketing messages in 7 days and has had %(week)d; today it "
                    "were %(day)d of %(per_day)d, in 30 days %(month)d of %(per_month)d."
                )
                % numbers
            )
        else:
            said.append(
                _(
                    "The person has had %(day)d of %(per_day)d marketing messages today, %(week)d of %(per_week)d in "
                    "7 days, %(month)d of %(per_month)d in 30 days."
                )
                % numbers
            )
    return said


def _about(limit: Limit) -> str:
    if limit.channel and limit.topic:
        return _("“%(topic)s” by %(channel)s") % {"topic": limit.topic, "channel": limit.channel}
    return limit.topic and _("“%(topic)s”") % {"topic": limit.topic} or limit.channel


def as_it_was(checks: list[Check], reason: str) -> list[Check]:
    """The checklist of a message that ended for a reason: that gate failed, whatever it would say today."""
    failing = GATE_OF.get(reason)
    if failing is None:
        return [Check(one.gate, True, one.sentence) for one in checks] + [Check("delivery", False, sentence(reason))]
    out, is_open = [], True
    for one in checks:
        is_failed = is_open and one.gate == failing
        out.append(Check(one.gate, False if is_failed else (True if is_open else None),
                         sentence(reason) if is_failed else one.sentence))  # fmt: skip
        is_open = is_open and not is_failed
    return out
