"""A template and language compiled to the bytes of a mail with slots in them.

All that is the same for everybody (markup, MIME, transfer encoding) is done once; a mail then costs its slots. A slot
stands between soft line breaks of quoted-printable, so its length moves nothing else.
"""

import binascii
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from email.utils import parseaddr
from html import unescape
from operator import itemgetter
from typing import Any, NamedTuple

from liquid.template import BoundTemplate

from messaging import liquid, markup, plaintext, straight
from messaging.channels.contract import Undotted
from messaging.headers import header_text, mailbox
from messaging.links import host

# "=_" never occurs in quoted-printable text, so this line is in no part.
BOUNDARY = "=_journey_part_=_"
_PERSONAL = re.compile(f"{markup.OPEN}(.*?){markup.CLOSE}", re.DOTALL)
_SOFT = b"=\r\n"
# What quoted-printable leaves as it is, wherever in a line it stands and whatever follows.
_AS_IT_IS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ,:;+/()_-]{0,69}[A-Za-z0-9])?\Z")


def quoted_printable(text: str) -> bytes:
    """Quoted-printable with CRLF, no line longer than 76."""
    if _AS_IT_IS.match(text):
        return text.encode()
    data = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace")
    return binascii.b2a_qp(data, istext=True).replace(b"\n", b"\r\n")


class Addressee(NamedTuple):
    """What is particular to one mail besides the values of its text."""

    message: int
    address: str
    message_id: str
    date: str
    links: Mapping[str, str]
    tracked: Mapping[str, str]


# Of one mail: our own addresses in it, and what fills each in.
_Addresses = dict[tuple[str, ...], tuple[int, straight.Fill]]


def _is_dotted(chunk: bytes) -> bool:
    """Does a line of it begin with a dot? It stands at the beginning of one itself."""
    return chunk.startswith(b".") or b"\r\n." in chunk


class _Part:
    """The HTML or the text of a mail: stretches that are encoded once, and slots between them."""

    def __init__(self, template: BoundTemplate, pieces: list[straight.Piece], addresses: _Addresses) -> None:
        """Adds to `addresses` those that it needs."""
        self._template = template
        self._slots: list[straight.Fill] = []
        fixed: list[bytes] = []
        order: list[tuple[str, int]] = []
        seen: dict[str, tuple[str, int]] = {}
        for piece in pieces:
            if piece.fill is None:
                place = ("fixed", len(fixed))
                fixed.append(quoted_printable(piece.static or "") + _SOFT)
            elif piece.path and len(piece.path) == 2 and piece.path[0] in straight.OURS:
                place = ("address", addresses.setdefault(piece.path, (len(addresses), piece.fill))[0])
            elif piece.sameness in seen:
                place = seen[piece.sameness]
            else:
                place = ("slot", len(self._slots))
                self._slots.append(piece.fill)
                if piece.sameness:
                    seen[piece.sameness] = place
            order.append(place)
        self._size = sum(len((piece.static or "").encode()) for piece in pieces)
        # Two empty ones, for of one item `itemgetter` makes no tuple.
        self._fixed = [*fixed, b"", b""]
        self._is_dotted = any(map(_is_dotted, fixed))
        start = {"fixed": 0, "slot": len(self._fixed), "address": len(self._fixed) + len(self._slots)}
        self._in_order = itemgetter(*(start[kind] + number for kind, number in order), len(fixed), len(fixed) + 1)
        times = Counter(order)
        self._times = [times["slot", number] for number in range(len(self._slots))]

    def write(self, values: Mapping[str, Any], addresses: list[bytes]) -> tuple[tuple[bytes, ...], bool]:
        """The encoded part, in pieces, and whether one of its lines begins with a dot. Raises RenderError."""
        rendering = liquid.Rendering(self._template, values)
        chunks, is_dotted = self._fixed.copy(), self._is_dotted
        rendering.left -= self._size
        rendering.take("")
        for fill, times in zip(self._slots, self._times, strict=True):
            value = fill(values, rendering)
            rendering.take(value, times)
            chunk = quoted_printable(value) + _SOFT
            is_dotted = is_dotted or _is_dotted(chunk)
            chunks.append(chunk)
        chunks += addresses
        return self._in_order(chunks), is_dotted


