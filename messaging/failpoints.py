"""Places in the send path where a test kills, breaks or delays the worker.

`FAILPOINT=name:kill|raise|sleep[:seconds]`
"""

import os
import signal
import time
from functools import lru_cache

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

NAMES = ("after_claim", "before_data", "after_data", "before_commit", "after_commit")
ACTIONS = ("kill", "raise", "sleep")


class FailpointError(Exception):
    """Raised on purpose."""


@lru_cache(maxsize=8)
def parse(text: str) -> tuple[str, str, float]:
    """(name, action, seconds) of a FAILPOINT setting; raises ImproperlyConfigured naming what is wrong."""
    name, _, rest = text.partition(":")
    action, _, seconds = rest.partition(":")
    if name not in NAMES:
        raise ImproperlyConfigured(f"FAILPOINT: {name!r} is none of {', '.join(NAMES)}.")
    if action not in ACTIONS:
        raise ImproperlyConfigured(f"FAILPOINT: {action!r} is none of {', '.join(ACTIONS)}.")
    try:
        return name, action, float(seconds or 1)
    except ValueError:
        raise ImproperlyConfigured(f"FAILPOINT: {seconds!r} is not a number of seconds.") from None


def hit(name: str) -> None:
    """Does what FAILPOINT says about this place; nothing in production."""
    if not settings.FAILPOINT:
        return
    place, action, seconds = parse(settings.FAILPOINT)
    if place != name:
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "raise":
        raise FailpointError(f"FAILPOINT {name}")
    time.sleep(seconds)
