"""Publishing while people are under way: nobody does or gets anything twice, and what the sheet said is what happened.

`VERSIONS_EXAMPLES=200` lets Hypothesis try so many small journeys; by itself it is a few.
"""

import os
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from campaigns import publishing
from campaigns.models import Due, Enrolment, Journey, JourneyVersion, Node, NodeExit, Visit
from contacts.models import Contact, Touchpoint
from messaging.models import Message, Template
from tests.campaigns.world import DAY, did, journey, people, templates, tick

pytestmark = pytest.mark.django_db
EXAMPLES = int(os.environ.get("VERSIONS_EXAMPLES", "12"))


# What must hold at every moment ---------------------------------------------------------------------------------------


def check(one: Journey) -> None:
    """Nothing twice, nobody lost, and the path of everybody can be told from first to last."""
    nodes = {
        pk: (key, number)
        for pk, key, number in Node.objects.filter(version__journey=one).values_list("pk", "key", "version__number")
    }
    edges = {
        (node_id, label): target_id
        for node_id, label, target_id in NodeExit.objects.filter(node__version__journey=one).values_list(
            "node_id", "label", "target_id"
        )
    }
    heard = Message.objects.filter(state="sent").values_list("contact_id", "template_id")
    assert [who for who, times in Counter(heard).items() if times > 1] == [], "a content twice"
    handed = Touchpoint.objects.filter(kind="handoff.requested").values_list("contact_id", "properties__reason")
    assert [who for who, times in Counter(handed).items() if times > 1] == [], "handed over twice"
    paths: dict[int, list[Visit]] = {}
    for visit in Visit.objects.order_by("pk"):
        paths.setdefault(visit.enrolment_id, []).append(visit)
    tokens = dict(Due.objects.values_list("enrolment_id", "node_id"))
    for enrolment in Enrolment.objects.select_related("version"):
        path = paths.get(enrolment.pk, [])
        done = [
            (nodes[visit.node_id][0], visit.visit)
            for visit in path
            if not _is_moved(visit) and not (visit.inputs or {}).get("passed")
        ]
        assert len(done) == len(set(done)), f"a step twice: {done}"
        stops = [visit.node_id for visit in path] + ([tokens[enrolment.pk]] if enrolment.pk in tokens else [])
        assert nodes[stops[0]][0] == "", "everybody begins at the entry"
        for visit, following in zip(path, stops[1:], strict=False):
            if _is_moved(visit):
                assert nodes[following][1] == int(visit.outcome.split(":")[1]), "moved to the version that it says"
            else:
                assert edges[visit.node_id, visit.outcome] == following, "goes by the edge that it says"
        if enrolment.state == "open":
            assert nodes[tokens[enrolment.pk]][1] == enrolment.version.number
        else:
            assert enrolment.pk not in tokens


def _is_moved(visit: Visit) -> bool:
    return visit.outcome.startswith(("moved:", "released:"))


def standing(one: Journey) -> dict[int, tuple[str, int]]:
    """Each enrolment under way with its step and version."""
    nodes = {
        pk: (key, number)
        for pk, key, number in Node.objects.filter(version__journey=one).values_list("pk", "key", "version__number")
    }
    return {enrolment: nodes[node] for enrolment, node in Due.objects.values_list("enrolment_id", "node_id")}


def publish(one: Journey, now: datetime, **asked: Any) -> JourneyVersion:
    """Publishes, and compares what was said, what was done, and who stands where before and after."""
    one.refresh_from_db()
    before, said = standing(one), publishing.impact_of(one, **asked)
    entered = dict(Due.objects.values_list("enrolment_id", "entered_at"))
    version = publishing.publish(journey=one, by=None, now=now, **asked)
    one.refresh_from_db()
    after = standing(one)
    rows = {row.key: row for row in said.rows}
    for enrolment, (key, number) in before.items():
        row = rows.get(key)
        if row is None or number not in row.versions or row.do in ("finish", "carry_on"):
            assert after[enrolment] == (key, number), "stays where she is"
        elif row.do == "exit" or row.to is None:
            assert enrolment not in after
        else:
            assert after[enrolment] == (row.to, version.number), "is where the sheet said"
            if row.do == "move" and row.to == key and row.kind == "wait":
                came = Due.objects.get(enrolment_id=enrolment).entered_at
                assert came == entered[enrolment], "a wait counts from when it began"
    if said.inside:
        assert version.sheet is not None
        happened = Counter(key for key, number in before.values() if key in rows and number in rows[key].versions)
        for step in version.sheet["steps"]:
            assert step["done"] == step["here"] == rows[step["step"]].here.plain()
            assert sum(step["done"].values()) == happened[step["step"]]
    check(one)
    return version


def draw(one: Journey, now: datetime, **changes: Any) -> None:
    one.refresh_from_db()
    definition = {**publishing.draft_of(one), **changes}
    templates(*[step["send"] for step in definition["steps"] if "send" in step])
    # No gate stands behind us: whatever is sent twice is seen here.
    Template.objects.update(message_class="transactional", topic=None)
    publishing.save_draft(journey=one, definition=definition, by=None, now=now)


