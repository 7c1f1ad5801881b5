"""The fuse: a journey that sends far too much, or that too many addresses refuse, pauses itself and says so.

What it looks at is noted by the window of each tick, so that looking costs what was sent since, and nothing where
nothing was. A person lets the journey go on; from then on the fuse looks at what comes after.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import structlog
from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import override

from campaigns import publishing
from campaigns.models import Journey
from contacts.sql import load
from messaging.alarms import tell_administrators
from messaging.channels import kinds

SQL = load(__file__)
log = structlog.get_logger(__name__)

# More messages of one journey nobody gets in 24 hours.
PER_PERSON = 5
# An hour's messages against the forecast: the median hour in which the journey sent, or the people who are on it and
# who were let in on purpose; and at least so many.
VOLUME, FLOOR = 5, 100
# Of the last so many deliveries; fewer bad answers than LEAST are chance.
LAST, LEAST = 1_000, 3
BOUNCES, COMPLAINTS = 0.08, 0.003


def watch(now: datetime, after: int, upto: int) -> int:
    """A step of the tick: pauses the journeys that the window shows to be out of hand; how many."""
    if after >= upto:
        return 0
    journeys = [pk for (pk,) in SQL["note_pulses"].rows(after=after, upto=upto)]
    if not journeys:
        return 0
    SQL["forget_pulses"].run(journeys=journeys, now=now)
    most = dict(SQL["most_for_one"].rows(after=after, upto=upto, journeys=journeys, sent=kinds("sent"), now=now))
    tripped = 0
    for pk, kind, hour, median, sent, bounced, complained in SQL["read_pulses"].rows(
        journeys=journeys, now=now, last=LAST
    ):
        reason = _too_much(pk, kind, most.get(pk, 0), hour, median or 0, now) or _unwanted(sent, bounced, complained)
        if reason:
            journey = Journey.objects.get(pk=pk)
            if journey.state == "closing":  # nobody would let it go on: whoever is still inside leaves
                publishing.archive(journey=journey, by=None, now=now)
            else:
                publishing.pause(journey=journey, by=None, now=now, reason=reason)
            log.error("journey_fused", journey=journey.key, **reason)
            tripped += 1
    return tripped


def _too_much(pk: int, kind: str, most: int, hour: int, median: int, now: datetime) -> dict[str, Any] | None:
    if most > PER_PERSON:
        return {"rule": "per_person", "found": most, "limit": PER_PERSON}
    forecast = max(FLOOR, median)
    # Whoever is known to be there is no surprise; the audience of a broadcast was counted when it was scheduled.
    if hour > VOLUME * forecast and kind != "broadcast":
        forecast = max(forecast, SQL["count_expected"].value(journey=pk, now=now))
        if hour > VOLUME * forecast:
            return {"rule": "volume", "found": int(hour), "limit": int(VOLUME * forecast)}
    return None


def _unwanted(sent: int, bounced: int, complained: int) -> dict[str, Any] | None:
    if bounced >= LEAST and bounced > BOUNCES * sent:
        return {"rule": "bounces", "found": int(bounced), "of": int(sent), "limit": BOUNCES}
    if complained >= LEAST and complained >= COMPLAINTS * sent:
        return {"rule": "complaints", "found": int(complained), "of": int(sent), "limit": COMPLAINTS}
    return None


def tell(*, now: datetime) -> int:
    """Mails the administrators, once, of each journey that paused itself; of how many. No step of the tick, for it
    touches the network."""
    told = 0
    fused = Journey.objects.filter(state="paused", pause_reason__isnull=False).exclude(pause_reason__has_key="told")
    for journey in fused.order_by("paused_at")[:20]:
        with override(settings.LANGUAGE_CODE):
            is_told = tell_administrators(
                key=f"fuse-{journey.pk}-{int(journey.paused_at.timestamp()) if journey.paused_at else 0}",
                subject=_("“%(journey)s” paused itself") % {"journey": journey},
                paragraphs=[in_words(journey.pause_reason)],
                path="/admin/",
                now=now,
            )
        if is_told:
            Journey.objects.filter(pk=journey.pk, pause_reason=journey.pause_reason).update(
                pause_reason={**(journey.pause_reason or {}), "told": True}
            )
            told += 1
    return told


def in_words(reason: Mapping[str, Any] | None) -> str:
    """What the fuse saw, as a sentence; empty where it saw nothing."""
    if not reason:
        return ""
    words = {
        "per_person": _("One person got %(found)d of its messages in 24 hours; more than %(limit)d are too many."),
        "volume": _("It sent %(found)d messages in an hour; by what it sends usually, %(limit)d were the most."),
        "bounces": _("Of the last %(of)d messages %(found)d came back."),
        "complaints": _("%(found)d people complained about the last %(of)d messages."),
    }
    return words[reason["rule"]] % {"of": 0, **reason}
