"""Candidates: whom a trigger named and who did not get in at once; what keeps them out, as sentences."""

from datetime import datetime, timedelta
from typing import Any

from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from campaigns.models import Candidate, Enrolment, Journey
from contacts.durations import format_duration, parse_duration
from contacts.models import Contact, Touchpoint
from contacts.sql import load

SQL = load(__file__)

# An event whose entry filter does not hold is asked again for so long: its person's details may still be on their way.
PATIENCE = timedelta(minutes=30)
# Nobody enters one journey more often within a day: journeys that start each other would go round for ever.
FLOOD = 20
# How long it is told who was refused.
MEMORY = timedelta(days=90)


def forget_candidates(now: datetime) -> int:
    """Forgets what became of candidates long ago; how many."""
    return SQL["forget_candidates"].run(before=now - MEMORY)


def why_outside(contact: Contact, journey: Journey) -> list[str]:
    """What became of this person's last event that a trigger named, where it did not let her in."""
    last = Candidate.objects.filter(contact=contact, journey=journey).order_by("-touchpoint_id").first()
    if last is None or last.state == "let_in":
        return []
    kind = Touchpoint.objects.filter(pk=last.touchpoint_id).values_list("kind", flat=True).first() or _("an event")
    said = {"kind": kind, "asked": _moment(last.asked_at), "until": _moment(last.until), "most": FLOOD}
    if last.state == "waiting":
        waits = _("“%(kind)s” came on %(asked)s, but the entry filter does not hold; it is asked until %(until)s.")
        return [waits % said]
    return {
        "filter": [_("“%(kind)s” came on %(asked)s, and the entry filter did not hold within half an hour.") % said],
        "most": [_("“%(kind)s” came on %(asked)s, when the person had been in as often as the journey allows.") % said],
        "flood": [
            _("“%(kind)s” came on %(asked)s, when the person had been in %(most)d times within a day: more is stopped.")
            % said
        ],
        "reentry": [_("“%(kind)s” came on %(asked)s, and the re-entry rule did not allow it.") % said],
    }[last.reason]


def why_not_more(contact: Contact, journey: Journey, reentry: dict[str, Any], now: datetime) -> list[str]:
    """Whether the person was in as often as the journey allows within its window."""
    if "max" not in reentry:
        return []
    window = parse_duration(reentry["window"])
    mine = Enrolment.objects.filter(contact=contact, journey=journey, enrolled_at__gt=now - window)
    if mine.count() < reentry["max"]:
        return []
    said = {"most": reentry["max"], "window": format_duration(window)}
    return [_("Nobody gets in more than %(most)d times within %(window)s.") % said]


def _moment(moment: datetime) -> str:
    return date_format(localtime(moment), "SHORT_DATETIME_FORMAT")
