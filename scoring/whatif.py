"""What if: what a score would make of everybody if it were saved as it stands in a form, before anybody saves it.

Two answers, for an edited engagement rule counts from then on:

- `at_once`: what the next tick makes of it. Rules of fit, the line, and a rule that is deleted count for everybody;
  what engagement rules earned stays as it was booked.
- `recounted`: what a recount from all touchpoints makes of it, by the new rules for everything that ever happened.

Nothing is copied and nothing is written: tables of the same names stand in front of the ledger and the rules for one
transaction (PostgreSQL looks into `pg_temp` first), the statements that book do their work there, and all is rolled
back. So the answer is what will be, to the point, as long as nothing else happens. Where there is much, a sample of
people is asked, and numbers are “about”.
"""

from copy import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.expressions import RawSQL

from contacts import outlook
from contacts.models import Contact, Touchpoint
from contacts.sql import fragment, in_time, load
from contacts.stream import head
from scoring.models import GradeMatrix, ScoreGroup, ScoreModel, ScoreRule
from scoring.points import book, book_fit

SQL = load(__file__)

# So many touchpoints, or people for rules of fit, are read again; beyond them a sample is.
MOST_TOUCHPOINTS = 200_000
MOST_PEOPLE = 200_000
TIME_LIMIT = timedelta(seconds=8)
SHOWN = 8
_ASKED = RawSQL("SELECT id FROM whatif_person", [])  # noqa: S611 - a constant


@dataclass(frozen=True)
class Draft:
    """A score as it would be saved, with its rules; those of its rules that are missing here would be deleted,
    and so would groups.

    `was` is what is stored now, None for a new score. Nothing of it has to be saved.
    """

    model: ScoreModel
    rules: list[ScoreRule]
    groups: list[ScoreGroup] = field(default_factory=list)
    was: ScoreModel | None = None


@dataclass(frozen=True)
class RuleShift:
    """What one rule gives now and would give."""

    name: str
    people_before: int
    points_before: float
    people: int
    points: float

    @property
    def difference(self) -> float:
        return self.points - self.points_before


@dataclass(frozen=True)
class PersonShift:
    """One person before and after."""

    contact: Contact
    before: float
    after: float
    was_over: bool
    is_over: bool


@dataclass(frozen=True)
class Outcome:
    """What becomes of people: how many get other points, cross the line, become qualified, and change grade."""

    changed: int = 0
    rises: int = 0
    falls: int = 0
    qualified: int = 0
    grades: list[tuple[GradeMatrix, int]] = field(default_factory=list)
    rules: list[RuleShift] = field(default_factory=list)
    people: list[PersonShift] = field(default_factory=list)

    @property
    def is_nothing(self) -> bool:
        return not (self.changed or self.rises or self.falls)


@dataclass(frozen=True)
class WhatIf:
    """Both answers; `recounted` is None for fit, which is always asked of everybody. None at all: it takes too long."""

    at_once: Outcome | None = None
    recounted: Outcome | None = None
    is_estimate: bool = False
    is_late: bool = False


def what_if(draft: Draft, user: Any, now: datetime) -> WhatIf:
    """What saving a draft would change, shown to a user: people whom he may not see are counted and not named.

    For None, nobody is named.
    """
    is_engagement = draft.model.kind == "engagement"
    share = _share(is_engagement)
    found: dict[str, Outcome] = {}
    stored = {rule.pk: str(rule) for rule in ScoreRule.objects.filter(model_id=draft.model.pk)}
    with in_time(TIME_LIMIT) as time, transaction.atomic():
        model, rules = _set_up(draft, share, now)
        names = stored | {rule.pk: str(rule) for rule in rules}
        weighing = _Weighing(draft, model, names, user, now, share)
        if is_engagement:
            found["at_once"] = weighing.outcome()
            SQL["drop_entries"].run(model=model.pk)
            book(rules, _of_those_asked(Touchpoint.objects.filter(id__lte=head())), now)
            found["recounted"] = weighing.outcome()
        else:
            book_fit([model], Contact.objects.living().filter(pk__in=_ASKED), now)
            found["at_once"] = weighing.outcome()
        # Scratch must not stand in front of anything any longer.
        transaction.set_rollback(True)
    return WhatIf(**found, is_estimate=share < 1, is_late=time.is_up)


def in_sentences(seen: WhatIf) -> list[str]:
    """The answers for a terminal."""
    if seen.is_late or seen.at_once is None:
        return ["what it would change takes too long to say now."]
    about = "about " if seen.is_estimate else ""
    told = [("at once", seen.at_once)] + (
        [("if it is recounted", seen.recounted)] if seen.recounted is not None else []
    )
    return [
        f"{when}: {about}{one.rises} rise over the line, {one.falls} fall under it, {one.qualified} become qualified;"
        f" {one.changed} get other points."
        + "".join(f" {count} change grade in {matrix.key}." for matrix, count in one.grades)
        for when, one in told
    ]


