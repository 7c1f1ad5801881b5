"""Reads a mail that came back: is it a bounce, a complaint or an automatic answer, of which message, and what class.

Delivery status notifications (RFC 3464), feedback reports (RFC 5965), automatic answers (RFC 3834), and the plain text
of servers that know none of these. Whose mail it was is told by our own signs alone: Message-ID, return path,
unsubscribe link. What anybody wrote in words decides at most the class of a bounce that carries one of them.

Whatever comes is read in a time that grows with its length, and its length is cut: only `Unreadable` is raised.
"""

import binascii
import contextlib
import quopri
import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from email.header import Header
from email.message import Message
from email.parser import BytesParser
from email.policy import Compat32
from typing import Any

from django.utils.translation import gettext_noop

from messaging.bounces.codes import SOFT, UNKNOWN, class_of

# So much of a mail is read; reports stand at its beginning.
MOST_BYTES = 256 * 1024
# A header, a list of headers, and the parts within parts of an honest report are far below these.
_LONGEST_HEADER, _MOST_HEADERS, _MOST_PARTS = 4_000, 500, 40
_MOST_LINES = 8_000
# Of a text part, of all texts in which our signs are looked for, and how many signs of one mail are tried.
_LONGEST_TEXT, _MOST_SIGNS = 64 * 1024, 20

# Classes beside those of `codes`.
COMPLAINT, UNSUBSCRIBED, AUTOMATIC, DELAYED, DELIVERED, OTHER = (
    "complaint", "unsubscribed", "automatic", "delayed", "delivered", "other",
)  # fmt: skip
# Of these something becomes where they name a message of ours.
BOUNCES = ("hard", "policy", "soft", "unknown")

