"""The gates once more, in plain Python: one message after the other, one minute after the other.

It reads nothing of `messaging`; where the two differ, it is right.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from hashlib import md5
from zoneinfo import ZoneInfo

import holidays

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
HOME, HOME_CALENDAR = "Europe/Prague", "CZ"
# What the tests use; of a country with several clocks nothing follows.
ZONE_OF = {"CZ": "Europe/Prague", "PL": "Europe/Warsaw", "JP": "Asia/Tokyo", "IN": "Asia/Kolkata"}
LEFT = ("ready", "sent", "uncertain")


@dataclass
class Policy:
    quiet_from: time = time(20)
    quiet_until: time = time(8)
    sundays: bool = False
    holidays: bool = False
    max_defer: timedelta = timedelta(hours=72)
    most: tuple = (1, 3, 12)
    # (channel or "", topic or "", (a day, in 7 days, in 30))
    caps: list = field(default_factory=list)
    global_holdout: int = 0
    drain: int | None = None


@dataclass
class Person:
    id: int
    zone: str = ""
    country: str = ""
    segment_zone: str = ""
    is_erased: bool = False
    email: str = "a@b.example"
    suppressed: str = ""
    # (channel, topic) → state; the topic "" is everything
    consents: dict = field(default_factory=dict)
    paused_until: datetime | None = None
    protected_until: datetime | None = None
    # One moment for each hold of sales.
    holds: list = field(default_factory=list)
    most_per_week: int | None = None


@dataclass
class Template:
    id: int
    message_class: str = "marketing"
    topic: str = ""
    is_opt_in: bool = False
    is_repeatable: bool = False
    quiet_hours: str = "default"
    holdout: int = 0


@dataclass
class Message:
    id: int
    person: Person
    template: Template
    due_at: datetime
    channel: str = "email"
    tier: int = 3
    valid_until: datetime | None = None
    is_ghost: bool = False
    is_promotion: bool = False
    is_held: bool = False
    journey_quiet_hours: str = ""
    state: str = "pending"
    reason: str = ""
    waits_for: str = ""
    first_due: datetime | None = None
    sent_at: datetime | None = None
    zone: str = ""
    zone_from: str = ""

    @property
    def is_marketing(self) -> bool:
        return self.template.message_class == "marketing"


# Time ----------------------------------------------------------------------------------------------------------------


def bucket(salt: str, number: int) -> int:
    return int(md5(f"{salt}:{number}".encode()).hexdigest()[:8], 16) % 100


def spread(person: Person) -> timedelta:
    return timedelta(seconds=person.id * 7919 % 900)


def clock_of(person: Person) -> tuple[str, str]:
    if person.zone:
        return person.zone, "explicit"
    if person.country.strip().upper() in ZONE_OF:
        return ZONE_OF[person.country.strip().upper()], "inferred"
    if person.segment_zone:
        return person.segment_zone, "segment"
    return HOME, "workspace"


@cache
def _holidays(country: str, year: int) -> frozenset[date]:
    return frozenset(holidays.country_holidays(country, years=year))


_CALENDARS = holidays.list_supported_countries()
# One minute after the other is slow; many people have one clock.
_civil: dict[tuple, datetime | None] = {}


def is_closed(policy: Policy, country: str, day: date) -> bool:
    country = country.strip().upper()
    calendar = country if country in _CALENDARS else HOME_CALENDAR
    is_holiday = policy.holidays and day in _holidays(calendar, day.year)
    return (policy.sundays and day.weekday() == 6) or is_holiday


def is_quiet(policy: Policy, country: str, zone: str, moment: datetime) -> bool:
    wall = moment.astimezone(ZoneInfo(zone))
    begins, ends, at = policy.quiet_from, policy.quiet_until, wall.time().replace(tzinfo=None)
    night = at >= begins or at < ends if begins > ends else begins <= at < ends
    return night or is_closed(policy, country, wall.date())


def next_civil(policy: Policy, country: str, zone: str, moment: datetime) -> datetime | None:
    """The first minute at which somebody may be written to; None where that is now."""
    key = (policy.quiet_from, policy.quiet_until, policy.sundays, policy.holidays, country, zone, moment)
    if key not in _civil:
        minute = moment
        if is_quiet(policy, country, zone, moment):
            minute = moment.replace(second=0, microsecond=0) + MINUTE
            while is_quiet(policy, country, zone, minute):
                minute += MINUTE
        _civil[key] = None if minute == moment else minute
    return _civil[key]


def at_wall(day: date, at: time, zone: str) -> datetime:
    """A wall time as an instant: what does not exist is the next minute that does, what comes twice is the first."""
    wall = datetime.combine(day, at)
    while True:
        moment = wall.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
        if moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall:
            return moment
        wall += MINUTE


# The gates -----------------------------------------------------------------------------------------------------------


def refusal(message: Message, policy: Policy, everything: list[Message], now: datetime) -> str:
    """The first gate that fails for good."""
    person, template = message.person, message.template
    if person.is_erased:
        return "erased"
    if person.suppressed == "legal_hold":
        return "legal_hold"
    suppressed = person.suppressed if message.channel == "email" else ""
    if template.message_class != "transactional":
        everything_said = person.consents.get((message.channel, ""), "")
        topic_said = person.consents.get((message.channel, template.topic), "") if template.topic else ""
        if suppressed == "unsubscribed" or everything_said == "denied":
            return "unsubscribed"
        if topic_said == "denied":
            return "topic_refused"
        if "pending" in (everything_said, topic_said) or (template.is_opt_in and topic_said != "granted"):
            return "no_consent"
    # Everybody here has a telephone number.
    if message.channel == "email" and not person.email:
        return "no_address"
    if message.channel == "email" and "@" not in person.email:
        return "invalid_address"
    if suppressed not in ("", "unsubscribed"):
        return "suppressed"
    once = message.is_marketing and not template.is_repeatable and not message.is_ghost
    if once and any(
        other is not message
        and other.person is person
        and other.template is template
        and other.state in LEFT
        and not other.is_ghost
        for other in everything
    ):
        return "already_sent"
    if message.valid_until is not None and message.valid_until <= now:
        return "expired"
    if message.is_marketing and bucket("holdout:global", person.id) < policy.global_holdout:
        return "holdout"
    if message.is_ghost:
        return "holdout"
    if message.is_marketing and bucket(f"holdout:message:{template.id}", person.id) < template.holdout:
        return "holdout"
    return ""


def caps_of(message: Message, policy: Policy) -> list[tuple]:
    """The caps that hold for a message: (channel, topic, numbers)."""
    a_day, a_week, a_month = policy.most
    if message.person.most_per_week is not None:
        a_week = min(a_week, message.person.most_per_week)
    return [("", "", (a_day, a_week, a_month))] + [
        cap for cap in policy.caps if cap[0] in ("", message.channel) and cap[1] in ("", message.template.topic)
    ]


def has_room(message: Message, policy: Policy, everything: list[Message], now: datetime) -> bool:
    zone = ZoneInfo(clock_of(message.person)[0])
    for channel, topic, most in caps_of(message, policy):
        moments = [
            now if other.state == "ready" else other.sent_at
            for other in everything
            if other.person is message.person
            and other.template.message_class != "transactional"
            and not other.is_ghost
            and other.state in LEFT
            and channel in ("", other.channel)
            and topic in ("", other.template.topic)
        ]
        had = (
            sum(one.astimezone(zone).date() == now.astimezone(zone).date() for one in moments),
            sum(one > now - 7 * DAY for one in moments),
            sum(one > now - 30 * DAY for one in moments),
        )
        if any(limit is not None and number >= limit for number, limit in zip(had, most, strict=True)):
            return False
    return True


def order(message: Message) -> tuple:
    forever = datetime.max.replace(tzinfo=UTC)
    return message.is_marketing, message.tier, message.valid_until or forever, message.first_due, message.id


def judge(everything: list[Message], policy: Policy, now: datetime, drained_until: datetime) -> datetime:
    """One pass at `now`: writes into the messages what becomes of them; until when the throttle is taken."""
    asked = [one for one in everything if one.state == "pending" and one.due_at <= now and not one.is_held]
    for one in asked:
        one.first_due = one.first_due or one.due_at
        one.zone, one.zone_from = clock_of(one.person)
    # Nobody's refusal hangs on what becomes of another message in this pass.
    refused = {one.id: refusal(one, policy, everything, now) for one in asked}
    was_due = {one.id: one.due_at for one in asked}
    passed = []
    for one in sorted(asked, key=order):
        if refused[one.id]:
            end(one, refused[one.id])
        elif _waits(one, policy, now):
            pass
        elif one.template.message_class == "transactional":
            one.state, one.waits_for = "ready", ""
        elif _is_twin(one, passed):
            end(one, "already_sent")
        elif not one.is_marketing or has_room(one, policy, everything, now):
            one.state, one.waits_for = "ready", ""
            passed.append(one)
        else:
            _wait_for_room(one, policy, now)
    return _drain([one for one in passed if was_due[one.id] < now - 15 * MINUTE], policy, now, drained_until)


def _is_twin(message: Message, passed: list[Message]) -> bool:
    return (
        message.is_marketing
        and not message.template.is_repeatable
        and any(other.person is message.person and other.template is message.template for other in passed)
    )


def _waits(message: Message, policy: Policy, now: datetime) -> bool:
    """Whether a protection, sales, a pause or the night keeps it; if so, until when, or for good."""
    person = message.person
    forever = message.valid_until is None
    last = message.valid_until or message.first_due + 7 * DAY
    paused = person.paused_until if message.is_marketing and person.paused_until else None
    paused = paused if paused and paused > now else None
    protects = message.is_marketing and message.is_promotion
    protected = person.protected_until if protects and person.protected_until else None
    protected = protected if protected and protected > now else None
    held = max((one for one in person.holds if message.is_marketing and one > now), default=None)
    if paused or protected or held:
        until = max(one for one in (paused, protected, held) if one) + spread(person)
        is_protection = bool(protected and protected > max(paused or now, held or now))
        is_hold = bool(held and held > (paused or now))
        why = "onboarding_protection" if is_protection else "held_by_sales" if is_hold else "paused"
        if is_protection and forever:
            _put_off(message, until, "onboarding_protection")
            message.first_due = until
        elif until >= last:
            end(message, why)
        else:
            _put_off(message, until, why)
            message.first_due = until if is_protection else message.first_due
        return True
    in_quiet = message.journey_quiet_hours or message.template.quiet_hours
    if message.template.message_class == "transactional" or in_quiet == "ignore":
        return False
    civil = next_civil(policy, person.country, clock_of(person)[0], now)
    if civil is None:
        return False
    until = civil + spread(person)
    if in_quiet == "skip":
        end(message, "quiet_hours")
    elif (not forever and until >= message.valid_until) or until > now + policy.max_defer:
        end(message, "expired")
    else:
        _put_off(message, until, "quiet_hours")
    return True


def _wait_for_room(message: Message, policy: Policy, now: datetime) -> None:
    zone = clock_of(message.person)[0]
    day = now.astimezone(ZoneInfo(zone)).date() + DAY
    if (message.journey_quiet_hours or message.template.quiet_hours) != "ignore":
        while is_closed(policy, message.person.country, day):
            day += DAY
    until = at_wall(day, policy.quiet_until, zone) + spread(message.person)
    if until >= (message.valid_until or message.first_due + 7 * DAY):
        end(message, "capped")
    else:
        _put_off(message, until, "frequency")


def _drain(late: list[Message], policy: Policy, now: datetime, drained_until: datetime) -> datetime:
    """Of what is late so many a minute leave; the others get a turn."""
    if policy.drain is None or not late:
        return drained_until
    turn = max(drained_until, now)
    for one in sorted(late, key=order):
        if turn >= now + MINUTE:
            one.state = "pending"
            _put_off(one, turn, "throttle")
        turn += MINUTE / policy.drain
    return turn


def _put_off(message: Message, until: datetime, why: str) -> None:
    message.due_at, message.waits_for = until, why


def end(message: Message, reason: str) -> None:
    message.state, message.reason, message.waits_for = "skipped", reason, ""
