"""Random people, caps, clocks, holidays, holdouts and pauses: the one statement says what the twin says.

For every message, after every tick: the same state, reason, next moment and clock; and Σ intents = Σ sent + Σ reasons.
"""

import os
from collections import Counter
from datetime import UTC, datetime, time, timedelta
from random import Random
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from contacts.models import Consent, Contact, Membership, Segment
from messaging import gates, models
from messaging.gates import arbitrate
from messaging.outbox import hold
from messaging.reasons import REASONS
from tests.messaging import gates_twin as twin

pytestmark = pytest.mark.django_db

DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
# Christmas, and the two nights of 2027 in which the clocks of most of these zones change.
STARTS = [
    datetime(2026, 12, 21, 9, tzinfo=UTC),
    datetime(2027, 3, 24, 9, tzinfo=UTC),
    datetime(2027, 10, 28, 9, tzinfo=UTC),
]
ZONES = ["Europe/Prague", "Asia/Tokyo", "America/New_York", "Australia/Lord_Howe", "Pacific/Auckland", "Asia/Kolkata"]
CLASSES = ["marketing"] * 5 + ["operational", "transactional"]
CHANNELS = ["email", "email", "sms"]

policies = st.builds(
    twin.Policy,
    quiet_from=st.sampled_from([time(20), time(21, 30), time(12)]),
    quiet_until=st.sampled_from([time(8), time(7, 30), time(14)]),
    sundays=st.booleans(),
    holidays=st.booleans(),
    max_defer=st.sampled_from([timedelta(hours=72), timedelta(hours=9), timedelta(days=8)]),
    most=st.sampled_from([(1, 3, 12), (2, 2, 2), (3, 5, 7)]),
    caps=st.lists(
        st.tuples(
            st.sampled_from(["", "email", "sms"]),
            st.sampled_from(["", "news", "tips"]),
            st.sampled_from([(1, None, None), (None, 2, None), (1, 2, 3), (0, None, 5)]),
        ).filter(lambda cap: cap[0] or cap[1]),
        max_size=3,
        unique_by=lambda cap: cap[:2],
    ),
    global_holdout=st.sampled_from([0, 0, 20]),
    drain=st.sampled_from([None, 3, 1000]),
)


