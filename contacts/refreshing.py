"""The step `segment`: who is in which segment, kept right from what changed and from the clock.

A tick notes in one pass whom the news of its window are about, and in which words; whose turn has come by the clock;
whom somebody put in or out by hand. These people, and nobody else, are asked, all segments in one statement, each
segment only about news that can concern its rule. A new or changed segment is asked of everybody, once; one of which
nobody can say when the clock turns an answer is so every `SWEEP_EVERY`. A segment that asks about another comes after
it in the same pass, so a chain of them is right at the end of one tick.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from graphlib import CycleError, TopologicalSorter
from typing import Any

import structlog
from django.core.exceptions import EmptyResultSet
from django.db.models import BooleanField, Case, DateTimeField, Q, Value, When
from django.db.models.expressions import RawSQL
from django.db.models.functions import Least
from django.utils.translation import gettext as _

from contacts import stream
from contacts.did import Did
from contacts.leaves import FieldIs
from contacts.models import AT_ONCE, Contact, MembershipOverride, Segment, Turn
from contacts.rulefields import Vocabulary
from contacts.rules import Rule, RuleError, leaves_of, matching, parse, segments_in, to_q
from contacts.sql import Fragment, fragment, load
from contacts.turning import ALWAYS, CannotSay, next_turn, only_fades, open_turn, words_of

log = structlog.get_logger(__name__)
SQL = load(__file__)

SWEEP_EVERY = timedelta(minutes=15)
# So many segments in one statement: PostgreSQL plans them together, and a row has its limits.
_AT_A_TIME = 50
_NOBODY = Fragment("SELECT id, NULL FROM contacts_contact WHERE false")
_LIVING = Q(merged_into=None, erased_at=None)


@dataclass(frozen=True)
class Asked:
    """A segment that can be asked: its rule (None: only people put in by hand), and the words that concern it."""

    segment: Segment
    rule: Rule | None

    @property
    def words(self) -> set[str]:
        words = set() if self.rule is None else set(words_of(self.rule))
        return words | {ALWAYS, f"turn:{self.segment.pk}"}


def read_all() -> tuple[list[list[Asked]], dict[str, str]]:
    """All segments that can be asked, in levels, each after those that it asks about; and what is wrong with the rest.

    One that cannot be read any more, say because its field is gone, keeps its members until somebody mends it: it
    must never turn silently true. So does one in a circle.
    """
    names = Vocabulary()
    readable: dict[str, Asked] = {}
    problems: dict[str, str] = {}
    for segment in Segment.objects.order_by("pk"):
        try:
            readable[segment.key] = Asked(segment, None if segment.rule is None else parse(segment.rule, names))
        except RuleError as error:
            problems[segment.key] = str(error)
    asks = {key: segments_in(one.rule) if one.rule is not None else set() for key, one in readable.items()}
    while True:
        order = TopologicalSorter(asks)
        try:
            order.prepare()
            break
        except CycleError as error:
            circle = " → ".join(reversed(error.args[1]))
            for key in error.args[1]:
                asks.pop(key, None)
                problems[key] = _("The segments would ask each other in a circle: %(circle)s.") % {"circle": circle}
    levels = []
    while order.is_active():
        ready = order.get_ready()
        levels.append(sorted((readable[key] for key in ready if key in asks), key=lambda one: one.segment.pk))
        order.done(*ready)
    return levels, problems


def refresh(now: datetime, after: int, upto: int) -> int:
    """The step `segment`: brings all memberships up to date; how many people entered or left."""
    # Held until the step commits, so that a rule changed meanwhile is not taken for swept.
    due = set(
        Segment.objects.filter(sweep_at__lte=now)
        .order_by("pk")
        .select_for_update(no_key=True)
        .values_list("pk", flat=True)
    )
    if (
        after == upto
        and not due
        and not Turn.objects.filter(turns_at__lte=now).exists()
        and not MembershipOverride.objects.filter(expires_at__lte=now).exists()
    ):
        return 0
    levels, problems = read_all()
    _freeze(problems)
    head = stream.head()
    for name in ("set_pace", "make_touched", "empty_touched"):
        SQL[name].run()
    SQL["note_news"].run(now=now, after=after, upto=upto)
    SQL["note_turns"].run(now=now)
    SQL["note_expired"].run(now=now)
    SQL["weigh_touched"].run()
    changed = 0
    for level in levels:
        news = {word for (word,) in SQL["words_of_news"].rows()}
        changed_here = sum(_rebuild(one, now) for one in level if one.segment.pk in due)
        concerned = [one for one in level if one.segment.pk not in due and one.words & news]
        for first in range(0, len(concerned), _AT_A_TIME):
            changed_here += _ask_touched(concerned[first : first + _AT_A_TIME], now)
        changed += changed_here
        if changed_here and level is not levels[-1]:
            SQL["note_moves"].run(head=head)
    return changed


def _freeze(problems: dict[str, str]) -> None:
    """Segments that cannot be asked stay as they are; mended by whatever way, they are asked of everybody at once."""
    for key, problem in problems.items():
        log.warning("segment_cannot_be_asked", segment=key, problem=problem)
    if problems:
        Segment.objects.filter(key__in=problems).exclude(sweep_at=AT_ONCE).update(sweep_at=AT_ONCE)


# Everybody -----------------------------------------------------------------------------------------------------------


def _rebuild(one: Asked, now: datetime) -> int:
    audience, again, turn = _NOBODY, None, None
    if one.rule is not None:
        try:
            turn = next_turn(one.rule, now)
        except CannotSay:
            again = now + SWEEP_EVERY
        # Where the clock only takes people out, those outside have no turn to come.
        beside = turn if turn is not None and only_fades(one.rule) else Value(None, DateTimeField())
        try:
            audience = fragment(matching(one.rule, now).values_list("pk", beside))
        except EmptyResultSet:
            pass
    changed = SQL["rebuild_segment"].run(
        fragments={"audience": audience}, segment=one.segment.pk, key=one.segment.key, now=now
    )
    if one.rule is not None and again is None:
        if turn is not None and not only_fades(one.rule):
            _set_turns(one, now)
        if _asks_of_events(one.rule):
            SQL["set_turns_of_events_to_come"].run(segment=one.segment.pk, now=now)
    Segment.objects.filter(pk=one.segment.pk).update(sweep_at=again)
    return changed


def _set_turns(one: Asked, now: datetime) -> None:
    assert one.rule is not None
    is_open, soonest = open_turn(one.rule, now)
    try:
        turns = fragment(Contact.objects.living().filter(is_open).values_list("pk", soonest))
    except EmptyResultSet:
        return
    SQL["set_turns"].run(fragments={"turns": turns}, segment=one.segment.pk)


def _asks_of_events(rule: Rule) -> bool:
    return any(isinstance(leaf, Did) or (isinstance(leaf, FieldIs) and leaf.lasting) for _path, leaf in leaves_of(rule))


# Those touched -------------------------------------------------------------------------------------------------------


def _ask_touched(concerned: list[Asked], now: datetime) -> int:
    """Asks those whom the news are about, some segments in one statement; how many entered or left."""
    answers: dict[str, Any] = {}
    pairs: list[str] = []
    params: dict[str, Any] = {}
    for one in concerned:
        pk = one.segment.pk
        is_concerned = Q(
            RawSQL("touched.news && %s::text[]", [sorted(one.words)], output_field=BooleanField())  # noqa: S611 - no text of a user's
        )
        is_meant = to_q(one.rule, now) if one.rule is not None else Q(pk__in=[])
        answers[f"meant_{pk}"] = Case(
            When(is_concerned & _LIVING & is_meant, then=True),
            When(is_concerned, then=False),
            output_field=BooleanField(),
        )
        turn = _turn_of(one, now)
        if turn is not None:
            answers[f"turn_{pk}"] = Case(When(is_concerned, then=turn), output_field=DateTimeField())
        column = f"turn_{pk}" if turn is not None else "NULL::timestamptz"
        pairs.append(f"({pk}, %(key_{pk})s, meant_{pk}, {column})")
        params[f"key_{pk}"] = one.segment.key
    people = Contact.objects.extra(  # noqa: S610 - no text of a user's
        tables=["touched"], where=["touched.contact_id = contacts_contact.id"]
    ).annotate(is_living=Case(When(_LIVING, then=True), default=False, output_field=BooleanField()), **answers)
    return SQL["refresh_touched"].run(
        fragments={
            "answers": fragment(people.order_by().values("id", "is_living", *answers)),
            "pairs": Fragment(", ".join(pairs), params),
        },
        now=now,
    )


def _turn_of(one: Asked, now: datetime) -> Any:
    if one.rule is None:
        return None
    try:
        turn = next_turn(one.rule, now)
    except CannotSay:
        return None
    if not _asks_of_events(one.rule):
        return turn
    to_come = RawSQL("touched.to_come_at", [], output_field=DateTimeField())  # noqa: S611 - no text of a user's
    return to_come if turn is None else Least(turn, to_come)
