"""Goals and exits: whoever reached a goal, or is to leave, leaves at once, also from inside a wait.

What was intended for them and has not left yet is withdrawn.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db.models import Exists, OuterRef, Q

from campaigns import consents
from campaigns.conditions import case, has_come, piece, shown_by
from campaigns.endings import Goal, event_of, exit_of, goals_of, is_of_events
from campaigns.models import Due, Enrolment, JourneyVersion
from campaigns.triggers import grace_of
from contacts.erasure import Traces
from contacts.rulefields import Vocabulary
from contacts.rules import RuleError
from contacts.sql import Fragment, join, load
from messaging import channels, outbox

SQL = load(__file__)
log = structlog.get_logger(__name__)

# Why an enrolment ended → why its messages are withdrawn.
_WITHDRAWN = {"goal": "goal_reached", "activated": "activated", "archived": "journey_stopped"}


def leave_by_rule(
    now: datetime, people: Fragment, names: Vocabulary, asking: dict[int, Any], *, is_news: bool = True
) -> int:
    """Asks goals and exits of these contacts (a SELECT of ids) by the versions that are `asking`; how many ended.

    A goal is written down within its window also for those who left already. The first that holds is the reason:
    suppressed, the goal, the exit rule, the audience left, consent lost. `is_news`: something happened to these people;
    else they are about to move, which changes nothing of their address.
    """
    versions = _concerned(people, asking)
    reached: list[Fragment] = []
    jumping: list[int] = []
    at_goal: list[tuple[int, Fragment, Any]] = []
    by_rule: list[tuple[int, Fragment, Any]] = []
    for version in versions:
        try:
            for goal in goals_of(version.definition):
                reached.append(_reached(version, goal, now, names))
                if goal.action == "exit":
                    at_goal.append((version.pk, Fragment("p.goal_at IS NOT NULL"), Fragment("'goal'")))
                elif goal.action == "jump":
                    jumping.append(version.pk)
            by_rule += _exits(version, now, names)
        except RuleError as error:
            log.error("journey_rule_unreadable", journey=version.journey.key, version=version.number, error=str(error))
    if reached:
        parts = {"people": people, "reached": join(" UNION ALL ", reached)}
        SQL["reach_goals"].run(fragments=parts, versions=[version.pk for version in versions], now=now)
    if jumping:
        moved = SQL["jump_at_goal"].rows(fragments={"people": people}, versions=jumping, now=now)
        outbox.cancel(now=now, reason="goal_reached", enrolments=[enrolment_id for (enrolment_id,) in moved])
    endings = at_goal + by_rule + consents.lost(people)
    reason = case("p.version_id", endings, "NULL::text")
    if is_news and SQL["anybody_suppressed"].value(fragments={"people": people}):
        reason = piece("CASE WHEN {closed} THEN 'erased' ELSE {reason} END", closed=consents.SUPPRESSED, reason=reason)
    elif not endings:
        return 0
    return end(now, people, reason)


def asking() -> dict[int, Any]:
    """The versions with a goal or an exit, and their definitions."""
    with_rules = JourneyVersion.objects.filter(definition__has_any_keys=["goal", "goals", "exit"])
    return dict(with_rules.values_list("pk", "definition"))


def _concerned(people: Fragment, asking: dict[int, Any]) -> list[JourneyVersion]:
    """Of the versions with a goal or an exit, those that these people are on, or may still reach the goal of."""
    if not asking:
        return []
    late = [pk for pk, definition in asking.items() if any(goal.window for goal in goals_of(definition))]
    rows = SQL["versions_of_people"].rows(fragments={"people": people}, asking=list(asking), late=late)
    return list(JourneyVersion.objects.filter(pk__in=[pk for (pk,) in rows]).select_related("journey"))


def _reached(version: JourneyVersion, goal: Goal, now: datetime, names: Vocabulary) -> Fragment:
    """Who of `p` reached a goal of a version and is not written down yet, with what shows it."""
    in_window, until = Fragment("p.state = 'open'"), None
    if goal.window:
        # What was told late is dated by when it happened; of all else only the moment is known at which it is asked.
        late = grace_of(version.definition) if is_of_events(goal.rule) else timedelta()
        in_window = piece("p.enrolled_at >= {earliest}", earliest=now - goal.window - late)
        until = piece("p.enrolled_at + {window}::interval", window=goal.window)
    event, value = event_of(goal.rule), Fragment("NULL")
    if isinstance(goal.value, Mapping):
        value = piece(
            "(SELECT number_of(t.properties->{name}) FROM contacts_touchpoint t WHERE t.id = shown.id)",
            name=goal.value["property"],
        )
    elif goal.value is not None:
        value = piece("{value}", value=goal.value)
    return piece(
        """SELECT p.enrolment_id, {key}::text AS key, shown.id AS touchpoint_id, {window}::interval AS in_time,
                  CASE WHEN abs(worth.value) < 1e11 THEN round(worth.value, 2) END AS value
           FROM p CROSS JOIN LATERAL (SELECT {shown} AS id) shown
           CROSS JOIN LATERAL (SELECT {value}::numeric AS value) worth
           WHERE p.version_id = {version} AND {in_window} AND ({come}) AND ({key} <> '' OR p.goal_at IS NULL)
             AND NOT EXISTS (SELECT FROM campaigns_achievement a
                             WHERE a.enrolment_id = p.enrolment_id AND a.kind = 'goal' AND a.key = {key} OFFSET 0)""",
        key=goal.key,
        window=goal.window,
        shown=shown_by(event, now, names, until) if event else Fragment("NULL::bigint"),
        value=value,
        version=version.pk,
        in_window=in_window,
        come=has_come(goal.rule, now, names, until=until),
    )


def _exits(version: JourneyVersion, now: datetime, names: Vocabulary) -> list[tuple[int, Fragment, Any]]:
    """Whom the exit rule of a version means, and who left the segment by which people come in."""
    said, found = exit_of(version.definition), []
    if said.rule:
        found.append((version.pk, has_come(said.rule, now, names), Fragment("'exit_rule'")))
    if said.segments:
        known = [key for key in said.segments if names.segment(key)]
        left = {"did": "segment.left", "where": [{"field": "segment", "op": "in", "value": list(said.segments)}]}
        inside: dict[str, Any] = {"any": [{"in_segment": key} for key in known]}
        rule = {"all": [left, {"not": inside}]} if known else left
        found.append((version.pk, has_come(rule, now, names), Fragment("'left_audience'")))
    return found


def note_exposure(after: int, upto: int) -> int:
    """Notes when the first message of each enrolment left, as far as a window tells; of how many enrolments."""
    return SQL["note_exposure"].run(
        after=after, upto=upto, sent=channels.kinds("sent"), channels=list(channels.CHANNELS)
    )


def end(now: datetime, people: Fragment, reason: Fragment) -> int:
    """Ends enrolments of these contacts, where `reason` (over `p`) is not NULL."""
    ended = SQL["end_enrolments"].rows(fragments={"people": people, "ending": reason}, now=now)
    by_reason: dict[str, list[int]] = {}
    for enrolment_id, said in ended:
        by_reason.setdefault(_WITHDRAWN.get(said, "exited"), []).append(enrolment_id)
    for withdrawn, ids in by_reason.items():
        outbox.cancel(now=now, reason=withdrawn, enrolments=ids)
    return len(ended)


def gate(now: datetime) -> Fragment:
    """Over a message `m`: the reason why it must not leave, for its enrolment ended or is to end; else NULL.

    An enrolment that came to its end by its own path meant what it said before. Exit rules are asked once more: what
    somebody changed a moment ago, no tick has seen yet.
    """
    names, exits = Vocabulary(), []
    under_way = Enrolment.objects.filter(version=OuterRef("pk"), state="open")
    for version in JourneyVersion.objects.filter(Exists(under_way), definition__has_key="exit"):
        try:
            exits += _exits(version, now, names)
        except RuleError as error:
            log.error("journey_rule_unreadable", version=version.pk, error=str(error))
    return piece(
        """(SELECT CASE
                WHEN p.state <> 'open' THEN CASE
                    WHEN p.exit_reason IN ('end', 'exit') THEN NULL WHEN p.exit_reason = 'goal' THEN 'goal_reached'
                    WHEN p.exit_reason = 'archived' THEN 'journey_stopped' ELSE 'exited' END
                WHEN p.journey_state = 'archived' THEN 'journey_stopped'
                WHEN {leaves} IS NOT NULL THEN 'exited' END
            FROM (SELECT e.id AS enrolment_id, e.contact_id, e.version_id, e.state, e.exit_reason,
                         j.state AS journey_state, coalesce(e.touchpoint_id, 0) AS trigger_id, least(e.enrolled_at, (
                             SELECT f.occurred_at FROM contacts_touchpoint f WHERE f.id = e.touchpoint_id)) AS since
                  FROM campaigns_enrolment e JOIN campaigns_journey j ON j.id = e.journey_id
                  WHERE e.id = m.enrolment_id) p)""",
        leaves=case("p.version_id", exits, "NULL::text"),
    )


def leave_erased(now: datetime, after: int, upto: int) -> int:
    """Ends the enrolments of people who were erased."""
    people = Fragment(SQL["erased_people"].sql, {"after": after, "upto": upto})
    return end(now, people, Fragment("'erased'"))


def leave_archived(now: datetime) -> int:
    """Ends what is under way in journeys that were archived; archives those that were closing once they are empty."""
    SQL["archive_closed"].run()
    SQL["refuse_candidates"].run(now=now)
    archived = JourneyVersion.objects.filter(journey__state="archived").values_list("pk", flat=True)
    if not (ids := list(archived)):
        return 0
    reason = piece("CASE WHEN p.version_id = ANY({ids}::bigint[]) THEN 'archived' END", ids=ids)
    return end(now, Fragment(SQL["people_of_archived"].sql), reason)


def end_erased(traces: Traces) -> Mapping[str, int]:
    """Ends the enrolments of somebody who is being erased, and takes their tokens away."""
    tokens = Due.objects.filter(Q(contact_id__in=traces.ids) | Q(enrolment__contact__in=traces.ids)).delete()[0]
    Enrolment.objects.filter(contact__in=traces.ids, state="open").update(
        state="exited", exit_reason="erased", ended_at=traces.now
    )
    return {"campaigns.due": tokens}
