"""After an erasure: what other people's rows say of the person is blanked, a window of the stream at a time.

The stream has no index over its texts, and a walk over all of it must not hold the tick up; so the erasure only notes
what is to be found, and the walk goes on behind it, without the tick's lock, in transactions of a window each. What is
found are handles as they are written: an address or telephone anywhere in a text, a user id where it is the whole text.
"""

import json
import re
from collections import Counter
from datetime import datetime
from typing import Any

from django.db import transaction

from contacts.models import Erasure
from contacts.sql import load

SQL = load(__file__)

# Shorter handles stand in rows of everybody.
SHORTEST = 6
SIZE = 20_000
_ANYWHERE = ("email", "phone")


def sought(handles: list[tuple[str, str]]) -> dict[str, Any]:
    """How a person's handles are found in JSON as text: a pattern, and what a row must hold for it to be tried."""
    patterns, needles = [], []
    for kind, value in handles:
        if len(value) < SHORTEST or kind not in (*_ANYWHERE, "user_id"):
            continue
        written = json.dumps(value, ensure_ascii=False)
        if kind in _ANYWHERE and not value.isdecimal():
            # Not within a longer address, nor within a longer number.
            patterns.append(rf"(?<![\w.+-]){re.escape(written[1:-1])}(?![\w-]|\.\w)")
            needles.append(written[1:-1])
        else:
            patterns.append(rf'(?<="){re.escape(written[1:-1])}(?=")')
            needles.append(written)
    escaped = [re.sub(r"([\\%_])", r"\\\1", one) for one in needles]
    return {"pattern": "|".join(patterns), "needles": [f"%{one}%" for one in escaped]} if patterns else {}


def blank_waiting(what: dict[str, Any]) -> int:
    """Blanks what waits to be told to other systems; how many deliveries. Part of the erasure itself."""
    return SQL["blank_deliveries"].value(**what, states=["waiting"]) if what else 0


def sweep_others(now: datetime, *, most_windows: int = 200) -> int:
    """Goes on with the search for whoever was erased, at most so many windows; how many rows were blanked."""
    blanked = 0
    for pk in Erasure.objects.exclude(sought={}).order_by("pk").values_list("pk", flat=True):
        while most_windows > 0:
            most_windows -= 1
            count = _step(pk, now)
            if count is None:
                break
            blanked += count
    return blanked


@transaction.atomic
def _step(pk: int, now: datetime) -> int | None:
    """One window of one search; None at its end, or where somebody else is at it."""
    one = Erasure.objects.select_for_update(skip_locked=True).filter(pk=pk).exclude(sought={}).first()
    if one is None:
        return None
    found: Counter[str] = Counter()
    if one.position < one.upto:
        end = SQL["walk_window"].value(after=one.position, end=one.upto, size=SIZE)
        upto = one.upto if end is None else end
        window = {"after": one.position, "upto": upto, **one.sought}
        found["contacts.touchpoint (others)"] = SQL["blank_touchpoints"].value(**window)
        one.position = upto
    else:
        # Last, for until now the tick could still tell a webhook of a touchpoint that was not blanked yet.
        found["contacts.contact (others)"] = SQL["blank_attributes"].value(**one.sought, now=now)
        found["contacts.webhookdelivery (others)"] = SQL["blank_deliveries"].value(
            **one.sought, states=["waiting", "delivered", "refused", "failed"]
        )
        one.swept_at, one.sought = now, {}
    for label, count in found.items():
        if count:
            blanked = one.counts.get(label, {"removed": 0, "kept": 0})
            one.counts[label] = blanked | {"removed": blanked["removed"] + count}
    one.save(update_fields=["position", "sought", "swept_at", "counts"])
    return None if one.swept_at else found.total()
