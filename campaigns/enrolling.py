"""The enrol step: triggers bring people in, goals and exit rules take them out."""

from datetime import datetime, timedelta
from typing import Any

import structlog
from django.core.exceptions import EmptyResultSet
from django.db.models import F, Q

from campaigns import leaving, nurture, onboarding
from campaigns.candidates import FLOOD, PATIENCE
from campaigns.conditions import is_meant, piece
from campaigns.graph import ENTRY
from campaigns.models import Journey, JourneyVersion, Node
from campaigns.occasions import reach_dates
from campaigns.triggers import Cause, causes, dates_of, filter_of, grace_of, is_track
from contacts.durations import parse_duration
from contacts.models import Touchpoint
from contacts.rulefields import Vocabulary
from contacts.rules import RuleError
from contacts.sql import Fragment, fragment, join, load
from contacts.stream import head
from messaging import channels

SQL = load(__file__)
log = structlog.get_logger(__name__)

# What tells the occasions of a person apart is kept up to this length; of a longer one its beginning and its hash.
LONGEST_KEY = 200


def enrol(now: datetime, after: int, upto: int) -> int:
    """A step of the tick: who leaves, then who enters; how many did."""
    names = Vocabulary()
    kinds: set[str] = set()
    done = 0
    if after < upto:
        kinds = {kind for (kind,) in SQL["kinds_in_window"].rows(after=after, upto=upto)}
        nurture.mark_re_engaged(now, after, upto, kinds)
        done += leaving.leave_erased(now, after, upto) if "contact.erased" in kinds else 0
        if not kinds.isdisjoint(channels.kinds("sent")):
            leaving.note_exposure(after, upto)
        touched = Fragment(SQL["touched"].sql, {"after": after, "upto": upto})
        done += leaving.leave_by_rule(now, touched, names, leaving.asking())
        done += onboarding.progress(now, touched, names)
        if "journey.left" in kinds:
            onboarding.settle(now, after, upto)
    done += leaving.leave_archived(now)
    # A broadcast takes its audience itself.
    live = Journey.objects.filter(state="live").exclude(kind="broadcast")
    journeys = list(live.select_related("version").order_by("tier", "pk"))
    dated = [journey for journey in journeys if journey.version and dates_of(journey.version.definition)]
    before = head() if dated else 0
    reached = reach_dates(dated, now, after, upto, kinds, names)
    waiting: dict[int, list[tuple[int, int]]] = {}
    for journey_id, version_id, place in SQL["waiting_filters"].rows():
        waiting.setdefault(journey_id, []).append((version_id, place))
    for journey in journeys:
        asked = _waiting(journey, waiting.get(journey.pk, []), now, (after, upto), names)
        try:
            done += _let_in(journey, asked, now, (after, upto), kinds, before if reached else None, names)
        except RuleError as error:
            log.error("journey_trigger_unreadable", journey=journey.key, error=str(error))
    if done or kinds & nurture.TURNING:
        nurture.take_turns_after(now, after, upto)
    return done


def _let_in(
    journey: Journey,
    asked: list[Fragment],
    now: datetime,
    window: tuple[int, int],
    kinds: set[str],
    dates_after: int | None,
    names: Vocabulary,
) -> int:
    """Lets in who is asked already, whom the window names, and whose date came (told behind `dates_after`)."""
    assert journey.version is not None
    definition = journey.version.definition
    reentry = definition.get("reentry") or {"policy": "never"}
    for cause in causes(journey.key, definition, now, names):
        if cause.kind == "date.reached":
            which = Q(id__gt=dates_after) if dates_after is not None else None
        else:
            which = Q(id__gt=window[0], id__lte=window[1]) if cause.kind in kinds else None
        if which is None:
            continue
        in_time = Q(occurred_at__gte=F("received_at") - grace_of(definition), is_machine=False)
        try:
            found = fragment(
                Touchpoint.objects.filter(cause.wanted, which, in_time).values("id", "contact_id", "properties")
            )
        except EmptyResultSet:
            continue
        asked.append(_asked(cause, _keyed(found, reentry), now, names))
    if not asked:
        return 0
    entered, flooded = SQL["enrol"].rows(
        fragments={"asked": join(" UNION ALL ", asked)},
        now=now,
        journey=journey.pk,
        journey_key=journey.key,
        version=journey.version_id,
        number=journey.version.number,
        entry=Node.objects.get(version_id=journey.version_id, key=ENTRY).pk,
        policy=reentry["policy"],
        cooldown=parse_duration(reentry["cooldown"]) if "cooldown" in reentry else timedelta(),
        most=reentry.get("max", 0),
        window=parse_duration(reentry["window"]) if "window" in reentry else timedelta(),
        flood=FLOOD,
        until=now + PATIENCE,
        holdout=holdout_of(definition),
        is_track=is_track(definition),
    )[0]
    if flooded:
        log.warning("journey_entries_stopped", journey=journey.key, people=flooded, most_a_day=FLOOD)
    return int(entered)


