"""What journeys are about to send, before there is any message: told to people, decided by nobody."""

from dataclasses import dataclass
from datetime import datetime

from contacts.sql import load

SQL = load(__file__)


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
