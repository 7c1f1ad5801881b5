"""Many writers, one ticker: nothing is lost, nothing comes twice, and everybody's order is kept."""

import threading
from collections import Counter, defaultdict
from datetime import UTC, datetime

import pytest
from django.db import connection, transaction

from contacts.ingest import ingest
from contacts.models import Contact, Identity, Incoming, Receipt, StepCursor, Touchpoint
from contacts.stream import Busy, Step, head, hold_tick_lock, put, run_step

NOW = datetime(2026, 11, 10, 9, 0, tzinfo=UTC)
INGEST = Step("ingest", ingest)


def in_threads(*jobs) -> list[BaseException]:
    """Runs each job in a thread with a database connection of its own; the errors they ended with."""
    errors: list[BaseException] = []

    def run(job):
        try:
            job()
        except BaseException as error:  # noqa: BLE001
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[job]) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not any(thread.is_alive() for thread in threads)
    return errors


def reader_step(seen: list[int], name="reader") -> Step:
    """A step that notes the ids of all touchpoints it is shown."""

    def read(now, after, upto):
        ids = list(Touchpoint.objects.filter(id__gt=after, id__lte=upto).order_by("id").values_list("id", flat=True))
        seen.extend(ids)
        return len(ids)

    return Step(name, read)


@pytest.mark.django_db(transaction=True)
def test_eight_writers_and_an_eager_ticker_lose_nothing_double_nothing_and_keep_the_order_of_each_writer():
    writers, rounds = 8, 60
    done = threading.Event()
    seen: list[int] = []

    def write(writer):
        def job():
            for number in range(rounds):
                with transaction.atomic():
                    for part in range(2):
                        put(
                            kind="page.viewed",
                            source=f"writer-{writer}",
                            message_id=f"{number}.{part}",
                            now=NOW,
                            # Half of them on devices of their own, half all on the same device.
                            anonymous_id="shared" if number % 2 else f"device-{writer}-{number % 5}",
                            properties={"writer": writer, "number": number * 2 + part},
                        )

        return job

    def tick():
        while not done.is_set():
            try:
                run_step(INGEST, NOW)
                run_step(reader_step(seen), NOW)
            except Busy:
                pass

    errors: list = []
    tickers = [threading.Thread(target=lambda: errors.extend(in_threads(tick, tick)))]
    tickers[0].start()
    errors += in_threads(*[write(writer) for writer in range(writers)])
    done.set()
    tickers[0].join(timeout=60)
    run_step(INGEST, NOW)
    run_step(reader_step(seen), NOW)

    assert errors == []
    assert not StepCursor.objects.exclude(error="").exists()
    assert not Incoming.objects.exists()
    numbers = defaultdict(list)
    for properties in Touchpoint.objects.filter(kind="page.viewed").order_by("id").values_list("properties", flat=True):
        numbers[properties["writer"]].append(properties["number"])
    assert numbers == {writer: list(range(rounds * 2)) for writer in range(writers)}
    # The reader behind its cursor was shown every touchpoint exactly once, in order.
    assert seen == list(Touchpoint.objects.order_by("id").values_list("id", flat=True))
    assert Contact.objects.count() == 1 + writers * 5


@pytest.mark.django_db(transaction=True)
def test_one_message_from_fifty_threads_counts_once():
    def write():
        put(kind="page.viewed", source="sdk", message_id="m1", now=NOW, anonymous_id="a1")

    assert in_threads(*[write] * 50) == []
    run_step(INGEST, NOW)
    write()
    run_step(INGEST, NOW)
    assert Touchpoint.objects.filter(kind="page.viewed").count() == 1
    assert Receipt.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_tickers_at_once_are_harmless():
    for number in range(300):
        put(kind="page.viewed", source="t", now=NOW, anonymous_id=f"a{number % 50}", properties={"n": number})
    seen: list[int] = []
    answers = Counter()
    start = threading.Barrier(4)

    def tick():
        start.wait()
        try:
            answers["done"] += run_step(INGEST, NOW)
            run_step(reader_step(seen), NOW)
        except Busy:
            answers["busy"] += 1

    assert in_threads(*[tick] * 4) == []
    run_step(reader_step(seen), NOW)
    assert answers["done"] == 300
    assert Touchpoint.objects.filter(kind="page.viewed").count() == 300
    assert len(seen) == len(set(seen)) == Touchpoint.objects.count()


