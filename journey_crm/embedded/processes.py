"""Child processes that end with us: started, recognised, ended."""

import ctypes
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from journey_crm.embedded.place import as_user, make_folder

# Every child of a supervisor carries this variable, so that a later one recognises what an earlier one left behind.
MARK = "JOURNEY_CRM_HOME"
_LINUX = sys.platform.startswith("linux")
_LIBC = ctypes.CDLL(None, use_errno=True) if _LINUX else None
_PR_SET_PDEATHSIG = 1
# A log larger than this is put aside when its process starts; one such is kept.
LARGEST_LOG = 20 * 1024 * 1024


def die_with_parent(signum: int, parent: int | None = None) -> Callable[[], None]:
    """For `preexec_fn`: the kernel sends the child this signal when we die, even by kill -9. Linux only; elsewhere the
    next start ends what was left (see `leftovers`). `parent` is who we expect it to be: this process, if not said."""
    parent = parent or os.getpid()

    def ask_kernel() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

    return ask_kernel


def command_line(pid: int) -> str:
    """The living process's command line; empty for none and for a zombie."""
    if _LINUX:
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            return ""
    shown = subprocess.run(["ps", "-ww", "-o", "stat=,command=", "-p", str(pid)], capture_output=True, text=True).stdout
    state, _, command = shown.strip().partition(" ")
    return "" if state.startswith("Z") else command.strip()


def leftovers(data_dir: Path) -> list[int]:
    """Processes that an earlier supervisor of this DATA_DIR started and that still live."""
    mark = f"{MARK}={data_dir}"
    if not _LINUX:
        shown = subprocess.run(["ps", "-axwwE", "-o", "pid=,command="], capture_output=True, text=True).stdout
        return [int(line.split()[0]) for line in shown.splitlines() if f" {mark} " in f"{line} "]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if os.fsencode(mark) in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue  # it ended meanwhile, or belongs to somebody else
    return found


def end(pids: Iterable[int], signum: int, grace: float) -> None:
    """Sends the signal, waits up to `grace` seconds for all to go, then kills the rest. Not for our own children."""
    left = {pid for pid in pids if _send(pid, signum)}
    deadline = time.monotonic() + grace
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = {pid for pid in left if command_line(pid)}
    for pid in left:
        _send(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while any(command_line(pid) for pid in left) and time.monotonic() < deadline:
        time.sleep(0.05)


def _send(pid: int, signum: int) -> bool:
    try:
        os.kill(pid, signum)
    except (ProcessLookupError, PermissionError):
        return False
    return True


class Child:
    """One process of ours, in a session of its own: the terminal's Ctrl-C reaches us alone, and we end it in order."""

    def __init__(
        self,
        name: str,
        argv: list[str],
        *,
        log: Path,
        env: dict[str, str] | None = None,
        user: pwd.struct_passwd | None = None,
        cwd: Path | str | None = None,
        stop_signal: int = signal.SIGTERM,
    ) -> None:
        self.name, self.argv, self.log, self.env, self.user, self.cwd = name, argv, log, env, user, cwd
        self.stop_signal = stop_signal
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        make_folder(self.log.parent)
        if self.log.exists() and self.log.stat().st_size > LARGEST_LOG:
            self.log.replace(self.log.with_suffix(".old.log"))
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(self.env or {})},
                cwd=self.cwd,
                start_new_session=True,
                preexec_fn=die_with_parent(self.stop_signal),
                **as_user(self.user),
            )

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def exit_code(self) -> int | None:
        """None while it runs (or was never started); negative: the signal that killed it."""
        return self._process.poll() if self._process else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, signum: int | None = None) -> None:
        """To the main process only: it knows how to end its own."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self.stop_signal if signum is None else signum)

    def wait(self, seconds: float) -> bool:
        """Whether it ended within that time."""
        if self._process is None:
            return True
        try:
            self._process.wait(max(seconds, 0))
        except subprocess.TimeoutExpired:
            return False
        return True

    def sweep(self) -> None:
        """Kills whatever is left of its process group; for a child that ended badly or too slowly."""
        if self._process is None:
            return
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        self._process.wait()

    def last_words(self, lines: int = 12) -> str:
        """The end of its log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""


def stop(children: list[Child], grace: float) -> list[Child]:
    """Asks all at once, waits up to `grace` seconds together, kills the rest; answers those that had to be killed."""
    for child in children:
        child.signal()
    deadline = time.monotonic() + grace
    slow = [child for child in children if not child.wait(deadline - time.monotonic())]
    for child in children:
        child.sweep()
    return slow
