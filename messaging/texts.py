"""Messages that are no mails: plain text with Liquid, compiled once like a `Skeleton` and filled in for each person."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parseaddr
from html import escape
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import override

from contacts.wire import dumps
from messaging import liquid, straight
from messaging.alerts import write

if TYPE_CHECKING:
    from messaging.skeleton import Addressee

MOST_PARTS = 6
# GSM 03.38: the letters of an SMS, and those that take the room of two. Any other makes the whole text UCS-2.
_GSM = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_TWICE = set("^{}\\[~]|€\f")
# Liquid, or an address, which may hold Liquid.
_URL = re.compile(r"(?:\{\{.*?\}\}|\{%.*?%\})|(https?://(?:[^\s<>\"{]|\{(?![{%])|\{\{.*?\}\}|\{%.*?%\})+)", re.DOTALL)
_LINK = re.compile(r"\[([^\]\[]{1,200})\]\((https?://[^\s()]+)\)")
# What a value is taken for that only the sending shows, and how long our tokens are.
_UNKNOWN, _TOKEN = "x" * 12, "x" * 40


@dataclass(frozen=True)
class Count:
    """How long a text is as SMS: in characters of its alphabet, and in parts, each of which is paid for."""

    alphabet: str
    characters: int
    parts: int


def count(text: str) -> Count:
    """The length of a text as SMS. Of several parts each has room for a little less, for they must find together."""
    if set(text) <= _GSM | _GSM_TWICE:
        alphabet, single, several = "GSM-7", 160, 153
        sizes = [2 if character in _GSM_TWICE else 1 for character in text]
    else:
        alphabet, single, several = "UCS-2", 70, 67
        sizes = [2 if ord(character) > 0xFFFF else 1 for character in text]
    length = sum(sizes)
    if length <= single:
        return Count(alphabet, length, 1)
    parts, room = 1, several
    for size in sizes:
        # What takes the room of two is never cut in the middle.
        if size > room:
            parts, room = parts + 1, several
        room -= size
    return Count(alphabet, length, parts)


@dataclass(frozen=True)
class Letter:
    """One language of a text as Liquid source; `links` are tracked: `{{ tracked.l0 }}` stands for the first of them."""

    language: str
    text: str
    links: tuple[str, ...]
    has_personal_links: bool = False
    # Campaign parameters would cost an SMS its room.
    tags: Mapping[str, Any] | None = None


def _track(source: str) -> tuple[str, tuple[str, ...]]:
    """The text with our own address in the place of each that is the same for everybody, and those addresses."""
    links: list[str] = []

    def replace(match: re.Match) -> str:
        if not match[1] or "{{" in match[1] or "{%" in match[1]:
            return match[0]
        url = match[1].rstrip(".,;:!?)'")
        if url not in links:
            links.append(url)
        return f"{{{{ tracked.l{links.index(url)} }}}}{match[1][len(url) :]}"

    return _URL.sub(replace, source), tuple(links)


class Text:
    """One language of a frozen template that is no mail, ready to be filled in: what a `Skeleton` is to mails."""

    envelope_sender = ""

    def __init__(self, content: dict[str, Any], language: str) -> None:
        """Raises `liquid.RenderError` where the template can not be read."""
        variant = content["variants"][language]
        self.brand, self.channel = content["brand"], content["channel"]
        # A colleague's click is not the person's.
        source, links = _track(variant["body"].strip()) if self.channel != "alert" else (variant["body"].strip(), ())
        if self.channel == "sms" and content["message_class"] != "transactional" and "links.unsubscribe" not in source:
            with override(language):
                source += "\n" + _("Unsubscribe") + " {{ links.unsubscribe }}"
        self.letter = Letter(language, source, links)
        self._subject = liquid.parse(variant["subject"], is_html=False)
        self._text = liquid.parse(source, is_html=False)
        self._subject_pieces, self._text_pieces = straight.pieces(self._subject), straight.pieces(self._text)
        paths = liquid.used(self._subject) | liquid.used(self._text)
        named = {path[1] for path in paths if path[0] == "contact" and len(path) > 1}
        if self.channel in ("webhook", "alert"):
            named |= {"id", "email"}
        self.uses = None if ("contact",) in paths else frozenset(named)
        name, address = parseaddr(self.brand["sender"])
        self._shared = {
            "brand": {key: self.brand[key] for key in ("name", "postal_address", "website") if self.brand.get(key)},
            "sender": liquid.present({"name": name, "email": address}),
        }

    def values(self, context: Mapping[str, Any], to: "Addressee", now: str) -> dict[str, Any]:
        return {**context, **self._shared, "links": to.links, "tracked": to.tracked, "moment": now}

    def subject(self, values: Mapping[str, Any]) -> str:
        return " ".join("".join(straight.fill(self._subject_pieces, self._subject, values)).split())

    def personal_links(self, values: Mapping[str, Any]) -> list[str]:
        """None: what is particular to a person stands in a text as it is."""
        return []

    def text(self, values: Mapping[str, Any]) -> str:
        text = "".join(straight.fill(self._text_pieces, self._text, values)).replace("\r\n", "\n")
        return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip()

    def bodies(self, values: Mapping[str, Any], personal: Mapping[str, str]) -> tuple[str, str]:
        """The text as a page to look at, and as it is."""
        text = self.text(values)
        lines = "<br>".join(escape(text).split("\n"))
        return f'<!DOCTYPE html><html lang="{escape(self.letter.language)}"><body>{lines}</body></html>', text

    def mail(self, values: Mapping[str, Any], to: "Addressee", personal: Mapping[str, str]) -> tuple[str, bytes]:
        """The subject and the bytes that leave. Raises `liquid.RenderError`, also for an SMS that is too long."""
        text = self.text(values)
        if self.channel == "sms" and (length := count(text)).parts > MOST_PARTS:
            raise liquid.RenderError(too_long(length))
        subject = self.subject(values)
        if self.channel == "webhook":
            told = {
                "type": "message.posted",
                "timestamp": values["moment"],
                "data": {
                    "message": to.message,
                    "contact": {name: values["contact"].get(name) for name in ("id", "email")},
                    "language": self.letter.language,
                    "subject": subject,
                    "text": text,
                },
            }
            return subject, dumps(told)
        if self.channel == "alert":
            told = {"sender": self.brand["sender"], "address": to.address, "message_id": to.message_id, "date": to.date}
            text += f"\n\n{settings.BASE_URL}/admin/contacts/contact/{values['contact'].get('id')}/change/"
            return subject, write(subject=subject, text=text, **told)
        if self.channel == "onsite":
            with override(self.letter.language):
                told = {"language": self.letter.language, "title": subject, "text": lines(text), "close": _("Close")}
            return subject, dumps(told)
        return subject, text.encode("utf-8", "replace")

    def shortest(self) -> str:
        """The text as it would be for somebody of whom little is known, to count it."""
        base = settings.BASE_URL
        values = {
            **self._shared,
            "contact": {},
            "links": dict.fromkeys(("unsubscribe", "preferences"), f"{base}/u/{_TOKEN}/"),
            "tracked": {f"l{number}": f"{base}/t/c/{_TOKEN}" for number in range(len(self.letter.links))},
        }
        out = []
        for piece in self._text_pieces:
            try:
                out.append(piece.fill(values, liquid.Rendering(self._text, values)) if piece.fill else piece.static)
            except liquid.RenderError:
                out.append(_UNKNOWN)
        return "".join(one or "" for one in out).strip()


def lines(text: str) -> list[list[dict[str, str]]]:
    """A text for our website: its lines as stretches of text, and of links, written `[words](address)`.

    Only an address of ours, which stands for one that the template holds, becomes a link: no value can make one.
    """
    found = []
    for line in filter(None, map(str.strip, text.split("\n"))):
        stretches, end = [], 0
        for match in _LINK.finditer(line):
            if not match[2].startswith(f"{settings.BASE_URL}/t/c/"):
                continue
            stretches += [{"text": line[end : match.start()]}, {"text": match[1], "url": match[2]}]
            end = match.end()
        stretches.append({"text": line[end:]})
        found.append([one for one in stretches if one["text"]])
    return found


def too_long(length: Count) -> str:
    """Why an SMS of this length is not sent, in a sentence."""
    told = {"parts": length.parts, "most": MOST_PARTS, "alphabet": length.alphabet, "characters": length.characters}
    return _(
        "The SMS has %(characters)d characters (%(alphabet)s) and %(parts)d parts; more than %(most)d are not sent."
    ) % (told)


def counted(body: str, *, language: str, message_class: str) -> Count:
    """How long an SMS with this text would be, with our links and the way out. Raises `liquid.RenderError`."""
    content = {
        "channel": "sms",
        "message_class": message_class,
        "brand": {"name": "", "sender": ""},
        "variants": {language: {"subject": "", "body": body}},
    }
    return count(Text(content, language).shortest())
