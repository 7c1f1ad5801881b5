"""Where the embedded servers of one DATA_DIR live, and who owns that folder just now.

Most of the time everything lies in DATA_DIR. Two things can force a part elsewhere, and then a one-line note in
DATA_DIR names the place, so that every process finds it: a socket path may hold 107 bytes at most (103 on macOS), and
a database server that root starts runs as an unprivileged user, who cannot enter folders that are closed to others.
"""

import fcntl
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

# The longest socket name we put in the folder is "/.s.PGSQL.5432"; 103 is macOS's limit for the whole.
LONGEST_FOLDER = 103 - len("/.s.PGSQL.5432")
OUTSIDE = Path("/var/lib/journey-crm")


class Refusal(Exception):
    """One clear sentence for the person at the terminal: why nothing was started, and what to do."""


def make_folder(folder: Path, mode: int = 0o755) -> Path:
    """The folder, made if missing; a Refusal instead of a traceback."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=mode)
    except OSError as error:
        raise Refusal(f"Cannot make the folder {folder}: {error.strerror}. Choose another by DATA_DIR.") from None
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on a file; waits for it. The kernel frees it when the holder dies."""
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Ownership:
    """The one process that may start, supervise and stop the embedded servers of a DATA_DIR."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / "owner.lock"
        self._file: TextIO | None = None

    def take(self, purpose: str) -> bool:
        """True if we are the owner now; False if another living process is. `purpose` is told to later comers."""
        make_folder(self.path.parent)
        try:
            file = open(self.path, "a+")  # noqa: SIM115 - it stays open as long as we own the folder
        except OSError as error:
            raise Refusal(f"Cannot write {self.path}: {error.strerror}. Choose another by DATA_DIR.") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        file.seek(0)
        file.truncate()
        file.write(f"{purpose} (process {os.getpid()})")
        file.flush()
        self._file = file
        return True

    def release(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def holder(self) -> str:
        """What the present owner wrote about itself."""
        try:
            return self.path.read_text() or "another process"
        except OSError:
            return "another process"


# The user a server runs as -------------------------------------------------------------------------------------------


def server_user(owned: Path) -> pwd.struct_passwd | None:
    """Who shall run the database server: None means ourselves; as root it is the owner of `owned`, else `nobody`."""
    if os.geteuid() != 0:
        return None
    if owned.exists() and (uid := owned.stat().st_uid):
        return pwd.getpwuid(uid)
    return pwd.getpwnam("nobody")


def as_user(user: pwd.struct_passwd | None) -> dict:
    """Arguments for subprocess that make the child that user."""
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def may_write(folder: Path, user: pwd.struct_passwd | None) -> bool:
    """Whether that user reaches the folder through all its parents and may write in it; asked of the kernel."""
    test = ["/bin/sh", "-c", 'test -w "$0" && cd "$0"', str(folder)]
    return subprocess.run(test, cwd="/", stderr=subprocess.DEVNULL, **as_user(user)).returncode == 0


def give(folder: Path, user: pwd.struct_passwd | None) -> None:
    """Makes the folder that user's alone."""
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
        folder.chmod(0o700)


# Places --------------------------------------------------------------------------------------------------------------


def _noted(data_dir: Path, note: str, make: Callable[[], Path | None]) -> Path | None:
    """The existing folder named in the note, else what `make` answers, which is noted unless it is None."""
    path = data_dir / note
    with locked(data_dir / "place.lock"):
        if path.exists() and (noted := Path(path.read_text())).is_dir():
            return noted
        folder = make()
        if folder:
            path.write_text(str(folder))
        else:
            path.unlink(missing_ok=True)
        return folder


def socket_folder(data_dir: Path) -> Path:
    """Where the sockets of both servers are: DATA_DIR/run, or a folder in /tmp when that is too long or too closed.

    Called when the settings are loaded, so that every process computes the same addresses; it makes the folder.
    """
    own = data_dir / "run"
    note = data_dir / "sockets.path"
    if not note.exists() and own.is_dir():
        return own

    def make() -> Path | None:
        make_folder(own, mode=0o700)
        # A URL carries this path: odd characters would need quoting in four dialects.
        plain = re.fullmatch(r"[\w./-]+", str(own), re.ASCII)
        user = server_user(data_dir / "postgres")
        if user is not None:
            give(own, user)
        if plain and len(os.fsencode(own)) <= LONGEST_FOLDER and (user is None or may_write(own, user)):
            return None
        short = Path(tempfile.mkdtemp(prefix="journey-", dir="/tmp"))
        give(short, user)
        shutil.rmtree(own)
        return short

    make_folder(data_dir)
    try:
        return _noted(data_dir, "sockets.path", make) or own
    except OSError as error:
        raise Refusal(f"Cannot write in {data_dir}: {error.strerror}. Choose another by DATA_DIR.") from None


def database_folder(data_dir: Path, user: pwd.struct_passwd | None) -> Path:
    """Where the database's files are: DATA_DIR/postgres, or below /var/lib if the server's user cannot reach that."""
    own = data_dir / "postgres"

    def make() -> Path | None:
        if user is None or own.exists() or _reaches(data_dir, user):
            return None
        make_folder(OUTSIDE)
        parent = Path(tempfile.mkdtemp(prefix=f"{data_dir.parent.name}-", dir=OUTSIDE))
        give(parent, user)
        print(f"  {data_dir} is closed to the database server's user; its files are in {parent}.", flush=True)
        return parent

    outside = _noted(data_dir, "postgres.path", make)
    return outside / "postgres" if outside else own


def _reaches(folder: Path, user: pwd.struct_passwd) -> bool:
    test = ["/bin/sh", "-c", 'cd "$0"', str(folder)]
    return subprocess.run(test, cwd="/", stderr=subprocess.DEVNULL, **as_user(user)).returncode == 0


def forget(data_dir: Path) -> None:
    """Removes what a temporary DATA_DIR put elsewhere, then the folder itself."""
    for note in ("sockets.path", "postgres.path"):
        if (path := data_dir / note).exists():
            shutil.rmtree(path.read_text(), ignore_errors=True)
    shutil.rmtree(data_dir, ignore_errors=True)
