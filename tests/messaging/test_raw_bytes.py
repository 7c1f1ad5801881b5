"""The bytes at the other end: one table of mails, each sent over a server that pipelines, over one that does not, and
into a folder; what arrives is read letter by letter, and by two readers that were not made by us."""

import email
import email.policy
import re
from datetime import timedelta
from email.header import decode_header, make_header
from email.utils import getaddresses, parsedate_to_datetime
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from journey_crm import env
from messaging import liquid, tokens
from messaging.headers import header_text, mailbox
from messaging.models import Brand, Message
from messaging.plaintext import from_html
from messaging.skeleton import Addressee, Skeleton
from tests.messaging.pipelining import PipeliningServer

WAYS = ["pipelined", "plain", "folder"]
POSTAL = "1 Main St, 602 00 Brno"
CZECH = "Příliš žluťoučký kůň úpěl ďábelské ódy"
POLISH = "Zażółć gęślą jaźń"
HEBREW = "שלום עולם"
# What may stand in a header of ours, and nothing else.
ALLOWED = {
    "From", "To", "Reply-To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "List-Id",
    "List-Unsubscribe", "List-Unsubscribe-Post", "Feedback-ID", "Auto-Submitted",
}  # fmt: skip
TRANSLATED = {"cs": {"subject": CZECH, "body": f"{CZECH}, {{{{ contact.first_name }}}}."},
              "pl": {"subject": POLISH, "body": f"{POLISH}, {{{{ contact.first_name }}}}."}}  # fmt: skip

# name: (the person, the template, what the subject must be, what the text must hold)
MAILS = {
    "english": ({}, {"subject": "Hello", "body": "Hello there"}, "Hello", ["Hello there"]),
    "czech": ({"language": "cs", "first_name": "Žofie"}, {"translations": TRANSLATED}, CZECH, [f"{CZECH}, Žofie."]),
    "polish": ({"language": "pl", "first_name": "Łucja"}, {"translations": TRANSLATED}, POLISH, [f"{POLISH}, Łucja."]),
    "a long line of HTML": (
        {}, {"subject": "x", "body_format": "html", "body": "<p>" + "ěščř " * 600 + "</p><p>" + "y" * 3000 + "</p>"},
        "x", ["y" * 3000, "ěščř ěščř"],
    ),
    "a long line of text": ({}, {"subject": "x", "body": "z" * 5000}, "x", ["z" * 5000]),
    "a long value": (
        {"attributes": {"note": "ž" * 2500 + "w" * 2500}}, {"subject": "x", "body": "[{{ contact.note }}]"},
        "x", ["[" + "ž" * 2500 + "w" * 2500 + "]"],
    ),
    "a long subject": ({}, {"subject": "long " * 240, "body": "x"}, ("long " * 240).strip(), []),
    "a long word": ({}, {"subject": "x" * 1200, "body": "x"}, "x" * 1200, []),
    "a long Czech subject": ({}, {"subject": f"{CZECH} " * 30, "body": "x"}, (f"{CZECH} " * 30).strip(), []),
    "emoji": ({}, {"subject": "🎉👩‍👩‍👧‍👦" * 60, "body": "🎉👩‍👩‍👧‍👦"}, "🎉👩‍👩‍👧‍👦" * 60, ["🎉👩‍👩‍👧‍👦"]),
    "a subject that looks encoded": ({}, {"subject": "=?utf-8?B?eA==?=", "body": "x"}, "=?utf-8?B?eA==?=", []),
    "dots": (
        {"first_name": ".", "attributes": {"note": "."}},
        {"subject": ".", "body_format": "html",
         "body": "<pre>\n.\n..\n...\n.x\n</pre><p>.</p><p>{{ contact.first_name }}</p><p>{{ contact.note }}</p>"},
        ".", ["\n.\n..\n...\n.x\n"],
    ),
    "the end of a mail": ({}, {"subject": "x", "body": "a\r\n.\r\nQUIT\r\n\r\n.\r\n"}, "x", ["QUIT"]),
    "line ends of all sorts": (
        {"attributes": {"note": "six\rseven\nfive\r\neight"}},
        {"subject": "x", "body": "one\rtwo\nthree\r\nfour {{ contact.note }}"}, "x", ["three", "seven", "eight"],
    ),
    "right to left": (
        {"first_name": HEBREW, "attributes": {"note": "\u202egpj.exe"}},
        {"subject": "{{ contact.first_name }}", "body": "{{ contact.first_name }} {{ contact.note }}"},
        HEBREW, [f"{HEBREW} gpj.exe"],
    ),
    "what quoted-printable is made of": (
        {"first_name": "=3D=\t =20"}, {"subject": "a=20b", "body": "=3D=20 {{ contact.first_name }} \u00a0 =\u00ad="},
        "a=20b", ["=3D=20"],
    ),
    "a separator of parts": (
        {"first_name": "--=_journey_part_=_--"},
        {"subject": "x", "body": "--=_journey_part_=_\n\n{{ contact.first_name }}"}, "x", ["--=_journey_part_=_--"],
    ),
    "another server's letters": ({"email": "eva@xn--bcher-kva.example"}, {"subject": "x", "body": "x"}, "x", []),
    "an odd address": ({"email": "o'neil+x=y&z@sub-domain.example"}, {"subject": "x", "body": "x"}, "x", []),
    "transactional": (
        {"language": "cs"}, {"subject": CZECH, "body": CZECH, "message_class": "transactional", "topic": None},
        CZECH, [CZECH],
    ),
    "a personal link": (
        {"attributes": {"page": "https://x.example/?a=1&b=ž#c"}},
        {"subject": "x", "body": "[yours]({{ contact.page }}) and [ours](https://acme.example/?a=1&b=2)"},
        "x", ["yours ("],
    ),
}  # fmt: skip


