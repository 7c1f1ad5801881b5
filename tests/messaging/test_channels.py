"""Mail to the byte, and the ways of SMTP; what every channel promises is in `test_channel_contract.py`."""

import re
from collections import Counter

import pytest
from django.core.exceptions import ImproperlyConfigured

from messaging.channels import Outgoing, choose
from messaging.failpoints import parse
from tests.messaging.pipelining import PipeliningServer
from tests.sink import SinkServer

RAW = b"Subject: x\r\n\r\n.\r\n..\r\n.hidden\r\nend"


def outgoing(number: int, recipient: str = "") -> Outgoing:
    return Outgoing(number, "us@acme.example", recipient or f"p{number}@example.com", RAW)


class Files:
    """The mails in a folder, read like a server's."""

    def __init__(self, folder):
        self.url, self.folder = f"maildir:{folder}", folder

    @property
    def texts(self):
        return [file.read_bytes() for file in sorted((self.folder / "new").glob("*"))]


@pytest.fixture(params=["maildir", "smtp", "pipelining"])
def channel(request, tmp_path):
    """(the channel, a function that gives the texts that arrived)"""
    if request.param == "maildir":
        files = Files(tmp_path / "mail")
        yield choose(files.url), lambda: files.texts
    elif request.param == "smtp":
        with SinkServer() as sink:
            yield choose(sink.url), lambda: [mail.raw for mail in sink.mails]
    else:
        with PipeliningServer() as server:
            yield choose(server.url), lambda: server.texts


def test_a_channel_keeps_every_byte(channel):
    send, texts = channel
    list(send([outgoing(1)]))
    assert [text.rstrip(b"\r\n") for text in texts()] == [RAW]


# SMTP ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extensions", [("PIPELINING",), ("SIZE 1000000",)])
def test_one_refusal_harms_no_other_mail_on_the_line(extensions):
    refusals = {b"p3@": "550 5.1.1 no such user", b"p5@": "450 4.2.1 busy", b"p9@": "554 5.7.1 policy"}
    with PipeliningServer(extensions) as server:
        server.on_recipient = lambda line: next((reply for part, reply in refusals.items() if part in line), None)
        results = {one.id: one for one in choose(f"{server.url}?connections=1")([outgoing(n) for n in range(1, 13)])}
    assert [results[n].outcome for n in (3, 5, 9)] == ["failed", "later", "failed"]
    assert Counter(one.outcome for one in results.values()) == {"sent": 9, "failed": 2, "later": 1}
    assert len(server.texts) == 9
    assert server.connections == 1


def test_a_text_that_is_refused_is_so_alone():
    with PipeliningServer() as server:
        server.on_text = lambda number, raw: {1: "554 spam", 2: "451 later"}.get(number)
        results = list(choose(f"{server.url}?connections=1")([outgoing(n) for n in range(1, 6)]))
    assert [one.outcome for one in sorted(results, key=lambda one: one.id)] == [
        "sent",
        "failed",
        "later",
        "sent",
        "sent",
    ]


def test_a_line_that_drops_after_the_text_leaves_one_mail_uncertain():
    with PipeliningServer() as server:
        server.on_text = lambda number, raw: "drop" if number == 2 else None
        results = {
            one.id: one.outcome for one in choose(f"{server.url}?connections=1")([outgoing(n) for n in range(1, 7)])
        }
    assert results == {1: "sent", 2: "sent", 3: "uncertain", 4: "sent", 5: "sent", 6: "sent"}
    assert len(server.texts) == 6


def test_a_server_that_says_good_bye_is_called_again():
    with PipeliningServer() as server:
        server.on_text = lambda number, raw: "421 closing" if number == 1 else None
        results = Counter(
            one.outcome for one in choose(f"{server.url}?connections=1")([outgoing(n) for n in range(1, 6)])
        )
    assert results == {"sent": 4, "later": 1}
    assert server.connections == 2


def test_connections_are_kept_and_a_dead_one_is_replaced():
    with PipeliningServer() as server:
        send = choose(f"{server.url}?connections=2")
        list(send([outgoing(1), outgoing(2)]))
        list(send([outgoing(3), outgoing(4)]))
        assert server.connections == 2
        server.on_text = lambda number, raw: "drop"
        list(send([outgoing(5), outgoing(6)]))
        server.on_text = lambda number, raw: None
        assert [one.outcome for one in send([outgoing(7)])] == ["sent"]


def test_nobody_there_is_told_from_a_refusal():
    results = list(choose("smtp://127.0.0.1:1")([outgoing(1), outgoing(2)]))
    assert [one.outcome for one in results] == ["unreachable", "unreachable"]


@pytest.mark.parametrize(
    "address", ["a@b.example>\r\nRCPT TO:<c@d.example", "a b@c.example", "ü@c.example", "<x>@c.example"]
)
def test_an_address_that_says_more_than_an_address_is_not_said(address):
    with PipeliningServer() as server:
        results = {one.id: one.outcome for one in choose(server.url)([outgoing(1, address), outgoing(2)])}
    assert results == {1: "failed", 2: "sent"}
    assert len(server.recipients) == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "must begin with smtp"),
        ("http://x", "must begin with smtp"),
        ("smtp://", "names no host"),
        ("smtp://host:port", "Port"),
        ("smtp://host?tls=maybe", "tls must be"),
        ("smtp://host?colour=red", "unknown parameter 'colour'"),
        ("smtp://host?connections=many", "must be numbers"),
        ("smtp://host?connections=0", "1 to 500"),
        ("maildir:", "needs a folder"),
    ],
)
def test_a_wrong_setting_is_explained(url, words):
    with pytest.raises(ImproperlyConfigured, match=re.escape("EMAIL_URL")) as error:
        choose(url)
    assert words in str(error.value)


@pytest.mark.parametrize("text", ["nowhere:kill", "after_claim:explode", "after_claim", "after_claim:sleep:long"])
def test_a_wrong_failpoint_is_explained(text):
    with pytest.raises(ImproperlyConfigured, match="FAILPOINT"):
        parse(text)