# Ten edits ------------------------------------------------------------------------------------------------------------

STEPS = [
    {"key": "hello", "send": "hello"},
    {"key": "one", "wait": "2d"},
    {"key": "tips", "send": "tips"},
    {"key": "two", "wait": "2d"},
    {"key": "call", "handoff": {"reason": "hot"}},
    {"key": "three", "wait": "2d"},
    {"key": "offer", "send": "offer"},
    {"key": "four", "wait": "2d"},
    {"key": "bye", "send": "bye"},
    {"key": "five", "wait": "2d"},
]


def test_a_thousand_people_and_ten_edits(now):
    one = journey(now, steps=STEPS, holdout="10%")
    Template.objects.update(message_class="transactional", topic=None)
    crowd = people(1_000)
    clock = now
    for wave in range(5):
        clock = now + 2 * wave * DAY
        Touchpoint.objects.bulk_create(
            Touchpoint(contact=who, kind="trial.started", occurred_at=clock, received_at=clock)
            for who in crowd[wave * 200 : wave * 200 + 200]
        )
        tick(clock)
    assert Counter(key for key, _version in standing(one).values()) == dict.fromkeys(
        ["one", "two", "three", "four", "five"], 200
    )
    check(one)

    def move_on(hours: int) -> None:
        nonlocal clock
        clock += timedelta(hours=hours)
        tick(clock, delivers=False)
        tick(clock)
        check(one)

    # 1 Saved unchanged.
    draw(one, clock)
    assert publish(one, clock, everybody="follow").number == 1
    move_on(12)
    # 2 Renamed: the journey, and a step by its name.
    steps = [dict(step) for step in STEPS]
    steps[2]["name"] = "Three tips"
    draw(one, clock, name="Trial", steps=steps)
    assert publish(one, clock, everybody="follow").number == 2
    move_on(12)
    # 3 Swapped: the offer before the tips, each with its wait, while people stand between and behind both.
    steps = [*steps[:2], *steps[6:8], *steps[2:6], *steps[8:]]
    draw(one, clock, steps=steps)
    publish(one, clock, everybody="follow")
    move_on(12)
    # 4 Inserted.
    steps = [*steps[:4], {"key": "extra", "send": "extra"}, {"key": "pause", "wait": "1d"}, *steps[4:]]
    draw(one, clock, steps=steps)
    publish(one, clock, everybody="follow")
    move_on(12)
    # 5 A step deleted where people stand: it must be said where they go; some finish what they began.
    at = Counter(key for key, _version in standing(one).values())
    gone = next(key for key in ("three", "two", "four", "one") if at[key])
    steps = [step for step in steps if step["key"] != gone]
    draw(one, clock, steps=steps)
    with pytest.raises(publishing.Unpublishable):
        publish(one, clock, everybody="follow")
    target = publishing.impact_of(one).row(gone).suggestion
    publish(one, clock, everybody="follow", choices={gone: {"do": "move", "to": target}, "five": {"do": "finish"}})
    move_on(6)
    # 6 A wait shortened.
    waiting = next(key for key in ("five", "two", "four", "one", "pause") if key != gone and at[key])
    steps = [{**step, "wait": "6h"} if step["key"] == waiting else step for step in steps]
    draw(one, clock, steps=steps)
    publish(one, clock, everybody="follow", choices={"five": {"do": "finish"}})
    move_on(6)
    # 7 A send under another key, with the same content.
    steps = [{**step, "key": "farewell"} if step["key"] == "bye" else step for step in steps]
    draw(one, clock, steps=steps)
    publish(one, clock, everybody="follow")
    move_on(6)
    # 8 Stopped, moved about, and going again.
    publishing.pause(journey=one, by=None, now=clock)
    frozen = standing(one)
    move_on(48)
    assert standing(one) == frozen
    publishing.resume(journey=one, by=None, now=clock)
    publish(one, clock)
    move_on(1)
    # 9 Copied: nobody is on the copy.
    copy = publishing.clone(journey=one, by=None, now=clock)
    move_on(6)
    assert not Enrolment.objects.filter(journey=copy).exists()
    # 10 Rolled back to the first, whoever is at a step that it does not have leaves its wait now.
    one.refresh_from_db()
    first = JourneyVersion.objects.get(journey=one, number=1)
    rows = publishing.impact_of(one, first.definition).rows
    choices = {row.key: {"do": "release"} for row in rows if row.here and row.change == "removed"}
    before = standing(one)
    publishing.rollback(journey=one, number=1, by=None, now=clock, everybody="follow", choices=choices)
    one.refresh_from_db()
    assert {number for _key, number in standing(one).values()} <= {one.version.number}
    assert set(standing(one)) <= set(before)
    check(one)

    for _day in range(20):
        move_on(24)
    assert not Due.objects.exists(), "nobody is stuck"
    assert set(Enrolment.objects.values_list("state", flat=True)) == {"finished"}
    heard = Counter(Message.objects.filter(state="sent").values_list("template__key", flat=True))
    assert Enrolment.objects.filter(is_ghost=True).count() > 0
    # Who is held out is spared marketing, and this is none.
    assert heard["hello"] == heard["tips"] == heard["bye"] == 1_000