def _keyed(found: Fragment, reentry: dict[str, Any]) -> Fragment:
    """The occasion beside each event: what a journey that lets people in per key tells apart."""
    if reentry["policy"] != "per_key":
        return piece("SELECT t.contact_id, t.id AS touchpoint_id, '' AS entry_key FROM ({found}) t", found=found)
    # A property may hold several occasions, such as the products of an order: each lets the person in.
    return piece(
        """SELECT t.contact_id, t.id AS touchpoint_id,
                  -- An index cannot hold what is longer than a few thousand bytes; anybody may tell of an order.
                  CASE WHEN length(said_key) > {most} THEN left(said_key, {most} - 33) || ':' || md5(said_key)
                       ELSE said_key END AS entry_key
           FROM ({found}) t
           CROSS JOIN LATERAL (SELECT coalesce(t.properties->{key}, t.properties->{plural}) AS said) p
           LEFT JOIN LATERAL jsonb_array_elements_text(
               CASE jsonb_typeof(p.said) WHEN 'array' THEN p.said ELSE jsonb_build_array(p.said) END) AS one ON true
           CROSS JOIN LATERAL (SELECT coalesce(nullif(t.properties->>'entry_key', ''), one, '') AS said_key) k""",
        found=found,
        most=LONGEST_KEY,
        key=reentry["key"],
        plural=reentry["key"] + "s",
    )


def _asked(cause: Cause, found: Fragment, now: datetime, names: Vocabulary) -> Fragment:
    """The events of one cause, and whether its entry filter holds for their people."""
    return piece(
        """SELECT p.contact_id, p.touchpoint_id, p.entry_key, {place}::int AS place, NULL::bigint AS candidate_id,
                  {may} AS may, false AS is_last FROM ({found}) p""",
        place=cause.place,
        may=is_meant(cause.when, now, names) if cause.when is not None else Fragment("true"),
        found=found,
    )


def _waiting(
    journey: Journey, filters: list[tuple[int, int]], now: datetime, window: tuple[int, int], names: Vocabulary
) -> list[Fragment]:
    """Those who wait for an entry filter, and whether it holds by now; each by the version that asked it first."""
    assert journey.version is not None
    answers = []
    for version_id, place in filters:
        rule = filter_of(JourneyVersion.objects.get(pk=version_id).definition, place)
        try:
            holds = is_meant(rule, now, names)
        except RuleError as error:
            log.error("entry_filter_unreadable", journey=journey.key, error=str(error))
            continue
        answers.append(
            piece(
                "WHEN p.version_id = {version} AND p.place = {place} THEN {holds}",
                version=version_id,
                place=place,
                holds=holds,
            )
        )
    if not answers:
        return []
    params = {"journey": journey.pk, "now": now, "after": window[0], "upto": window[1]}
    return [
        piece(
            """SELECT p.contact_id, p.touchpoint_id, p.entry_key, p.place::int, p.id AS candidate_id,
                      -- Whoever waited through a pause of the journey is late like anybody else.
                      p.until >= {earliest} AND CASE {answers} ELSE false END AS may, p.until <= {now} AS is_last
               FROM ({who}) p""",
            earliest=now - grace_of(journey.version.definition),
            answers=join(" ", answers),
            now=now,
            who=Fragment(SQL["waiting_candidates"].sql, params),
        )
    ]


def holdout_of(definition: dict[str, Any]) -> int:
    """How many of a hundred are held out, to measure what the journey does."""
    return int(str(definition.get("holdout", 0)).removesuffix("%").strip())
