"""Random journeys × random people × random events × random ticks: the engine's histories are those of the walker.

Ticks come late, twice, after pauses, and break between or inside their steps. One example walks a crowd, for the engine
moves sets. `WALKER=500` in the environment tries 500 journeys; by itself it is some seconds of CI.
"""

import json
import os
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
import yaml
from django.db import connection, transaction
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from campaigns import engine, graph, publishing
from campaigns.models import Enrolment, Node, Visit
from contacts.models import Contact, Field, StepCursor, Touchpoint
from contacts.stream import Step, run_step
from journey_crm import invariants
from messaging.models import Message
from tests.campaigns.walker import Walker
from tests.campaigns.world import STEPS, deliver, did, journey, templates

pytestmark = pytest.mark.django_db

EXAMPLES = int(os.environ.get("WALKER", "8"))
PEOPLE = 40
BEGIN = datetime(2027, 3, 27, 9, 0, tzinfo=UTC)  # the clocks of Europe change in the first night
ZONES = ["", "Europe/Prague", "America/New_York", "Asia/Kolkata", "Pacific/Chatham", "America/St_Johns"]
FIELDS = {"plan": "text", "seats": "number", "renews": "date"}
RENEWALS = ["2027-03-28", "2027-04-01", "2027-04-04", "2027-04-20"]
TEMPLATES = ["hello", "tip", "offer", "bye"]

# Journeys ------------------------------------------------------------------------------------------------------------

plan_is = st.builds(
    lambda op, value: {"field": "plan", "op": op, "value": value},
    st.sampled_from(["eq", "ne"]), st.sampled_from(["free", "pro"]),
)  # fmt: skip
many_seats = st.builds(lambda value: {"field": "seats", "op": "gte", "value": value}, st.sampled_from([5, 20]))
deed = st.builds(
    lambda kind, more: {"did": kind, **more},
    st.sampled_from(["page.viewed", "order.placed"]),
    st.sampled_from([
        {}, {}, {"count": {"op": "gte", "value": 2}}, {"count": {"op": "eq", "value": 1}},
        {"where": [{"field": "amount", "op": "gte", "value": 50}]},
    ]),
)  # fmt: skip
in_bucket = st.sampled_from([{"bucket": "0-49", "salt": "a"}, {"bucket": "30-99", "salt": "b"}])


def grouped(rules):
    """Some rules stand in groups."""
    some = st.lists(rules, min_size=1, max_size=2)
    groups = [st.builds(lambda parts, word=word: {word: parts}, some) for word in ("all", "any")]
    return st.one_of(rules, rules, *groups, rules.map(lambda rule: {"not": rule}))


# What may come about while somebody rests: only what tells of itself, for the clock alone wakes nobody early.
comes = grouped(st.one_of(deed, plan_is, many_seats))
lately = st.sampled_from([{"did": "page.viewed", "within": "2d"}, {"did": "trial.started", "within": "12h"}])
asked = grouped(st.one_of(deed, plan_is, many_seats, in_bucket, lately))
spans = st.sampled_from(["30m", "5h", "24h", "1d", "2d", "1w", "P1DT6H"])
clock_shows = st.builds(
    lambda at, days: {"local_time": at, **days},
    st.sampled_from(["09:00", "02:30", "00:00", "23:59"]),
    st.sampled_from([{}, {}, {"weekdays": "mon-fri"}, {"weekdays": "sat,sun"}, {"weekdays": "fri-mon"}]),
)
window_opens = st.builds(
    lambda hours, days: {**hours, **days},
    st.sampled_from([{"from": "09:00", "to": "17:00"}, {"from": "22:00", "to": "02:30"}]),
    st.sampled_from([{}, {"weekdays": "mon-fri"}]),
)
date_comes = st.builds(
    lambda offset, at: {"field": "renews", **offset, **at},
    st.sampled_from([{}, {"offset": "-2d"}, {"offset": "3h"}]), st.sampled_from([{}, {"local_time": "02:30"}]),
)  # fmt: skip
until = st.one_of(clock_shows, clock_shows, window_opens, date_comes)
plain = st.one_of(
    st.builds(
        lambda key, more: {"send": key, **more},
        st.sampled_from(TEMPLATES), st.sampled_from([{}, {}, {"on_skip": "exit"}, {"on_skip": "wait"}]),
    ),
    st.builds(lambda span: {"wait": span}, spans),
    st.builds(lambda what: {"wait_until": what}, until),
    st.sampled_from([
        {"set": {"field": "plan", "value": "pro"}}, {"set": {"field": "plan", "value": "free"}},
        {"set": {"field": "seats", "value": None}}, {"handoff": {"reason": "ready"}}, {"start": "other"},
        {"goal": "here"}, {"exit": "done"},
    ]),
)  # fmt: skip


