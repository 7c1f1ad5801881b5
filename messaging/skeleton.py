"""A template and language compiled to the bytes of a mail with slots in them.

All that is the same for everybody (markup, MIME, transfer encoding) is done once; a mail then costs its slots. A slot
stands between soft line breaks of quoted-printable, so its length moves nothing else.
"""

import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parseaddr
from html import unescape
from typing import Any

from django.utils.translation import gettext as _

from messaging import liquid, markup, plaintext
from messaging.headers import header_text, mailbox
from messaging.links import host

# "=_" never occurs in quoted-printable text, so this line is in no part.
BOUNDARY = "=_journey_part_=_"
_PERSONAL = re.compile(f"{markup.OPEN}(.*?){markup.CLOSE}", re.DOTALL)
_SOFT = b"=\r\n"


def quoted_printable(text: str) -> bytes:
    """Quoted-printable with CRLF, no line longer than 76."""
    if text.isalnum() and text.isascii() and len(text) < 72:
        return text.encode()
    data = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace")
    return binascii.b2a_qp(data, istext=True).replace(b"\n", b"\r\n")


@dataclass(frozen=True)
class Addressee:
    """What is particular to one mail besides the values of its text."""

    message: int
    address: str
    message_id: str
    date: str
    links: Mapping[str, str]
    tracked: Mapping[str, str]


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
        self._subject_pieces = liquid.pieces(self._subject)
        self._html_pieces = liquid.pieces(self._html)
        self._text_pieces = liquid.pieces(self._text)
        self._encoded_text = self._encode(self._text_pieces)
        self._encoded_html = self._encode(self._html_pieces)
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

    def _encode(self, pieces: list[liquid.Piece]) -> list[bytes | tuple[str, str] | liquid.Fill]:
        """Stretches that never change as bytes, our own addresses by their names, all else as what fills it in."""
        encoded: list[bytes | tuple[str, str] | liquid.Fill] = []
        for piece in pieces:
            if piece.fill is None:
                encoded.append(quoted_printable(piece.static or "") + _SOFT)
            elif piece.path and piece.path[0] in ("links", "tracked"):
                encoded.append(piece.path)
            else:
                encoded.append(piece.fill)
        return encoded

    def _frame(self, content: dict[str, Any]) -> None:
        reply_to = self.brand.get("reply_to")
        first = [f"From: {self.sender}"]
        if reply_to:
            first.append(f"Reply-To: {mailbox(reply_to)[0]}")
        if content.get("topic"):
            first.append(f"List-Id: <{content['topic']}.{host()}>")
        self._first = "\r\n".join(first)
        self._may_unsubscribe = content["message_class"] != "transactional"
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
        return "".join(liquid.fill(self._subject_pieces, self._subject, values)).strip(" ")

    def personal_links(self, values: Mapping[str, Any]) -> list[str]:
        """The addresses that are particular to this person. Raises `markup.MarkupError` for one that is not allowed."""
        if not self.letter.has_personal_links:
            return []
        html = "".join(liquid.fill(self._html_pieces, self._html, values))
        found = [unescape(url).strip() for url in _PERSONAL.findall(html)]
        for url in found:
            markup.check_address(url)
        return [url for url in found if url.lower().startswith(("http://", "https://"))]

    def bodies(self, values: Mapping[str, Any], personal: Mapping[str, str]) -> tuple[str, str]:
        """The HTML and the text; `personal` says which tracked address stands for a person's own link."""
        html = "".join(liquid.fill(self._html_pieces, self._html, values))
        text = "".join(liquid.fill(self._text_pieces, self._text, values))
        if self.letter.has_personal_links:

            def in_html(match: re.Match) -> str:
                url = unescape(match[1]).strip()
                return personal[url] if url in personal else match[1]

            html = _PERSONAL.sub(in_html, html)
            text = _PERSONAL.sub(lambda match: personal.get(match[1].strip(), match[1].strip()), text)
        return html, plaintext.tidy(text)

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
        if self._is_simple:
            text = self._slots(self._encoded_text, self._text, values)
            html = self._slots(self._encoded_html, self._html, values)
        else:
            whole_html, whole_text = self.bodies(values, personal)
            text, html = [quoted_printable(whole_text)], [quoted_printable(whole_html)]
        return subject, b"".join([head.encode(), self._opening, *text, self._middle, *html, self._closing])

    def _slots(self, encoded: list, template: Any, values: Mapping[str, Any]) -> list[bytes]:
        rendering = liquid.Rendering(template, values)
        out: list[bytes] = []
        left = liquid.MOST_OUTPUT
        for piece in encoded:
            if type(piece) is bytes:
                out.append(piece)
            elif type(piece) is tuple:
                # Our own addresses are ASCII without "="; one that is longer than a line is encoded like any text.
                address = values[piece[0]][piece[1]]
                out.append(address.encode() if len(address) < 75 else quoted_printable(address))
                out.append(_SOFT)
            else:
                rendering.left = left
                value = piece(values, rendering)
                left -= len(value)
                if left < 0:
                    raise liquid.RenderError(_("The message is longer than 512 kB."))
                out.append(quoted_printable(value))
                out.append(_SOFT)
        return out
