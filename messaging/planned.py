"""What a person will be sent: messages that wait, what apps above are about to ask for, and on which tracks."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.core.cache import cache
from django.utils.translation import gettext as _

from contacts.models import Contact
from messaging.explaining import in_words
from messaging.models import Message
from messaging.reasons import WAITS

LIMIT = 6
_TRACKS = "messaging-names-of-tracks"  # the cache's key


@dataclass(frozen=True)
class Planned:
    """One send to come: its name (empty: not chosen yet), who sends it, when, and what it waits for, in words.

    `is_certain` tells a message that exists from a step that somebody may still leave before.
    """

    name: str
    sender: str
    at: datetime
    why: str = ""
    is_certain: bool = False


# A contact, now, and how many at most → the sends to come.
Plans = Callable[[Contact, datetime, int], Iterable[Planned]]
_plans: list[Plans] = []


def register_plans(plans: Plans) -> None:
    """Adds a function that tells what else a person is about to be sent; call it from `AppConfig.ready`."""
    if plans not in _plans:
        _plans.append(plans)


_tracks: list[Callable[[], Iterable[tuple[str, str]]]] = []


def register_tracks(named: Callable[[], Iterable[tuple[str, str]]]) -> None:
    """Adds a function that names the nurture tracks: their keys and names; call it from `AppConfig.ready`."""
    if named not in _tracks:
        _tracks.append(named)


def names_of_tracks() -> dict[str, str]:
    """The nurture tracks: key → name; a new name is known within a minute."""
    found: dict[str, str] | None = cache.get(_TRACKS)
    if found is None:
        found = dict(one for named in _tracks for one in named())
        cache.set(_TRACKS, found, 60)
    return found


def planned_for(contact: Contact, waiting: Iterable[Message], now: datetime, limit: int = LIMIT) -> list[Planned]:
    """What the contact will be sent, the soonest first: of `waiting`, the contact's open messages, and of all plans."""
    found = [_waits(message, now) for message in waiting]
    for plans in _plans:
        found.extend(plans(contact, now, limit))
    return sorted(found, key=lambda one: (one.at, one.name))[:limit]


def _waits(message: Message, now: datetime) -> Planned:
    why = ""
    if message.is_held:
        why = _("It waits because its journey is paused.")
    elif message.state == "pending" and message.waits_for in WAITS and message.due_at > now:
        why = str(WAITS[message.waits_for]) % {"moment": in_words(message.due_at)}
    return Planned(str(message.template), message.journey_key, max(message.due_at, now), why, is_certain=True)
