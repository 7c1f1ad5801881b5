"""What follows when a stream has nothing left, who goes to which stream, and items of a topic."""

from datetime import UTC, datetime, timedelta

import pytest

from campaigns import publishing
from campaigns.models import Due, Enrolment, Visit
from contacts.models import Consent, Contact
from tests.campaigns.world import DAY, did, journey, person, sent, tick, told, where

pytestmark = pytest.mark.django_db

WEEK = timedelta(days=7)
TUESDAYS = {"rrule": "FREQ=WEEKLY;BYDAY=TU", "at": "10:00"}
THURSDAYS = {"rrule": "FREQ=WEEKLY;BYDAY=TH", "at": "09:00"}


def stream(key, *items, cadence=TUESDAYS, **more):
    return {"key": key, "cadence": cadence, "items": [{"send": item} for item in items], **more}


def track(now, *streams, **more):
    return journey(now, key="education", kind="nurture", streams=list(streams), **more)


def enter(contact, now):
    did(contact, "trial.started", now)
    tick(now)


def outcomes(contact):
    visits = Visit.objects.filter(enrolment__contact=contact).order_by("pk")
    return [outcome for outcome in visits.values_list("outcome", flat=True) if outcome != "next"]


# Exhausted -----------------------------------------------------------------------------------------------------------


def test_whoever_exhausted_a_stream_goes_to_the_one_it_names_and_is_cast_there_at_once(now):
    track(now, stream("basics", "one", exhausted={"stream": "more"}), stream("more", "two"))
    ann = person()
    enter(ann, now)
    tick(now + WEEK)
    tick(now + 2 * WEEK)
    assert (sent(ann), where(ann)) == (["one", "two"], "more")
    tick(now + 3 * WEEK)
    tick(now + 4 * WEEK)
    assert outcomes(ann) == ["item:one", "exhausted:more", "item:two", "exhausted"]
    assert [one["stream"] for one in told("track.exhausted")] == ["basics", "more"], "each once"
    assert Enrolment.objects.get().state == "open"


def test_through_a_stream_that_is_empty_for_her_she_goes_on_in_the_same_cast(now):
    track(
        now,
        stream("basics", "one", exhausted={"stream": "empty"}),
        stream("empty", exhausted={"stream": "more"}),
        stream("more", "two"),
    )
    ann = person()
    enter(ann, now)
    tick(now + WEEK)
    tick(now + 2 * WEEK)
    assert (sent(ann), where(ann)) == (["one", "two"], "more")


def test_into_a_stream_of_another_cadence_she_waits_for_its_cast(now):
    track(now, stream("basics", "one", exhausted={"stream": "more"}), stream("more", "two", cadence=THURSDAYS))
    ann = person()
    enter(ann, now)
    tick(now + WEEK)
    tick(now + 2 * WEEK)
    thursday = datetime(2026, 11, 26, 8, tzinfo=UTC)
    assert (sent(ann), where(ann), Due.objects.get().due_at) == (["one"], "more", thursday)
    tick(thursday)
    assert sent(ann) == ["one", "two"]


def test_an_exhausted_member_may_be_let_out_and_come_back(now):
    track(now, stream("basics", "one"), exhausted={"exit": True}, reentry={"policy": "after_exit"})
    ann = person()
    enter(ann, now)
    tick(now + WEEK)
    tick(now + 2 * WEEK)
    enrolment = Enrolment.objects.get()
    assert (enrolment.state, enrolment.exit_reason, enrolment.ended_at) == ("finished", "exhausted", now + 2 * WEEK)
    assert told("journey.left") == [{"journey": "education", "reason": "exhausted", "enrolment": enrolment.pk}]
    assert len(told("track.exhausted")) == 1 and not Due.objects.exists()
    enter(ann, now + 2 * WEEK + DAY)
    assert Enrolment.objects.filter(state="open").count() == 1


def test_or_another_track_begins_with_its_own_next_cast(now):
    journey(now, key="second", kind="nurture", trigger="manual", streams=[stream("a", "two")])
    track(now, stream("basics", "one"), exhausted={"start": "second"})
    ann = person()
    enter(ann, now)
    tick(now + WEEK)
    tick(now + 2 * WEEK)
    tick(now + 2 * WEEK + timedelta(seconds=1))
    assert list(Enrolment.objects.order_by("pk").values_list("journey__key", "state")) == [
        ("education", "finished"),
        ("second", "open"),
    ]
    tick(now + 3 * WEEK)
    assert sent(ann) == ["one", "two"]
    assert told("track.superseded") == []


def test_whoever_is_held_out_leaves_like_the_others_but_starts_nothing(now):
    journey(now, key="second", kind="nurture", trigger="manual", streams=[stream("a", "two")])
    track(now, stream("basics", "one"), exhausted={"start": "second"}, holdout="50%")
    for number in range(1, 21):
        enter(person(number), now)
    for week in (1, 2, 2, 3):
        tick(now + week * WEEK)
    ghosts = set(Enrolment.objects.filter(is_ghost=True).values_list("contact_id", flat=True))
    assert 0 < len(ghosts) < 20
    assert not Enrolment.objects.filter(journey__key="education", state="open").exists()
    second = set(Enrolment.objects.filter(journey__key="second").values_list("contact_id", flat=True))
    assert second == set(Contact.objects.values_list("pk", flat=True)) - ghosts


def test_what_a_stream_says_goes_before_what_the_track_says(now):
    track(
        now,
        stream("basics", "one", exhausted={"stream": "more"}),
        stream("more", "two"),
        exhausted={"exit": True},
    )
    ann = person()
    enter(ann, now)
    for week in range(1, 4):
        tick(now + week * WEEK)
    assert sent(ann) == ["one", "two"]
    assert Enrolment.objects.get().exit_reason == "exhausted"


