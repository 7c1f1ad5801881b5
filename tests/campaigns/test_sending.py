"""People rest at a send until their message has ended: it left, or it will not, and `on_skip` says which way."""

from datetime import timedelta

import pytest

from campaigns import publishing
from campaigns.models import Enrolment, Visit
from contacts.models import Contact, Touchpoint
from contacts.stream import Step, run_step
from messaging import delivery, outbox
from messaging.gates import arbitrate
from messaging.models import Brand, Message
from tests.campaigns.world import DAY, deliver, did, journey, path, people, person, sent, tick, told, where

pytestmark = pytest.mark.django_db

STEPS = [{"send": "hello"}, {"wait": "3d"}, {"send": "more"}]


def start(contact, now):
    did(contact, "trial.started", now)
    tick(now, delivers=False)


def test_a_wait_behind_a_message_counts_from_the_real_send(now):
    journey(now, steps=STEPS)
    ann = person()
    start(ann, now)
    tick(now + 4 * DAY, delivers=False)
    assert (where(ann), sent(ann)) == ("hello", ["hello"])
    deliver(now + 5 * DAY)
    tick(now + 5 * DAY, delivers=False)
    assert where(ann) == "wait"
    tick(now + 7 * DAY)
    assert sent(ann) == ["hello"]
    tick(now + 8 * DAY, delivers=False)
    assert sent(ann) == ["hello", "more"]


@pytest.mark.parametrize(
    ("on_skip", "state", "reason", "expected"),
    [
        (None, "skipped", "capped", "wait"),
        ("advance", "failed", "bounced", "wait"),
        ("exit", "skipped", "capped", None),
        ("exit", "cancelled", "topic_refused", None),
        ("exit", "sent", "", "wait"),
        ("exit", "uncertain", "", "wait"),
        ("wait", "skipped", "capped", "hello"),
        ("wait", "skipped", "unsubscribed", "wait"),
    ],
)
def test_where_a_message_cannot_be_sent_the_step_says_what_becomes_of_people(now, on_skip, state, reason, expected):
    send = {"send": "hello"} | ({"on_skip": on_skip} if on_skip else {})
    journey(now, steps=[send, {"wait": "3d"}])
    ann = person()
    start(ann, now)
    deliver(now, state, reason)
    tick(now + DAY / 24, delivers=False)
    assert where(ann) == expected
    if expected is None:
        assert Enrolment.objects.get().exit_reason == "not_sent"
        assert told("journey.left")[0]["reason"] == "not_sent"
    if expected == "wait":
        message = Message.objects.get()
        assert Visit.objects.latest("pk").inputs == {"message": message.pk, "state": state, "reason": reason}


def test_who_waits_for_a_message_tries_it_for_a_week_and_goes_on(now):
    journey(now, steps=[{"send": "hello", "on_skip": "wait"}, {"wait": "30d"}])
    ann, ben = person(), person()
    did(ann, "trial.started", now)
    start(ben, now)
    for day in range(5):
        deliver(now + day * DAY, "skipped", "capped")
        tick(now + day * DAY + timedelta(hours=1), delivers=False)
        assert where(ann) == "hello", f"on day {day}"
    deliver(now + 6 * DAY, contact=ben)
    deliver(now + 6 * DAY, "skipped", "capped")
    tick(now + 6 * DAY, delivers=False)
    assert (where(ann), where(ben)) == ("hello", "wait"), "the next try of one got through"
    deliver(now + 8 * DAY, "skipped", "capped")
    tick(now + 8 * DAY, delivers=False)
    assert where(ann) == "wait"
    assert Message.objects.count() == 2, "the same message all along"


def test_held_out_people_walk_the_same_way_whatever_on_skip_says(now):
    journey(now, holdout=90, steps=[{"send": "hello", "on_skip": "exit"}, {"wait": "3d"}])
    crowd = people(50)
    for contact in crowd:
        did(contact, "trial.started", now)
    tick(now)
    assert Enrolment.objects.filter(is_ghost=True).count() > 25
    assert Enrolment.objects.filter(state="open").count() == 50
    assert Message.objects.filter(is_ghost=True).exclude(reason="holdout").count() == 0


def test_what_gates_and_workers_decide_moves_people_on(now, settings, tmp_path):
    """Through the real gates, the real claim and a real maildir."""
    settings.EMAIL_URL = f"maildir:{tmp_path}/mail"
    Brand.objects.update_or_create(
        pk=1, defaults={"name": "Acme", "sender": "Acme <a@acme.example>", "postal_address": "Acme, Brno"}
    )
    journey(now, steps=[{"send": "hello", "on_skip": "exit"}, {"wait": "3d"}])
    ann, nobody, late, gone = person(), person(), person(), person()
    Contact.objects.filter(pk=nobody.pk).update(email="")
    for contact in (ann, nobody, late, gone):
        did(contact, "trial.started", now)
    tick(now, delivers=False)
    run_step(Step("arbitrate", arbitrate), now)
    outbox.cancel(now=now, reason="withdrawn", messages=Message.objects.filter(contact=gone))
    # Between the gates and the door somebody refused.
    from contacts.consent import record_consent

    record_consent(contact=late, topic="", channel="email", state="denied", source="test", now=now)
    delivery.deliver(now=now)
    tick(now + timedelta(seconds=1), delivers=False)
    assert [where(one) for one in (ann, nobody, late, gone)] == ["wait", None, None, None]
    reasons = dict(Touchpoint.objects.filter(kind="email.skipped").values_list("contact_id", "properties__reason"))
    assert reasons == {nobody.pk: "no_address", late.pk: "unsubscribed", gone.pk: "withdrawn"}


def test_news_that_come_in_a_pause_are_not_lost(now):
    one = journey(now, steps=STEPS)
    ann = person()
    start(ann, now)
    deliver(now)
    publishing.pause(journey=one, by=None, now=now)
    tick(now + DAY, delivers=False)
    assert where(ann) == "hello"
    publishing.resume(journey=one, by=None, now=now + 2 * DAY)
    tick(now + 2 * DAY, delivers=False)
    assert where(ann) == "wait"


def test_news_that_never_come_are_asked_for(now):
    journey(now, steps=STEPS)
    ann = person()
    start(ann, now)
    Message.objects.update(state="sent", sent_at=now)
    tick(now + 7 * DAY, delivers=False)
    assert where(ann) == "hello"
    tick(now + 9 * DAY, delivers=False)
    assert where(ann) == "wait"
    assert path(ann) == [("hello", "next")]


def test_every_send_of_a_step_fails_and_everybody_leaves_it(now):
    journey(now, steps=[{"send": "hello"}, {"wait": "9d"}])
    for contact in people(100):
        did(contact, "trial.started", now)
    tick(now, delivers=False)
    deliver(now, "failed", "gave_up")
    tick(now, delivers=False)
    assert Enrolment.objects.filter(state="open", tokens__node_kind="wait").count() == 100
