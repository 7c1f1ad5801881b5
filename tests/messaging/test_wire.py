"""The bytes that leave: what mail servers, mail programs and the law ask of them."""

import email
import email.policy
import re
from email.utils import parsedate_to_datetime

import pytest

from messaging.headers import HeaderInjection, header_text, mailbox
from messaging.models import Brand, Message
from tests.messaging.pipelining import PipeliningServer


@pytest.fixture
def wire(settings, make_message, make_template, make_contact, send):
    """Sends one mail; its raw bytes as the server got them."""

    def run(person=None, intent=None, **template) -> bytes:
        with PipeliningServer() as server:
            settings.EMAIL_URL = server.url
            make_message(make_contact(**person or {}), make_template(**template), **intent or {})
            assert send() == 1, list(Message.objects.values_list("state", "reason", "response"))
        return server.texts[0]

    return run


def parsed(raw: bytes):
    return email.message_from_bytes(raw, policy=email.policy.default)


def header_lines(raw: bytes) -> list[bytes]:
    return raw.split(b"\r\n\r\n", 1)[0].split(b"\r\n")


def longest(raw: bytes) -> int:
    """The longest line but for the one that must never be folded."""
    return max(len(line) for line in raw.split(b"\r\n") if not line.startswith(b"List-Unsubscribe:"))


def test_a_marketing_mail_has_what_it_must_have(wire, now):
    raw = wire()
    mail = parsed(raw)
    assert mail["From"] == "Acme <hello@acme.example>"
    assert parsedate_to_datetime(mail["Date"]) == now
    assert re.fullmatch(r"<m\d+\.[0-9a-f]{20}@localhost>", mail["Message-ID"])
    assert mail["List-Id"] == "<newsletter.localhost>"
    assert mail.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    for part in mail.iter_parts():
        assert "1 Main St, 602 00 Brno" in part.get_content()
        assert "/u/" in part.get_content()


@pytest.mark.parametrize("base_url", ["http://localhost:8000", "https://mail.a-rather-long-name-of-a-company.example"])
def test_one_click_stands_on_the_wire_as_the_rfc_wants_it(wire, settings, base_url):
    settings.BASE_URL = base_url
    raw = wire(person={"id": 2**40} if "long" in base_url else None)
    lines = header_lines(raw)
    (unsubscribe,) = [line for line in lines if line.startswith(b"List-Unsubscribe:")]
    assert re.fullmatch(rb"List-Unsubscribe: <https?://[^>\s]+/u/[A-Za-z0-9_-]+/>", unsubscribe)
    assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click" in lines
    assert b"=?" not in unsubscribe


def test_a_transactional_mail_has_no_list_headers(wire):
    raw = wire(message_class="transactional", topic=None)
    assert b"List-" not in raw


@pytest.mark.parametrize(
    "subject",
    [
        "Žluťoučký kůň úpěl ďábelské ódy",
        "Zażółć gęślą jaźń",
        "🎉" * 300,
        "long " * 240,
        "x" * 1200,
        "=?utf-8?B?eA==?=",
        "a  b",
    ],
)
def test_any_subject_arrives_as_it_was_written(wire, subject):
    raw = wire(subject=subject)
    assert parsed(raw)["Subject"] == subject.strip()
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert longest(raw) <= 78


def test_any_body_arrives_as_it_was_written(wire):
    text = "Příliš žluťoučký, Zażółć gęślą jaźń, 🎉, \n\n" + "y" * 3000 + "\n\n.\n\n..\n\nFrom here"
    raw = wire(body=text)
    mail = parsed(raw)
    assert longest(raw) <= 78
    assert raw.isascii()
    assert b"\n" not in raw.replace(b"\r\n", b"")
    plain = mail.get_body(("plain",)).get_content().replace("\r\n", "\n")
    html = mail.get_body(("html",)).get_content()
    for word in ("Příliš žluťoučký", "Zażółć gęślą jaźń", "🎉", "y" * 3000, "From here"):
        assert word in plain
        assert word in html
    assert "\n\n.\n\n..\n\n" in plain


@pytest.mark.parametrize("value", ["Eva\r\nBcc: all@example.com", "Eva\nX-Evil: 1", "Eva\x00", "Eva\rX"])
def test_no_value_becomes_a_header(make_message, make_template, make_contact, send, smtp_sink, value):
    if "\0" in value:
        with pytest.raises(HeaderInjection):
            header_text(value)
        return
    make_message(make_contact(first_name=value))
    send()
    send()
    assert list(Message.objects.values_list("state", "reason")) == [("failed", "header_injection")]
    assert smtp_sink.mails == []


@pytest.mark.parametrize(
    ("written", "header"),
    [
        ("hello@acme.example", "hello@acme.example"),
        ("Acme <hello@acme.example>", "Acme <hello@acme.example>"),
        ('"Acme, Inc." <hello@acme.example>', '"Acme, Inc." <hello@acme.example>'),
        ("Dům <hello@bücher.example>", "=?utf-8?B?RMWvbQ==?= <hello@xn--bcher-kva.example>"),
    ],
)
def test_a_sender_is_written_safely(written, header):
    assert mailbox(written)[0] == header


@pytest.mark.parametrize("written", ["", "Acme", "a@b\r\nBcc: c@d.example", "ü@acme.example"])
def test_what_is_no_sender_is_refused(written):
    with pytest.raises(ValueError, match="sender|ASCII"):
        mailbox(written)


def test_the_language_is_the_persons_with_a_visible_fallback(wire):
    translations = {"cs": {"subject": "Ahoj", "body": "Dobrý den"}, "pl": {"subject": "Cześć"}}
    czech = parsed(wire({"language": "cs-CZ"}, subject="Hello", body="Good day", translations=translations))
    assert (czech["Subject"], "Dobrý den" in czech.get_body(("plain",)).get_content()) == ("Ahoj", True)
    polish = parsed(wire({"language": "pl"}, subject="Hello", body="Good day", translations=translations))
    assert (polish["Subject"], "Good day" in polish.get_body(("plain",)).get_content()) == ("Cześć", True)
    german = parsed(wire({"language": "de"}, subject="Hello", body="Good day", translations=translations))
    assert german["Subject"] == "Hello"
    assert list(Message.objects.order_by("pk").values_list("language", flat=True)) == ["cs", "pl", "en"]


def test_a_reply_goes_where_the_brand_says(wire, brand):
    Brand.objects.update(reply_to="Help <help@acme.example>")
    assert parsed(wire())["Reply-To"] == "Help <help@acme.example>"


@pytest.mark.parametrize("body_format", ["html", "mjml"])
def test_html_and_mjml_leave_too(wire, body_format):
    body = {
        "html": "<style>p{color:red}</style><p>Hi {{ contact.first_name }}</p>",
        "mjml": "<mjml><mj-body><mj-section><mj-column><mj-text>Hi {{ contact.first_name }}</mj-text>"
        "</mj-column></mj-section></mj-body></mjml>",
    }[body_format]
    mail = parsed(wire({"first_name": "Ž & <x>"}, body_format=body_format, body=body))
    assert "Hi Ž &amp; &lt;x&gt;" in mail.get_body(("html",)).get_content()
    assert "Hi Ž & <x>" in mail.get_body(("plain",)).get_content()
