"""Onboarding sequences: milestones are reached as soon as something shows it; whoever stalls is met by the clock.

A milestone is asked of whoever was touched, and of whoever is about to move, in one statement over all people and all
milestones. The clock's part stands in `Watch`, one row an open enrolment, so that nobody is looked at before.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db.models import Q
from psycopg.types.json import Jsonb

from campaigns import leaving, sequence
from campaigns.conditions import case, is_meant, piece
from campaigns.models import Due, Journey, JourneyVersion, Node, Watch
from campaigns.sequence import REST, gap_of, sequence_of
from campaigns.steps import task_of
from contacts.models import Touchpoint
from contacts.rulefields import Vocabulary
from contacts.rules import RuleError, touchpoints_matching
from contacts.rulewords import say_span
from contacts.sql import Fragment, fragment, load
from messaging import outbox, protecting
from messaging.models import Message

SQL = load(__file__)
log = structlog.get_logger(__name__)

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


def begin(now: datetime) -> None:
    """Whoever has just come into a sequence is watched, and left in peace by other campaigns for a while."""
    found = _sequences(row[0] for row in SQL["entering_versions"].rows(now=now))
    if not found:
        return
    ids = [version.pk for version, _said in found]
    stalls, timeouts = [said.stall_after for _version, said in found], [said.timeout for _version, said in found]
    if any(stalls + timeouts):
        SQL["watch_entered"].run(now=now, versions=ids, stalls=stalls, timeouts=timeouts)
    protections = [said.protection for _version, said in found]
    if any(protections):
        entered = {"now": now, "versions": ids, "protections": protections}
        protecting.protect(Fragment(SQL["entered_protected"].sql, entered))


def watch_moved(version: JourneyVersion) -> None:
    """Whoever was moved to a version is watched as that says, and not as the one before."""
    for _version, said in _sequences([version.pk]):
        SQL["watch_moved"].run(version=version.pk, stall_after=said.stall_after, timeout=said.timeout)


def settle(now: datetime, after: int, upto: int) -> None:
    """Whose sequence ended in this window is watched and protected no more."""
    window: dict[str, Any] = {"after": after, "upto": upto}
    SQL["unwatch_left"].run(**window)
    protecting.end(Fragment(SQL["sources_left"].sql, window), now)


def _sequences(ids: Iterable[int]) -> list[tuple[JourneyVersion, sequence.Sequence]]:
    """The onboarding sequences among these versions, with what they say of themselves."""
    versions = JourneyVersion.objects.filter(pk__in=list(ids), journey__kind="onboarding").order_by("pk")
    return [(version, sequence_of(version.definition)) for version in versions]


# Milestones ----------------------------------------------------------------------------------------------------------


def progress(now: datetime, people: Fragment, names: Vocabulary) -> int:
    """Asks the milestones of these contacts (a SELECT of ids); how many were activated, and so left.

    What was intended to lead them to a milestone that they have reached is withdrawn.
    """
    with_milestones = JourneyVersion.objects.filter(definition__has_key="milestones").values_list("pk", flat=True)
    if not (asking := list(with_milestones)):
        return 0
    ids = [row[0] for row in SQL["open_versions_of"].rows(fragments={"people": people}, asking=asking)]
    found = _sequences(ids)
    if not found:
        return 0
    if reached := _reach(found, now, people, names):
        pointless = [row[0] for row in SQL["pointless_messages"].rows(enrolments=reached)]
        if pointless:
            outbox.cancel(now=now, reason="milestone_reached", messages=Message.objects.filter(pk__in=pointless))
    return _activate(found, now, people)


def _reach(
    found: list[tuple[JourneyVersion, sequence.Sequence]], now: datetime, people: Fragment, names: Vocabulary
) -> list[int]:
    """Writes down who reached what; the enrolments that did."""
    lists: dict[str, list[Any]] = {"versions": [], "places": [], "keys": []}
    conditions: list[tuple[int, Fragment, Any]] = []
    shown: list[tuple[int, Fragment, Any]] = []
    for version, _said in found:
        for one in version.definition["milestones"]:
            place = len(lists["places"])
            try:
                conditions.append((place, is_meant(one["rule"], now, names), Fragment("true")))
                shown.append((place, Fragment("true"), _shown_by(one["rule"], now, names)))
            except RuleError as error:
                log.error("milestone_unreadable", milestone=one["key"], version=version.pk, error=str(error))
                continue
            lists["versions"].append(version.pk)
            lists["places"].append(place)
            lists["keys"].append(one["key"])
    if not conditions:
        return []
    met, evidence = case("p.place", conditions, "false"), case("p.place", shown, "NULL::bigint")
    stalling = [(version.pk, said.stall_after) for version, said in found if said.stall_after]
    rows = SQL["reach_milestones"].rows(
        fragments={"people": people, "met": met, "shown": evidence},
        now=now,
        stalling=[pk for pk, _span in stalling],
        stalls=[span for _pk, span in stalling],
        **lists,
    )
    return [row[0] for row in rows]


def _shown_by(rule: Any, now: datetime, names: Vocabulary) -> Fragment:
    """The newest touchpoint of a person of `p` that speaks of what the rule asks; NULL where there is none."""
    asked = _speaking(rule, now, names)
    if not asked:
        return Fragment("NULL::bigint")
    news = fragment(Touchpoint.objects.filter(asked, occurred_at__lte=now).order_by().values("id", "contact_id"))
    return piece("(SELECT max(t.id) FROM ({news}) t WHERE t.contact_id = p.contact_id)", news=news)


def _speaking(rule: Any, now: datetime, names: Vocabulary) -> Q:
    """Over Touchpoint: does it speak of something that the rule asks for? Nothing speaks of what is denied."""
    if "did" in rule:
        kind = {name: rule[name] for name in ("did", "where") if name in rule}
        return touchpoints_matching(kind, now, names)
    if "field" in rule:
        return Q(kind="contact.updated", properties__fields__contains=[rule["field"]])
    if "stage" in rule:
        return Q(kind="stage.changed")
    if "score" in rule:
        return Q(kind="score.crossed", properties__score=rule["score"])
    if "in_segment" in rule:
        return Q(kind="segment.entered", properties__segment=rule["in_segment"])
    asked = Q()
    for group in ("all", "any"):
        for part in rule.get(group, []):
            asked |= _speaking(part, now, names)
    return asked


def _activate(found: list[tuple[JourneyVersion, sequence.Sequence]], now: datetime, people: Fragment) -> int:
    """Whoever has reached all that is required leaves at once, activated; how many."""
    required = [(version.pk, key) for version, said in found for key in said.required]
    activated = piece(
        """CASE WHEN p.version_id = ANY({versions}::bigint[]) AND NOT EXISTS (
               SELECT FROM unnest({versions}::bigint[], {keys}::text[]) AS r(version_id, key)
               WHERE r.version_id = p.version_id AND NOT EXISTS (
                   SELECT FROM campaigns_achievement a
                   WHERE a.enrolment_id = p.enrolment_id AND a.kind = 'milestone' AND a.key = r.key))
           THEN 'activated' END""",
        versions=[pk for pk, _key in required],
        keys=[key for _pk, key in required],
    )
    if not SQL["tell_activated"].run(fragments={"people": people, "ending": activated}, now=now):
        return 0
    return leaving.end(now, people, activated)


# The clock -----------------------------------------------------------------------------------------------------------


def watch(now: datetime) -> int:
    """Whose time is up leaves, and is taken on by another journey; who stalls is nudged, then somebody's task.

    How many it came for.
    """
    found = _sequences(row[0] for row in SQL["watched_versions"].rows(now=now))
    if not found:
        return 0
    late = [row[0] for row in SQL["time_up"].rows(now=now)]
    if late:
        people = piece("SELECT contact_id FROM campaigns_enrolment WHERE id = ANY({late}::bigint[])", late=late)
        reason = piece("CASE WHEN p.enrolment_id = ANY({late}::bigint[]) THEN 'timed_out' END", late=late)
        leaving.end(now, people, reason)
        Watch.objects.filter(enrolment__in=late).delete()
    met = SQL["meet_stalled"].value(
        now=now,
        versions=[version.pk for version, _said in found],
        stalls=[said.stall_after for _version, said in found],
        nudges=[version.definition.get("nudge") for version, _said in found],
        tasks=[_task(version.definition) for version, _said in found],
    )
    if met:
        space(now, versions=[version.pk for version, _said in found])
    return len(late) + int(met)


def _task(definition: Mapping[str, Any]) -> Jsonb | None:
    return Jsonb(task_of(definition["stall_task"])) if "stall_task" in definition else None


def space(now: datetime, versions: Sequence[int] = (), nodes: Sequence[int] = ()) -> None:
    """Keeps the gap between the marketing messages that were intended at this moment and those before them.

    `versions`, or the steps at `nodes`, are those that intended some.
    """
    rows = SQL["gaps"].rows(versions=list(versions), nodes=list(nodes))
    gaps = [(version, gap) for version, kind, said in rows if (gap := gap_of(kind, said))]
    if gaps:
        SQL["space_sends"].run(now=now, versions=[pk for pk, _gap in gaps], gaps=[gap for _pk, gap in gaps])


# Numbers -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Milestone:
    """How many reached a milestone so far, and half of them within which time, in words (empty: nobody yet)."""

    name: str
    is_required: bool
    people: int
    median: str


@dataclass(frozen=True)
class Numbers:
    """How a sequence does over all its versions, without whoever is held out; `time_to_value` is a median in words."""

    entered: int
    activated: int
    timed_out: int
    # Who has been through all steps and is not activated yet.
    resting: int
    time_to_value: str
    milestones: list[Milestone]


def numbers(journey: Journey, definition: Mapping[str, Any]) -> Numbers | None:
    """The numbers of the milestones of a definition; None where it has none that can be read."""
    said = definition.get("milestones")
    milestones = [one for one in (said if isinstance(said, list) else []) if isinstance(one, Mapping)]
    if not milestones:
        return None
    rows = SQL["milestones_reached"].rows(journey=journey.pk)
    reached = {key: (people, _roughly(median)) for key, people, median in rows}
    [(entered, activated, timed_out, median)] = SQL["milestone_numbers"].rows(journey=journey.pk)
    return Numbers(
        entered,
        activated,
        timed_out,
        Due.objects.filter(node_id__in=Node.objects.filter(version__journey=journey, key=REST).values("pk")).count(),
        _roughly(median),
        [
            Milestone(
                str(one.get("name") or one.get("key") or ""),
                one.get("required", True) is True,
                *reached.get(str(one.get("key")), (0, "")),
            )
            for one in milestones
        ],
    )


def _roughly(span: timedelta | None) -> str:
    """A span in its largest unit of which there are at least two, such as 3 days or 40 hours."""
    if span is None:
        return ""
    unit = next((unit for unit in (DAY, HOUR, MINUTE) if span >= 2 * unit), timedelta(seconds=1))
    return say_span(unit * round(span / unit))
