"""A broadcast under way: a pause bites at once, hiccups of the server lose and double nothing, the sums are equal."""

import time
from collections import Counter
from datetime import timedelta
from itertools import count

import pytest
from django.db import connection

from campaigns import publishing
from campaigns.models import Sendout
from contacts.models import Contact
from journey_crm import invariants
from journey_crm.tick import tick
from messaging.delivery import MOST_ATTEMPTS, deliver, sweep
from messaging.models import Brand, Message
from tests.campaigns.world import journey, people
from tests.messaging.test_workers import doubles, finish, start_worker

pytestmark = pytest.mark.django_db(transaction=True)

CZECHS = {"field": "country", "op": "eq", "value": "CZ"}


@pytest.fixture
def sale(now):
    """A broadcast that is due at once."""
    Brand.objects.update_or_create(
        pk=1, defaults={"name": "Acme", "sender": "Acme <hello@acme.example>", "postal_address": "1 Main St, Brno"}
    )

    def begin(number):
        people(number, country="CZ")
        one = journey(now, key="sale", kind="broadcast", trigger=None, audience=CZECHS, send="sale", at="now")
        tick(now)
        assert Message.objects.filter(state="ready").count() == number
        return one

    return begin


def test_a_pause_bites_within_a_second_and_what_is_left_goes_once(smtp_sink, sale, now):
    one = sale(2_000)
    smtp_sink.on_data = lambda mail: time.sleep(0.004)
    workers = [start_worker(now, smtp_sink.url) for _ in range(2)]
    deadline = time.monotonic() + 60
    while len(smtp_sink.mails) < 150:
        assert time.monotonic() < deadline
        time.sleep(0.02)

    begun = time.monotonic()
    publishing.pause(journey=one, by=None, now=now)
    assert time.monotonic() - begun < 1
    claimed_or_gone = Message.objects.filter(state__in=["sending", "sent"]).count()
    assert claimed_or_gone < 2_000
    assert Message.objects.filter(is_held=False, state__in=["pending", "ready"]).count() == 0
    outputs = [finish(worker) for worker in workers]
    assert [code for code, _ in outputs] == [0, 0], outputs
    assert len(smtp_sink.mails) <= claimed_or_gone, "more left than was claimed when it was paused"
    tick(now)
    deliver(now=now)
    assert len(smtp_sink.mails) <= claimed_or_gone
    assert Sendout.objects.get().state == "sending"

    smtp_sink.on_data = lambda mail: None
    later = now + timedelta(minutes=10)
    publishing.resume(journey=one, by=None, now=later)
    tick(later)
    deliver(now=later)
    assert len(smtp_sink.mails) == 2_000
    assert doubles(smtp_sink) == 0
    tick(later)
    tick(later)
    assert Sendout.objects.get().state == "finished"
    assert {name: number for name, number in invariants.check(later).items() if number} == {}


def test_a_server_with_hiccups_pauses_and_restarts_end_in_one_mail_each(smtp_sink, sale, now):
    one = sale(300)
    turn = count()
    # Three in ten are told to come again later.
    smtp_sink.on_recipient = lambda address: "421 later" if next(turn) % 10 in (2, 5, 8) else None
    moment = now
    for round_ in range(3):
        code, output = finish(start_worker(moment, smtp_sink.url, "after_claim:kill" if round_ == 1 else ""))
        assert code in (0, -9), output
        publishing.pause(journey=one, by=None, now=moment)
        tick(moment)
        assert Sendout.objects.get().state == "sending", "not finished while it rests"
        moment += timedelta(minutes=6)
        sweep(moment)
        publishing.resume(journey=one, by=None, now=moment)
        tick(moment)
    for _round in range(8):
        moment += timedelta(hours=2)
        sweep(moment)
        tick(moment)
        deliver(now=moment)
        tick(moment)
    tick(moment)
    states = Counter(Message.objects.values_list("state", flat=True))
    assert sum(states.values()) == 300
    assert set(states) <= {"sent", "uncertain", "failed"}
    assert states["sent"] >= 280
    assert doubles(smtp_sink) == 0
    assert max(Message.objects.values_list("attempts", flat=True)) <= MOST_ATTEMPTS
    occasion = Sendout.objects.get()
    assert (occasion.state, occasion.audience) == ("finished", 300)
    assert invariants.check(moment)["I7"] == 0


def test_two_tickers_at_once_take_an_audience_once(sale, now):
    """The second finds the first's lock; here it comes right behind, as after a crash."""
    sale(20)
    for _ in range(3):
        tick(now)
    assert Message.objects.count() == Contact.objects.count() == 20
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*), count(DISTINCT contact_id) FROM campaigns_enrolment")
        assert cursor.fetchone() == (20, 20)