def forks(steps):
    """Steps whose paths are lists of steps."""
    return st.one_of(
        st.builds(lambda rule, a, b: {"ask": rule, "then": a, "else": b}, asked, steps, steps),
        st.builds(
            lambda first, second, a, b, c: {
                "ask": [{"label": "a", "when": first}, {"label": "b", "when": second}], "a": a, "b": b, "else": c},
            asked, asked, steps, steps, steps,
        ),
        st.builds(lambda w, a, b, c: {"split": w, "a": a, "b": b, "c": c},
                  st.sampled_from([{"a": 1, "b": 1, "c": 1}, {"a": 10, "b": 60, "c": 30}]), steps, steps, steps),
        st.builds(
            lambda rule, timeout, since, a, b: {"wait_for": rule, "timeout": timeout, **since, "then": a, "else": b},
            comes, spans, st.sampled_from([{}, {"since": "step"}]), steps, steps,
        ),
    )  # fmt: skip


path = st.lists(plain, max_size=3)
for _depth in range(2):
    path = st.lists(st.one_of(plain, plain, forks(path)), max_size=3)
paths = st.lists(st.one_of(plain, forks(path), forks(path)), min_size=1, max_size=5)
triggers = st.sampled_from([
    {"touchpoint": "trial.started"}, {"touchpoint": "trial.started"},
    {"touchpoint": "trial.started", "where": [{"field": "amount", "op": "gte", "value": 30}]},
    {"field_changed": "plan"},
    [{"touchpoint": "trial.started"}, {"field_changed": {"field": "plan", "to": "pro"}}],
])  # fmt: skip
reentries = st.sampled_from([
    {"policy": "never"}, {"policy": "after_exit"}, {"policy": "after_exit", "cooldown": "1d"},
    {"policy": "per_key", "key": "order"},
])  # fmt: skip
goals = st.builds(
    lambda rule, window, action: {"rule": rule, **window, **action},
    deed, st.sampled_from([{}, {"window": "3d"}]), st.sampled_from([{}, {"action": "exit"}, {"action": "continue"}]),
)  # fmt: skip


@st.composite
def journeys(draw):
    steps = deepcopy_of(draw(paths))
    made = {"key": "j", "kind": "onboarding", "trigger": draw(triggers), "reentry": draw(reentries), "steps": steps}
    if draw(st.booleans()):
        made["goal"] = draw(goals)
    if draw(st.booleans()):
        made["exit"] = draw(st.one_of(deed, deed, comes))
    if draw(st.booleans()):
        made["holdout"] = "30%"
    if made["reentry"]["policy"] == "per_key":
        # Several at once that write the same fields would be told apart by their order alone.
        without(steps, "set")
    if draw(st.booleans()):
        back = draw(st.integers(0, len(steps) - 1))
        steps.insert(back + 1, {"wait": "6h"})
        steps.insert(draw(st.integers(back + 2, len(steps))), {"jump_to": "back-here", "max": draw(st.integers(1, 2))})
        steps[back]["key"] = "back-here"
    return graph.complete(deepcopy_of(made))


def deepcopy_of(data):
    """Without any part that stands in two places."""
    return json.loads(json.dumps(data))


def without(steps, verb):
    for step in steps:
        if verb in step:
            del step[verb]
            step["wait"] = "1d"
        for part in step.values():
            if isinstance(part, list):
                without([one for one in part if isinstance(one, dict)], verb)


# What goes on: how long nothing ticks, and what happens then.
happenings = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 1, 20, 60, 180, 600, 1440, 1440, 4000, 12_000]),
        st.sampled_from(["tick", "tick", "tick", "tick", "deliver", "twice", "pause", "resume", "publish",
                         "no enrol", "no advance", "broken", "torn"]),
    ),
    min_size=8,
    max_size=22,
)  # fmt: skip


# How messages end, each as often as it stands here; None: not yet.
ENDS = [("sent", ""), ("sent", ""), ("sent", ""), ("failed", "refused"), ("skipped", "capped"), ("uncertain", ""), None]


# The two worlds ------------------------------------------------------------------------------------------------------


