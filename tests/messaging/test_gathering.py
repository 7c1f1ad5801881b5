"""Clicks are gathered and written a moment later: none is lost or doubled, whatever becomes of threads and database."""

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta

import psycopg
import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from journey_crm import benches
from journey_crm.benches.web import get, send, server
from messaging import gathering, links, tokens, views
from messaging.front import Front
from messaging.gathering import Gatherer, Taken
from messaging.models import Hit

# Real rows by other connections; each such test empties all tables behind it, so there are few.
stored = pytest.mark.django_db(transaction=True)
BROWSER = "Mozilla/5.0 test"


def taken(number=1, **values):
    return Taken(**{
        "message_id": number, "link_id": 7, "hit_at": timezone.now(), "method": "GET", "user_agent": "x",
        "network": "192.0.2.0/24",
    } | values)  # fmt: skip


def until(condition, seconds=20):
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, "it never came"
        time.sleep(0.01)


@pytest.fixture
def gatherer():
    """Makes gatherers; each has ended, with its thread, when the test has."""
    made = []

    def make(**values):
        one = Gatherer(**{"pause": 0.02, "idle": 0.1} | values)
        made.append(one)
        return one

    yield make
    for one in made:
        until(lambda one=one: one._writer is None)
    until(lambda: "hits" not in {thread.name for thread in threading.enumerate()})


_WRITERS = "FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY messaging_hit %%'"


def backends():
    """How many connections writing threads hold."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) {_WRITERS}", [])
        return cursor.fetchone()[0]


class Table:
    """A table that can be away; what is written stands in `rows`."""

    def __init__(self):
        self.rows, self.tries, self.is_away = [], 0, False

    def write(self, hits):
        self.tries += 1
        if self.is_away:
            raise OperationalError("away")
        self.rows += hits


@stored
def test_a_thousand_hits_of_many_threads_are_a_thousand_rows_as_they_came(gatherer):
    one = gatherer()
    odd = taken(1001, link_id=None, method="HEAD", user_agent="tab\t new\nline \\N \\ ü 你", network="")

    def click(first):
        for number in range(first, first + 100):
            one.take(taken(number + 1))

    threads = [threading.Thread(target=click, args=(first,)) for first in range(0, 1000, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one.take(odd)
    until(lambda: Hit.objects.count() >= 1001)
    assert sorted(Hit.objects.values_list("message_id", flat=True)) == list(range(1, 1002))
    assert Hit.objects.values_list(*Taken._fields).get(message_id=1001) == odd
    assert one.lost == 0
    assert backends() <= 1, "one connection a process"
    until(lambda: one._writer is None)
    until(lambda: backends() == 0)  # nothing is held while nothing is to do
    one.take(taken(1002))
    until(lambda: Hit.objects.count() == 1002)


@stored
def test_neither_a_cut_connection_nor_a_refused_row_harms_other_hits(gatherer, caplog):
    one = gatherer(idle=30)
    one.take(taken(1))
    until(Hit.objects.exists)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_terminate_backend(pid) {_WRITERS}", [])
        assert cursor.fetchall() == [(True,)]
    for number in range(2, 6):
        one.take(taken(number, user_agent="\0" if number == 3 else "x"))
    until(lambda: Hit.objects.count() == 4)
    until(lambda: "hit_refused" in caplog.text)
    assert sorted(Hit.objects.values_list("message_id", flat=True)) == [1, 2, 4, 5]
    one._idle = 0.1


def test_while_the_database_is_away_hits_wait_and_then_none_is_missing(gatherer, caplog):
    table = Table()
    table.is_away = True
    one = gatherer(write=table.write)
    for number in range(20):
        one.take(taken(number + 1))
    until(lambda: table.tries > 4)
    table.is_away = False
    until(lambda: len(table.rows) == 20)
    assert [hit.message_id for hit in table.rows] == list(range(1, 21))
    assert (one.lost, "hits_wait" in caplog.text, "hits_lost" in caplog.text) == (0, True, False)


def test_what_is_too_much_or_too_old_is_dropped_counted_and_logged(gatherer, caplog):
    table = Table()
    table.is_away = True
    one = gatherer(write=table.write, most=10, patience=timedelta(minutes=5))
    for _ in range(3):
        one.take(taken(hit_at=timezone.now() - timedelta(minutes=6)))
    until(lambda: one.lost == 3)
    with one._flushing:
        for number in range(15):
            one.take(taken(number + 1))
    assert one.lost == 8
    table.is_away = False
    until(lambda: len(table.rows) == 10)
    assert [hit.message_id for hit in table.rows] == list(range(1, 11))
    assert "hits_lost" in caplog.text and "lost_by_this_process=3" in caplog.text


def test_without_a_thread_whoever_clicked_writes(gatherer, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    table = Table()
    one = gatherer(write=table.write)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    for number in (1, 2):
        one.take(taken(number))
        assert len(table.rows) == number


@pytest.mark.django_db
def test_a_redirect_is_answered_while_the_database_is_away(monkeypatch):
    """What a process has led to once it leads to without asking anybody."""
    link = links.store(["https://acme.example/a"], timezone.now())["https://acme.example/a"]
    path = f"/t/c/{tokens.current().token(tokens.CLICK, 1, link)}"
    tokens.read(tokens.CLICK, path.rpartition("/")[2])
    views._location(link)
    kept, said = [], []
    monkeypatch.setattr(gathering, "take", kept.append)
    monkeypatch.setattr(connection, "cursor", lambda *args: (_ for _ in ()).throw(OperationalError("away")))

    def django(environ, start_response):
        raise AssertionError("the whole way")

    environ = {"PATH_INFO": path, "REQUEST_METHOD": "GET", "REMOTE_ADDR": "192.0.2.1"}
    assert Front(django)(environ, lambda status, headers: said.extend([status, dict(headers)["Location"]])) == []
    assert said == ["302 Found", "https://acme.example/a"]
    assert [(one.message_id, one.link_id) for one in kept] == [(1, link)]


# A real server ------------------------------------------------------------------------------------------------------


@stored
def test_a_server_that_is_told_to_end_has_written_every_hit_that_it_answered():
    """The last hits come in just before the signal, so that they wait in the process when it comes."""
    link = links.store(["https://acme.example/a"], timezone.now())["https://acme.example/a"]
    signer = tokens.current()
    clicks = [get(f"/t/c/{signer.token(tokens.CLICK, n + 1, link)}", BROWSER) for n in range(1000)]
    with server() as port:
        send(port, clicks, 16, 302)
    # It has ended by SIGTERM when the block is left.
    assert Hit.objects.count() == 1000
    assert Hit.objects.values("message_id").distinct().count() == 1000
    until(lambda: backends() == 0)


_PROGRAM = """
import django, sys, time
django.setup()
from django.utils import timezone
from messaging import gathering
for number in range(1, {count}):
    gathering.take(gathering.Taken(number, {link}, timezone.now(), "GET", "x", ""))
    print(number, time.time(), flush=True)
    time.sleep({rest})
