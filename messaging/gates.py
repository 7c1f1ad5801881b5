"""The gates: what must be true before a message may leave, in one order, for all due messages in one statement.

The first gate that fails is the message's reason. `messaging.explaining` asks the same statement about one message and
puts it in words.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from contacts.calendars import countries
from contacts.sql import Fragment, join, load
from messaging import civil
from messaging.addresses import PIECES, WRONG
from messaging.models import Cap, Message, SegmentZone, SendingPolicy

SQL = load(__file__)

# From so many due messages on, all are joined at once rather than one by one.
CROWD = 2_000
# What is due for longer than this is late: after a pause or an outage it leaves at a throttle.
LATE = timedelta(minutes=15)
# Who waits for room in vain for so long is not written to any more, unless the message says how long it is valid.
PATIENCE = timedelta(days=7)

# Asked twice in the same words: by the gates, and once more in the statement that claims a message.
# Transactional mail needs no consent, but nobody writes to an address that bounced, complained or was blocked.
REFUSAL = Fragment(r"""CASE
            WHEN c.erased_at IS NOT NULL THEN 'erased'
            WHEN c.merged_into_id IS NOT NULL THEN 'merged'
            -- On one address of theirs, it holds for all channels. Where there is none at all, nobody is looked for.
            WHEN (SELECT EXISTS (SELECT FROM messaging_suppression WHERE reason = 'legal_hold')) AND EXISTS (
                SELECT FROM messaging_suppression lawful
                WHERE lawful.reason = 'legal_hold' AND lawful.address IN (lower(btrim(c.email)), btrim(c.phone))
            ) THEN 'legal_hold'
            WHEN m.message_class = 'transactional' THEN NULL
            WHEN s.reason = 'unsubscribed' THEN 'unsubscribed'
            WHEN veto.state = 'denied' THEN 'unsubscribed'
            WHEN said.state = 'denied' THEN 'topic_refused'
            -- Somebody typed this address into a form; whether it is theirs is not known yet.
            WHEN 'pending' IN (veto.state, said.state) THEN 'no_consent'
            WHEN topic.is_opt_in AND coalesce(said.state, '') <> 'granted' THEN 'no_consent'
            END""")
# Behind whether there is an address at all.
SUPPRESSED = Fragment("CASE WHEN s.reason NOT IN ('unsubscribed', 'legal_hold') THEN 'suppressed' END")

COLUMNS = """id, contact_id, template_id, message_class, channel, is_ghost, tier, due_at, wanted_at, valid_until,
    enrolment_id, is_promotion, journey_key"""
# Nobody but an app above knows journeys (see `register_quiet_hours`).
_NO_JOURNEYS = Fragment("SELECT NULL::text AS key, NULL::text AS quiet_hours WHERE false")
_NO_PAUSES = Fragment("SELECT NULL::text AS key WHERE false")

# Marketing waits while the complaint brake holds it (see `brake`).
_LET_GO = "(m.message_class <> 'marketing' OR NOT EXISTS (SELECT FROM messaging_brake WHERE released_at IS NULL))"

_gates: list[Callable[[datetime], Fragment]] = []
_quiet_hours: list[Fragment] = []
_paused: list[Fragment] = []


def register_gate(gate: Callable[[datetime], Fragment]) -> None:
    """Adds a question of an app above, after consent and address and once more at the door.

    `gate(now)` gives a piece of SQL over the message `m`: the reason why it must not leave, or NULL. Call it from
    `AppConfig.ready`.
    """
    if gate not in _gates:
        _gates.append(gate)


def register_quiet_hours(journeys: Fragment) -> None:
    """Adds what journeys say about quiet hours: a query of `key` and `quiet_hours` ("skip" or "ignore"), each key once.

    What it says wins over a message's template. Call it from `AppConfig.ready`.
    """
    if journeys not in _quiet_hours:
        _quiet_hours.append(journeys)


def register_pauses(journeys: Fragment) -> None:
    """Adds which journeys are paused: a query of `key`. Call it from `AppConfig.ready`."""
    if journeys not in _paused:
        _paused.append(journeys)


def paused() -> Fragment:
    """A query of the keys of all paused journeys."""
    return join(" UNION ALL ", _paused or [_NO_PAUSES])


def refusal(now: datetime) -> Fragment:
    """What is asked of a message at the door: a piece of SQL over `m`, `c`, `s` and consents, its reason or NULL."""
    return _first_of([REFUSAL, SUPPRESSED], now)


def _first_of(own: list[Fragment], now: datetime) -> Fragment:
    asked = join(", ", own + [gate(now) for gate in _gates])
    return Fragment(f"coalesce({asked.sql})", asked.params)


# Caps ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limit:
    """At most so many in a day, in 7 days and in 30 of what it is about; `number` is its place among all limits."""

    number: int
    channel: str
    topic_id: int | None
    topic: str
    most: tuple[int | None, int | None, int | None]

    def holds(self, channel: str, topic: str, params: dict[str, Any]) -> str:
        """The condition in SQL, over the names of a channel's and a topic's column; adds its `params`."""
        said = []
        if self.channel:
            params[f"channel_{self.number}"] = self.channel
            said.append(f"{channel} = %(channel_{self.number})s")
        if self.topic_id is not None:
            params[f"topic_{self.number}"] = self.topic_id
            said.append(f"{topic} = %(topic_{self.number})s")
        return " AND ".join(said) or "true"


def limits(policy: SendingPolicy) -> list[Limit]:
    """All caps, the overall one first."""
    overall = Limit(1, "", None, "", (policy.per_day, policy.per_week, policy.per_month))
    return [
        overall,
        *(
            Limit(number, cap.channel, cap.topic_id, str(cap.topic or ""), (cap.per_day, cap.per_week, cap.per_month))
            for number, cap in enumerate(Cap.objects.select_related("topic").order_by("pk"), 2)
        ),
    ]


def _caps(found: list[Limit]) -> dict[str, Fragment]:
    """The pieces of the statement that are about caps: which hold for a message, what each had, what room is left."""
    params: dict[str, Any] = {}
    mine, counts, rooms = ["ARRAY[1]"], [], []
    for one in found:
        at = one.number
        if at > 1:
            mine.append(f"CASE WHEN {one.holds('m.channel', 't.topic_id', params)} THEN ARRAY[{at}] ELSE '{{}}' END")
        counted = one.holds("o.channel", "ot.topic_id", params)
        counts.append(
            f"[count(*) FILTER (WHERE {counted} AND moment >= day_began), "
            f"count(*) FILTER (WHERE {counted} AND moment > %(now)s - interval '7 days'), "
            f"count(*) FILTER (WHERE {counted})]"
        )
        left = []
        for span, most in enumerate(one.most, 1):
            name = f"most_{at}_{span}"
            params[name] = most
            # The person's own limit wins.
            own = f"least(%({name})s::int, most_per_week)" if (at, span) == (1, 2) else f"%({name})s::int"
            left.append(f"{own} - coalesce(had.counts[{at}][{span}], 0)::int")
        rooms.append(f"least({', '.join(left)})")
    return {
        "caps": Fragment(" || ".join(mine), params),
        "counts": Fragment(f"ARRAY[{', '.join(counts)}]", {}),
        "rooms": Fragment(f"ARRAY[{', '.join(rooms)}]", {}),
    }


# Judging -------------------------------------------------------------------------------------------------------------

# Which place among the late ones has a message that passed all gates before. Transactional mail is not kept waiting,
# nor is anybody whom our website shows something.
_LATE = """CASE WHEN failed IS NULL AND pause_end IS NULL AND quiet_end IS NULL AND walk = 1 AND due_at < %(late)s
        AND channel <> 'onsite' THEN
        row_number() OVER (
            PARTITION BY failed IS NULL AND pause_end IS NULL AND quiet_end IS NULL AND walk = 1 AND due_at < %(late)s
                AND channel <> 'onsite'
            ORDER BY message_class = 'marketing', tier, valid_until NULLS LAST, first_due, id) END"""
_SEGMENT_ZONE = """CASE WHEN c.zone = '' AND inferred.zone IS NULL THEN (
            SELECT z.zone FROM messaging_segmentzone z
            JOIN contacts_segment g ON g.id = z.segment_id
            JOIN contacts_membership n ON n.segment_id = z.segment_id AND n.contact_id = c.id
            ORDER BY g.key LIMIT 1) END"""


def judged(asked: Fragment, now: datetime, message: int = 0) -> Fragment:
    """The statement of all gates over `asked`, a query of messages as of `now`; `message` counts for no cap itself."""
    policy = SendingPolicy.objects.first() or SendingPolicy()
    closed = civil.closed_days(now.astimezone(UTC).date(), policy.sundays_are_quiet, policy.holidays_are_quiet)
    zones = civil.zones_of_countries()
    pieces = {
        "asked": asked,
        "refusal": _first_of([REFUSAL, WRONG, SUPPRESSED], now),
        "journeys": join(" UNION ALL ", _quiet_hours or [_NO_JOURNEYS]),
        "segment_zone": Fragment(_SEGMENT_ZONE if SegmentZone.objects.exists() else "NULL::text"),
        "late": Fragment(_LATE if policy.drain_per_minute else "NULL::bigint", {"late": now - LATE}),
        **_caps(limits(policy)),
        **PIECES,
    }
    sql = SQL["judge_messages"].sql
    params: dict[str, Any] = {
        "zone": settings.TIME_ZONE,
        "except": message,
        "patience": PATIENCE,
        "countries": list(zones),
        "zones": list(zones.values()),
        # Where no holiday counts, all people have one calendar.
        "calendars": sorted(countries()) if policy.holidays_are_quiet else [],
        "home": civil.home_calendar(policy.holidays_are_quiet),
        "closed_calendars": [calendar for calendar, _day, _opens in closed],
        "closed_days": [day for _calendar, day, _opens in closed],
        "open_days": [opens for _calendar, _day, opens in closed],
    }
    for name, piece in pieces.items():
        sql = sql.replace(f"{{{name}}}", piece.sql)
        params |= piece.params
    return Fragment(sql, params)


def arbitrate(now: datetime, after: int, upto: int) -> int:
    """The tick's step: leads every intent that is due at `now` through all gates; how many were judged.

    It reads the outbox, not the stream, so the window does not matter.
    """
    # Most ticks find nothing due; the statement of all gates is dear even then.
    if not Message.objects.filter(state="pending", is_held=False, due_at__lte=now).exists():
        return 0
    if SQL["any_holdout"].value():
        SQL["draw_holdouts"].run(now=now)
    due = f"SELECT {COLUMNS} FROM messaging_message m WHERE state = 'pending' AND due_at <= %(now)s AND NOT is_held AND {_LET_GO}"  # noqa: S608, E501
    with transaction.atomic():
        SQL["hold_stragglers"].run(fragments={"paused": paused()}, now=now)
        SQL["size_up_judging"].rows(now=now, crowd=CROWD)
        return int(SQL["arbitrate_messages"].value(fragments={"judged": judged(Fragment(due), now)}, now=now))