class Worlds:
    """The same crowd in the database and in its walkers."""

    def __init__(self, definition: dict, random: Random):
        self.now, self.random, self.log = BEGIN, random, []
        self.journey = journey(BEGIN, **definition)
        self.contacts = Contact.objects.bulk_create(
            Contact(
                email=f"p{number}@example.com", stage="known", created_at=BEGIN, zone=random.choice(ZONES),
                attributes={"plan": random.choice(["free", "pro"])}
                | ({"seats": 7} if number % 3 else {})
                | ({"renews": random.choice(RENEWALS)} if number % 4 else {}),
            )
            for number in range(PEOPLE)
        )  # fmt: skip
        self.walkers = {
            one.pk: Walker(
                self.journey.version.definition,
                {"id": one.pk, "zone": one.zone, "attributes": dict(one.attributes)},
                FIELDS,
            )
            for one in self.contacts
        }

    def live_on(self, kind: str, minutes: int) -> None:
        """Time goes by with whatever people do, and something ticks."""
        if kind == "no enrol" and {"goal", "exit"} & self.journey.version.definition.keys():
            kind = "broken"  # else somebody would move although her way out is not asked for yet
        for share in range(2):
            self.now += timedelta(minutes=minutes // 2 + (minutes % 2) * share)
            self.people_act()
        if kind == "deliver" or self.random.random() < 0.5:
            self.deliver()
        if kind == "pause" and self.journey.state == "live":
            publishing.pause(journey=self.journey, by=None, now=self.now)
        elif kind == "resume" and self.journey.state == "paused":
            publishing.resume(journey=self.journey, by=None, now=self.now)
        elif kind == "publish":
            publishing.publish(journey=self.journey, by=None, now=self.now)
        self.journey.refresh_from_db()
        for walker in self.walkers.values():
            walker.is_paused = self.journey.state == "paused"
        broken = {"no enrol": ["enrol"], "no advance": ["advance"], "broken": ["enrol", "advance"], "torn": ["advance"]}
        self.log.append(f"{self.now:%m-%d %H:%M} {kind}")
        for _time in range(2 if kind == "twice" else 1):
            self.tick(broken.get(kind, []), is_torn=kind == "torn")

    def people_act(self) -> None:
        for contact in self.random.sample(self.contacts, self.random.choice([0, 3, 10, PEOPLE])):
            at = self.now - timedelta(minutes=self.random.choice([0, 0, 1, 30, 60 * 30]))
            kind = self.random.choice(
                ["trial.started", "trial.started", "page.viewed", "order.placed", "plan", "renews"]
            )
            if kind in FIELDS:
                values = {"plan": ["free", "pro"], "renews": [*RENEWALS, None]}
                self.changes(contact, kind, self.random.choice(values[kind]))
                continue
            said = {"amount": self.random.choice([10, 40, 90]), "order": f"o{self.random.randrange(3)}"}
            did(contact, kind, at, received=self.now, **said)
            self.walkers[contact.pk].does(kind, at, said, received=self.now)

    def changes(self, contact: Contact, name: str, value: str | None) -> None:
        walker = self.walkers[contact.pk]
        if walker.person["attributes"].get(name) != value:
            walker.changes(name, value, self.now)
            Contact.objects.filter(pk=contact.pk).update(attributes=walker.person["attributes"])
            did(contact, "contact.updated", self.now, fields=[name])

    def deliver(self) -> None:
        """Some messages leave, some never will, some stay under way."""
        lot = self.random.random()

        def end_of(contact_id: int, step: str, round_: int, made_at: datetime) -> tuple[str, str] | None:
            return Random(f"{lot} {contact_id} {step} {round_} {made_at}").choice(ENDS)

        for message in Message.objects.filter(state="pending", is_held=False).order_by("pk"):
            round_ = int(message.key.rsplit(":", 1)[1])
            if end := end_of(message.contact_id, message.node_key, round_, message.created_at):
                deliver(self.now, *end, pk=message.pk)
        for pk, walker in self.walkers.items():
            walker.deliver(lambda message, pk=pk: end_of(pk, message.step, message.round, message.made_at), self.now)

    def tick(self, broken: list[str], is_torn: bool) -> None:
        done = [step.name for step in STEPS if step.name not in broken]
        with torn_moves() if is_torn else nothing():
            for step in STEPS:
                run_step(
                    Step(step.name, breaks_after(step.run)) if step.name in broken and not is_torn else step, self.now
                )
        failed = set(StepCursor.objects.exclude(error="").values_list("step", flat=True))
        if is_torn and "advance" not in failed:
            done.append("advance")  # nobody was due where it would have torn
        else:
            assert failed == set(broken), StepCursor.objects.exclude(error="").values_list("error", flat=True)
        for walker in self.walkers.values():
            walker.tick(self.now, tuple(done))

    # The same?

    def compare(self) -> None:
        keys = dict(Node.objects.values_list("pk", "key"))
        found: dict = {one.pk: [] for one in self.contacts}
        for one in Enrolment.objects.filter(journey=self.journey).order_by("pk"):
            path = [(keys[v.node_id], v.outcome, v.left_at) for v in Visit.objects.filter(enrolment=one).order_by("pk")]
            sent = [
                (m.template.key, m.node_key, int(m.key.rsplit(":", 1)[1]), m.created_at, m.state, m.reason)
                for m in Message.objects.filter(enrolment_id=one.pk).select_related("template").order_by("pk")
            ]
            token = one.tokens.first()
            at = (keys[token.node_id], token.visit) if token else None
            found[one.contact_id].append({
                "key": one.entry_key, "ghost": one.is_ghost, "entered": one.enrolled_at, "path": path, "messages": sent,
                "reason": one.exit_reason, "ended": one.ended_at, "goal": one.goal_at is not None, "stands": at,
            })  # fmt: skip
        told = {one.pk: [] for one in self.contacts}
        for pk, kind, at in Touchpoint.objects.filter(
            kind__in=["handoff.requested", "journey.requested"]
        ).order_by("pk").values_list("contact_id", "kind", "occurred_at"):  # fmt: skip
            told[pk].append((kind, at))
        fields = dict(Contact.objects.values_list("pk", "attributes"))
        for pk, walker in self.walkers.items():
            ours = {"enrolments": in_order(found[pk]), "told": sorted(told[pk]), "fields": fields[pk]}
            meant = {
                "enrolments": in_order(as_found(one) for one in walker.enrolments),
                "told": sorted(walker.told),
                "fields": walker.person["attributes"],
            }
            assert ours == meant, self.story(walker, ours, meant)

    def story(self, walker: Walker, ours: dict, meant: dict) -> str:
        """All that whoever looks for the reason needs."""
        events = [(str(t["received_at"]), t["kind"], str(t["occurred_at"]), t["properties"])
                  for t in walker.person["touchpoints"]]  # fmt: skip
        parts = {
            "ours": ours, "meant": meant, "events": events, "went on": self.log,
            "journey": self.journey.version.definition,
        }  # fmt: skip
        return "\n" + yaml.safe_dump(
            json.loads(json.dumps(parts, default=str)), width=150, sort_keys=False, default_flow_style=None
        )


def in_order(enrolments) -> list[dict]:
    """Of occasions that came in one tick none is the first."""
    return sorted(enrolments, key=lambda one: (one["entered"], one["key"]))


def as_found(one) -> dict:
    sent = [(m.template, m.step, m.round, m.made_at, m.state, m.reason) for m in one.messages]
    return {
        "key": one.key, "ghost": one.is_ghost, "entered": one.at, "path": one.path, "messages": sent,
        "reason": one.reason, "ended": one.ended_at, "goal": one.goal_at is not None,
        "stands": (one.step, one.round) if one.is_open else None,
    }  # fmt: skip


class Torn(Exception):
    """What a step meets in the midst of its work."""


def breaks_after(run):
    """The step does all its work, and breaks before its end: nothing of it may remain."""

    def broken(now, after, upto):
        run(now, after, upto)
        raise Torn

    return broken


@contextmanager
def torn_moves():
    """The advance step breaks on its third kind of step: what it moved before must be undone."""
    moves, calls = dict(engine.MOVES), []

    def tearing(move):
        def call(now, names):
            calls.append(move)
            if len(calls) == 3:
                raise Torn
            return move(now, names)

        return call

    engine.MOVES.update({kind: tearing(move) for kind, move in moves.items()})
    try:
        yield
    finally:
        engine.MOVES.update(moves)


@contextmanager
def nothing():
    yield


@pytest.fixture
def definitions(db):
    """What the random journeys name."""
    for key, type_ in FIELDS.items():
        Field.objects.create(key=key, name=key, type=type_)
    templates(*TEMPLATES)
    journey(BEGIN, key="other", steps=[{"wait": "1d"}], trigger="manual")


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    print_blob=True,
    report_multiple_bugs=False,
    # A shorter journey is worth minutes of shrinking only to who looks into a failure.
    phases=[Phase.explicit, Phase.reuse, Phase.generate] + ([Phase.shrink] if "WALKER" in os.environ else []),
    suppress_health_check=list(HealthCheck),
)
@given(definition=journeys(), happens=happenings, seed=st.integers(0, 2**32))
def test_the_engine_tells_the_histories_of_the_walker(definitions, definition, happens, seed):
    wrong = [problem for problem in publishing.problems(definition) if problem.level != "warning"]
    # A step may stand where nobody gets to it, a jump above all; all else must be sound.
    assert all(one.path.endswith(".jump_to") or one.message.startswith("Nobody can get") for one in wrong), wrong
    assume(not wrong)
    with transaction.atomic():
        worlds = Worlds(definition, Random(seed))
        for minutes, kind in happens:
            worlds.live_on(kind, minutes)
        worlds.compare()
        counts = invariants.check(worlds.now)
        assert counts["I3"] == counts["I10"] == 0, counts
        transaction.set_rollback(True)


def test_the_hash_is_the_one_of_the_database():
    from tests.campaigns.walker import bucket_of

    with connection.cursor() as cursor:
        cursor.execute("SELECT n, bucket_of('split:' || n, n) FROM generate_series(1, 500) AS n")
        assert all(bucket_of(f"split:{number}", number) == bucket for number, bucket in cursor.fetchall())
