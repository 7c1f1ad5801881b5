"""Runs the whole house on one machine."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psycopg
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand
from django.db import connection
from django.db.utils import OperationalError

from journey_crm import env
from journey_crm.demo_company import LOGINS
from journey_crm.embedded import checks, processes
from journey_crm.embedded.place import Refusal
from journey_crm.embedded.processes import MARK, Child
from journey_crm.embedded.stores import Stores
from journey_crm.embedded.supervision import Supervisor

MANAGE = [sys.executable, "-u", str(settings.ROOT / "manage.py")]


class Stopped(BaseException):
    """Somebody asked us to end."""


def _stop(signum: int, frame: object) -> None:
    # Ending takes less than 10 s; a second signal meanwhile would only disturb it.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise Stopped


class Command(BaseCommand):
    help = (
        "Starts database and broker (unless DATABASE_URL and CELERY_BROKER_URL are set), migrates, loads the demo "
        "company on the first run, and runs web server, workers and scheduler until Ctrl-C or SIGTERM."
    )
    requires_system_checks: list[str] = []

    def handle(self, *args: object, **options: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup means it
            signal.signal(signal.SIGHUP, _stop)
        self.data_dir: Path = settings.DATA_DIR
        self.env = {"DATA_DIR": str(self.data_dir), "PORT": str(settings.PORT), MARK: str(self.data_dir)}
        self.children: list[Child] = []
        self.stores: Stores | None = None
        try:
            stores = self.start()
            supervisor = Supervisor(self.say)
            for server in stores.servers:
                supervisor.watch(server.child, server.start)
            for child in self.children:
                supervisor.watch(child, child.start)
            supervisor.run()
        except Refusal as refusal:
            sys.exit(str(refusal))
        except Stopped:
            self.say("Stopping …")
        finally:
            self.stop()

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()

    def start(self) -> Stores:
        if sentence := checks.folder_sentence(str(self.data_dir)):
            raise Refusal(sentence)
        stores = Stores(
            self.data_dir,
            purpose=f"Journey CRM on port {settings.PORT}",
            has_postgres=not env.text("DATABASE_URL"),
            has_valkey=not env.text("CELERY_BROKER_URL"),
        )
        if not stores.own():
            raise Refusal(
                f"{stores.ownership.holder()} already runs with the data in {self.data_dir}. "
                "Stop it first, or choose other data and another port: DATA_DIR=… PORT=… make up"
            )
        self.stores = stores
        if left := processes.leftovers(self.data_dir):
            self.say(f"Ending {len(left)} processes that an earlier run left behind …")
            processes.end(left, signal.SIGTERM, 5)
        if sentence := checks.port_sentence(settings.BIND, settings.PORT):
            raise Refusal(sentence)
        for server in stores.servers:
            self.say(f"Starting the {server.name} …")
            server.start()
        if not any(server.name == "database" for server in stores.servers):
            self.check_database()
        self.say("Bringing the database up to date …")
        self.run_to_end("migrate", "--no-input", "--verbosity", "1")
        self.load_demo()
        self.say("Starting web server, workers and scheduler …")
        self.children = self.make_children()
        for child in self.children:
            child.start()
        self.wait_for_web()
        self.greet()
        return stores

    def check_database(self) -> None:
        try:
            with connection.cursor():
                pass
        except (OperationalError, psycopg.Error) as error:
            raise Refusal(f"DATABASE_URL: the database does not answer: {str(error).strip()}") from None
        finally:
            connection.close()

    def run_to_end(self, *arguments: str) -> None:
        """Another command of ours, in a process of its own that ends with us; its output goes on as it comes."""
        child = subprocess.Popen(
            [*MANAGE, *arguments],
            stdin=subprocess.DEVNULL,
            env={**os.environ, **self.env},
            start_new_session=True,
            preexec_fn=processes.die_with_parent(signal.SIGKILL),
        )
        try:
            code = child.wait()
        finally:
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(3)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
        if code:
            raise Refusal(f"`manage.py {' '.join(arguments)}` failed; see the lines above.")

    def load_demo(self) -> None:
        """On the first run: an installation without a single user. One that was broken off is begun again."""
        begun = self.data_dir / "demo-begun"
        try:
            is_first = not get_user_model().objects.exists()
        finally:
            connection.close()
        if not env.flag("DEMO", True) or not (is_first or begun.exists()):
            return
        self.say("Loading the demo company (once; about a minute) …")
        arguments = ["--reset"] if begun.exists() else []
        begun.touch()
        try:
            self.run_to_end("demo", *arguments)
        except Refusal as refusal:
            raise Refusal(f"{refusal} DEMO=0 make up starts without the demo company.") from None
        begun.unlink()

    def make_children(self) -> list[Child]:
        python, log = sys.executable, self.data_dir / "log"
        celery = [python, "-m", "celery", "-A", "journey_crm.celery"]
        # Two workers, so that a long delivery never holds up the tick.
        worker = [*celery, "worker", "--loglevel=WARNING", "--without-gossip", "--without-mingle"]
        commands = {
            "web": [
                *(python, "-m", "granian", "journey_crm.wsgi:application", "--interface", "wsgi", "--no-ws"),
                *("--host", settings.BIND, "--port", str(settings.PORT), "--workers", "2", "--blocking-threads", "4"),
                *("--log-level", "warning", "--respawn-failed-workers", "--workers-kill-timeout", "4"),
            ],
            "ticker": [*worker, "--queues=tick", "--concurrency=1", "--hostname=ticker@%h"],
            # Others' slow servers hold up no work of ours.
            "courier": [*worker, "--queues=webhooks", "--concurrency=1", "--hostname=courier@%h"],
            "worker": [*worker, "--queues=celery", "--concurrency=2", "--hostname=worker@%h"],
            # Its memory of when it last rang stays in memory: a file of it, half-written by a kill -9, would stop it.
            "scheduler": [*celery, "beat", "--loglevel=WARNING", "--pidfile=", "--scheduler=celery.beat:Scheduler"],
        }
        # The scheduler has nothing to put in order, and asked to end in the middle of ringing it may wait for itself.
        stop_signals = {"scheduler": signal.SIGKILL}
        return [
            Child(
                *(name, argv),
                log=log / f"{name}.log",
                env=self.env,
                cwd=settings.ROOT,
                stop_signal=stop_signals.get(name, signal.SIGTERM),
            )
            for name, argv in commands.items()
        ]

    def wait_for_web(self) -> None:
        web = self.children[0]
        url = f"http://{'127.0.0.1' if settings.BIND in ('0.0.0.0', '') else settings.BIND}:{settings.PORT}/health/"  # noqa: S104
        deadline = time.monotonic() + 90
        while web.is_running and time.monotonic() < deadline:
            try:
                urllib.request.urlopen(url, timeout=5)  # noqa: S310 - our own address
                return
            except urllib.error.HTTPError as error:
                if error.code == 503 and time.monotonic() < deadline - 60:  # workers are still on their way
                    time.sleep(0.3)
                    continue
                return
            except OSError:
                time.sleep(0.2)
        raise Refusal(f"The web server did not come up; its log ({web.log}) ends with:\n{web.last_words()}")

    def greet(self) -> None:
        base = settings.BASE_URL
        lines = ["", "Journey CRM is running.", "", f"  Marketing   {base}/admin/", f"  Sales       {base}/sales/"]
        lines += [f"  REST docs   {base}/api/docs/", f"  Health      {base}/health/"]
        lines += [f"  Data, logs  {self.data_dir}", ""]
        if self.has_demo():
            lines += ["  Demo log-ins"]
            lines += [f"    {user} / {password}   {role}" for user, password, _, role in LOGINS] + [""]
        lines += ["Ctrl-C stops everything.", ""]
        self.say("\n".join(lines))

    def has_demo(self) -> bool:
        """Whether the demo's people may log in here."""
        try:
            return get_user_model().objects.filter(username__in=[login[0] for login in LOGINS]).exists()
        finally:
            connection.close()

    def stop(self) -> None:
        """Everything within 10 s: first those who use the database and the broker, then these two."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        # The first signal goes to the main processes only; they end their own, and what is left is killed.
        slow = processes.stop([child for child in self.children if child.pid], 5)
        if self.stores:
            self.stores.stop()
        if self.children:
            names = ", ".join(child.name for child in slow)
            self.say(f"Stopped.{f' (killed, because they were too slow: {names})' if names else ''}")