@pytest.fixture
def carry(settings, tmp_path, send):
    """Sends all that is due by one way; the raw mails by recipient."""

    def run(way: str) -> dict[str, bytes]:
        if way == "folder":
            settings.EMAIL_URL = f"maildir:{tmp_path}/box"
            send()
            raws = [path.read_bytes() for path in sorted(Path(tmp_path, "box", "new").glob("*"))]
        else:
            extensions = ("PIPELINING", "8BITMIME") if way == "pipelined" else ("8BITMIME",)
            with PipeliningServer(extensions=extensions) as server:
                settings.EMAIL_URL = server.url
                send()
                raws = server.texts
        return {email.message_from_bytes(raw)["To"]: raw for raw in raws}

    return run


@pytest.fixture
def table(make_message, make_contact, make_template):
    """The address of each mail in the table."""
    found = {}
    for number, (name, (person, template, *_)) in enumerate(MAILS.items()):
        contact = make_contact(**{"email": f"p{number}@example.com"} | person)
        make_message(contact, make_template(**template))
        found[name] = contact.email
    return found


def head_of(raw: bytes) -> bytes:
    return raw.partition(b"\r\n\r\n")[0]


def field(raw: bytes, name: bytes) -> bytes:
    """A header as it stands on the wire, its folded lines with it."""
    [found] = re.findall(rb"(?:^|\r\n)" + name + rb":((?:[^\r\n]|\r\n[ \t])*)", head_of(raw))
    return found


