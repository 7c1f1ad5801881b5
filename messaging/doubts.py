"""Messages of which nobody knows whether they left, and those that were given up: a person decides."""

from collections.abc import Sequence
from datetime import datetime

from django.db.models import Q, QuerySet

from contacts.sql import load
from messaging.models import Message

SQL = load(__file__)

_GIVEN_UP = Q(state="failed", reason="gave_up")


def uncertain() -> QuerySet[Message]:
    """May have left: a worker died between handing over and noting it."""
    return Message.objects.uncertain()


def given_up() -> QuerySet[Message]:
    """Surely did not leave: the server put us off too often."""
    return Message.objects.filter(_GIVEN_UP)


def mark_sent(*, messages: Sequence[int], now: datetime) -> list[int]:
    """These did leave, somebody says; which of them were in doubt."""
    return [pk for (pk,) in SQL["mark_doubtful_sent"].rows(messages=list(messages), now=now)]


def send_again(*, messages: Sequence[int], now: datetime) -> int:
    """These go again, through all gates and with the same Message-ID; how many. Once more is harmless."""
    return Message.objects.filter(Q(state="uncertain") | _GIVEN_UP, pk__in=list(messages)).update(
        state="pending", reason="", attempts=0, due_at=now, finished_at=None, response=""
    )