"""


@stored
def test_a_process_that_ends_loses_nothing_and_one_that_is_killed_the_last_moment():
    there = {
        **os.environ, "DATABASE_URL": benches.url(connection.settings_dict["NAME"]),
        "DJANGO_SETTINGS_MODULE": "journey_crm.settings",
    }  # fmt: skip

    def start(**values):
        code = [sys.executable, "-W", "ignore", "-c", _PROGRAM.format(**values)]
        return subprocess.Popen(code, env=there, stdout=subprocess.PIPE)

    ending, killed = start(count=301, link=1, rest=0), start(count=100_000, link=2, rest=0.005)
    try:
        until(lambda: Hit.objects.filter(link_id=2).count() > 20, 60)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed_at = time.time()
    said = [line.split() for line in killed.communicate()[0].splitlines() if line.count(b" ") == 1]
    kept = set(Hit.objects.filter(link_id=2).values_list("message_id", flat=True))
    assert kept == set(range(1, len(kept) + 1)), "in order, none left out"
    lost = [float(at) for number, at in said if int(number) not in kept]
    # A fifth of a second; on a machine that stands still for a while a commit may take longer.
    assert not lost or killed_at - min(lost) < 5
    ending.communicate(timeout=60)
    assert (ending.returncode, Hit.objects.filter(link_id=1).count()) == (0, 300)


def test_a_forked_process_does_not_write_its_parents_hits(monkeypatch):
    written = []
    monkeypatch.setattr(gathering, "_gatherer", Gatherer(0.02, written.extend, idle=0.1))
    child = os.fork()
    if not child:
        os._exit(0 if gathering._gatherer is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.django_db
def test_psycopg_errors_are_djangos(monkeypatch):
    """So that an outage is known for one, whoever raises it."""

    def cut(self, *args):
        raise psycopg.OperationalError("server closed the connection")

    monkeypatch.setattr(psycopg.Copy, "write_row", cut)
    with pytest.raises(OperationalError):
        gathering.write([taken()])