def keeps_the_rules(raw: bytes) -> None:
    """What holds for each mail of ours, whatever is in it."""
    assert raw.isascii()
    assert b"\0" not in raw
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", raw), "CRLF, and neither half of it alone"
    lines = raw.split(b"\r\n")
    assert max(map(len, lines)) <= 998
    unfoldable = (b"List-Unsubscribe:", b"Message-ID:", b"To:", b"List-Id:", b"Feedback-ID:")
    assert max(len(line) for line in lines if not line.startswith(unfoldable)) <= 76
    assert b"" not in head_of(raw).split(b"\r\n")
    old = email.message_from_bytes(raw, policy=email.policy.compat32)
    new = email.message_from_bytes(raw, policy=email.policy.default)
    for mail in (old, new):
        assert len(mail.keys()) == len(set(mail.keys()))
        assert set(mail.keys()) <= ALLOWED
        assert not [defect for part in mail.walk() for defect in part.defects]
        assert [part.get_content_type() for part in mail.walk()] == ["multipart/alternative", "text/plain", "text/html"]
        for part in list(mail.walk())[1:]:
            assert (part["Content-Transfer-Encoding"], part.get_content_charset()) == ("quoted-printable", "utf-8")
            encoded = part.get_payload()
            assert re.fullmatch(r"(?:[!-<>-~ \t]|=[0-9A-F]{2}|=?\r\n|=?\n)*", encoded), "it is what it says it is"
            assert not re.search(r"[ \t]\r?\n", encoded), "no line ends in a blank, which a server may cut off"
            assert POSTAL in part.get_payload(decode=True).decode()
    for name, header in new.items():
        assert not getattr(header, "defects", ()), name
    assert str(make_header(decode_header(old["Subject"]))) == new["Subject"]
    assert parsedate_to_datetime(old["Date"]).tzinfo
    assert re.fullmatch(r"<m\d+\.[0-9a-f]{20}@localhost>", old["Message-ID"])
    html, text = (new.get_body((kind,)).get_content() for kind in ("html", "plain"))
    # Nobody reads what is hidden: the link that only programs follow.
    html = re.sub(
        r"<div[^>]*display: ?none[^>]*>.*?</div>|<a[^>]*display: ?none[^>]*>.*?</a>", "", html, flags=re.DOTALL
    )
    assert from_html(html).split() == text.split(), "both parts say the same"


@pytest.mark.parametrize("way", WAYS)
def test_every_mail_of_the_table_keeps_the_rules_and_says_what_was_written(way, carry, table, settings):
    settings.BASE_URL = "https://localhost"
    raws = carry(way)
    assert set(raws) == set(table.values()), list(
        Message.objects.exclude(state="sent").values_list("reason", "response")
    )
    for name, (_person, template, subject, words) in MAILS.items():
        raw = raws[table[name]]
        keeps_the_rules(raw)
        mail = email.message_from_bytes(raw, policy=email.policy.default)
        assert mail["Subject"] == subject, name
        text = mail.get_body(("plain",)).get_content().replace("\r\n", "\n")
        for one in words:
            assert one in text, name
        one_click = re.findall(rb"(?m)^List-Unsubscribe:\s*<https://[^>\s]+>\r$", raw)
        if template.get("message_class") == "transactional":
            assert b"List-" not in head_of(raw)
            assert mail["Auto-Submitted"] == "auto-generated"
        else:
            assert len(one_click) == 1
            assert b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in raw
            assert b"=?" not in one_click[0]
            assert mail["Auto-Submitted"] is None
            assert re.fullmatch(r"newsletter:\w+:marketing:[0-9a-f]{12}", mail["Feedback-ID"])
            assert mail["List-Id"] == "<newsletter.localhost>"


@pytest.mark.parametrize("way", WAYS)
def test_every_way_carries_a_mail_from_its_first_byte_to_its_last(way, carry, table):
    raws = carry(way)
    for raw in raws.values():
        assert raw.endswith(b"--=_journey_part_=_--\r\n"), "nothing is lost at the end, and nothing is added"
        assert raw.startswith(b"From: Acme <hello@acme.example>\r\n")


