"""Casts and the gates: what finds no room waits half a cadence at most, and is new at the next cast."""

from datetime import timedelta

import pytest

from contacts.models import Consent
from contacts.stream import Step, run_step
from messaging.gates import arbitrate
from messaging.models import Message, Template, Topic
from tests.campaigns import world
from tests.campaigns.world import DAY, did, journey, person, templates, told

pytestmark = pytest.mark.django_db

WEEK, HOUR = timedelta(days=7), timedelta(hours=1)
TUESDAYS = {"rrule": "FREQ=WEEKLY;BYDAY=TU", "at": "10:00"}


@pytest.fixture
def ann(now):
    items = [{"send": "one"}, {"send": "two"}]
    journey(now, key="education", kind="nurture", streams=[{"key": "basics", "cadence": TUESDAYS, "items": items}])
    contact = person()
    did(contact, "trial.started", now)
    world.tick(now)
    return contact


def tick(moment) -> None:
    """The tick with its gates; what passes them is sent at once."""
    world.tick(moment, delivers=False)
    run_step(Step("arbitrate", arbitrate), moment)
    Message.objects.filter(state="ready").update(state="sent", sent_at=moment, finished_at=moment)


def intents() -> list[tuple[str, str, str]]:
    rows = Message.objects.filter(key__startswith="item:").order_by("pk")
    return list(rows.values_list("template__key", "state", "reason"))


def fill(contact, moment, number: int) -> None:
    """So many other marketing messages left lately."""
    templates("other")
    for place in range(number):
        Message.objects.create(
            key=f"other:{moment}:{place}", contact=contact, template=Template.objects.get(key="other"),
            message_class="marketing", state="sent", created_at=moment, due_at=moment, sent_at=moment,
        )  # fmt: skip


def test_a_capped_cast_is_carried_over_and_sent_when_there_is_room(ann, now):
    fill(ann, now + WEEK - 6 * DAY, 3)
    tick(now + WEEK)
    assert intents() == [("one", "pending", "")]
    for day in range(1, 3):
        tick(now + WEEK + day * DAY)
    assert intents() == [("one", "sent", "")], "within half a week"
    tick(now + 2 * WEEK)
    assert [template for template, *_ in intents()] == ["one", "two"]


def test_but_half_a_cadence_at_most_and_then_the_item_is_as_new_as_before(ann, now):
    fill(ann, now + WEEK - HOUR, 3)
    tick(now + WEEK)
    for half_days in range(1, 14):
        tick(now + WEEK + half_days * DAY / 2)
    assert intents() == [("one", "skipped", "capped")]
    ended = Message.objects.get(key__startswith="item:").finished_at
    assert now + WEEK < ended <= now + 1.5 * WEEK
    tick(now + 2 * WEEK)
    assert intents() == [("one", "sent", "")], "not consumed: the same item, in its turn"


def test_a_cast_into_a_pause_of_hers_is_not_consumed_either(ann, now):
    ann.paused_until = now + 12 * DAY
    ann.save(update_fields=["paused_until"])
    tick(now + WEEK)
    assert intents() == [("one", "skipped", "paused")]
    tick(now + 2 * WEEK)
    assert intents() == [("one", "sent", "")]


def test_what_the_gates_refuse_for_good_is_passed_over_at_the_next_cast(ann, now):
    other = Topic.objects.create(key="other", name="Other", is_opt_in=False)
    Template.objects.filter(key="one").update(topic=other)
    Consent.objects.create(contact=ann, channel="email", topic="other", state="denied", changed_at=now)
    tick(now + WEEK)
    assert intents() == [("one", "skipped", "topic_refused")]
    tick(now + 2 * WEEK)
    assert intents() == [("one", "skipped", "topic_refused"), ("two", "sent", "")]
    Consent.objects.update(state="granted")
    tick(now + 3 * WEEK)
    assert len(told("track.exhausted")) == 1, "what was refused once is not tried for ever"


def test_what_another_journey_sent_meanwhile_is_passed_over_in_the_same_cast(ann, now):
    fill(ann, now + DAY, 1)
    Message.objects.update(template=Template.objects.get(key="one"))
    tick(now + WEEK)
    assert intents() == [("two", "sent", "")]
