"""History as questions with known answers: who was looked at when, and who became a customer within the window.

Only moments whose window is over are asked. Who has decided early in a window that still runs is left out with all
others of it: deals that are quick would weigh more than they do.
"""

from datetime import datetime, timedelta
from typing import Any

from contacts.sql import Fragment, load

SQL = load(__file__)
WINDOW = timedelta(days=90)


def moments_before(now: datetime, window: timedelta, period: timedelta) -> list[datetime]:
    """The moments at which everybody is looked at, the latest first: one window apart, so that no win counts twice."""
    return [now - window * number for number in range(1, max(1, period // window) + 1)]


def parts(*names: str) -> dict[str, Fragment]:
    """Statements that are parts of others, as fragments; one that holds another stands before it."""
    return {name: Fragment(SQL[name].sql) for name in names}


def looked_at(moments: list[datetime], window: timedelta, **more: Any) -> dict[str, Any]:
    """The parameters of “observations”: everybody at some moments; `first` and `last` narrow it to a range of ids."""
    nobody_more = {"since": None, "until": None, "first": None, "last": None}
    return {**nobody_more, "moments": moments, "window": window, **more}
