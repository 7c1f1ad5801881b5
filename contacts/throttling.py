"""How much somebody may do in a time: buckets that PostgreSQL keeps, so that all workers draw from the same one.

A bucket holds what its time allows and fills up steadily. Whoever asks is known by a token or a name, never by what a
client says of its address.
"""

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework.exceptions import Throttled
from rest_framework.throttling import BaseThrottle

from contacts.models import Allowance, ApiToken
from contacts.sql import load

SQL = load(__file__)

MINUTE = timedelta(minutes=1)
# A minute's worth of a token that has no limits of its own. A write key stands for all visitors of a site.
USUAL = {"requests": 12_000, "rows": 1_000_000}
USUAL_OF_TRACKING = {"requests": 600_000, "rows": 20_000_000}
# A process takes so large a part of a bucket at once that it need not ask the database each time.
_SHARES = 100


@dataclass(frozen=True)
class Standing:
    """What a token may do, and what is left of it, as far as this process knows."""

    limit: int
    left: int
    full_in: int  # seconds

    def headers(self) -> dict[str, str]:
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.left),
            "RateLimit-Reset": str(self.full_in),
        }


@dataclass
class _Share:
    left: int
    ends_at: datetime
    full_at: datetime


_shares: dict[tuple[int | None, str, int], _Share] = {}
_lock = threading.Lock()


def draw(key: str, amount: float, *, most: float, within: timedelta, now: datetime) -> tuple[datetime, bool]:
    """Takes so much out of a bucket of `most`, which fills up `within` a time: when it is full again, and whether.

    Atomic: of any number at once, no more get it than there is. Who asks for more than a bucket holds gets it where the
    bucket is full, and leaves it empty for as long as that takes.
    """
    takes = within * (amount / most)
    room = max(within, takes)
    [(full_at, is_taken)] = SQL["draw_allowance"].rows(key=key, takes=takes, room=room, now=now)
    return full_at, is_taken


def forget(*, now: datetime) -> int:
    """Deletes the buckets that are full, which say nothing; how many."""
    return Allowance.objects.filter(full_at__lte=now).delete()[0]


def limit_of(token: ApiToken, what: str) -> int:
    """How many `requests` or `rows` a minute a token may."""
    own: int | None = getattr(token, f"{what}_per_minute")
    if own is not None:
        return max(own, 1)
    return (USUAL_OF_TRACKING if token.scopes == ["track"] else USUAL)[what]


def take(token: ApiToken, what: str, amount: int, *, now: datetime) -> Standing:
    """Counts `amount` requests or rows of a token. Raises Throttled, with the seconds to wait, where it has no more."""
    limit = limit_of(token, what)
    name = (token.pk, what, limit)
    with _lock:
        share = _shares.get(name)
        if share and share.left >= amount and now < share.ends_at:
            share.left -= amount
            return _standing(limit, share, now)
    key = f"token:{token.pk}:{what}"
    for part in dict.fromkeys((max(amount, limit // _SHARES), amount)):
        full_at, is_taken = draw(key, part, most=limit, within=MINUTE, now=now)
        if is_taken:
            share = _Share(part - amount, now + MINUTE, full_at)
            with _lock:
                if len(_shares) > 10_000:
                    _shares.clear()
                _shares[name] = share
            return _standing(limit, share, now)
    takes = MINUTE * (amount / limit)
    wait = ceil(max((full_at + takes - now - max(MINUTE, takes)).total_seconds(), 1))
    message = _("This token has done what it may in a minute (%(limit)d %(what)s). Wait %(wait)d seconds.")
    error = Throttled(None, None)
    error.detail = message % {"limit": limit, "what": what, "wait": wait}  # type: ignore[assignment]
    error.wait = wait
    raise error


def _standing(limit: int, share: _Share, now: datetime) -> Standing:
    full_in = max((share.full_at - now).total_seconds(), 0)
    left = int(limit * (1 - full_in / 60)) + share.left
    return Standing(limit, max(min(left, limit), 0), ceil(full_in))


class TokenThrottle(BaseThrottle):
    """Counts each request of REST; `request.allowance` is what its token has left."""

    def allow_request(self, request: Any, view: Any) -> bool:
        if request.auth is not None and getattr(request, "allowance", None) is None:
            request._request.allowance = take(request.auth, "requests", 1, now=timezone.now())
        return True
