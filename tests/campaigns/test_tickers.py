"""Several tickers, a frozen one that wakes, clocks that change, and people whom nothing may leave standing."""

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.db import connection

from campaigns.models import Due, Enrolment, Visit
from contacts.models import Contact, StepCursor, Touchpoint
from journey_crm import benches, invariants
from journey_crm.tick import tick, walk
from messaging import delivery
from messaging.models import Brand, Message, Template
from tests.campaigns import world
from tests.campaigns.world import DAY, did, journey, people
from tests.contacts.test_stream import in_threads

# A ticker of its own process that stands still in the midst of its step, holding the lock.
FREEZES = """
import os, signal, sys
from datetime import datetime

import django
django.setup()

from campaigns import engine
from contacts import stream
from journey_crm.tick import tick

make_messages, stream.PATIENCE = engine.MOVES["send"], sys.argv[2]

def freeze(now, names):
    made = make_messages(now, names)
    os.kill(os.getpid(), signal.SIGSTOP)
    return made

engine.MOVES["send"] = freeze
print(tick(datetime.fromisoformat(sys.argv[1])))
"""


def brand() -> None:
    Brand.objects.update_or_create(
        pk=1, defaults={"name": "Acme", "sender": "Acme <hello@acme.example>", "postal_address": "1 Main St, Brno"}
    )


def operational(*keys: str) -> None:
    """Messages that no cap keeps back."""
    world.templates(*keys)
    Template.objects.filter(key__in=keys).update(message_class="operational", body="Hello")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("patience", "is_cut_off"), [("60s", False), ("500ms", True)])
def test_two_tickers_two_deliverers_and_a_frozen_ticker_that_wakes_do_everything_once(
    smtp_sink, now, patience, is_cut_off
):
    brand()
    operational("hello", "bye")
    journey(now, steps=[{"send": "hello"}, {"wait": "1h"}, {"send": "bye"}])
    people(200)
    for contact in Contact.objects.all():
        did(contact, "trial.started", now)
    environment = {**os.environ, "DATABASE_URL": benches.url(connection.settings_dict["NAME"])}
    environment["DJANGO_SETTINGS_MODULE"] = "journey_crm.settings"
    command = [sys.executable, "-c", FREEZES, now.isoformat(), patience]
    frozen = subprocess.Popen(command, env=environment, cwd=settings.ROOT, stdout=subprocess.PIPE, text=True)
    try:
        _pid, status = os.waitpid(frozen.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), "it ended before it froze"
        if not is_cut_off:
            assert tick(now)["busy"] == 1
            assert not Message.objects.exists(), "what it made is not to be seen before its step is over"
        moment, rested, errors = [now], threading.Event(), []
        crowd = threading.Thread(target=lambda: errors.extend(in_threads(*loops(moment, rested))))
        crowd.start()
        if is_cut_off:
            eventually(lambda: errors or len(smtp_sink.mails) == 200)
        os.kill(frozen.pid, signal.SIGCONT)
        said = frozen.communicate(timeout=60)[0]
        eventually(lambda: errors or Due.objects.filter(node_kind="wait").count() == 200)
        moment[0] = now + timedelta(hours=1)
        eventually(lambda: errors or Enrolment.objects.filter(state="finished").count() == 200)
    finally:
        rested.set()
        crowd.join(60)
        if frozen.poll() is None:
            frozen.kill()
            frozen.wait()
    assert errors == []
    assert is_cut_off or "'advance': " in said
    mails = Counter((mail.recipients[0], mail["Subject"]) for mail in smtp_sink.mails)
    assert len(mails) == 400 and set(mails.values()) == {1}
    steps = Counter(Visit.objects.values_list("enrolment", "node_id"))
    assert len(steps) == 200 * 4 and set(steps.values()) == {1}
    told = Counter(
        Touchpoint.objects.filter(kind__in=["journey.entered", "journey.left"]).values_list("contact", "kind")
    )
    assert len(told) == 400 and set(told.values()) == {1}
    assert not StepCursor.objects.exclude(error="").exists()
    counts = invariants.check(moment[0])
    assert not any(counts.values()), counts


def loops(moment: list[datetime], rested: threading.Event):
    """Two schedulers' worth of work: ticks and deliveries without a pause, at a moment that the test sets."""

    def ticks():
        while not rested.wait(0.05):
            tick(moment[0])

    def deliveries():
        while not rested.wait(0.05):
            delivery.deliver(now=moment[0])

    return ticks, ticks, deliveries, deliveries


