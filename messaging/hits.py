"""Clicks and opens: taken at once, judged a few seconds later, told to the inbox with the verdict.

What was seen is never edited. The verdict is our reading of it, and can change with the rules: `reclassify` judges anew
what is kept, and each touchpoint that changed sides is told of by one more, `email.rejudged` (ADR 23).
"""

from datetime import datetime, timedelta
from typing import Any

import orjson
from django.db import transaction

from contacts.identity import FREE_MAIL
from contacts.sql import Fragment, load
from contacts.stream import wait_for_tick_lock
from messaging import machines

SQL = load(__file__)
_JUDGED = {"judge_hits": Fragment(SQL["judge_hits"].sql)}

# How long it is kept who made a click or an open, and so how far back new rules reach.
KEPT_RAW = timedelta(days=180)
# So many kinds of strangers are looked at in one tick: a flood of invented user agents must not hold it up.
_MOST_AGENTS = 500


def tell_hits(now: datetime, after: int, upto: int) -> int:
    """The tick's first step: judges the hits that are ripe and puts them into the inbox; how many."""
    asked = _asked(SQL["agents_of_untold"].rows(now=now, limit=_MOST_AGENTS))
    return SQL["tell_hits"].run(fragments=_JUDGED, now=now, **asked) if asked["hits"] else 0


def reclassify(now: datetime, *, is_every: bool = False, ids: list[int] | None = None) -> int:
    """Judges anew what other rules judged before, or (`is_every`) all that is kept, or some hits alone; how many
    changed sides.

    Set by set, each in a transaction of its own under the tick's lock, so it may be stopped and begun again. Scores and
    segments follow with the next tick, rules that are asked from now on see the new verdicts at once.
    """
    changed = after = 0
    while True:
        with transaction.atomic():
            wait_for_tick_lock()
            rows = SQL["agents_of_told"].rows(
                after=after, version=machines.VERSION, is_every=is_every or ids is not None, ids=ids
            )
            asked = _asked(rows)
            if not asked["hits"]:
                return changed
            changed += SQL["change_verdicts"].value(fragments=_JUDGED, now=now, **asked)
        after = max(asked["hits"])


def forget_raw(now: datetime) -> int:
    """Forgets by what old hits were judged; how many."""
    total = 0
    while count := SQL["forget_hits"].run(before=now - KEPT_RAW):
        total += count
    return total


def _asked(rows: list[tuple]) -> dict[str, Any]:
    """What `judge_hits` needs to know of hits, grouped by who made them."""
    agents = [
        {"ids": ids, "reason": machines.reason(method, agent, network, is_open=is_open)}
        for method, agent, network, is_open, ids, _first, _last in rows
    ]
    return {
        "agents": orjson.dumps(agents).decode(),
        "hits": [pk for one in agents for pk in one["ids"]],
        "first_at": min((row[5] for row in rows), default=None),
        "last_at": max((row[6] for row in rows), default=None),
        "free_mail": sorted(FREE_MAIL),
        "version": machines.VERSION,
    }
