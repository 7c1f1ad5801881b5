"""SMTP with kept connections and pipelining: many mails in flight, one round trip each.

Every connection carries one mail at a time. Where the server allows PIPELINING (RFC 2920), a mail's text and the next
mail's envelope leave together; where it does not, command after command. Log-in and TLS are smtplib's.
"""

import atexit
import contextlib
import selectors
import smtplib
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from messaging.channels.contract import Outgoing, Result, Send, Undotted
from messaging.failpoints import hit

# A connection is closed after so many mails or idle seconds: servers count, too.
_MAILS_A_CONNECTION = 1000
_LONGEST_IDLE = 60.0
# So many mails are written at a time while others are under way: to and fro for each one would cost both more.
_AT_HAND = 32


@dataclass(frozen=True)
class Server:
    host: str
    port: int
    user: str = ""
    password: str = ""
    tls: str = "no"
    connections: int = 8
    timeout: float = 30.0


class Unreachable(Exception):
    """Nobody answers there, or not to us."""


class _Lost(Exception):
    """The connection broke."""


class Line:
    """One connection: sends what belongs to the mail at hand, reads the replies in their order."""

    def __init__(self, server: Server) -> None:
        """Connects and logs in. Raises Unreachable."""
        try:
            if server.tls == "smtps":
                context = ssl.create_default_context()
                client: smtplib.SMTP = smtplib.SMTP_SSL(
                    server.host, server.port, timeout=server.timeout, context=context
                )
            else:
                client = smtplib.SMTP(server.host, server.port, timeout=server.timeout)
            client.ehlo_or_helo_if_needed()
            if server.tls == "starttls":
                client.starttls(context=ssl.create_default_context())
                client.ehlo()
            if server.user:
                client.login(server.user, server.password)
        except (OSError, smtplib.SMTPException, UnicodeError) as error:
            raise Unreachable(f"{server.host}:{server.port}: {error}") from error
        assert client.sock is not None
        self.sock: socket.socket = client.sock
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pipelines = client.has_extn("pipelining")
        self._buffer = b""
        self._client = client
        self.mails = 0
        self.used_at = time.monotonic()
        # The mail at hand and, where the server lets us pipeline, the next one, whose envelope is already said.
        self.messages: deque[Outgoing] = deque()
        self.is_text_sent = False
        self._said: deque[str] = deque()
        self._unsaid: deque[tuple[str, bytes]] = deque()
        self._refusal = b""
        self._needs_reset = False

    # Talking

    def begin(self, message: Outgoing) -> None:
        """Says the envelope of a mail."""
        self._add(message)
        self._say()

    def _add(self, message: Outgoing) -> None:
        self.messages.append(message)
        self.mails += 1
        if self._needs_reset:
            self._unsaid.append(("reset", b"RSET\r\n"))
            self._needs_reset = False
        self._unsaid.extend(
            [
                ("mail", f"MAIL FROM:<{message.sender}>\r\n".encode()),
                ("rcpt", f"RCPT TO:<{message.recipient}>\r\n".encode()),
                ("data", b"DATA\r\n"),
            ]
        )

    def _say(self, *before: bytes) -> None:
        data = list(before)
        while self._unsaid and (self.pipelines or not self._said):
            name, command = self._unsaid.popleft()
            self._said.append(name)
            data.append(command)
        if data:
            self._write(b"".join(data))

    def _write(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise _Lost(str(error)) from error
        self.used_at = time.monotonic()

    def is_stale(self) -> bool:
        """Did the server hang up, or say good-bye, while nothing was asked of it?"""
        if self.mails >= _MAILS_A_CONNECTION or time.monotonic() - self.used_at > _LONGEST_IDLE:
            return True
        with selectors.DefaultSelector() as selector:
            selector.register(self.sock, selectors.EVENT_READ)
            return bool(selector.select(0))

    def replies(self) -> list[tuple[int, bytes]]:
        """The whole replies that have arrived, as code and text. Raises _Lost where the connection ended."""
        try:
            data = self.sock.recv(65536)
            while isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
                data += self.sock.recv(65536)
        except OSError as error:
            raise _Lost(str(error) or "the connection broke") from error
        if not data:
            raise _Lost("the server closed the connection")
        *lines, rest = (self._buffer + data).split(b"\n")
        found: list[tuple[int, bytes]] = []
        begun: list[bytes] = []
        for line in lines:
            if line[3:4] == b"-":
                begun.append(line.rstrip(b"\r"))
                continue
            code = line[:3]
            if not code.isdigit():
                raise _Lost(f"no SMTP reply: {line[:100].decode('utf-8', 'replace')!r}")
            if begun:
                line = b" ".join([begun[0], *(one[4:] for one in begun[1:]), line[4:]])
                begun = []
            found.append((int(code), line))
        self._buffer = b"".join(one + b"\n" for one in begun) + rest
        if len(self._buffer) > 65536:
            raise _Lost("the server's reply does not end")
        return found

    def hear(self, code: int, text: bytes) -> Result | None:
        """One reply; the result if it settles the mail at hand. `wants_text` tells whether its text is to be sent."""
        if not self._said:
            # Nobody asked: a 421 on its own, say.
            raise _Lost(_words(text))
        name = self._said.popleft()
        if name == "reset":
            self._say()
            return None
        if name in ("mail", "rcpt"):
            if code >= 400 and not self._refusal:
                self._refusal = text
                if not self.pipelines:
                    self._unsaid.clear()
                    return self._settle(text)
            self._say()
            return None
        if name == "data" and code == 354:
            if self._refusal:
                # The server wants a text although nobody is to get it: an empty one (RFC 2920, 3.1).
                self._said.append("empty")
                self._write(b".\r\n")
            return None
        return self._settle(self._refusal or text, was_sent=name == "text")

    def wants_text(self, code: int) -> bool:
        return code == 354 and not self._said and not self._refusal and not self.is_text_sent

    def send_text(self, waiting: "_Waiting") -> None:
        """Sends the text of the mail at hand with the next one's envelope: from here on the mail is uncertain."""
        hit("before_data")
        raw = self.messages[0].raw
        if type(raw) is not Undotted:
            raw = (b"." + raw if raw.startswith(b".") else raw).replace(b"\r\n.", b"\r\n..")
        self._said.append("text")
        self.is_text_sent = True
        if self.pipelines and waiting and self.mails < _MAILS_A_CONNECTION:
            self._add(waiting.popleft())
        self._say(raw, b".\r\n" if raw.endswith(b"\r\n") else b"\r\n.\r\n")
        hit("after_data")

    def _settle(self, reply: bytes, *, was_sent: bool = False) -> Result:
        message, text = self.messages.popleft(), _words(reply)
        self.is_text_sent, self._refusal, self._needs_reset = False, b"", not was_sent
        outcome = {"2": "sent", "4": "later", "5": "failed"}.get(text[:1], "later")
        return Result(message.id, outcome, text[:500])

    def close(self) -> None:
        """Hangs up; without good-bye where a mail is under way."""
        with contextlib.suppress(OSError, smtplib.SMTPException):
            if not self.messages and not self._said:
                self.sock.sendall(b"QUIT\r\n")
        with contextlib.suppress(OSError):
            self._client.close()


def _words(reply: bytes) -> str:
    return reply.decode("utf-8", "replace").strip()


class Lines:
    """The kept connections of one thread to one server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.free: list[Line] = []

    def take(self) -> Line:
        """A connection that works. Raises Unreachable."""
        while self.free:
            line = self.free.pop()
            if not line.is_stale():
                return line
            line.close()
        return Line(self.server)

    def close(self) -> None:
        while self.free:
            self.free.pop().close()


_kept = threading.local()


def _lines(server: Server) -> Lines:
    pools = getattr(_kept, "pools", None)
    if pools is None:
        pools = _kept.pools = {}
        if threading.current_thread() is threading.main_thread():
            atexit.register(close_all)
    return pools.setdefault(server, Lines(server))


def close_all() -> None:
    """Hangs up all of this thread's connections."""
    for lines in getattr(_kept, "pools", {}).values():
        lines.close()


class _Waiting:
    """Mails that are still to be said: those that came back, then what the sender has, taken one by one.

    While the server thinks about the mails under way, the next ones are written.
    """

    def __init__(self, messages: Iterable[Outgoing]) -> None:
        self._source = iter(messages)
        self._at_hand: deque[Outgoing] = deque()
        self.refused: list[Result] = []

    def fill(self, number: int) -> None:
        """Has so many at hand, or all there are. Raises what the sender raises, so never call it for one connection."""
        if len(self._at_hand) >= number:
            return
        while len(self._at_hand) < _AT_HAND:
            message = next(self._source, None)
            if message is None:
                return
            if _is_writable(message.sender) and _is_writable(message.recipient):
                self._at_hand.append(message)
            else:
                self.refused.append(Result(message.id, "failed", "550 5.1.3 this is no address for SMTP"))

    def __len__(self) -> int:
        return len(self._at_hand)

    def popleft(self) -> Outgoing:
        return self._at_hand.popleft()

    def give_back(self, messages: Iterable[Outgoing]) -> None:
        self._at_hand.extendleft(reversed(list(messages)))

    def refusals(self) -> Iterator[Result]:
        while self.refused:
            yield self.refused.pop()

    def unreachable(self, reason: str) -> Iterator[Result]:
        """The end of all that waits."""
        while True:
            self.fill(1)
            yield from self.refusals()
            if not self:
                return
            yield Result(self.popleft().id, "unreachable", reason[:500])


def _is_writable(address: str) -> bool:
    """An envelope that would say more than an address is never put on the wire."""
    return address.isascii() and address.isprintable() and not ("<" in address or ">" in address or " " in address)


def channel(server: Server) -> Send:
    """Sends over as many connections as there are mails, up to the server's `connections`."""

    def send(messages: Iterable[Outgoing]) -> Iterator[Result]:
        waiting, lines = _Waiting(messages), _lines(server)
        busy: list[Line] = []
        may_connect = True
        with selectors.DefaultSelector() as selector:
            try:
                while True:
                    while not busy or (may_connect and len(busy) < server.connections):
                        waiting.fill(1)
                        yield from waiting.refusals()
                        if not waiting:
                            break
                        try:
                            line = lines.take()
                        except Unreachable as error:
                            if not busy:
                                yield from waiting.unreachable(str(error))
                                return
                            # It takes no more of us for now; those that work go on.
                            may_connect = False
                            break
                        busy.append(line)
                        selector.register(line.sock, selectors.EVENT_READ, line)
                        yield from _guarded(line, waiting, busy, selector, lambda one: one.begin(waiting.popleft()))
                    if not busy:
                        return
                    ready = selector.select(server.timeout)
                    if not ready:
                        for line in busy:
                            if time.monotonic() - line.used_at >= server.timeout:
                                yield from _drop(line, "the server did not answer in time", waiting, busy, selector)
                    for key, _ in ready:
                        waiting.fill(2)
                        yield from _guarded(
                            key.data, waiting, busy, selector, lambda one: _listen(one, waiting, lines, busy, selector)
                        )
            finally:
                for line in busy:
                    line.close()

    # How many mails are under way at once, which the size of a delivery's windows goes by.
    send.at_once = server.connections  # type: ignore[attr-defined]
    return send


def _guarded(
    line: Line,
    waiting: _Waiting,
    busy: list[Line],
    selector: selectors.BaseSelector,
    work: Callable[[Line], Iterator[Result] | None],
) -> Iterator[Result]:
    """Whatever breaks on one connection ends that connection, and harms only the mail that it carried."""
    try:
        yield from work(line) or ()
    except Exception as error:
        yield from _drop(line, str(error) or type(error).__name__, waiting, busy, selector)


def _drop(
    line: Line, reason: str, waiting: _Waiting, busy: list[Line], selector: selectors.BaseSelector
) -> Iterator[Result]:
    with contextlib.suppress(KeyError, ValueError):
        selector.unregister(line.sock)
    if line in busy:
        busy.remove(line)
    messages = list(line.messages)
    line.close()
    if messages:
        yield Result(messages[0].id, "uncertain" if line.is_text_sent else "later", f"lost: {reason}"[:500])
    # Of the next one no more than the envelope was said.
    waiting.give_back(messages[1:])


def _listen(line: Line, waiting: _Waiting, lines: Lines, busy: list[Line], selector) -> Iterator[Result]:
    for code, text in line.replies():
        result = line.hear(code, text)
        if result is not None:
            yield result
            if code == 421:
                # The server hangs up; the next mail, of which no more than the envelope was said, is not at fault.
                waiting.give_back(line.messages)
                line.messages.clear()
                raise _Lost(_words(text))
            if line.messages:
                continue
            if waiting and line.mails < _MAILS_A_CONNECTION:
                line.begin(waiting.popleft())
            else:
                selector.unregister(line.sock)
                busy.remove(line)
                lines.free.append(line)
                return
        elif line.wants_text(code):
            line.send_text(waiting)