class World:
    """Some forty people with three messages each, as the twin has them; `write` puts them into the database."""

    def __init__(self, dice: Random, policy: twin.Policy, start: datetime):
        self.dice, self.policy, self.start = dice, policy, start
        self.templates = [self._template(number) for number in dice.sample(range(1, 10_000), 8)]
        self.people = [self._person(number) for number in dice.sample(range(1, 1_000_000), 40)]
        numbers = dice.sample(range(1, 1_000_000), 120)
        self.messages = [self._message(number) for number in numbers]
        self.journeys = {"calm": "", "brief": "skip", "loud": "ignore"}
        self.journey_of = {}
        for one in self.messages:
            key = dice.choice([*self.journeys, ""])
            self.journey_of[one.id], one.journey_quiet_hours = key, self.journeys.get(key, "")

    def _chance(self, share: float) -> bool:
        return self.dice.random() < share

    def _template(self, number: int) -> twin.Template:
        dice, kind = self.dice, self.dice.choice(CLASSES)
        return twin.Template(
            number,
            kind,
            topic=dice.choice(["news", "tips"]),
            is_opt_in=False,
            is_repeatable=self._chance(0.4),
            quiet_hours=dice.choice(["default", "default", "default", "skip", "ignore"]),
            holdout=dice.choice([0, 0, 0, 30]),
        )

    def _person(self, number: int) -> twin.Person:
        dice = self.dice
        moments = [self.start + hours * timedelta(hours=1) for hours in (-5, 20, 50, 200)]
        person = twin.Person(
            number,
            zone=dice.choice(["", "", *ZONES]),
            country=dice.choice(["", "CZ", " pl ", "JP", "US", "XX"]),
            segment_zone=dice.choice(["", "", "America/Sao_Paulo"]),
            is_erased=self._chance(0.03),
            email=dice.choice([*["a@b.example"] * 20, "", "no address"]),
            suppressed=dice.choice([*[""] * 12, "unsubscribed", "bounced", "complained", "legal_hold"]),
            paused_until=dice.choice([*[None] * 8, *moments]),
            protected_until=dice.choice([*[None] * 4, *moments]),
            most_per_week=dice.choice([None, None, None, 1, 50]),
            holds=dice.sample(moments[1:], dice.choice([0, 0, 0, 0, 0, 1, 2])),
        )
        if "@" not in person.email:
            person.suppressed = ""
        for channel in ("email", "sms"):
            for topic in ("", "news", "tips"):
                if self._chance(0.08):
                    person.consents[channel, topic] = dice.choice(["granted", "denied", "pending"])
        return person

    def _message(self, number: int) -> twin.Message:
        dice = self.dice
        due = self.start + timedelta(
            hours=dice.choice([-30, -1, 0, 0, 0, 5, 11, 30, 60, 100]), minutes=dice.randrange(60)
        )
        template = dice.choice(self.templates)
        return twin.Message(
            number,
            dice.choice(self.people),
            template,
            due,
            channel=dice.choice(CHANNELS),
            tier=dice.choice([1, 2, 3, 3, 3, 4, 5]),
            valid_until=dice.choice([None, None, due + timedelta(hours=12), due + 2 * DAY, due + 9 * DAY]),
            is_ghost=template.message_class == "marketing" and self._chance(0.07),
            is_promotion=self._chance(0.3),
        )

    def write(self) -> None:
        dice, policy = self.dice, self.policy
        models.SendingPolicy.objects.create(
            pk=1, quiet_from=policy.quiet_from, quiet_until=policy.quiet_until, sundays_are_quiet=policy.sundays,
            holidays_are_quiet=policy.holidays, max_defer=policy.max_defer, per_day=policy.most[0],
            per_week=policy.most[1], per_month=policy.most[2], global_holdout=policy.global_holdout,
            drain_per_minute=policy.drain,
        )  # fmt: skip
        topics = {key: models.Topic.objects.create(key=key, name=key, is_opt_in=False) for key in ("news", "tips")}
        for channel, topic, (day, week, month) in policy.caps:
            models.Cap.objects.create(
                channel=channel, topic=topics.get(topic), per_day=day, per_week=week, per_month=month
            )
        segment = Segment.objects.create(key="brazil", name="Brazil")
        models.SegmentZone.objects.create(policy_id=1, segment=segment, zone="America/Sao_Paulo")
        for one in self._shuffled(self.templates):
            models.Template.objects.create(
                pk=one.id, key=f"t{one.id}", topic=topics[one.topic], message_class=one.message_class,
                is_repeatable=one.is_repeatable, quiet_hours=one.quiet_hours, holdout=one.holdout, subject="s",
                body="b",
            )  # fmt: skip
        people = self._shuffled(self.people)
        Contact.objects.bulk_create(
            Contact(
                pk=one.id, email=address(one), phone=f"+420{one.id}", zone=one.zone, timezone=one.zone,
                country=one.country, erased_at=self.start if one.is_erased else None, paused_until=one.paused_until,
                most_per_week=one.most_per_week,
            )
            for one in people
        )  # fmt: skip
        Membership.objects.bulk_create(
            Membership(segment=segment, contact_id=one.id, entered_at=self.start) for one in people if one.segment_zone
        )
        models.Suppression.objects.bulk_create(
            models.Suppression(address=address(one), reason=one.suppressed) for one in people if one.suppressed
        )
        models.Protection.objects.bulk_create(
            models.Protection(contact_id=one.id, source=str(one.id), until=one.protected_until)
            for one in people
            if one.protected_until
        )
        # Others were released, and hold nothing.
        models.Hold.objects.bulk_create(
            models.Hold(contact_id=one.id, held_at=self.start, until=until, released_at=released_at)
            for one in people
            for until, released_at in [
                *((until, None) for until in one.holds),
                (self.start + 20 * DAY, self.start),
            ]
        )
        Consent.objects.bulk_create(
            Consent(contact_id=one.id, channel=channel, topic=topic, state=state, changed_at=self.start)
            for one in people
            for (channel, topic), state in one.consents.items()
        )
        models.Message.objects.bulk_create(
            models.Message(
                pk=one.id, key=f"m{one.id}", contact_id=one.person.id, template_id=one.template.id, channel=one.channel,
                message_class=one.template.message_class, journey_key=self.journey_of[one.id], is_ghost=one.is_ghost,
                is_promotion=one.is_promotion, tier=one.tier, created_at=self.start, due_at=one.due_at,
                valid_until=one.valid_until,
            )
            for one in self._shuffled(self.messages)
        )  # fmt: skip
        del dice

    def _shuffled(self, rows: list) -> list:
        """Rows lie in a table in any order."""
        return self.dice.sample(rows, len(rows))


def address(person: twin.Person) -> str:
    return f"p{person.id}@example.com" if "@" in person.email else person.email


def found() -> dict[int, tuple]:
    rows = models.Message.objects.values_list(
        "pk", "state", "reason", "due_at", "waits_for", "zone", "zone_from", "wanted_at"
    )
    return {pk: tuple(values) for pk, *values in rows}


def expected(world: World) -> dict[int, tuple]:
    return {
        one.id: (
            one.state, one.reason, one.due_at, one.waits_for, one.zone, one.zone_from,
            one.first_due if one.waits_for else None,
        )
        for one in world.messages
    }  # fmt: skip


