"""A merge while others write: nothing stays with who is no more."""

import threading
from datetime import timedelta
from time import sleep

import pytest
from django.db import connection, transaction
from django.utils import timezone

from contacts.consent import record_consent
from contacts.merging import merge
from contacts.models import Consent, Contact, Identity, Merge
from contacts.unmerging import unmerge
from growth.models import Order
from journey_crm import invariants
from journey_crm.tick import tick

pytestmark = pytest.mark.django_db(transaction=True)


def in_thread(work):
    """Runs `work` beside us, with a connection of its own; what it raised is raised by `join`."""
    problems: list[BaseException] = []

    def run():
        try:
            work()
        except BaseException as problem:
            problems.append(problem)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()

    def join():
        thread.join(20)
        assert not thread.is_alive()
        if problems:
            raise problems[0]

    return join


def waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return cursor.fetchone()[0] > 0


def until(is_so) -> None:
    for _attempt in range(400):
        if is_so():
            return
        sleep(0.02)
    raise AssertionError("It never came to that.")


@pytest.fixture
def two():
    now = timezone.now()
    return Contact.objects.create(identified_at=now - timedelta(days=1)), Contact.objects.create(identified_at=now)


def order(number, contact):
    return Order.objects.create(number=number, contact=contact, total=1, placed_at=timezone.now())


def test_what_was_being_written_before_the_merge_follows_at_the_next_tick(two):
    survivor, loser = two
    begun, go_on = threading.Event(), threading.Event()

    def write():
        with transaction.atomic():
            order("1", loser)
            begun.set()
            assert go_on.wait(10)

    writer = in_thread(write)
    assert begun.wait(10)
    # Foreign keys are checked at commit, so the merge neither sees the order nor waits for it.
    merge(survivor=survivor, loser=loser, reason="test", now=timezone.now())
    go_on.set()
    writer()
    assert Order.objects.get().contact == loser
    tick(timezone.now())
    assert Order.objects.get().contact == survivor
    assert Merge.objects.get().entries.filter(table_name="growth_order").exists()


def test_what_was_written_while_they_were_merged_follows_at_the_next_tick_and_back_again(two):
    survivor, loser = two
    Identity.objects.create(contact=loser, kind="email", value="lee@x.example")
    merged, go_on = threading.Event(), threading.Event()

    def work():
        with transaction.atomic():
            merge(survivor=survivor, loser=loser, reason="test", now=timezone.now())
            merged.set()
            assert go_on.wait(10)

    merger = in_thread(work)
    assert merged.wait(10)
    # Whoever writes of the loser now waits for the merge, and then finds a tombstone.
    writers = [
        in_thread(lambda: order("1", loser)),
        in_thread(
            lambda: Consent.objects.create(contact=loser, channel="email", state="denied", changed_at=timezone.now())
        ),
        in_thread(
            lambda: record_consent(
                contact=loser, topic="news", channel="email", state="denied", source="form", now=timezone.now()
            )
        ),
    ]
    until(waits_for_a_lock)
    go_on.set()
    merger()
    for writer in writers:
        writer()
    assert Order.objects.get().contact == loser
    tick(timezone.now())
    assert Order.objects.get().contact == survivor
    assert set(Consent.objects.values_list("contact", "topic", "state")) == {
        (survivor.pk, "", "denied"),
        (survivor.pk, "news", "denied"),
    }
    assert not any(invariants.check(timezone.now()).values())
    # It was the loser's, so an undo gives it back.
    unmerge(Merge.objects.get(), now=timezone.now())
    assert Order.objects.get().contact == loser


def test_two_merges_of_the_same_two_at_once_make_one(two):
    one, other = two

    def attempt(survivor, loser):
        def work():
            try:
                merge(survivor=survivor, loser=loser, reason="test", now=timezone.now())
            except ValueError as refusal:
                assert "already" in str(refusal)

        return work

    for join in [in_thread(attempt(one, other)), in_thread(attempt(other, one)), in_thread(attempt(one, other))]:
        join()
    assert Merge.objects.count() == 1
    assert Contact.objects.living().count() == 1


def test_somebody_merges_while_the_tick_runs_and_neither_fails(two):
    people = [Contact.objects.create(identified_at=timezone.now()) for _number in range(8)]

    def merge_all():
        for loser in people[1:]:
            merge(survivor=people[0], loser=loser, reason="test", now=timezone.now())

    merger = in_thread(merge_all)
    for number in range(10):
        order(f"o{number}", people[number % 8])
        tick(timezone.now())
    merger()
    tick(timezone.now())
    assert set(Order.objects.values_list("contact", flat=True)) == {people[0].pk}
    assert Contact.objects.living().count() == 3
