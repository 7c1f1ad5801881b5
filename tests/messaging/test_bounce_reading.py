"""Mail that came back, read: a corpus from the RFCs and the habits of common servers, and whatever else may come."""

import re
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from messaging.bounces import reading
from messaging.bounces.codes import class_of, is_no_such_address

CORPUS = Path(__file__).parent / "bounces"
SIGN, LINK = "m12." + "0a" * 10, "A" * 40

# file: what it is, with which code; "-" where it cannot be read. `*` where it does not bring back our sign.
EXPECTED = {
    "01-postfix-hard": "hard 5.1.1",
    "02-gmail-hard": "hard 5.1.1",
    "03-mailbox-full": "soft 5.2.2",
    "04-policy-not-address": "policy 5.7.1",
    "05-generic-status-exact-answer": "hard 5.1.1",
    "06-delayed": "delayed 4.4.1",
    "07-expired-after-days": "soft 4.4.7",
    "08-relayed": "automatic",
    "09-delivered": "delivered",
    "10-expanded": "automatic",
    "11-exchange-ndr-german": "hard 5.1.10",
    "12-two-recipients-worst-counts": "hard 5.1.1",
    "13-null-mx": "hard 5.1.10",
    "14-bad-sender-is-policy": "policy 5.1.8",
    "15-return-path-only": "hard 5.1.1",
    "16-missing-returned-part": "hard 5.1.2",
    "17-base64-status": "hard 5.1.1",
    "18-nested-forward": "soft 5.2.1",
    "19-qmail": "hard 5.1.1",
    "20-exim-plain": "hard",
    "21-seznam-8bit": "soft 5.2.2",
    "22-plain-without-our-sign": "unknown *",
    "23-vacation": "automatic",
    "24-vacation-old-style": "automatic",
    "25-read-receipt": "automatic",
    "26-arf-abuse": "complaint",
    "27-arf-headers-only-redacted": "complaint",
    "28-arf-not-spam": "automatic",
    "29-arf-opt-out": "unsubscribed",
    "30-outlook-junk-report": "complaint",
    "31-forged-token": "hard 5.1.1 *",
    "32-status-without-recipient": "-",
    "33-a-person-answers": "other",
    "34-gateway-without-code": "unknown 5.0.0",
}


def mail(name: str, sign: str = SIGN, link: str = LINK) -> bytes:
    raw = (CORPUS / f"{name}.eml").read_bytes()
    return raw.replace(b"SIGN", sign.encode()).replace(b"LINK", link.encode())


def test_the_corpus_is_all_of_its_files():
    assert sorted(path.stem for path in CORPUS.glob("*.eml")) == sorted(EXPECTED)
    assert len(EXPECTED) >= 30


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_each_mail_of_the_corpus_is_what_it_is(name, ends):
    raw = mail(name).replace(b"\n", ends)
    if EXPECTED[name] == "-":
        with pytest.raises(reading.Unreadable):
            reading.read(raw)
        return
    report = reading.read(raw)
    is_ours = bool({SIGN, LINK} & set(report.references))
    code = report.code if report.kind in (*reading.BOUNCES, "delayed") else ""
    assert " ".join(filter(None, [report.kind, code, "" if is_ours else "*"])) == EXPECTED[name]


def test_what_the_server_said_is_kept_in_its_own_letters():
    assert "Překročena kapacita schránky" in reading.read(mail("21-seznam-8bit")).detail


@pytest.mark.parametrize(
    ("answer", "kind"),
    {
        "550 5.1.1 no such user": "hard",
        "550-5.1.1 The account": "hard",
        "553 5.1.3 bad address syntax": "hard",
        "550 5.7.1 user unknown, or so we say to spammers": "policy",
        "554 5.7.26 unauthenticated": "policy",
        "552 5.3.4 message too large": "policy",
        "550 5.6.1 8-bit not here": "policy",
        "452 4.2.2 over quota": "soft",
        "552 5.2.2 over quota": "soft",
        "550 5.4.4 host not found": "soft",
        "421 try later": "soft",
        "550 No such user here": "hard",
        "550 blocked by policy: user unknown": "policy",
        "550 Requested action not taken": "unknown",
        "554 5.0.0 no reason (203.5.1.1)": "unknown",
        "550 see http://x.example/5.1.1/help": "unknown",
        "": "unknown",
    }.items(),
)
def test_one_definition_of_classes_for_answers_and_reports(answer, kind):
    assert class_of(answer)[0] == kind
    assert is_no_such_address(answer) == (kind == "hard")