@pytest.mark.parametrize("base_url", ["https://a.cz", f"https://{'.'.join(['long-name-of-a-department'] * 9)}.example"])
@pytest.mark.parametrize("way", WAYS)
def test_one_click_is_one_plain_line_for_the_shortest_and_the_longest_address(
    way, base_url, carry, settings, make_message, make_contact, make_template
):
    settings.BASE_URL = base_url
    number = 1 if base_url == "https://a.cz" else 2**47
    make_message(make_contact(pk=number, email="one@example.com"), make_template(subject=CZECH))
    raw = carry(way)["one@example.com"]
    [line] = [one for one in raw.split(b"\r\n") if one.startswith(b"List-Unsubscribe:")]
    found = re.fullmatch(rb"List-Unsubscribe:\s*<(https://[^>\s]+)/u/([A-Za-z0-9_-]+)/>", line)
    assert found[1].decode() == base_url
    assert tokens.read(tokens.PERSON, found[2].decode())[1] == number
    assert len(line) <= 998
    for policy in (email.policy.compat32, email.policy.default, email.policy.SMTP):
        again = email.message_from_bytes(raw, policy=policy)["List-Unsubscribe"]
        assert str(again) == line.partition(b": ")[2].decode()


def test_a_second_attempt_is_the_same_mail(settings, make_message, make_contact, make_template, send, now):
    answers = iter(["451 later", None])
    with PipeliningServer(on_text=lambda number, raw: next(answers)) as server:
        settings.EMAIL_URL = server.url
        make_message(make_contact(first_name="Žofie"), make_template(subject=CZECH))
        assert send() == 0
        assert send(now + timedelta(hours=1)) == 1
    first, second = server.texts
    assert field(first, b"Message-ID") == field(second, b"Message-ID")
    assert field(first, b"List-Unsubscribe") == field(second, b"List-Unsubscribe")


@pytest.mark.parametrize(
    ("sender", "name"),
    [
        ('"Acme, Inc." <hello@acme.example>', "Acme, Inc."),
        ('"The \\"Best\\" (of) <all>" <hello@acme.example>', 'The "Best" (of) <all>'),
        ('"Dům & zahrada, s.r.o." <hello@acme.example>', "Dům & zahrada, s.r.o."),
        ("Ž" * 150 + " <hello@acme.example>", "Ž" * 150),
        ("A very long name " * 9 + "<hello@acme.example>", ("A very long name " * 9).strip()),
        ('"=?utf-8?B?RXZpbA==?=" <hello@acme.example>', "=?utf-8?B?RXZpbA==?="),
        ("Acme <hello@bücher.example>", "Acme"),
        (f"{'N' * 59} <{'l' * 60}@acme.example>", "N" * 59),
    ],
)
def test_a_senders_name_arrives_as_it_was_written(sender, name, carry, brand, make_message, make_contact):
    Brand.objects.update(sender=sender, reply_to=sender)
    make_message(make_contact(email="one@example.com"))
    raw = carry("pipelined")["one@example.com"]
    keeps_the_rules(raw)
    mail = email.message_from_bytes(raw, policy=email.policy.compat32)
    for header in (mail["From"], mail["Reply-To"]):
        [(shown, address)] = getaddresses([header.replace("\r\n", "")])
        assert str(make_header(decode_header(shown))) == name
        assert address.rpartition("@")[2] in ("acme.example", "xn--bcher-kva.example")


