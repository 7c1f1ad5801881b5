"""Retention: touchpoints are dropped, or lose what tells of their person, after so many days; totals stay.

A rule walks the whole stream once a day, in windows of its own transaction each, under the tick's lock, and only behind
what every step of the tick has read. Scores stay as they are, for they have a ledger of their own; rules that ask
`did` see what is left (see docs/privacy.md), so a rule names those who look back further than it keeps.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Min, Q
from django.utils.translation import gettext as _

from contacts.durations import parse_duration
from contacts.models import RetentionRule, Segment, StepCursor
from contacts.sql import load
from contacts.stream import head, wait_for_tick_lock

SQL = load(__file__)

# The history of the record itself: since when a field has its value, what was allowed, who was merged.
HISTORY = ("contact.", "consent.", "stage.")
LEAST_DAYS = 30
SIZE = 10_000
# A day, less what a walk may take.
EVERY = timedelta(hours=20)
_PATTERN = re.compile(r"\*|[a-z][a-z0-9_]*\.(\*|[a-z][a-z0-9_]*)")

_readers: list[Callable[[], Iterable[tuple[str, Any]]]] = []


def register_reader_of_history(definitions: Callable[[], Iterable[tuple[str, Any]]]) -> None:
    """Adds a function that gives the name and the JSON of each definition that may ask `did`.

    Call it from `AppConfig.ready`.
    """
    if definitions not in _readers:
        _readers.append(definitions)


def problems(*, kind: Any, days: Any, kept_properties: Any) -> dict[str, str]:
    """What is wrong with a rule, by its field."""
    found = {}
    if not isinstance(kind, str) or not _PATTERN.fullmatch(kind):
        found["kind"] = _("Write a kind such as page.viewed, or page.* for all that begin so, or * for all.")
    elif kind.startswith(HISTORY):
        found["kind"] = _("The history of the record itself stays: contact.*, consent.* and stage.*.")
    if not isinstance(days, int) or isinstance(days, bool) or not LEAST_DAYS <= days <= 36_500:
        found["days"] = _("Touchpoints stay at least %(least)d days.") % {"least": LEAST_DAYS}
    if not isinstance(kept_properties, list) or not all(isinstance(one, str) for one in kept_properties):
        found["kept_properties"] = _("This must be a list of names.")
    return found


def _about(rule: RetentionRule, now: datetime) -> dict[str, Any]:
    return {
        "before": now - timedelta(days=rule.days),
        "kind": rule.kind.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%").replace("*", "%"),
        "channel": rule.channel,
        "history": [f"{one}%" for one in HISTORY],
    }


@dataclass(frozen=True)
class Outlook:
    """What a rule would do if it ran now, and who still asks for what it takes."""

    touchpoints: int
    people: int
    oldest_at: datetime | None
    readers: list[str]


def outlook(rule: RetentionRule, now: datetime) -> Outlook:
    """What a rule, stored or not, would do now; nothing is changed."""
    is_anonymised = rule.action == "anonymise"
    [(count, people, oldest)] = SQL["count_old_touchpoints"].rows(
        **_about(rule, now), is_anonymised=is_anonymised, kept=list(rule.kept_properties)
    )
    return Outlook(count, people, oldest, sorted(readers_of(rule)))


def readers_of(rule: RetentionRule) -> set[str]:
    """The names of segments, scores and journeys that look back further than the rule keeps."""
    pattern = re.compile(re.escape(rule.kind).replace(r"\*", ".*"))
    own = ((_("Segment “%(name)s”") % {"name": one.name}, one.rule) for one in Segment.objects.exclude(rule=None))
    asked = [own, *(definitions() for definitions in _readers)]
    return {
        name
        for definitions in asked
        for name, data in definitions
        for leaf in _leaves(data)
        if pattern.fullmatch(str(leaf["did"])) and _reach(leaf) > timedelta(days=rule.days)
    }


def _leaves(data: Any) -> Iterator[dict[str, Any]]:
    if isinstance(data, dict):
        if "did" in data:
            yield data
        for value in data.values():
            yield from _leaves(value)
    elif isinstance(data, list):
        for value in data:
            yield from _leaves(value)


def _reach(leaf: dict[str, Any]) -> timedelta:
    try:
        return parse_duration(leaf["within"])
    except (KeyError, ValueError, TypeError):
        return timedelta.max


# The walk ------------------------------------------------------------------------------------------------------------


def retain(now: datetime, *, most_windows: int = 50) -> int:
    """Goes on with the walk of each rule that is due, at most so many windows; how many touchpoints were handled."""
    handled = 0
    for pk in RetentionRule.objects.filter(is_active=True).order_by("pk").values_list("pk", flat=True):
        while most_windows > 0:
            most_windows -= 1
            count = _step(pk, now)
            if count is None:
                break
            handled += count
    return handled


def _read_by_all() -> int:
    """Up to where every step of the tick has read the stream; one that is gone for good holds nothing up."""
    alive = StepCursor.objects.filter(Q(failed_at__isnull=False) | Q(ran_at__isnull=False))
    least = alive.exclude(step="ingest").aggregate(least=Min("position"))["least"]
    return head() if least is None else min(head(), least)


@transaction.atomic
def _step(pk: int, now: datetime) -> int | None:
    """One window of one rule; None where there is nothing to do for it now, or somebody else is at it."""
    wait_for_tick_lock()
    rule = RetentionRule.objects.select_for_update(skip_locked=True).filter(pk=pk, is_active=True).first()
    if rule is None:
        return None
    if rule.position >= rule.upto:
        if rule.walked_at is not None and now < rule.walked_at + EVERY:
            return None
        rule.position, rule.upto, rule.walked_at = 0, _read_by_all(), now
    upto = SQL["walk_window"].value(after=rule.position, end=rule.upto, size=SIZE)
    count = 0
    if upto is not None:
        window = {"after": rule.position, "upto": upto, **_about(rule, now)}
        if rule.action == "drop":
            count = SQL["drop_touchpoints"].value(**window)
        else:
            count = SQL["anonymise_touchpoints"].value(**window, kept=list(rule.kept_properties))
    rule.position = rule.upto if upto is None else upto
    rule.save(update_fields=["position", "upto", "walked_at"])
    if count:
        RetentionRule.objects.filter(pk=pk).update(handled=F("handled") + count)
    return None if upto is None else count