def as_json(seen: WhatIf) -> dict[str, Any]:
    """The answers for REST."""

    def told(one: Outcome | None) -> dict[str, Any] | None:
        return None if one is None else {
            "changed": one.changed,
            "rises": one.rises,
            "falls": one.falls,
            "qualified": one.qualified,
            "grades": {matrix.key: count for matrix, count in one.grades},
            "rules": [
                {
                    "rule": rule.name, "people_now": rule.people_before, "people_then": rule.people,
                    "points_now": round(rule.points_before, 2), "points_then": round(rule.points, 2),
                }
                for rule in one.rules
            ],
            "people": [
                {
                    "contact": person.contact.pk, "value_now": round(person.before, 2),
                    "value_then": round(person.after, 2), "was_over": person.was_over, "is_over": person.is_over,
                }
                for person in one.people
            ],
        }  # fmt: skip

    return {
        "is_estimate": seen.is_estimate,
        "is_late": seen.is_late,
        "at_once": told(seen.at_once),
        "recounted": told(seen.recounted),
    }


def _of_those_asked(touchpoints: QuerySet[Touchpoint]) -> QuerySet[Touchpoint]:
    return touchpoints.filter(contact_id__in=_ASKED)


def _share(is_engagement: bool) -> float:
    size = (SQL["estimate_touchpoints"] if is_engagement else outlook.SQL["estimate_contacts"]).value() or 0
    return min((MOST_TOUCHPOINTS if is_engagement else MOST_PEOPLE) / size, 1.0) if size else 1.0


def _set_up(draft: Draft, share: float, now: datetime) -> tuple[ScoreModel, list[ScoreRule]]:
    """Puts the people, what they have, and the rules of the draft into scratch; the draft as it stands there."""
    people = Contact.objects.living()
    if share < 1:
        sample = outlook.SQL["sample_contacts"].sql.replace("%(percent)s", "%s")
        people = people.filter(pk__in=RawSQL(sample, [share * 100]))  # noqa: S611 - a named statement
    model = copy(draft.model)
    model.pk = model.pk or -1
    SQL["make_weighed"].run()
    SQL["fill_weighed"].run(fragments={"people": fragment(people.values("id").order_by())}, model=model.pk, now=now)
    SQL["make_scratch"].run(kept=[rule.pk for rule in draft.rules if rule.pk])
    # Groups that are not saved yet have no rules.
    groups = {group.pk: group for group in draft.groups if group.pk}
    ScoreGroup.objects.bulk_create(groups.values())
    rules = []
    for place, rule in enumerate(draft.rules, 1):
        mine = copy(rule)
        mine.pk, mine.model, mine.group = mine.pk or -place, model, groups.get(mine.group_id or 0)
        rules.append(mine)
    ScoreRule.objects.bulk_create(rules)
    return model, rules


class _Weighing:
    """Looks at scratch, as often as it changes."""

    def __init__(
        self, draft: Draft, model: ScoreModel, names: dict[int, str], user: Any, now: datetime, share: float
    ) -> None:
        self.model, self.user, self.now, self.share = model, user, now, share
        was = draft.was or ScoreModel(hysteresis=model.hysteresis)
        self.line: dict[str, Any] = {
            "was_at": was.qualify_at, "was_hysteresis": was.hysteresis, "line": model.qualify_at,
            "hysteresis": model.hysteresis,
        }  # fmt: skip
        self.names = names
        self.matrices = [one for one in GradeMatrix.objects.all() if model.pk in (one.fit_id, one.engagement_id)]

    def outcome(self) -> Outcome:
        SQL["forget_weighed"].run()
        SQL["weigh"].run(model=self.model.pk, now=self.now, **self.line)
        ((changed, rises, falls, qualified),) = SQL["count_moves"].rows()
        return Outcome(
            changed=self._all(changed),
            rises=self._all(rises),
            falls=self._all(falls),
            qualified=self._all(qualified),
            grades=[
                (matrix, self._all(SQL["count_regraded"].value(bounds=sorted(matrix.bounds_of(self.model.pk)))))
                for matrix in self.matrices
            ],
            rules=self._rules(),
            people=self._people(),
        )

    def _all(self, counted: int) -> int:
        """Of a sample, as many as there are among everybody."""
        return round(counted / self.share)

    def _rules(self) -> list[RuleShift]:
        given = {pk: numbers for pk, *numbers in SQL["weigh_rules"].rows(now=self.now)}
        shifts = []
        for pk, name in self.names.items():
            had, had_points, has, points = given.get(pk, [0, 0.0, 0, 0.0])
            shifts.append(RuleShift(name, self._all(had), had_points / self.share, self._all(has), points / self.share))
        return shifts

    def _people(self) -> list[PersonShift]:
        rows = SQL["show_moves"].rows(most=SHOWN)
        if self.user is None:
            return []
        seen = Contact.objects.visible_to(self.user).in_bulk([row[0] for row in rows])
        return [PersonShift(seen[pk], *told) for pk, *told in rows if pk in seen]
