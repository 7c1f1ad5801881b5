"""The address that mail comes back to: it says which message it was, signed, so that nobody makes one up."""

import hmac
import re
from collections.abc import Iterable

from django.conf import settings

from messaging import tokens

_OURS = re.compile(r"m(\d{1,18})\.([0-9a-f]{20})")


def return_path(sender: str, signer: tokens.Signer, message: int) -> str:
    """The envelope sender of one message: BOUNCE_ADDRESS with the message's token, else the brand's `sender`.

    `signer` is `tokens.first()`.
    """
    if not settings.BOUNCE_ADDRESS or "@" not in sender:
        return sender
    local, _, domain = settings.BOUNCE_ADDRESS.rpartition("@")
    return f"{local}+m{message}.{signer.message_tag(message)}@{domain}"


def message_among(references: Iterable[str], signer: tokens.Signer) -> int | None:
    """Which message of ours is meant: the first of these that we signed; None where we signed none.

    A reference is what stands before @ in our Message-IDs, and behind + in our return paths, or the token of an
    unsubscribe link. `signer` is `tokens.first()`.
    """
    for one in references:
        if match := _OURS.fullmatch(one):
            if hmac.compare_digest(signer.message_tag(int(match[1])), match[2]):
                return int(match[1])
            continue
        try:
            return tokens.read(tokens.PERSON, one)[0]
        except tokens.BadToken:
            continue
    return None
