"""Every channel's own world for the contract that all of them keep: its `send`, a message for it, and what arrived."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from contacts.models import Webhook
from contacts.webhooks import make_secret
from messaging.channels import Outgoing, Send, choose, sms, webhook
from tests.messaging.gateway import GatewayServer, Request
from tests.messaging.pipelining import PipeliningServer
from tests.sink import SinkServer

TEXT = ".\r\n..\r\n.hidden\r\nPříliš žluťoučký kůň"
MAIL = (
    "From: Acme <us@acme.example>\r\nTo: {to}\r\nSubject: =?utf-8?B?xb1sdcWlb3XEjWvDvQ==?=\r\n"
    "Date: Tue, 10 Nov 2026 09:00:00 +0000\r\nMessage-ID: <{key}>\r\nList-Id: <news.acme.example>\r\n"
    "List-Unsubscribe: <https://crm.example/u/token/>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    'MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary="b"\r\n\r\n'
    "--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    "P=C5=99=C3=ADli=C5=A1\r\n"
    "--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    "<p>P=C5=99=C3=ADli=C5=A1</p>\r\n--b--\r\n"
)


@dataclass
class World:
    """`send` as the setting makes it; `refuse` makes the other side refuse a message for good, `drop` hang up on it."""

    send: Send
    outgoing: Callable[[int], Outgoing]
    # The numbers of the messages that arrived, and the key under which each did.
    arrived: Callable[[], list[tuple[int, str]]]
    nobody: Callable[[], Send]
    # Not asked of channels that refuse nothing, and where nobody hangs up.
    refuse: Callable[[int], object] = lambda number: None
    drop: Callable[[int], object] = lambda number: None
    # Of a message that may have arrived: uncertain, but where repeats do no harm.
    in_doubt: str = "uncertain"
    extra: dict[str, Any] = field(default_factory=dict)


def mail(number: int) -> Outgoing:
    to, key = f"p{number}@example.com", f"m{number}.tag@acme.example"
    return Outgoing(number, "us@acme.example", to, MAIL.format(to=to, key=key).encode(), key)


def text(number: int) -> Outgoing:
    return Outgoing(number, "", f"+4207771234{number:02d}", TEXT.encode(), f"m{number}.tag@acme.example")


def post(number: int) -> Outgoing:
    told = {"type": "message.posted", "data": {"message": number, "text": TEXT}}
    return Outgoing(number, "", "", json.dumps(told).encode(), f"m{number}.tag@acme.example")


def _mails(raws: list[bytes]) -> list[tuple[int, str]]:
    keys = [raw.split(b"Message-ID: <", 1)[1].split(b">", 1)[0].decode() for raw in raws]
    return [(int(key[1:].split(".")[0]), key) for key in keys]


@contextmanager
def maildir_world(folder: Path) -> Iterator[World]:
    (folder / "file").write_text("no folder")
    yield World(
        choose(f"maildir:{folder}/mail"), mail,
        lambda: _mails([file.read_bytes() for file in sorted((folder / "mail" / "new").glob("*"))]),
        lambda: choose(f"maildir:{folder}/file"),
    )  # fmt: skip


@contextmanager
def smtp_world(folder: Path) -> Iterator[World]:
    with SinkServer() as sink:
        refused = set()
        sink.on_recipient = lambda address: "550 5.7.1 no" if address in refused else None
        yield World(
            choose(sink.url), mail, lambda: _mails([one.raw for one in sink.mails]),
            lambda: choose("smtp://127.0.0.1:1"), refuse=lambda number: refused.add(f"p{number}@example.com"),
        )  # fmt: skip


@contextmanager
def pipelining_world(folder: Path) -> Iterator[World]:
    with PipeliningServer() as server:
        refused: set[bytes] = set()
        dropped: set[bytes] = set()
        server.on_recipient = lambda line: "550 5.7.1 no" if any(one in line for one in refused) else None
        server.on_text = lambda number, raw: "drop" if any(one in raw for one in dropped) else None
        yield World(
            choose(server.url), mail, lambda: _mails(server.texts), lambda: choose("smtp://127.0.0.1:1"),
            refuse=lambda number: refused.add(f"<p{number}@".encode()),
            drop=lambda number: dropped.add(f"<m{number}.tag".encode()),
        )  # fmt: skip


def _number(told: Any) -> int:
    return int(told["key"][1:].split(".")[0])


def _provider(provider: str, read: Callable[[Request], tuple[int, str]], ok: Callable[[Request], Any], no: Callable):
    """A world of a provider: `read` finds number and Message-ID in what came, `ok` is its good answer."""

    @contextmanager
    def world(folder: Path) -> Iterator[World]:
        with GatewayServer() as gateway:
            refused: set[int] = set()
            dropped: set[int] = set()
            taken: list[tuple[int, str]] = []

            def answer(request: Request) -> Any:
                number, key = read(request)
                if number in refused:
                    return no(request)
                with gateway.lock:
                    taken.append((number, key))
                return "drop" if number in dropped else (200, ok(request))

            gateway.on_request = answer
            yield World(
                choose(f"anymail+{provider}&api_url={gateway.url}/api/"), mail, lambda: taken,
                lambda: choose(f"anymail+{provider}&api_url=http://127.0.0.1:1/"),
                refuse=refused.add, drop=dropped.add, extra={"gateway": gateway},
            )  # fmt: skip

    return world


def _postmark(request: Request) -> tuple[int, str]:
    key = next(one["Value"] for one in request.json["Headers"] if one["Name"] == "Message-ID").strip("<>")
    return int(key[1:].split(".")[0]), key


def form(request: Request) -> dict[str, str]:
    """The fields of a form, multipart or not."""
    kind = request.headers["content-type"]
    if kind.startswith("application/x-www-form-urlencoded"):
        return dict(parse_qsl(request.body.decode()))
    parsed = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + request.body)
    parts = [one for one in parsed.get_payload() if isinstance(one, Message)]
    return {
        str(one.get_param("name", header="Content-Disposition")): bytes(one.get_payload(decode=True)).decode()
        for one in parts
    }


def _mailgun(request: Request) -> tuple[int, str]:
    key = {name.lower(): value for name, value in form(request).items()}["h:message-id"].strip("<>")
    return int(key[1:].split(".")[0]), key


postmark_world = _provider(
    "postmark://TOKEN?connections=4",
    _postmark,
    lambda request: {"ErrorCode": 0, "Message": "OK", "MessageID": "their-id", "To": request.json["To"]},
    lambda request: (
        422, {"ErrorCode": 406, "Message": f"Found inactive addresses: {request.json['To']}.\n Inactive recipients are"}
    ),
)  # fmt: skip
mailgun_world = _provider(
    "mailgun://KEY@mail.acme.example?connections=4",
    _mailgun,
    lambda request: {"id": "<theirs@mail.acme.example>", "message": "Queued. Thank you."},
    lambda request: (400, {"message": "'to' parameter is not a valid address. please check documentation"}),
)


@contextmanager
def sms_world(folder: Path) -> Iterator[World]:
    with GatewayServer() as gateway:
        refused: set[int] = set()
        dropped: set[int] = set()
        taken: list[tuple[int, str]] = []

        def answer(request: Request) -> Any:
            told = request.json
            if told["id"] in refused:
                return 400, {"error": "no such number"}
            with gateway.lock:
                taken.append((told["id"], request.headers["idempotency-key"]))
            return "drop" if told["id"] in dropped else (202, {"accepted": True})

        gateway.on_request = answer
        yield World(
            sms.choose(gateway.url.replace("//", "//ann:s%40crt@") + "/sms?from=Acme&account=7"), text, lambda: taken,
            lambda: sms.choose("http://127.0.0.1:1/"), refuse=refused.add, drop=dropped.add, extra={"gateway": gateway},
        )  # fmt: skip


@contextmanager
def sms_files_world(folder: Path) -> Iterator[World]:
    (folder / "file").write_text("no folder")
    files = folder / "sms"
    yield World(
        sms.choose(f"file:{files}"), text,
        lambda: [
            (_number(told), told["key"])
            for told in (json.loads(file.read_text()) for file in sorted(files.glob("*.json")))
        ],
        lambda: sms.choose(f"file:{folder}/file"),
    )  # fmt: skip


@contextmanager
def webhook_world(folder: Path) -> Iterator[World]:
    with GatewayServer() as gateway:
        refused: set[int] = set()
        dropped: set[int] = set()
        taken: list[tuple[int, str]] = []
        endpoint = Webhook.objects.create(
            name="SMS bridge", url=f"{gateway.url}/hook", kinds=["message.posted"], secret=make_secret()
        )

        def answer(request: Request) -> Any:
            number = request.json["data"]["message"]
            if number in refused:
                return 400, {}
            with gateway.lock:
                taken.append((number, request.headers["webhook-id"]))
            return "drop" if number in dropped else (204, "")

        def nobody() -> Send:
            Webhook.objects.update(is_active=False, disabled_at="2026-11-10T09:00Z", disabled_reason="by_hand")
            return webhook.channel()

        gateway.on_request = answer
        yield World(
            webhook.channel(), post, lambda: taken, nobody, refuse=refused.add, drop=dropped.add, in_doubt="later",
            extra={"gateway": gateway, "endpoint": endpoint},
        )  # fmt: skip


WORLDS = {
    "maildir": maildir_world, "smtp": smtp_world, "pipelining": pipelining_world, "postmark": postmark_world,
    "mailgun": mailgun_world, "sms": sms_world, "sms files": sms_files_world, "webhook": webhook_world,
}  # fmt: skip
