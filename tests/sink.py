"""A real SMTP server for tests: keeps what it accepts, answers what it is told to."""

import email
import email.policy
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage

from aiosmtpd.controller import Controller


@dataclass(frozen=True)
class Mail:
    """One accepted message: its envelope and its bytes as they came over the wire."""

    sender: str
    recipients: tuple[str, ...]
    raw: bytes

    @property
    def parsed(self) -> EmailMessage:
        return email.message_from_bytes(self.raw, policy=email.policy.default)

    def __getitem__(self, header: str) -> str:
        return self.parsed[header]

    def body(self, kind: str = "plain") -> str:
        """The text of the `plain` or `html` part."""
        part = self.parsed.get_body((kind,))
        return part.get_content() if part else ""


@dataclass
class Sink:
    """The mails in order of arrival. `on_recipient` and `on_data` may answer a reply (`"421 later"`), else None."""

    mails: list[Mail] = field(default_factory=list)
    on_recipient: Callable[[str], str | None] = lambda address: None
    on_data: Callable[[Mail], str | None] = lambda mail: None
    url: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802 - aiosmtpd's name
        if reply := self.on_recipient(address):
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - aiosmtpd's name
        mail = Mail(envelope.mail_from, tuple(envelope.rcpt_tos), envelope.original_content)
        if reply := self.on_data(mail):
            return reply
        with self._lock:
            self.mails.append(mail)
        return "250 OK"

    def to(self, address: str) -> list[Mail]:
        return [mail for mail in self.mails if address in mail.recipients]

    def clear(self) -> None:
        self.mails.clear()


class _AnyPort(Controller):
    """aiosmtpd's controller on a port that the system chooses."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


class SinkServer:
    """Runs a sink on a free local port, in a thread of its own."""

    def __init__(self) -> None:
        self.sink = Sink()
        self._controller = _AnyPort(self.sink, hostname="127.0.0.1", port=0, enable_SMTPUTF8=True)

    def __enter__(self) -> Sink:
        self._controller.start()
        self.sink.url = f"smtp://127.0.0.1:{self._controller.port}"
        return self.sink

    def __exit__(self, *error) -> None:
        self._controller.stop()