_SIGN = re.compile(r"(?<![0-9A-Za-z.])(m\d{1,18}\.[0-9a-f]{20})@")
_LINK = re.compile(r"/[up]/([A-Za-z0-9_-]{40})/")
_DAEMON = re.compile(r"(?:^|[\s<\"(])(?:mailer-daemon|postmaster|mail-daemon|mailerdaemon)@", re.IGNORECASE)
_QMAIL = "this is the qmail-send program"
_CHARSETS = {
    "utf-8", "us-ascii", "iso-8859-1", "iso-8859-2", "iso-8859-15", "windows-1250", "windows-1251", "windows-1252",
    "koi8-r",
}  # fmt: skip
_RECIPIENT_HEADERS = ("to", "delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "apparently-to")
_FEEDBACK = {
    "abuse": COMPLAINT, "fraud": COMPLAINT, "virus": COMPLAINT, "other": COMPLAINT, "opt-out": UNSUBSCRIBED,
    "opt-out-list": UNSUBSCRIBED,
}  # fmt: skip


class Unreadable(ValueError):
    """A mail that is no mail, or one that is built to be dear to read."""


@dataclass(frozen=True)
class Report:
    """What a mail says. `references` are signs that look like ours, not yet proven."""

    kind: str
    code: str = ""
    detail: str = ""
    references: tuple[str, ...] = ()


class _Capped(Compat32):
    """Keeps the beginning of a header that is too long: whatever reads parameters afterwards has little to read."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        return name[:200], value[:_LONGEST_HEADER]


_PARSER = BytesParser(policy=_Capped())


def read(raw: bytes) -> Report:
    """What this mail says. Raises Unreadable."""
    raw = raw[:MOST_BYTES].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    raw = b"\n".join(raw.split(b"\n", _MOST_LINES)[:_MOST_LINES])
    _refuse_bombs(raw)
    try:
        return _read(_PARSER.parsebytes(raw))
    except Unreadable:
        raise
    except (RecursionError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
        # The standard library's parser has its corners; a mail that finds one is put aside, and only that one.
        raise Unreadable(f"{type(error).__name__}: {error}"[:300]) from error


def _refuse_bombs(raw: bytes) -> None:
    if not raw.strip():
        raise Unreadable(gettext_noop("The mail is empty."))
    # Each level of nesting costs a pass over all lines below it.
    lower = raw.lower()
    if lower.count(b"boundary") > _MOST_PARTS or lower.count(b"message/") > 2 * _MOST_PARTS:
        raise Unreadable(gettext_noop("It has more parts within parts than any report."))
    if raw.partition(b"\n\n")[0].count(b"\n") > 4 * _MOST_HEADERS:
        raise Unreadable(gettext_noop("It has more headers than any mail."))


def _read(mail: Message) -> Report:
    parts = [part for part, _ in zip(mail.walk(), range(2 * _MOST_PARTS), strict=False)]
    kinds = {part.get_content_type(): part for part in reversed(parts)}
    references = tuple(_references(mail, parts))
    if (part := kinds.get("message/feedback-report")) is not None:
        report = _feedback(part)
    elif (part := kinds.get("message/delivery-status")) is not None or (
        part := kinds.get("message/global-delivery-status")
    ) is not None:
        report = _delivery_status(part)
    elif "message/disposition-notification" in kinds or "message/tracking-status" in kinds:
        # It was opened, or deleted unread: no word about the address.
        report = Report(AUTOMATIC)
    elif _is_microsoft_complaint(parts):
        report = Report(COMPLAINT)
    elif _is_plain_bounce(mail, parts):
        report = _plain_bounce(parts, bool(references))
    elif _is_automatic(mail):
        report = Report(AUTOMATIC)
    else:
        report = Report(OTHER)
    return replace(report, references=references)


# Whose ---------------------------------------------------------------------------------------------------------------


def _references(mail: Message, parts: list[Message]) -> Iterator[str]:
    """Our own signs, the surest first: where it was sent to, what it brings back, what its text quotes."""
    found: dict[str, None] = {}
    for text in _places(mail, parts):
        for one in (*_SIGN.findall(text), *_LINK.findall(text)):
            found.setdefault(one)
            if len(found) >= _MOST_SIGNS:
                return iter(found)
    return iter(found)


def _places(mail: Message, parts: list[Message]) -> Iterator[str]:
    for name in _RECIPIENT_HEADERS:
        yield from _all(mail, name)
    for part in parts:
        if part is not mail and part.get_content_type() != "text/html":
            for name in ("message-id", "return-path", "list-unsubscribe", "x-journey-message"):
                yield from _all(part, name)
    for part in parts:
        # Returned headers, the fields of reports, and what plain bounces quote.
        if part.get_content_maintype() == "text" or part.get_content_type().startswith("message/"):
            yield _text(part)
    for name in ("in-reply-to", "references"):
        yield from _all(mail, name)


# Delivery status -----------------------------------------------------------------------------------------------------


def _delivery_status(part: Message) -> Report:
    blocks = [block for block in _blocks(_text(part)) if {"action", "status", "final-recipient"} & set(block)]
    if not blocks:
        raise Unreadable(gettext_noop("It is a delivery status without a recipient."))
    found = [_recipient(block) for block in blocks]
    # One mail of ours has one recipient; where a list stood behind it, the worst is told.
    worst = ["hard", "policy", SOFT, UNKNOWN, DELIVERED, DELAYED, AUTOMATIC]
    return min(found, key=lambda one: worst.index(one.kind))


def _recipient(block: dict[str, str]) -> Report:
    action = block.get("action", "").split()[:1]
    status, said = block.get("status", ""), block.get("diagnostic-code", "")
    # "smtp; 550 5.1.1 …": only what a mail server said is an answer, and old servers leave the type out.
    answer = said.partition(";")[2] or said
    kind, code = class_of(answer, status)
    match action:
        case ["delayed"]:
            return Report(DELAYED, code, answer.strip())
        case ["delivered"]:
            return Report(DELIVERED, code, answer.strip())
        case ["relayed" | "expanded"]:
            # It went on to where nobody will report from.
            return Report(AUTOMATIC, code, answer.strip())
    return Report(kind, code, answer.strip() or status)


# Complaints ----------------------------------------------------------------------------------------------------------


def _feedback(part: Message) -> Report:
    fields: dict[str, str] = {}
    for block in _blocks(_text(part)):
        fields = {**block, **fields}
    told = fields.get("feedback-type", "").strip().lower()
    # not-spam, auth-failure, dmarc: no word against us.
    return Report(_FEEDBACK.get(told, AUTOMATIC), "", told[:60])


def _is_microsoft_complaint(parts: list[Message]) -> bool:
    """Their older reports are the mail itself, with a header that names whom it was for."""
    return any("x-hmxmroriginalrecipient" in part for part in parts[1:])


# Neither -------------------------------------------------------------------------------------------------------------


def _is_plain_bounce(mail: Message, parts: list[Message]) -> bool:
    if _one(mail, "x-failed-recipients"):
        return True
    if _DAEMON.search(_one(mail, "from")):
        return True
    return any(_QMAIL in _text(part)[:2000].lower() for part in parts if part.get_content_type() == "text/plain")


def _plain_bounce(parts: list[Message], is_signed: bool) -> Report:
    """A bounce in words counts only where it brings back a sign of ours."""
    if not is_signed:
        return Report(UNKNOWN)
    text = next((_text(part) for part in parts if part.get_content_type() == "text/plain"), "")
    # What the server says stands before the mail that it brings back.
    said = re.split(
        r"(?m)^-{2,} ?(?:below|this is a copy|original|forwarded|returned)", text[:8000], maxsplit=1, flags=re.I
    )[0]
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    found = [Report(*class_of(line), line) for line in lines]
    best = max(found, key=lambda one: ("." in one.code, bool(one.code), one.kind != UNKNOWN), default=Report(UNKNOWN))
    return best if best.code or best.kind != UNKNOWN else Report(UNKNOWN, "", " ".join(lines)[:300])


def _is_automatic(mail: Message) -> bool:
    """RFC 3834, and what came before it."""
    submitted = _one(mail, "auto-submitted").strip().lower()
    if submitted and submitted.split(";")[0].strip() != "no":
        return True
    if any(name in mail for name in ("x-autoreply", "x-autorespond", "x-auto-response", "x-vacation")):
        return True
    return _one(mail, "precedence").strip().lower() in ("auto_reply", "auto-reply")


# Text of parts -------------------------------------------------------------------------------------------------------


def _all(part: Message, name: str) -> list[str]:
    return [_plain(value) for value in (part.get_all(name) or [])[:20]]


def _one(part: Message, name: str) -> str:
    return (_all(part, name) or [""])[0]


def _plain(value: Any) -> str:
    """A header as text: encoded words stay, for our signs and codes are never encoded."""
    text = str(value) if isinstance(value, Header) else value
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")[:_LONGEST_HEADER]


def _text(part: Message) -> str:
    """What is written in a part, also in one that the parser took for a list of headers."""
    payload = part.get_payload(decode=True)
    if isinstance(payload, bytes):
        data = payload[: 2 * _LONGEST_TEXT]
    else:
        inner = part.get_payload()
        written = "\n\n".join(_as_written(one) for one in inner[:_MOST_PARTS]) if isinstance(inner, list) else ""
        data = _decoded(part, written[: 2 * _LONGEST_TEXT].encode("utf-8", "surrogateescape"))
    charset = str(part.get_param("charset", "utf-8")).lower()
    return data.decode(charset if charset in _CHARSETS else "utf-8", "replace")[:_LONGEST_TEXT].replace("\0", "")


def _decoded(part: Message, data: bytes) -> bytes:
    encoding = _one(part, "content-transfer-encoding").strip().lower()
    if encoding == "quoted-printable":
        return quopri.decodestring(data)
    if encoding == "base64":
        with contextlib.suppress(binascii.Error, ValueError):
            return b64decode(re.sub(rb"[^A-Za-z0-9+/=]", b"", data) + b"==")
    return data


def _as_written(part: Any) -> str:
    if not isinstance(part, Message):
        return ""
    lines = [f"{name}: {_plain(value)}" for name, value in list(part.raw_items())[:_MOST_HEADERS]]
    payload = part.get_payload()
    return "\n".join(lines) + ("\n" + payload if isinstance(payload, str) and payload else "")


def _blocks(text: str) -> Iterator[dict[str, str]]:
    """The groups of fields of a report, folded lines put together; of a name that comes twice the first counts."""
    for group in re.split(r"\n[ \t]*\n", text.replace("\r", ""))[:_MOST_HEADERS]:
        fields: dict[str, str] = {}
        name = ""
        for line in group.split("\n")[:_MOST_HEADERS]:
            if line[:1] in (" ", "\t"):
                if name and len(fields[name]) < _LONGEST_HEADER:
                    fields[name] += " " + line.strip()
                continue
            told, colon, value = line.partition(":")
            name = told.strip().lower() if colon else ""
            if name and name not in fields:
                fields[name] = value.strip().lower() if name == "action" else value.strip()
            elif name:
                name = ""
        if fields:
            yield fields