# Any edits ------------------------------------------------------------------------------------------------------------

CONTENTS = ["a", "b", "c", "else-3", "else-7", "else-11"]


@st.composite
def steps_of(draw_: Any) -> list[dict[str, Any]]:
    """A short journey; the same key always means the same kind of step, as it does where people draw."""
    found: list[dict[str, Any]] = []
    for number in draw_(st.lists(st.integers(0, 11), min_size=1, max_size=7, unique=True)):
        kind = number % 4
        if kind == 0:
            found.append({"key": f"send-{number}", "send": CONTENTS[number // 4]})
        elif kind == 1:
            found.append({"key": f"wait-{number}", "wait": draw_(st.sampled_from(["6h", "1d", "2d"]))})
        elif kind == 2:
            found.append({"key": f"call-{number}", "handoff": {"reason": f"reason {number}"}})
        else:
            ask = {"field": "country", "op": "eq", "value": "CZ"}
            then = [{"key": f"then-{number}", "wait": "12h"}] if draw_(st.booleans()) else []
            other = [{"key": f"else-{number}", "send": f"else-{number}"}] if draw_(st.booleans()) else []
            found.append({"key": f"ask-{number}", "ask": ask, "then": then, "else": other})
    return found


edits = st.lists(
    st.tuples(
        st.sampled_from(["publish", "publish", "tick", "tick", "undelivered", "pause", "enter", "rollback"]),
        steps_of(),
        st.sampled_from(["finish", "follow", "follow"]),
        st.integers(0, 5),
        st.integers(1, 36),
    ),
    min_size=3,
    max_size=9,
)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)
@given(first=steps_of(), acts=edits)
def _try(first: list[dict[str, Any]], acts: list[tuple[str, list[dict[str, Any]], str, int, int]]) -> None:
    with transaction.atomic():
        _live_through(first, acts)
        transaction.set_rollback(True)


def _live_through(first: list[dict[str, Any]], acts: list[tuple[str, list[dict[str, Any]], str, int, int]]) -> None:
    clock = datetime.fromisoformat("2026-11-10T09:00:00+00:00")
    one = journey(clock, steps=[{"key": "begin", "wait": "6h"}, *first])
    templates(*CONTENTS)
    Template.objects.update(message_class="transactional", topic=None)
    crowd = [
        Contact.objects.create(email=f"h{number}@example.com", stage="known", country="CZ" if number % 2 else "PL")
        for number in range(6)
    ]
    for who in crowd[:4]:
        did(who, "trial.started", clock)
    tick(clock)
    for act, steps, everybody, dice, hours in acts:
        clock += timedelta(hours=hours)
        one.refresh_from_db()
        if act == "publish":
            draw(one, clock, steps=[{"key": "begin", "wait": "6h"}, *steps])
            one.refresh_from_db()
            publish(one, clock, everybody=everybody, choices=_choices(one, everybody, dice))
        elif act == "rollback":
            number = dice % one.versions.count() + 1
            definition = one.versions.get(number=number).definition
            choices = _choices(one, everybody, dice, definition)
            publishing.rollback(journey=one, number=number, by=None, now=clock, everybody=everybody, choices=choices)
        elif act == "pause":
            turn = publishing.resume if one.state == "paused" else publishing.pause
            turn(journey=one, by=None, now=clock)
        elif act == "enter":
            did(crowd[dice], "trial.started", clock)
        tick(clock, delivers=act != "undelivered")
        check(one)
    one.refresh_from_db()
    if one.state == "paused":
        publishing.resume(journey=one, by=None, now=clock)
    for _day in range(14):
        clock += 2 * DAY
        tick(clock)
    check(one)
    assert not Due.objects.exists(), "nobody is stuck"


def _choices(
    one: Journey, everybody: str, dice: int, definition: dict[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    """What must be said, and now and then what need not be: by the throw of a die."""
    choices = {}
    definition = definition or publishing.draft_of(one)
    keys = [step["key"] for step in definition["steps"]]
    for place, row in enumerate(publishing.impact_of(one, definition, everybody=everybody).rows):
        if row.here and row.key and ((row.change == "removed" and everybody == "follow") or (dice + place) % 3 == 0):
            do = ["move", "exit", "release", "finish", "move"][(dice + place) % 5]
            if do in row.may:
                choices[row.key] = {"do": do} | ({"to": keys[(dice * 7 + place) % len(keys)]} if do == "move" else {})
            else:
                choices[row.key] = {"do": "finish"}
    return choices


def test_any_edits_of_any_small_journey(now):
    _try()
