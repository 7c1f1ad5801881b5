"""Signed tokens in mails: who may click, open or unsubscribe without a log-in.

A token holds ids and a tag of 128 bits (HMAC-SHA256). Each purpose signs with a key of its own, so a token for one
thing is worthless for any other. The keys live in `SigningKey` and are never deleted: SECRET_KEY may change, mails
stay.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from django.db import connection

from messaging.models import SigningKey

CLICK, OPEN, PERSON, CONFIRM, MESSAGE_ID = "click", "open", "person", "confirm", "message-id"
ONSITE = "onsite"
# How many ids of six bytes stand in a token. Lengths are multiples of three bytes, so that each token has one spelling.
_IDS = {CLICK: 2, OPEN: 1, PERSON: 2, CONFIRM: 1, ONSITE: 1}
_TAG = 16
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_SPELLING = re.compile(r"[A-Za-z0-9_-]+\Z")
_secrets: dict[tuple[str, int], bytes] = {}


class BadToken(Exception):
    """Not a token of ours, or not for this purpose."""


def _secret(key: int) -> bytes | None:
    """The secret of a signing key; None if there is no such key."""
    database = str(connection.settings_dict["NAME"])
    if (database, key) not in _secrets:
        found = SigningKey.objects.filter(pk=key).values_list("secret", flat=True).first()
        if found is None:
            return None
        _secrets[database, key] = bytes(found)
    return _secrets[database, key]


@lru_cache(maxsize=256)
def _derived(secret: bytes, purpose: str) -> bytes:
    return hmac.digest(secret, f"journey:{purpose}".encode(), "sha256")


class Signer:
    """Signs with one key. Get one for each batch: `current()`.

    HMAC-SHA256 with the key's part done once: twice as fast for the few bytes of a token, of which a mail has ten. The
    same as `hmac.digest`, with which tokens are read.
    """

    def __init__(self, key: int, secret: bytes) -> None:
        self.key = key
        self._key = key.to_bytes(2, "big")
        self._begun = {purpose: _begin(_derived(secret, purpose)) for purpose in (*_IDS, MESSAGE_ID)}

    def token(self, purpose: str, *ids: int) -> str:
        """A token for this purpose with these ids, URL-safe and without padding."""
        return self.tokens(purpose, ids[:-1], ids[-1:])[0]

    def tokens(self, purpose: str, ids: Sequence[int], last: Iterable[int]) -> list[str]:
        """As many tokens as there are `last` ids, all else in them the same: a mail has many links."""
        head = self._key + b"".join([one.to_bytes(6, "big") for one in ids])
        inner, outer = self._begun[purpose]
        made = []
        for one in last:
            payload = head + one.to_bytes(6, "big")
            inside, outside = inner.copy(), outer.copy()
            inside.update(payload)
            outside.update(inside.digest())
            signed = binascii.b2a_base64(payload + outside.digest()[:_TAG], newline=False)
            made.append(signed.translate(_URL_SAFE).decode())
        return made

    def message_tag(self, message: int) -> str:
        inner, outer = self._begun[MESSAGE_ID]
        inside, outside = inner.copy(), outer.copy()
        inside.update(str(message).encode())
        outside.update(inside.digest())
        return outside.digest()[:10].hex()


def _begin(key: bytes) -> tuple[Any, Any]:
    """The inner and the outer hash of an HMAC-SHA256, as far as the key goes."""
    padded = key.ljust(64, b"\0")
    return hashlib.sha256(bytes(one ^ 0x36 for one in padded)), hashlib.sha256(bytes(one ^ 0x5C for one in padded))


def _signer(order: str) -> Signer:
    row = SigningKey.objects.order_by(order).first()
    if row is None:
        # Two first mails at once may make two keys; both are kept, both are right.
        row = SigningKey.objects.create(secret=secrets.token_bytes(32))
    return Signer(row.pk, bytes(row.secret))


def current() -> Signer:
    """The newest key; the first one is made when it is needed."""
    return _signer("-pk")


def first() -> Signer:
    """The oldest key: it makes the Message-IDs, which must stay the same over all attempts."""
    return _signer("pk")


def read(purpose: str, token: str) -> tuple[int, ...]:
    """The ids in a token. Raises BadToken for anything that we did not sign for this purpose."""
    count = _IDS[purpose]
    size = 2 + 6 * count + _TAG
    if len(token) != size * 4 // 3 or not _SPELLING.match(token):
        raise BadToken
    raw = base64.urlsafe_b64decode(token)
    secret = _secret(int.from_bytes(raw[:2], "big"))
    payload, tag = raw[:-_TAG], raw[-_TAG:]
    if secret is None:
        raise BadToken
    expected = hmac.digest(_derived(secret, purpose), payload, "sha256")[:_TAG]
    if not hmac.compare_digest(tag, expected):
        raise BadToken
    return tuple(int.from_bytes(payload[2 + 6 * n : 8 + 6 * n], "big") for n in range(count))


def remembered(purpose: str, token: str) -> tuple[int, ...] | None:
    """The ids in a token, without asking the database; None for a token that is not ours, or where it must be asked."""
    try:
        key = int.from_bytes(base64.urlsafe_b64decode(token[:4])[:2], "big")
        if (str(connection.settings_dict["NAME"]), key) not in _secrets:
            return None
        return read(purpose, token)
    except (BadToken, ValueError):
        return None


def message_id(signer: Signer, message: int, host: str) -> str:
    """The Message-ID of a message, without its angle brackets; `signer` is `first()`."""
    return f"m{message}.{signer.message_tag(message)}@{host}"


def message_of(message_id: str) -> int | None:
    """Which of our messages a Message-ID names; None for anybody else's."""
    match = re.fullmatch(r"<?m(\d{1,18})\.([0-9a-f]{20})@[^<>\s]+>?", message_id.strip())
    if match is None:
        return None
    number = int(match[1])
    return number if hmac.compare_digest(first().message_tag(number), match[2]) else None
