"""The embedded servers: found, started once, brought back after every kind of death, and none left behind."""

import multiprocessing
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import pytest

from journey_crm.embedded import postgres, valkey
from journey_crm.embedded.place import LONGEST_FOLDER, Refusal, forget, server_user, socket_folder
from journey_crm.embedded.processes import command_line
from journey_crm.embedded.stores import Stores

ROOT = Path(__file__).resolve().parents[2]
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def data_dir():
    """A DATA_DIR that a server's unprivileged user can enter."""
    folder = Path(tempfile.mkdtemp(prefix="journey-launch-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    forget(folder)


def stores(data_dir: Path, *, is_durable: bool = False, **options) -> Stores:
    return Stores(data_dir, purpose="a test", is_durable=is_durable, **options)


def rows(server: postgres.Postgres, sql: str) -> list:
    with psycopg.connect(host=str(server.sockets), user=postgres.USER, dbname=postgres.DATABASE) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def eventually(condition, seconds: float = 15) -> bool:
    """Waits for something that has no moment of its own; False if it never came."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def run_in_child(target, *arguments) -> int:
    """Runs a function in a forked process; its exit code."""
    child = FORK.Process(target=target, args=arguments)
    child.start()
    child.join(60)
    return child.exitcode


def test_of_two_that_begin_at_once_one_starts_the_servers_and_both_use_them(data_dir):
    began = FORK.Queue()
    leave = FORK.Event()

    def begin() -> None:
        with stores(data_dir) as mine:
            began.put((mine.is_owner, rows(mine.servers[0], "SELECT pg_postmaster_start_time()")))
            leave.wait(30)

    both = [FORK.Process(target=begin) for _ in range(2)]
    for process in both:
        process.start()
    seen = [began.get(timeout=60) for _ in both]
    leave.set()
    for process in both:
        process.join(30)
    assert sorted(is_owner for is_owner, _ in seen) == [False, True]
    assert seen[0][1] == seen[1][1], "two servers were started"
    assert [process.exitcode for process in both] == [0, 0]


def test_it_comes_back_with_all_data_after_every_kill_and_stale_note(data_dir):
    with stores(data_dir, is_durable=True) as mine:
        database, broker = mine.servers
        rows(database, "CREATE TABLE kept (word text); INSERT INTO kept VALUES ('first')")
        folder = data_dir / "postgres"

        # The server dies by kill -9; its own children, its note and its socket stay behind.
        os.kill(database.child.pid, signal.SIGKILL)
        database.child.wait(5)
        database.start()
        assert rows(database, "SELECT word FROM kept") == [("first",)]
        os.kill(broker.child.pid, signal.SIGKILL)
        broker.child.wait(5)
        broker.start()
        assert broker.answers()
        first = database.child.pid

    assert not command_line(first)
    # A recycled number: the note names a living process that is no database of this folder (we are).
    (folder / "postmaster.pid").write_text(f"{os.getpid()}\n{folder}\n0\n5432\n{database.sockets}\n\n\n")
    (data_dir / "valkey" / "pid").write_text(str(os.getpid()))
    # The broker's file cannot be read: nothing is lost by putting it aside.
    for manifest in (data_dir / "valkey" / "appendonlydir").glob("*.manifest"):
        manifest.write_text("no manifest\n")
    with stores(data_dir, is_durable=True) as mine:
        assert rows(mine.servers[0], "SELECT word FROM kept") == [("first",)]
        assert mine.servers[1].answers()
    assert list(data_dir.glob("valkey-unreadable-*"))


def test_the_servers_end_when_their_owner_is_killed(data_dir):
    """By the kernel on Linux; elsewhere the next start ends them. Either way the next start is well."""
    pids = FORK.Queue()

    def own() -> None:
        with stores(data_dir) as mine:
            pids.put([server.child.pid for server in mine.servers])
            time.sleep(60)

    owner = FORK.Process(target=own)
    owner.start()
    servers = pids.get(timeout=60)
    owner.kill()
    owner.join()
    if sys.platform.startswith("linux"):
        assert eventually(lambda: not any(command_line(pid) for pid in servers))
    with stores(data_dir) as mine:
        assert all(server.answers() for server in mine.servers)
        assert mine.is_owner


def test_a_deep_folder_gets_short_sockets_that_everybody_finds(data_dir):
    deep = data_dir.joinpath(*["a-folder-with-a-long-name"] * 5)
    sockets = socket_folder(deep)
    assert len(os.fsencode(sockets)) <= LONGEST_FOLDER
    assert socket_folder(deep) == sockets
    shutil.rmtree(sockets)  # as when the machine was started anew
    again = socket_folder(deep)
    assert again != sockets and again.is_dir()
    assert again.stat().st_mode & 0o077 == 0, "others could put a socket of theirs there"
    shutil.rmtree(again)


def test_an_ordinary_user_can_run_the_servers(data_dir):
    """As root we become one; the programs are first put where that user can reach them."""
    somebody = server_user(data_dir / "nothing-yet")
    binaries, _ = postgres.choose_binaries(None, somebody)
    program = Path(shutil.copy(valkey.find_program(), data_dir / "valkey-server"))
    own = data_dir / "own"
    own.mkdir()
    if somebody:
        os.chown(own, somebody.pw_uid, somebody.pw_gid)

    def run() -> None:
        if somebody:
            os.setgroups([])
            os.setgid(somebody.pw_gid)
            os.setuid(somebody.pw_uid)
        assert os.geteuid() != 0
        os.environ |= {"POSTGRES_BIN": str(binaries), "VALKEY_BIN": str(program)}
        with stores(own) as mine:
            rows(mine.servers[0], "SELECT 1")
            assert mine.servers[1].answers()

    assert run_in_child(run) == 0
    user = somebody or pwd.getpwuid(os.geteuid())
    assert {path.stat().st_uid for path in own.iterdir()} == {user.pw_uid}
    # Later as root on the same data: the server goes on as the user who owns them.
    with stores(own) as mine:
        assert rows(mine.servers[0], "SELECT 1") == [(1,)]


def test_as_root_in_a_closed_folder_the_database_lives_where_its_user_can_go(data_dir):
    closed = data_dir / "closed" / "data"
    closed.mkdir(parents=True)
    closed.parent.chmod(0o700)
    try:
        for answer in ([(None,)], [("kept",)]):
            with stores(closed) as mine:
                assert rows(mine.servers[0], "SELECT to_regclass('kept')::text") == answer
                rows(mine.servers[0], "CREATE TABLE IF NOT EXISTS kept ()")
    finally:
        forget(closed)


def test_data_of_another_version_are_refused_by_a_sentence(data_dir):
    (data_dir / "postgres").mkdir()
    (data_dir / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(Refusal, match="made by PostgreSQL 9"), stores(data_dir, has_valkey=False):
        pass


def test_a_command_can_bring_the_servers_along(data_dir):
    environment = {**os.environ, "DATA_DIR": str(data_dir), "DATABASE_URL": "", "CELERY_BROKER_URL": ""}
    script = "from django.db import connection as c; k = c.cursor(); k.execute('SELECT 41 + 1'); print(k.fetchone())"
    command = [sys.executable, "-m", "journey_crm.embedded", sys.executable, "manage.py", "shell", "-v0", "-c", script]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip().endswith("(42,)"), done.stderr
    assert not list((data_dir / "run").glob("*")), "a server is still there"
