"""Mailboxes in which bounces come in: IMAP, POP3 or a Maildir, behind one shape.

A mail is taken out only after it was kept in the database. What is no report stays where it is, for a person may have
answered there; it is noted, so that it is not fetched every minute.
"""

import contextlib
import imaplib
import os
import poplib
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from messaging.bounces.reading import MOST_BYTES

TIMEOUT = 30.0


class MailboxAway(Exception):
    """The mailbox does not answer, or not as it should; another minute, another try."""


class Mailbox(Protocol):
    """An open mailbox. `name` and an id of `ids` name a mail for good."""

    name: str

    def ids(self) -> list[str]: ...

    def fetch(self, one: str) -> bytes:
        """The mail, or its beginning; nothing where it is gone."""

    def take_out(self, ids: list[str]) -> None: ...


@dataclass(frozen=True)
class Place:
    """What BOUNCES_URL says."""

    scheme: str
    host: str = ""
    port: int = 0
    user: str = ""
    password: str = ""
    folder: str = ""
    # Where handled mail is moved; deleted where empty.
    done: str = ""


def _bad(reason: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"BOUNCES_URL: {reason}")


_PORTS = {"imaps": 993, "imap": 143, "pop3s": 995, "pop3": 110}


def place(url: str) -> Place:
    """Reads BOUNCES_URL. Raises ImproperlyConfigured saying what is wrong with it, without the password.

    `imaps://user:password@host:port/INBOX?done=Handled` · `pop3s://user:password@host:port` · `maildir:<path>`;
    imap:// and pop3:// are refused but for this machine, for they would show the password to the network.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "maildir":
        folder = rest.removeprefix("//")
        if not folder:
            raise _bad("maildir: needs a folder, such as maildir:/var/mail/bounces.")
        return Place("maildir", folder=folder)
    if scheme not in _PORTS:
        raise _bad("it must begin with imaps://, pop3s:// or maildir:.")
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[scheme]
    except ValueError:
        raise _bad("its port is no number.") from None
    if not parts.hostname or not parts.username:
        raise _bad(f"it names no host or no user; write {scheme}://user:password@host/.")
    if scheme in ("imap", "pop3") and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise _bad(f"{scheme}:// shows the password to the network; use {scheme}s://.")
    query = dict(parse_qsl(parts.query))
    if unknown := set(query) - ({"done"} if scheme.startswith("imap") else set()):
        raise _bad(f"unknown parameter {sorted(unknown)[0]!r}; known is done, with IMAP.")
    return Place(
        scheme, parts.hostname, port, unquote(parts.username), unquote(parts.password or ""),
        unquote(parts.path.strip("/")) or "INBOX", query.get("done", ""),
    )  # fmt: skip


@contextmanager
def opened(where: Place) -> Iterator[Mailbox]:
    """The mailbox, open. Raises MailboxAway for all that the other side does."""
    try:
        if where.scheme == "maildir":
            yield _Maildir(where)
        elif where.scheme.startswith("imap"):
            with _imap(where) as box:
                yield box
        else:
            with _pop(where) as box:
                yield box
    except (OSError, imaplib.IMAP4.error, poplib.error_proto, EOFError) as error:
        raise MailboxAway(f"{type(error).__name__}: {error}"[:300]) from error


class _Maildir:
    def __init__(self, where: Place) -> None:
        self.folder = Path(where.folder)
        self.name = "maildir"
        if not (self.folder / "new").is_dir():
            raise OSError(f"{self.folder} is no Maildir")

    def ids(self) -> list[str]:
        return sorted(
            f"{name}/{entry.name}"
            for name in ("new", "cur") if (self.folder / name).is_dir()
            for entry in os.scandir(self.folder / name) if entry.is_file(follow_symlinks=False)
        )  # fmt: skip

    def fetch(self, one: str) -> bytes:
        try:
            # A link could lead out of the mailbox.
            with open(os.open(self.folder / one, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
                return file.read(4 * MOST_BYTES)
        except FileNotFoundError:
            return b""

    def take_out(self, ids: list[str]) -> None:
        for one in ids:
            (self.folder / one).unlink(missing_ok=True)


class _Imap:
    def __init__(self, client: imaplib.IMAP4, where: Place) -> None:
        self.client, self.done = client, where.done
        quoted = _quoted(where.folder)
        self._ask(client.select, quoted)
        told = client.response("UIDVALIDITY")[1]
        validity = told[0].decode("ascii", "replace") if told and told[0] else "0"
        self.name = f"imap:{where.user}@{where.host}/{where.folder}/{validity}"

    def _ask(self, command: Callable, *arguments: str) -> list:
        status, data = command(*arguments)
        if status != "OK":
            raise imaplib.IMAP4.error(f"{arguments[0] if arguments else ''}: {data!r}"[:200])
        return data

    def ids(self) -> list[str]:
        data = self._ask(self.client.uid, "SEARCH", "UNDELETED")
        return [one.decode() for one in (data[0] or b"").split() if one.isdigit()]

    def fetch(self, one: str) -> bytes:
        data = self._ask(self.client.uid, "FETCH", one, f"(BODY.PEEK[]<0.{4 * MOST_BYTES}>)")
        return next((bytes(part[1]) for part in data if isinstance(part, tuple)), b"")

    def take_out(self, ids: list[str]) -> None:
        which = ",".join(ids)
        if self.done and "MOVE" in self.client.capabilities:
            self._ask(self.client.uid, "MOVE", which, _quoted(self.done))
            return
        if self.done:
            self._ask(self.client.uid, "COPY", which, _quoted(self.done))
        self._ask(self.client.uid, "STORE", which, "+FLAGS.SILENT", r"(\Deleted)")
        if "UIDPLUS" in self.client.capabilities:
            self._ask(self.client.uid, "EXPUNGE", which)
        else:
            # Takes all that is marked as deleted, which is what people mean by it.
            self._ask(self.client.expunge)


def _quoted(folder: str) -> str:
    if not folder.isascii() or re.search(r"[\x00-\x1f\x7f]", folder):
        raise _bad("the folder's name must be ASCII.")
    return '"' + folder.replace("\\", "\\\\").replace('"', '\\"') + '"'


@contextmanager
def _imap(where: Place) -> Iterator[_Imap]:
    if where.scheme == "imaps":
        client: imaplib.IMAP4 = imaplib.IMAP4_SSL(
            where.host, where.port, ssl_context=ssl.create_default_context(), timeout=TIMEOUT
        )
    else:
        client = imaplib.IMAP4(where.host, where.port, timeout=TIMEOUT)
    try:
        client.login(where.user, where.password)
        yield _Imap(client, where)
    finally:
        with contextlib.suppress(OSError, imaplib.IMAP4.error):
            client.logout()


class _Pop:
    def __init__(self, client: poplib.POP3, where: Place) -> None:
        self.client, self.name = client, f"pop:{where.user}@{where.host}"
        self.numbers: dict[str, str] = {}

    def ids(self) -> list[str]:
        for line in self.client.uidl()[1]:
            number, _, uid = line.decode("ascii", "replace").partition(" ")
            if number.isdigit() and uid:
                self.numbers[uid.strip()[:100]] = number
        return list(self.numbers)

    def fetch(self, one: str) -> bytes:
        return b"\r\n".join(self.client.retr(int(self.numbers[one]))[1]) + b"\r\n"

    def take_out(self, ids: list[str]) -> None:
        # They go when we say good-bye; a connection that breaks before leaves them, and they are known by then.
        for one in ids:
            self.client.dele(int(self.numbers[one]))


@contextmanager
def _pop(where: Place) -> Iterator[_Pop]:
    if where.scheme == "pop3s":
        client: poplib.POP3 = poplib.POP3_SSL(
            where.host, where.port, timeout=TIMEOUT, context=ssl.create_default_context()
        )
    else:
        client = poplib.POP3(where.host, where.port, timeout=TIMEOUT)
    try:
        client.user(where.user)
        client.pass_(where.password)
        yield _Pop(client, where)
        client.quit()
    finally:
        client.close()
