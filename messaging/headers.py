"""Header fields of a mail: encoded, folded, and never more than one field."""

import base64
import re
from email.headerregistry import Address
from email.utils import parseaddr

from django.utils.translation import gettext as _

_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


class HeaderInjection(Exception):
    """A value with a line break would have become a mail header."""


def header_text(text: str) -> str:
    """A header's value in ASCII, folded. Raises HeaderInjection where it has a control character, such as LF."""
    if _CONTROL.search(text):
        raise HeaderInjection
    if text.isascii() and len(text) <= 60 and "=?" not in text:
        return text
    words, piece, size = [], "", 0
    for character in text:
        length = len(character.encode("utf-8", "replace"))
        # With the longest name of a field in front, a line is then no longer than 76 (RFC 2047, 2).
        if size + length > 39:
            words.append(piece)
            piece, size = "", 0
        piece += character
        size += length
    words.append(piece)
    return "\r\n ".join(f"=?utf-8?B?{base64.b64encode(word.encode('utf-8', 'replace')).decode()}?=" for word in words)


def mailbox(written: str) -> tuple[str, str]:
    """(`Name <address>` for a header, the bare address) of a sender as people write it. Raises ValueError."""
    name, address = parseaddr(written)
    local, at, domain = address.rpartition("@")
    if not at or " " in address or _CONTROL.search(written):
        raise ValueError(_("%(written)r is no sender; write it as Acme <hello@acme.example>.") % {"written": written})
    try:
        domain = domain if domain.isascii() else domain.encode("idna").decode()
        address = Address(username=local, domain=domain).addr_spec
    except (ValueError, UnicodeError) as error:
        raise ValueError(_("%(written)r is no sender: %(error)s") % {"written": written, "error": error}) from None
    if not address.isascii():
        raise ValueError(_("%(written)r: the part before @ must be ASCII.") % {"written": written})
    if not name:
        return address, address
    is_plain = name.isascii() and len(name) <= 60 and "=?" not in name
    shown = str(Address(display_name=name)).removesuffix(" <>") if is_plain else header_text(name)
    # A name as long as a line leaves the address to the next one.
    gap = " " if len(shown.rsplit("\r\n", 1)[-1]) + len(address) < 60 else "\r\n "
    return f"{shown}{gap}<{address}>", address
