"""The occasions of broadcasts: planned when a version goes live, and how each of them stands.

An occasion happens once. What has begun is never taken back by publishing again: its people finish their version.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils.translation import gettext as _

from campaigns import broadcasts
from campaigns.broadcasts import Moment
from campaigns.models import Enrolment, Journey, JourneyVersion, Sendout
from contacts.sql import load
from messaging.reasons import sentence

SQL = load(__file__)

# Without a validity of its own, an occasion may still begin so long after its moment has come everywhere.
GRACE = timedelta(hours=24)
# Clocks on Earth are so far ahead of UTC, and behind it.
_FIRST, _LAST = timedelta(hours=14), timedelta(hours=12)


def instants(at: Moment) -> tuple[datetime, datetime]:
    """When a moment comes first, and when it comes last, anywhere on Earth."""
    if not at.zone:
        wall = at.wall.replace(tzinfo=UTC)
        return wall - _FIRST, wall + _LAST
    instant = SQL["instant_of_wall"].value(wall=at.text, zone=at.zone)
    return instant, instant


def refusal(journey: Journey, definition: Mapping[str, Any]) -> str:
    """Why this cannot be published, as a sentence: what was sent once is not sent anew by another date; or empty."""
    if broadcasts.is_recurring(definition) or journey.version is None:
        return ""
    if broadcasts.is_recurring(journey.version.definition):
        return ""
    begun = journey.sendouts.exclude(snapshot_at=None).first()
    if begun is None or begun.key == _key(definition):
        return ""
    return _("This broadcast was sent already; copy it to send it again.")


def _key(definition: Mapping[str, Any]) -> str:
    at = definition["at"]
    return broadcasts.AT_ONCE if at == broadcasts.AT_ONCE else broadcasts.moment(at).key


def plan(journey: Journey, version: JourneyVersion, now: datetime) -> Sendout | None:
    """Plans the one occasion of a version, or the next of a recurring one; None where it has happened already.

    What was planned before and has not begun is planned anew, or not at all any more.
    """
    journey.sendouts.filter(state__in=["scheduled", "missed"], snapshot_at=None).exclude(
        state="missed", version__definition__has_key="rrule"
    ).delete()
    definition = version.definition
    if broadcasts.is_recurring(definition):
        # By the clock of the house: whoever lives where it is past already gets it at once.
        here = ZoneInfo(broadcasts.zone_of(definition) or settings.TIME_ZONE)
        return plan_next(journey, version, now.astimezone(here).replace(tzinfo=None))
    if journey.sendouts.filter(key=_key(definition)).exists():
        return None
    [at] = broadcasts.moments(definition, now, version.published_at)
    return _planned(journey, version, at, _key(definition))


def plan_next(journey: Journey, version: JourneyVersion, after: datetime) -> Sendout:
    """Plans the first occasion of a recurring broadcast behind a wall time."""
    taken = set(journey.sendouts.values_list("key", flat=True))
    moments = broadcasts.moments(version.definition, after, version.published_at)
    at = next(at for at in moments if at.key not in taken)
    return _planned(journey, version, at, at.key)


def _planned(journey: Journey, version: JourneyVersion, at: Moment, key: str) -> Sendout:
    first, last = instants(at)
    definition = version.definition
    until = broadcasts.valid_until(definition, at)
    is_said = "valid_until" in definition or "valid_for" in definition
    return Sendout.objects.create(
        journey=journey,
        version=version,
        key=key,
        wall=at.text,
        zone=at.zone,
        valid_wall=until.text if until else "",
        valid_zone=until.zone if until else "",
        starts_at=first,
        late_at=instants(until)[1] if until and is_said else last + GRACE,
    )


# How it stands -------------------------------------------------------------------------------------------------------


@dataclass
class Progress:
    """What became of an occasion's audience: the four counts are its sum. `reasons` are counts of those not reached;
    `opened` and `clicked` are people, not programs."""

    audience: int = 0
    sent: int = 0
    waiting: int = 0
    held_back: int = 0
    failed: int = 0
    opened: int = 0
    clicked: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def sentences(self) -> list[tuple[str, int]]:
        """The reasons in words, most frequent first."""
        left = {reason: str(words) for reason, words in Enrolment.REASONS}
        by_count = sorted(self.reasons.items(), key=lambda one: -one[1])
        return [(left.get(reason) or sentence(reason), count) for reason, count in by_count]

    @property
    def share(self) -> float:
        """How much of it is settled, 0 to 1."""
        return (self.audience - self.waiting) / self.audience if self.audience else 1.0


_COUNTED = {"sent": "sent", "uncertain": "sent", "waiting": "waiting", "failed": "failed"}


def progress_of(occasions: Iterable[Sendout]) -> dict[int, Progress]:
    """The progress of each occasion that has begun, by its id."""
    asked = [occasion for occasion in occasions if occasion.audience is not None]
    begun = {occasion.pk: Progress(occasion.audience or 0) for occasion in asked}
    journeys = list(Journey.objects.filter(pk__in={one.journey_id for one in asked}).values_list("key", flat=True))
    for pk, clicked, opened in SQL["occasion_answers"].rows(occasions=list(begun), journeys=journeys):
        begun[pk].clicked, begun[pk].opened = clicked, opened
    for pk, outcome, reason, count in SQL["occasion_outcomes"].rows(occasions=list(begun)):
        progress, name = begun[pk], _COUNTED.get(outcome, "held_back")
        setattr(progress, name, getattr(progress, name) + count)
        if name in ("held_back", "failed"):
            progress.reasons[reason] = progress.reasons.get(reason, 0) + count
    return begun