@settings(
    max_examples=200 if DEEP else 6,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(policy=policies, seed=st.integers(0, 2**32), start=st.sampled_from(STARTS))
def test_every_message_fares_as_the_twin_says(policy: twin.Policy, seed: int, start: datetime) -> None:
    world = World(Random(seed), policy, start)  # noqa: S311 - a die
    gates._quiet_hours[:], before = [QUIET_JOURNEYS], list(gates._quiet_hours)
    try:
        with transaction.atomic():
            world.write()
            _run(world)
            transaction.set_rollback(True)
    finally:
        gates._quiet_hours[:] = before


QUIET_JOURNEYS = gates.Fragment(
    "SELECT * FROM (VALUES ('brief', 'skip'), ('loud', 'ignore')) AS said(key, quiet_hours)"
)


def _run(world: World) -> None:
    dice, drained = world.dice, datetime.min.replace(tzinfo=UTC)
    moments = sorted(world.start + dice.randrange(9 * 24 * 60) * MINUTE for _ in range(6))
    moments = [world.start, *moments, world.start + 30 * DAY, world.start + 45 * DAY, world.start + 60 * DAY]
    paused = sorted(dice.sample(range(1, 6), 2))
    for number, now in enumerate(moments):
        for place, is_held in zip(paused, (True, False), strict=True):
            if number == place:
                _hold(world, is_held)
        for _again in range(dice.choice([1, 1, 2])):
            # A tick that comes twice changes nothing.
            arbitrate(now, 0, 0)
        drained = twin.judge(world.messages, world.policy, now, drained)
        assert found() == {pk: _at_last(values, pk) for pk, values in expected(world).items()}, number
        _deliver(world, now)
    states = Counter(one.state for one in models.Message.objects.all())
    reasons = Counter(models.Message.objects.exclude(reason="").values_list("reason", flat=True))
    assert len(world.messages) == states["sent"] + states["uncertain"] + sum(reasons.values()) + states["pending"]
    assert set(reasons) <= set(REASONS)
    # Nothing waits for ever but what a protection or a throttle keeps.
    waiting = set(models.Message.objects.filter(state="pending").values_list("waits_for", flat=True))
    assert waiting <= {"throttle", "frequency", "quiet_hours", "paused", "onboarding_protection", "held_by_sales"}


def _at_last(values: tuple, pk: int) -> tuple:
    """What was put off once keeps the moment from which it waits, whatever becomes of it."""
    wanted = models.Message.objects.filter(pk=pk).values_list("wanted_at", flat=True).get()
    return (*values[:6], values[6] if values[3] else wanted)


def _hold(world: World, is_held: bool) -> None:
    hold(journey_key="calm", is_held=is_held)
    for one in world.messages:
        if world.journey_of[one.id] == "calm" and one.state == "pending":
            one.is_held = is_held


def _deliver(world: World, now: datetime) -> None:
    """What passed leaves at once; of a few nobody knows."""
    for one in world.messages:
        if one.state == "ready":
            one.state, one.sent_at = ("uncertain" if one.id % 17 == 0 else "sent"), now
    ready = models.Message.objects.filter(state="ready")
    for state in ("uncertain", "sent"):
        ids = [one.id for one in world.messages if one.state == state]
        ready.filter(pk__in=ids).update(state=state, sent_at=now if state == "sent" else None, claimed_at=now)


def test_a_cap_of_a_day_gives_the_same_days_whatever_the_beat_of_the_ticks(make_contact, make_template) -> None:
    """Also under other orders of the rows: who goes first is decided by what the messages say, not by when one asks."""
    start = datetime(2026, 11, 9, 15, tzinfo=UTC)
    outcomes = []
    for beat in (20, 60, 180):
        with transaction.atomic():
            outcomes.append(_days(start, beat, Random(beat), make_template))  # noqa: S311 - a die
            transaction.set_rollback(True)
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert {reason for reason, _day in outcomes[0].values()} == {"", "capped"}


# Within three hours of nobody's morning: else a slow tick would come too late for what ends then.
EARLIER = timedelta(hours=3, minutes=30)


def _days(start: datetime, beat: int, order: Random, make_template: Any) -> dict[int, tuple]:
    dice = Random(7)  # noqa: S311 - a die
    models.SendingPolicy.objects.create(pk=1, per_week=99, per_month=99)
    template = make_template(is_repeatable=True)
    Contact.objects.bulk_create(Contact(pk=1000 + n, email=f"d{n}@example.com", zone=ZONES[n % 6]) for n in range(40))
    rows = [
        models.Message(
            pk=5000 + n, key=f"d{n}", contact_id=1000 + n % 40, template=template, message_class="marketing",
            tier=dice.randint(1, 5), created_at=start, due_at=start,
            valid_until=dice.choice([None, start + 2 * DAY - EARLIER, start + 4 * DAY - EARLIER]),
        )
        for n in range(320)
    ]  # fmt: skip
    order.shuffle(rows)
    models.Message.objects.bulk_create(rows)
    days: dict[int, tuple] = {}
    now = start
    while now < start + 9 * DAY:
        arbitrate(now, 0, 0)
        for one in models.Message.objects.filter(state="ready").select_related("contact"):
            days[one.pk] = ("", twin.datetime.astimezone(now, twin.ZoneInfo(one.contact.zone)).date())
        models.Message.objects.filter(state="ready").update(state="sent", sent_at=now)
        upcoming = models.Message.objects.filter(state="pending").order_by("due_at").values_list("due_at", flat=True)
        if (following := upcoming.first()) is None:
            break
        while now < following:
            now += beat * MINUTE
    for pk, reason in models.Message.objects.filter(state="skipped").values_list("pk", "reason"):
        days[pk] = (reason, None)
    return days