def test_whoever_was_exhausted_before_the_track_said_so_goes_too(now):
    track(now, stream("basics", "one"))
    ann = person()
    enter(ann, now)
    for week in (1, 2, 3):
        tick(now + week * WEEK)
    track(now, stream("basics", "one"), exhausted={"exit": True})
    tick(now + 4 * WEEK)
    assert Enrolment.objects.get().exit_reason == "exhausted"
    assert len(told("track.exhausted")) == 1, "told when it happened"


@pytest.mark.parametrize(
    ("definition", "path"),
    [
        ({"exhausted": {"stream": "nowhere"}}, "exhausted.stream"),
        ({"exhausted": {"start": "nowhere"}}, "exhausted.start"),
        ({"exhausted": {"start": "education"}}, "exhausted.start"),
        ({"exhausted": {"exit": False}}, "exhausted.exit"),
        ({"exhausted": {}}, "exhausted"),
        ({"exhausted": "exit"}, "exhausted"),
        ({"exhausted": {"exit": True, "stream": "more"}}, "exhausted"),
        ({"streams": [stream("a", exhausted={"stream": "a"})]}, "streams[0].exhausted.stream"),
        (
            {"streams": [stream("a", exhausted={"stream": "b"}), stream("b", exhausted={"stream": "a"})]},
            "streams[0].exhausted",
        ),
        ({"streams": [{**stream("a"), "items": [{"send": "x", "topic": "nowhere"}]}]}, "streams[0].items[0].topic"),
    ],
)
def test_a_way_on_that_leads_nowhere_or_round_is_refused_by_its_path(now, definition, path):
    definition = {
        "key": "education",
        "kind": "nurture",
        "trigger": "manual",
        "streams": [stream("more")],
        **definition,
    }
    found = [problem for problem in publishing.problems(definition) if problem.level == "error"]
    assert path in {problem.path for problem in found}, found


def test_only_streams_can_be_exhausted(now):
    definition = {
        "key": "j",
        "kind": "nurture",
        "trigger": "manual",
        "steps": [{"exit": "x"}],
        "exhausted": {"exit": True},
    }
    assert [problem.path for problem in publishing.problems(definition)] == ["exhausted"]


# Who goes to which stream --------------------------------------------------------------------------------------------

LIVES = {country: {"field": "country", "op": "eq", "value": country} for country in ("CZ", "PL")}
SPEAKS = {"field": "language", "op": "eq", "value": "cs"}


def test_she_goes_to_the_last_stream_that_means_her(now):
    track(now, stream("a", "one"), stream("b", "two", enter=LIVES["CZ"]), stream("c", "three", enter=SPEAKS))
    ann = person(country="CZ", language="cs")
    enter(ann, now)
    tick(now + WEEK)
    assert (sent(ann), where(ann)) == (["three"], "c")
    tick(now + 2 * WEEK)
    assert where(ann) == "c"


def test_she_goes_back_when_her_stream_means_her_no_more_and_an_earlier_one_does(now):
    track(
        now,
        stream("a", "one", "two", "three", enter=LIVES["PL"]),
        stream("b", "four", "five", enter=SPEAKS),
    )
    ann = person(country="PL", language="cs")
    enter(ann, now)
    tick(now + WEEK)
    assert where(ann) == "b", "both mean her: she stays in the later one"
    Contact.objects.update(language="pl")
    tick(now + 2 * WEEK)
    assert (sent(ann), where(ann)) == (["four", "one"], "a")
    tick(now + 3 * WEEK)
    assert (sent(ann), where(ann)) == (["four", "one", "two"], "a")


def test_nobody_goes_back_from_a_stream_without_a_rule_or_to_one_without(now):
    track(
        now,
        stream("a", "one", enter=LIVES["PL"], exhausted={"stream": "c"}),
        stream("b", "two", "three", enter=SPEAKS),
        stream("c", "four", "five"),
    )
    ann, ben = person(country="PL"), person(language="cs")
    for contact in (ann, ben):
        enter(contact, now)
    for week in (1, 2, 3):
        tick(now + week * WEEK)
    assert (sent(ann), where(ann)) == (["one", "four", "five"], "c")
    Contact.objects.update(language="")
    tick(now + 4 * WEEK)
    assert where(ben) == "b", "no earlier stream means him"


def test_nobody_is_led_to_and_fro_between_a_rule_and_a_stream_that_has_nothing_left(now):
    """The rule of the first stream always means her, and it always leads on to one whose rule never does."""
    track(
        now,
        stream("a", "one", enter=LIVES["PL"], exhausted={"stream": "b"}),
        stream("b", "two", "three", "four", enter=SPEAKS),
    )
    ann = person(country="PL")
    enter(ann, now)
    for week in range(1, 7):
        tick(now + week * WEEK)
    assert outcomes(ann) == ["item:one", "exhausted:b", "item:two", "item:three", "item:four", "exhausted"]
    assert Visit.objects.count() == 7


# Topics --------------------------------------------------------------------------------------------------------------


def test_an_item_of_a_topic_that_she_refused_is_passed_over_in_the_same_cast(now, topics):
    items = [{"send": "first", "topic": "news"}, {"send": "second"}]
    track(now, {"key": "basics", "cadence": TUESDAYS, "items": items})
    ann, ben = person(), person()
    Consent.objects.create(contact=ann, channel="email", topic="news", state="denied", changed_at=now)
    Consent.objects.create(contact=ben, channel="email", topic="news", state="granted", changed_at=now)
    for contact in (ann, ben):
        enter(contact, now)
    tick(now + WEEK)
    assert (sent(ann), sent(ben)) == (["second"], ["first"])