@pytest.mark.parametrize(
    "written",
    [
        "Acme\r\nBcc: a@b.example <a@acme.example>", "Acme\x7f <a@acme.example>", "Acme\x85 <a@acme.example>",
        "Acme\u2028Bcc: x <a@acme.example>", "Acme\0 <a@acme.example>", "žofie@acme.example", "a@acme.example\n",
        "a b@acme.example", "Acme, Inc. <a@acme.example>", "a@b@c.example <>",
    ],
)  # fmt: skip
def test_what_is_no_sender_is_refused_with_a_sentence(written):
    with pytest.raises(ValueError, match=r"sender|ASCII"):
        mailbox(written)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("first_name", "Eva\r\nBcc: all@example.com"),
        ("first_name", "Eva\n\nBody"),
        ("first_name", "Eva\rX-Evil: 1"),
        ("first_name", "Eva\tX"),
        ("email", "a@x.example\r\nBcc: b@x.example"),
        ("email", "a@x.example>\r\nRCPT TO:<b@x.example"),
        ("email", "žofie@x.example"),
        ("email", "a@x.example,b@x.example"),
        ("email", '"a b"@x.example'),
        ("email", "a@bücher.example"),
        ("subject", "Hello\r\nBcc: all@example.com"),
        ("subject", "Hello\u2028Bcc: all@example.com"),
        ("sender", "Acme\r\nBcc: x <hello@acme.example>"),
        ("sender", "Acme\u2029 <hello@acme.example>"),
        ("reply_to", "Help\nBcc: x <help@acme.example>"),
    ],
)
@pytest.mark.parametrize("way", ["pipelined", "folder"])
def test_no_field_becomes_a_header_and_the_message_ends_once(
    way, where, value, carry, brand, make_message, make_contact, make_template, now
):
    person = {where: value} if where in ("first_name", "email") else {}
    template = make_template(**({"subject": value} if where == "subject" else {}))
    if where in ("sender", "reply_to"):
        Brand.objects.update(**{where: value})
    make_message(make_contact(**person), template)
    for _ in range(3):
        assert carry(way) == {}
    [(state, reason, attempts)] = Message.objects.values_list("state", "reason", "attempts")
    assert state in ("failed", "skipped")
    assert reason in ("header_injection", "render_error", "invalid_address")
    assert attempts <= 1, "it is not tried for ever"


def test_a_value_with_a_nul_leaves_without_it():
    """Postgres keeps none, but values come by other ways, too."""
    content = {
        "language": "en", "body_format": "html", "message_class": "marketing", "topic": "news",
        "variants": {"en": {"subject": "Hi", "preheader": "", "body": "<p>{{ contact.first_name }}</p>"}},
        "brand": {"name": "Acme", "sender": "Acme <a@acme.example>", "postal_address": POSTAL},
    }  # fmt: skip
    compiled = Skeleton(content, "en")
    to = Addressee(
        1, "e@x.example", "m1.0123456789abcdef0123@localhost", "Tue, 10 Nov 2026 10:00:00 +0000",
        {"open": "https://h/o", "hidden": "https://h/0", "unsubscribe": "https://h/u/", "preferences": "https://h/p/"},
        {},
    )  # fmt: skip
    values = compiled.values({"contact": liquid.plain({"first_name": "E\0v\x1ba\x07"})}, to, "")
    _subject, raw = compiled.mail(values, to, {})
    keeps_the_rules(raw)
    assert "Eva" in email.message_from_bytes(raw, policy=email.policy.default).get_body(("plain",)).get_content()


def test_a_header_of_any_length_is_folded_within_76():
    for size in range(30, 200, 7):
        for letter in ("ž", "x", "🎉", "ž x"):
            header = f"Subject: {header_text(letter * size)}"
            assert max(map(len, header.split("\r\n"))) <= 76
            assert str(make_header(decode_header(header.partition(": ")[2]))) == letter * size


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("https://crm.example.com/", "https://crm.example.com"),
        ("https://bücher.example:8443", "https://xn--bcher-kva.example:8443"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("crm.example.com", None), ("ftp://x.example", None), ("https://x.example/<y>", None), ("https://x y", None),
        ("https://x.example\r\nBcc: y", None), ("https://", None), ("https://x.example/ž", None),
    ],
)  # fmt: skip
def test_our_own_address_is_ascii_for_it_stands_in_headers(written, kept):
    if kept is None:
        with pytest.raises(ImproperlyConfigured, match="BASE_URL must be"):
            env.site(written)
    else:
        assert env.site(written) == kept
