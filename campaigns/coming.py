"""What journeys are about to send, before there is any message: told to people, decided by nobody."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from campaigns.models import NurtureTrack
from contacts.models import Contact
from contacts.sql import load
from messaging.planned import Planned

SQL = load(__file__)

# What is further away than this may change too often to be told to anybody.
AHEAD = timedelta(days=60)


@dataclass(frozen=True)
class Coming:
    """A step from which `people` get a message soon; `template` is its name, empty for the next item of a track."""

    journey: str
    name: str
    template: str
    people: int
    first_at: datetime


def coming_sends(until: datetime, limit: int) -> list[Coming]:
    """The next sends of live journeys before a moment, the soonest first. People may still leave before."""
    return [Coming(*row) for row in SQL["coming_sends"].rows(until=until, limit=limit)]


def coming_to(contact: Contact, now: datetime, limit: int) -> list[Planned]:
    """What the journeys of one person are about to send, the soonest first."""
    rows = SQL["coming_to"].rows(contact=contact.pk, until=now + AHEAD, limit=limit)
    return [Planned(template, journey, max(due_at, now)) for journey, template, due_at in rows]


def tracks() -> list[tuple[str, str]]:
    """The nurture tracks, each with what people call it."""
    named = NurtureTrack.objects.exclude(state="archived").values_list("key", "name")
    return [(key, name or key) for key, name in named]