# Whatever comes ------------------------------------------------------------------------------------------------------

STARTS = [
    b"", b"From: a\n\n", b"Subject: ", b"From: MAILER-DAEMON@x\n\nm1.00000000000000000000@x\n",
    b"Content-Type: multipart/report; boundary=x\n\n--x\nContent-Type: message/delivery-status\n\n",
    b"Content-Type: multipart/report; boundary=x\n\n--x\nContent-Type: message/feedback-report\n\n",
    b"Content-Type: text/plain; x=",
]  # fmt: skip
RUNS = [b" ", b"\n", b"\r", b"\t", b" \n", b"\n ", b"<", b";", b'"', b"=", b"a: b\n", b":\n", b"--\n", b"--x\n", b"=?",
        b"m1.", b"\0", b"-", b"5.1.", b"5.1.1 ", b'a;b="', b"/u/", b"\xff"]  # fmt: skip


def steps_of(raw: bytes) -> int:
    """How many lines of Python run while a mail is read; time would say more of the machine than of the mail."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        try:
            reading.read(raw)
        except reading.Unreadable:
            pass
    finally:
        sys.settrace(before)
    return count


def test_a_hundred_thousand_of_anything_are_read_in_far_less_than_a_second_of_work():
    """100 KB of spaces, and every other run that a pattern might stumble over. Counted is the processor's time."""
    for start in STARTS:
        for run in RUNS:
            raw = start + run * (102_400 // len(run))
            began = time.process_time()
            try:
                reading.read(raw)
            except reading.Unreadable:
                pass
            assert time.process_time() - began < 1, (start, run)


def nested(depth: int, kind: str = "multipart/mixed") -> bytes:
    return b"".join(
        f"Content-Type: {kind}; boundary=b{level}\n\n--b{level}\n".encode() for level in range(depth)
    )  # fmt: skip


def test_a_mail_within_mails_without_end_is_put_aside_and_not_followed():
    for raw in (nested(500), nested(39, "multipart/digest"), b"Content-Type: message/rfc822\n\n" * 5_000):
        assert steps_of(raw) < 400_000
    with pytest.raises(reading.Unreadable):
        reading.read(nested(500))


def test_twice_the_mail_is_at_most_some_twice_the_work():
    for start in STARTS[:6]:
        for run in (b"a: b\n", b"\n\n", b"5.1.1 x\n", b"Action: failed\n\n"):
            small, large = (steps_of(start + run * (size // len(run))) for size in (4_000, 8_000))
            assert large < 2.6 * small + 5_000, (start, run)


PIECES = st.sampled_from([
    *(mail(name) for name in sorted(EXPECTED)), b"--b1\n", b"\n\n", b"Content-Type: ", b"multipart/report; boundary=b1",
    b"message/delivery-status", b"Content-Transfer-Encoding: base64\n", b"Status: 5.1.1\n", b"Action: ", b"=?utf-8?B?",
])  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_whatever_is_cut_glued_and_broken_is_read_or_put_aside(data):
    raw = b"".join(data.draw(st.lists(st.one_of(PIECES, st.binary(max_size=60)), max_size=5)))
    cut = data.draw(st.integers(0, len(raw)))
    raw = data.draw(st.sampled_from([raw, raw[:cut], raw[cut:], raw[cut:] + raw[:cut]]))
    for _ in range(data.draw(st.integers(0, 4))):
        if raw:
            at = data.draw(st.integers(0, len(raw) - 1))
            raw = raw[:at] + data.draw(st.binary(max_size=3)) + raw[at + 1 :]
    assert steps_of(raw) < 60_000 + 40 * len(raw)
    try:
        report = reading.read(raw)
    except reading.Unreadable:
        return
    assert report.kind in {*reading.BOUNCES, "complaint", "unsubscribed", "automatic", "delayed", "delivered", "other"}
    assert all(re.fullmatch(r"m\d+\.[0-9a-f]{20}|[\w-]{40}", one) for one in report.references)