def eventually(is_so) -> None:
    pause = threading.Event()
    for _try in range(600):
        if is_so():
            return
        pause.wait(0.1)
    states = [Message.objects.values_list("state", "reason"), Due.objects.values_list("node_kind")]
    raise AssertionError(f"it never came about: {[Counter(rows) for rows in states]}")


# The nights on which the clocks change: what happens at which minute of UTC.
NIGHTS = [
    (datetime(2026, 10, 25, 0, 28, tzinfo=UTC), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
    (datetime(2027, 3, 28, 0, 28, tzinfo=UTC), datetime(2027, 3, 28, 1, 0, tzinfo=UTC)),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("begin", "half_past_two"), NIGHTS)
def test_a_clock_that_walks_minute_by_minute_over_the_switch_does_everything_once(begin, half_past_two, smtp_sink):
    brand()
    operational("one", "two", "three")
    Template.objects.update(message_class="transactional")  # at night
    journey(begin, key="until", steps=[{"wait_until": {"local_time": "02:30"}}, {"send": "one"}])
    journey(begin, key="elapsed", steps=[{"wait": "35m"}, {"send": "two"}])
    daily = {"key": "daily", "cadence": {"rrule": "FREQ=DAILY", "at": "02:30"}, "items": [{"send": "three"}]}
    journey(begin, key="track", kind="nurture", streams=[daily])
    people(3, zone="Europe/Prague")
    for contact in Contact.objects.all():
        did(contact, "trial.started", begin)
    for moment, done in walk(begin, begin + timedelta(minutes=38), timedelta(minutes=1)):
        assert "busy" not in done
        delivery.deliver(now=moment)
    assert not StepCursor.objects.exclude(error="").exists()
    left = Counter(Message.objects.values_list("template__key", "sent_at"))
    assert left == {
        ("one", half_past_two): 3,
        ("two", begin + timedelta(minutes=35)): 3,
        ("three", half_past_two): 3,
    }
    assert len(smtp_sink.mails) == 9


@pytest.mark.django_db
def test_what_is_awaited_may_come_before_during_or_after_the_wait_begins_and_everybody_passes_once(now):
    wait = {"wait_for": {"did": "project.created"}, "timeout": "5d", "then": [{"send": "well-done"}], "else": []}
    journey(now, steps=[{"wait": "1d"}, wait])
    people(300)
    everybody = list(Contact.objects.order_by("pk"))
    moments = {now + DAY / 2: everybody[:100], now + DAY: everybody[100:200], now + DAY * 1.5: everybody[200:]}
    for contact in everybody:
        did(contact, "trial.started", now)
    for hours in (0, 12, 24, 24, 30, 36, 36, 24 * 7):
        moment = now + timedelta(hours=hours)
        for contact in moments.pop(moment, []):
            did(contact, "project.created", moment)
        world.tick(moment)
    assert Visit.objects.filter(outcome="then").count() == Message.objects.count() == 300
    assert Enrolment.objects.filter(state="finished", exit_reason="end").count() == 300
    assert invariants.check(moment)["I3"] == 0


@pytest.mark.django_db
@pytest.mark.parametrize("on_skip", ["advance", "exit", "wait"])
def test_where_every_send_of_a_step_fails_everybody_leaves_it_by_its_way_for_that(now, smtp_sink, on_skip):
    """By the real gates and the real delivery: a server that refuses everybody, and people without an address."""
    brand()
    operational("hello")
    smtp_sink.on_recipient = lambda address: "554 5.7.1 go away"
    journey(now, steps=[{"send": "hello", "on_skip": on_skip}, {"wait": "1d"}])
    people(20)
    Contact.objects.bulk_create(Contact(stage="known", phone=f"+4207770000{number:02}") for number in range(20))
    for contact in Contact.objects.all():
        did(contact, "trial.started", now)
    for hours in (0, 0, 0, 1, *range(24, 24 * 12, 6)):
        moment = now + timedelta(hours=hours)
        tick(moment)
        delivery.deliver(now=moment)
    assert smtp_sink.mails == []
    ends = Counter(Message.objects.values_list("state", "reason"))
    assert sum(ends.values()) == 40 and {state for state, _reason in ends} == {"failed", "skipped"}, ends
    left = Counter(Enrolment.objects.values_list("state", "exit_reason"))
    assert left == ({("exited", "not_sent"): 40} if on_skip == "exit" else {("finished", "end"): 40})
    counts = invariants.check(moment)
    assert counts["I3"] == counts["I9"] == 0