class Skeleton:
    """One language of a frozen template, ready to be filled in."""

    def __init__(self, content: dict[str, Any], language: str) -> None:
        """Raises `markup.MarkupError` or `liquid.RenderError` where the template can not be read, and ValueError where
        the brand's sender can not."""
        letter = markup.build(content, language)
        self.letter = letter
        self.brand = content["brand"]
        self.sender, self.envelope_sender = mailbox(self.brand["sender"])
        self._subject = liquid.parse(letter.subject, is_html=False)
        self._html = liquid.parse(letter.html, is_html=True)
        self._text = liquid.parse(letter.text, is_html=False)
        self._subject_pieces = straight.pieces(self._subject)
        self._html_pieces = straight.pieces(self._html)
        self._text_pieces = straight.pieces(self._text)
        self._addresses: _Addresses = {}
        self._html_part = _Part(self._html, self._html_pieces, self._addresses)
        self._text_part = _Part(self._text, self._text_pieces, self._addresses)
        # With Liquid's own tags in the text, empty lines are left behind that only the whole text shows.
        self._is_simple = not letter.has_personal_links and "{%" not in letter.text
        # Those of a person's values that the text uses: enough to show the mail again, and no more than that is kept.
        # None: it uses them in a way that only the rendering shows.
        paths = set().union(*(liquid.used(one) for one in (self._subject, self._html, self._text)))
        named = {path[1] for path in paths if path[0] == "contact" and len(path) > 1}
        self.uses = None if ("contact",) in paths else frozenset(named)
        name, address = parseaddr(self.brand["sender"])
        self._shared = {
            "brand": {key: self.brand[key] for key in ("name", "postal_address", "website") if self.brand.get(key)},
            "sender": liquid.present({"name": name, "email": address}),
        }
        self._frame(content)

    def _frame(self, content: dict[str, Any]) -> None:
        reply_to = self.brand.get("reply_to")
        first = [f"From: {self.sender}"]
        if reply_to:
            first.append(f"Reply-To: {mailbox(reply_to)[0]}")
        if content.get("topic"):
            first.append(f"List-Id: <{content['topic']}.{host()}>")
        self._may_unsubscribe = content["message_class"] != "transactional"
        if self._may_unsubscribe:
            # By this Gmail tells its senders which of their mails people call spam; the last word is who we are.
            sender = hashlib.sha256(self.envelope_sender.rpartition("@")[2].encode()).hexdigest()[:12]
            first.append(
                f"Feedback-ID: {content.get('topic', '')}:{self.letter.language}:{content['message_class']}:{sender}"
            )
        else:
            # What is written because of something that happened is answered by no machine (RFC 3834).
            first.append("Auto-Submitted: auto-generated")
        self._first = "\r\n".join(first)
        part = "Content-Type: text/{}; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        self._opening = (
            "MIME-Version: 1.0\r\n"
            f'Content-Type: multipart/alternative; boundary="{BOUNDARY}"\r\n\r\n'
            f"--{BOUNDARY}\r\n{part.format('plain')}"
        ).encode()
        self._middle = f"\r\n--{BOUNDARY}\r\n{part.format('html')}".encode()
        self._closing = f"\r\n--{BOUNDARY}--\r\n".encode()

    def values(self, context: Mapping[str, Any], to: Addressee, now: str) -> dict[str, Any]:
        return {**context, **self._shared, "links": to.links, "tracked": to.tracked, "moment": now}

    def subject(self, values: Mapping[str, Any]) -> str:
        return "".join(straight.fill(self._subject_pieces, self._subject, values)).strip(" ")

    def personal_links(self, values: Mapping[str, Any]) -> list[str]:
        """The addresses that are particular to this person. Raises `markup.MarkupError` for one that is not allowed."""
        if not self.letter.has_personal_links:
            return []
        html = "".join(straight.fill(self._html_pieces, self._html, values))
        found = [unescape(url).strip() for url in _PERSONAL.findall(html)]
        for url in found:
            markup.check_address(url)
        return [url for url in found if url.lower().startswith(("http://", "https://"))]

    def bodies(self, values: Mapping[str, Any], personal: Mapping[str, str]) -> tuple[str, str]:
        """The HTML and the text; `personal` says which tracked address stands for a person's own link."""
        html = "".join(straight.fill(self._html_pieces, self._html, values))
        text = "".join(straight.fill(self._text_pieces, self._text, values))
        if self.letter.has_personal_links:

            def in_html(match: re.Match) -> str:
                url = unescape(match[1]).strip()
                return personal[url] if url in personal else match[1]

            html = _PERSONAL.sub(in_html, html)
            text = _PERSONAL.sub(lambda match: personal.get(match[1].strip(), match[1].strip()), text)
        return html, plaintext.tidy(text)

    def _encoded_addresses(self, values: Mapping[str, Any]) -> list[bytes]:
        encoded = []
        for (root, name), (_number, fill) in self._addresses.items():
            # One that is not there (a link to confirm with, where nothing is to be confirmed) is the interpreter's to
            # refuse. Ours are ASCII without "="; one that is longer than a line is encoded like any text.
            address = values[root].get(name) or fill(values, liquid.Rendering(self._html, values))
            encoded.append((address.encode() if len(address) < 75 else quoted_printable(address)) + _SOFT)
        return encoded

    def _whole_text(self, values: Mapping[str, Any]) -> str:
        return plaintext.tidy("".join(straight.fill(self._text_pieces, self._text, values)))

    def mail(self, values: Mapping[str, Any], to: Addressee, personal: Mapping[str, str]) -> tuple[str, bytes]:
        """The subject and the bytes of one mail. Raises `headers.HeaderInjection`, `liquid.RenderError`."""
        subject = self.subject(values)
        head = (
            f"{self._first}\r\nTo: {to.address}\r\nSubject: {header_text(subject)}\r\nDate: {to.date}\r\n"
            f"Message-ID: <{to.message_id}>\r\n"
        )
        if self._may_unsubscribe:
            head += f"List-Unsubscribe: <{to.links['unsubscribe']}>\r\n"
            head += "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
        if self.letter.has_personal_links:
            whole_html, whole_text = self.bodies(values, personal)
            return subject, self._joined(head, [quoted_printable(whole_text)], [quoted_printable(whole_html)])
        addresses = self._encoded_addresses(values)
        html, is_dotted = self._html_part.write(values, addresses)
        if not self._is_simple:
            return subject, self._joined(head, [quoted_printable(self._whole_text(values))], html)
        text, is_text_dotted = self._text_part.write(values, addresses)
        raw = self._joined(head, text, html)
        return subject, raw if is_dotted or is_text_dotted else Undotted(raw)

    def _joined(self, head: str, text: Iterable[bytes], html: Iterable[bytes]) -> bytes:
        return b"".join([head.encode(), self._opening, *text, self._middle, *html, self._closing])
