"""`manage.py up`, as a person at a terminal meets it."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psycopg
import pytest

from journey_crm.embedded import processes
from journey_crm.embedded.place import forget
from tests.house.test_launcher import eventually

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class House:
    """One `manage.py up` on a DATA_DIR of its own, without the demo company."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir, self.port, self.process = data_dir, free_port(), None
        self.output = data_dir / "output"
        self.environment = {
            **os.environ,
            "DATA_DIR": str(data_dir),
            "PORT": str(self.port),
            "DEMO": "0",
            "BASE_URL": "",
            "DATABASE_URL": "",
            "CELERY_BROKER_URL": "",
        }

    def start(self) -> None:
        with open(self.output, "w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-u", "manage.py", "up"],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def health(self) -> dict | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/", timeout=5) as answer:
                return json.load(answer)
        except (urllib.error.HTTPError, OSError):
            return None

    def is_well(self) -> bool:
        assert self.process.poll() is None, f"up ended by itself:\n{self.output.read_text()}"
        return self.health() is not None

    def pids(self) -> dict[str, int]:
        """Its main processes by what their command line says."""
        names = {
            "granian": "web",
            "queues=tick": "ticker",
            "queues=celery": "worker",
            "queues=webhooks": "courier",
            "beat": "scheduler",
        }
        found = {}
        for pid in sorted(processes.leftovers(self.data_dir), reverse=True):
            for part, name in names.items():
                if part in processes.command_line(pid):
                    found[name] = pid  # the lowest number, which is the parent's
        return found

    def working(self) -> list[str]:
        """Every process that has to do with this DATA_DIR."""
        found = [processes.command_line(pid) for pid in processes.leftovers(self.data_dir)]
        for entry in Path("/proc").glob("[0-9]*"):
            line = processes.command_line(int(entry.name))
            if str(self.data_dir) in line:
                found.append(line)
        return found

    def rows(self, sql: str) -> list:
        with psycopg.connect(host=str(self.data_dir / "run"), user="journey", dbname="journey") as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def house():
    folder = Path(tempfile.mkdtemp(prefix="journey-up-", dir="/tmp"))
    folder.chmod(0o711)
    house = House(folder)
    yield house
    if house.process and house.process.poll() is None:
        house.process.terminate()
        house.process.wait(20)
    forget(folder)


def test_it_starts_refuses_a_second_one_heals_survives_kills_and_leaves_nothing_behind(house):
    house.start()
    assert eventually(house.is_well, 120), house.output.read_text()
    assert eventually(lambda: f"http://localhost:{house.port}/admin/" in house.output.read_text())
    house.rows("CREATE TABLE kept (word text); INSERT INTO kept VALUES ('first')")

    # A second one on the same data says what is the matter.
    second = subprocess.run(
        [sys.executable, "manage.py", "up"], cwd=ROOT, env=house.environment, capture_output=True, text=True, timeout=60
    )
    assert second.returncode == 1
    assert f"Journey CRM on port {house.port}" in second.stderr and "already runs" in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1

    # Single processes die by kill -9, the database among them: each comes back by itself.
    before = house.pids()
    assert set(before) == {"web", "ticker", "worker", "courier", "scheduler"}
    postmaster = int((house.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
    for pid in (before["worker"], before["web"], postmaster):
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: {"web", "worker"} <= {n for n, pid in house.pids().items() if pid != before[n]}, 30)
    assert eventually(house.is_well, 60), house.output.read_text()
    # A child that outlives its killed parent for a moment looks like a new worker: the supervisor's word counts.
    assert eventually(lambda: "worker ended (signal 9); it is started again" in house.output.read_text(), 30)
    assert eventually(lambda: "web ended (signal 9); it is started again" in house.output.read_text(), 30)

    # The supervisor itself dies by kill -9: everything ends with it, and the next start has all data.
    house.process.kill()
    house.process.wait()
    if sys.platform.startswith("linux"):
        assert eventually(lambda: not house.working()), house.working()
    house.start()
    assert eventually(house.is_well, 120), house.output.read_text()
    assert house.rows("SELECT word FROM kept") == [("first",)]

    # SIGTERM ends all of it within 10 s.
    began = time.monotonic()
    house.process.send_signal(signal.SIGTERM)
    assert house.process.wait(15) == 0
    assert time.monotonic() - began < 10, "a promise of the contract"
    assert not house.working()
    assert house.output.read_text().rstrip().endswith("Stopped.")


def test_what_an_earlier_run_left_behind_is_ended(house):
    """All but the supervisor's own protection: a process that carries our mark and whose supervisor is gone."""
    sleeper = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], env={**os.environ, processes.MARK: str(house.data_dir)}
    )
    assert processes.leftovers(house.data_dir) == [sleeper.pid]
    processes.end([sleeper.pid], signal.SIGTERM, 5)
    sleeper.wait(5)
    assert processes.leftovers(house.data_dir) == []


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"PORT": "taken"}, "is in use by another program; choose another, such as: make up PORT="),
        ({"PORT": "many"}, "PORT must be a whole number, not 'many'."),
        ({"DATA_DIR": "/proc/nothing"}, "Choose another by DATA_DIR."),
        ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL must begin with postgres://"),
        ({"DATABASE_URL": "postgres://nobody@127.0.0.1:1/none"}, "DATABASE_URL: the database does not answer"),
        ({"FAILPOINT": "after_claim:kill"}, "FAILPOINT is refused while DEBUG=0"),
    ],
)
def test_what_is_wrong_is_one_clear_sentence(house, setting, sentence):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        setting = {name: str(taken.getsockname()[1]) if value == "taken" else value for name, value in setting.items()}
        done = subprocess.run(
            [sys.executable, "manage.py", "up"],
            cwd=ROOT,
            env={**house.environment, **setting},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
