"""Sales holds marketing for a person: it waits or ends, all else goes, and letting go asks again at once."""

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction

from contacts.merging import merge
from contacts.models import Incoming
from contacts.unmerging import unmerge
from messaging import holding
from messaging.explaining import why
from messaging.gates import arbitrate
from messaging.models import Hold, Message

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


@pytest.fixture
def ann():
    return get_user_model().objects.create_user("ann")


def judged(now, *messages) -> list[tuple[str, str]]:
    arbitrate(now, 0, 0)
    for message in messages:
        message.refresh_from_db()
    return [(message.state, message.reason) for message in messages]


def test_marketing_waits_for_the_end_of_a_hold_and_all_else_goes(make_contact, make_message, make_template, ann, now):
    eva = make_contact()
    holding.hold(contact=eva, by=ann, until=now + 3 * DAY, reason="We are talking", now=now)
    news, receipt = make_message(eva), make_message(eva, make_template(message_class="operational"))
    assert judged(now, news, receipt) == [("pending", ""), ("ready", "")]
    assert now + 3 * DAY <= news.due_at < now + 3 * DAY + timedelta(minutes=15)
    told = why(news, now)
    assert "Sales holds marketing for this person" in told.sentence
    assert [one.gate for one in told.checks if one.is_passed is False] == ["hold"]
    Message.objects.exclude(pk=news.pk).delete()
    assert judged(news.due_at, news) == [("ready", "")]


def test_what_would_wait_for_too_long_ends_for_the_hold(make_contact, make_message, ann, now):
    eva = make_contact()
    holding.hold(contact=eva, by=ann, until=now + 5 * DAY, now=now)
    dated = make_message(eva, valid_until=now + 2 * DAY)
    assert judged(now, dated) == [("skipped", "held_by_sales")]


def test_of_a_hold_and_a_pause_the_longer_one_is_the_reason(make_contact, make_message, ann, now):
    paused, held = make_contact(paused_until=now + 5 * DAY), make_contact(paused_until=now + 2 * DAY)
    for one in (paused, held):
        holding.hold(contact=one, by=ann, until=now + 4 * DAY, now=now)
    messages = [make_message(paused), make_message(held)]
    judged(now, *messages)
    assert [one.waits_for for one in messages] == ["paused", "held_by_sales"]


def test_letting_go_ends_every_hold_and_asks_again_at_once(make_contact, make_message, ann, now):
    eva = make_contact()
    for days in (2, 4):
        holding.hold(contact=eva, by=ann, until=now + days * DAY, now=now)
    news = make_message(eva)
    judged(now, news)
    later = now + timedelta(hours=1)
    assert holding.hold_of(eva, later).until == now + 4 * DAY
    assert holding.release(contact=eva, by=ann, now=later) == 2
    assert holding.hold_of(eva, later) is None
    assert judged(later, news) == [("ready", "")]
    assert holding.release(contact=eva, by=ann, now=later) == 0
    told = list(Incoming.objects.order_by("id").values_list("kind", "properties__by"))
    assert told == [("marketing.held", "ann"), ("marketing.held", "ann"), ("marketing.released", "ann")]
    first = Incoming.objects.order_by("id").first()
    assert first.properties["until"] == (now + 2 * DAY).isoformat()


def test_a_hold_is_for_30_days_at_most_and_for_days_to_come(make_contact, ann, now):
    eva = make_contact()
    for until, said in ((now, "past"), (now + 31 * DAY, "30 days")):
        with pytest.raises(ValueError, match=said):
            holding.hold(contact=eva, by=ann, until=until, now=now)
    for until in (now - DAY, now + 31 * DAY):
        with pytest.raises(IntegrityError, match="marketing_is_held_for_30_days"), transaction.atomic():
            Hold.objects.create(contact=eva, held_at=now, until=until)


def test_the_stricter_hold_wins_when_two_people_become_one_and_each_has_his_own_back(make_contact, ann, now):
    eva, other = make_contact(), make_contact()
    holding.hold(contact=eva, by=ann, until=now + DAY, now=now)
    holding.hold(contact=other, by=ann, until=now + 9 * DAY, now=now)
    done = merge(survivor=eva, loser=other, reason="by hand", now=now)
    assert holding.hold_of(eva, now).until == now + 9 * DAY
    unmerge(done, now=now)
    assert holding.hold_of(eva, now).until == now + DAY
    assert holding.hold_of(other, now).until == now + 9 * DAY