@pytest.mark.django_db(transaction=True)
def test_a_ticker_that_finds_another_at_work_leaves_at_once():
    is_held, may_go = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic():
            hold_tick_lock()
            is_held.set()
            may_go.wait(30)

    errors: list = []
    holder = threading.Thread(target=lambda: errors.extend(in_threads(hold)))
    holder.start()
    assert is_held.wait(30)
    with pytest.raises(Busy):
        run_step(INGEST, NOW)
    may_go.set()
    holder.join(30)
    assert errors == []
    assert run_step(INGEST, NOW) == 0


@pytest.mark.django_db(transaction=True)
def test_a_person_made_elsewhere_in_the_middle_of_a_batch_is_found_by_the_next_try():
    """The unique handle stops the batch, which then sees who was there first: one person, not two."""
    put(kind="page.viewed", source="t", now=NOW, user_id="u1")
    is_made, may_commit = threading.Event(), threading.Event()

    def make():
        with transaction.atomic():
            contact = Contact.objects.create(identified_at=NOW)
            Identity.objects.create(contact=contact, kind="user_id", value="u1")
            is_made.set()
            may_commit.wait(30)

    def take():
        is_made.wait(30)
        threading.Timer(1, may_commit.set).start()
        run_step(INGEST, NOW)  # waits for the other's unique handle

    assert in_threads(make, take) == []
    assert Contact.objects.count() == 1
    assert Identity.objects.count() == 1
    assert Touchpoint.objects.get(kind="page.viewed").contact == Contact.objects.get()
    assert not Incoming.objects.exists()


# Steps ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def stream_of_five(db):
    for number in range(5):
        put(kind="page.viewed", source="t", now=NOW, anonymous_id=f"a{number}")
    run_step(INGEST, NOW)
    assert head() == Touchpoint.objects.order_by("-id")[0].pk


def test_a_failing_step_stops_only_itself_keeps_none_of_its_work_and_resumes_where_it_stood(stream_of_five):
    seen: list[int] = []
    is_broken = True

    def fragile(now, after, upto):
        Contact.objects.update(source="half done")
        if is_broken:
            raise RuntimeError("the disk is sad")
        seen.extend(Touchpoint.objects.filter(id__gt=after, id__lte=upto).values_list("id", flat=True))
        return len(seen)

    assert run_step(Step("fragile", fragile), NOW) == 0
    cursor = StepCursor.objects.get(step="fragile")
    assert (cursor.position, cursor.failed_at) == (0, NOW)
    assert "RuntimeError: the disk is sad" in cursor.error
    assert not Contact.objects.filter(source="half done").exists()
    after_it: list[int] = []
    assert run_step(reader_step(after_it), NOW) == 10
    is_broken = False
    assert run_step(Step("fragile", fragile), NOW) == 10
    cursor.refresh_from_db()
    assert (cursor.position, cursor.failed_at, cursor.error) == (head(), None, "")
    assert sorted(seen) == after_it


def test_a_step_put_back_to_zero_replays(stream_of_five):
    seen: list[int] = []
    run_step(reader_step(seen), NOW)
    assert run_step(reader_step(seen), NOW) == 0
    StepCursor.objects.filter(step="reader").update(position=0)
    run_step(reader_step(seen), NOW)
    assert seen == seen[:10] * 2


def test_a_long_backlog_is_read_in_windows_without_gap_or_overlap(stream_of_five, monkeypatch):
    monkeypatch.setattr("contacts.stream.WINDOW", 3)
    windows: list[tuple[int, int]] = []
    run_step(Step("windows", lambda now, after, upto: windows.append((after, upto)) or 0), NOW)
    assert windows[0][0] == 0
    assert windows[-1][1] == head()
    assert all(upto == next_after for (_, upto), (next_after, _) in zip(windows, windows[1:], strict=False))


def test_an_inbox_longer_than_a_batch_is_drained_in_one_tick(db, monkeypatch):
    monkeypatch.setattr("contacts.ingest.BATCH", 7)
    for number in range(50):
        put(kind="page.viewed", source="t", now=NOW, anonymous_id=f"a{number % 9}", properties={"n": number})
    assert run_step(INGEST, NOW) == 50
    seen = Touchpoint.objects.filter(kind="page.viewed").order_by("id").values_list("properties__n", flat=True)
    assert list(seen) == list(range(50))
