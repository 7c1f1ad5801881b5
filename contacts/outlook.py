"""What a rule would make of everybody, while somebody is writing it: how many, who for example, what each part does.

A page asks after each key, so nothing here may take long: the count stops at `EXACT_UP_TO` people and after
`TIME_LIMIT`, and then says “about”, from a sample; so do the effects where there are more contacts than a sample holds.
"""

from datetime import datetime, timedelta
from typing import Any

from django.db.models import BooleanField, Case, Count, When
from django.db.models.expressions import RawSQL
from django.utils.translation import gettext as _

from contacts.models import Contact, ContactQuerySet
from contacts.rules import All, AnyOf, Not, Rule, RuleError, leaves_of, matching, parse
from contacts.rulevalues import within
from contacts.sql import in_time, load

SQL = load(__file__)

EXACT_UP_TO = 200_000
SAMPLE = 20_000
TIME_LIMIT = timedelta(seconds=2)
SHOWN = 5
# A rule with more conditions is counted, but not taken apart.
MOST_EFFECTS = 20


def outlook(rule: Any, user: Any, now: datetime) -> dict[str, Any]:
    """How a segment with this rule (JSON; None means nobody) would look at this moment, to this user. JSON-able.

    `count` with `is_estimate` (None where even an estimate takes too long); up to five `people` {id, name}; for each
    condition by its `path` how many there would be `without` it, about as many where `is_estimate`; `problem`, a
    sentence, where the rule cannot be asked. Only people whom the user may see are counted.
    """
    seen: dict[str, Any] = {"count": 0, "is_estimate": False, "people": [], "effects": [], "problem": "", "path": ""}
    if rule is None:
        return seen
    try:
        parsed = parse(rule)
    except RuleError as error:
        said = _("At %(path)s: %(problem)s") % {"path": error.path, "problem": error.message}
        return seen | {"count": None, "problem": said if error.path else error.message, "path": error.path}
    meant = matching(parsed, now).visible_to(user)
    size = SQL["estimate_contacts"].value() or 0
    tally = _tally(parsed, user, now, size)
    seen["count"], seen["is_estimate"] = _count(meant, tally)
    with in_time(TIME_LIMIT) as time:
        seen["people"] = [{"id": one.pk, "name": str(one.name)} for one in meant.order_by("-pk")[:SHOWN]]
    seen["effects"] = tally.effects() if tally else []
    if time.is_up and seen["count"] is None:
        seen["problem"] = _("Counting takes too long now; the segment itself will be right after the next tick.")
    return seen


class _Tally:
    """How often each combination of answers was given, in a sample that stands for `scale` times as many people."""

    def __init__(self, rule: Rule, paths: list[str], rows: list[tuple], scale: float) -> None:
        self.rule, self.paths, self.rows, self.scale = rule, paths, rows, scale

    def count(self, without: str | None = None) -> int:
        """How many people the rule means, or would mean without the condition at a path."""
        found = 0
        for *answers, people in self.rows:
            if _holds(self.rule, "", dict(zip(self.paths, answers, strict=True)), without) is not False:
                found += people
        return round(found * self.scale)

    def effects(self) -> list[dict[str, Any]]:
        if len(self.paths) > MOST_EFFECTS:
            return []
        is_estimate = self.scale != 1
        return [{"path": path, "without": self.count(path), "is_estimate": is_estimate} for path in self.paths]


def _holds(rule: Rule, path: str, answers: dict[str, bool], without: str | None) -> bool | None:
    """What the rule says where one condition is taken away; None where nothing is left of it."""
    if isinstance(rule, All | AnyOf):
        word, join = ("all", all) if isinstance(rule, All) else ("any", any)
        at = within(path, word)
        parts = [_holds(part, within(at, place), answers, without) for place, part in enumerate(rule.rules)]
        left = [part for part in parts if part is not None]
        return join(left) if left else None
    if isinstance(rule, Not):
        part = _holds(rule.rule, within(path, "not"), answers, without)
        return None if part is None else not part
    return None if path == without else answers[path]


def _tally(rule: Rule, user: Any, now: datetime, size: int) -> _Tally | None:
    """One look at everybody, or at a sample where there are many; None where it takes too long."""
    leaves = list(leaves_of(rule))
    names = [f"answer_{place}" for place in range(len(leaves))]
    answers = {
        name: Case(When(leaf.to_q(now), then=True), default=False, output_field=BooleanField())
        for name, (_path, leaf) in zip(names, leaves, strict=True)
    }
    people = Contact.objects.living().visible_to(user)
    share = min(SAMPLE / size, 1.0) if size else 1.0
    if share < 1:
        sample = SQL["sample_contacts"].sql.replace("%(percent)s", "%s")
        people = people.filter(pk__in=RawSQL(sample, [share * 100]))  # noqa: S611 - a named statement
    with in_time(TIME_LIMIT) as time:
        rows = list(
            people.order_by()
            .annotate(**answers)
            .values(*names)
            .annotate(people=Count("pk"))
            .values_list(*names, "people")
        )
    return None if time.is_up else _Tally(rule, [path for path, _leaf in leaves], rows, 1 / share)


def _count(meant: ContactQuerySet, tally: _Tally | None) -> tuple[int | None, bool]:
    if tally and tally.scale == 1:
        return tally.count(), False
    counted = EXACT_UP_TO + 1
    with in_time(TIME_LIMIT) as time:
        counted = meant.order_by()[: EXACT_UP_TO + 1].count()
    if not time.is_up and counted <= EXACT_UP_TO:
        return counted, False
    return (tally.count(), True) if tally else (None, True)
