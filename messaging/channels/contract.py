"""What goes into a channel and what comes out of it."""

from collections.abc import Callable, Iterable
from typing import NamedTuple


class Undotted(bytes):
    """The bytes of a mail in which no line begins with a dot: SMTP need not look for one, which takes as long as the
    rest of handing it over."""


class Outgoing(NamedTuple):
    """One message on its way: its envelope and its bytes, of a mail RFC 5322 with CRLF in 7 bit, else UTF-8.

    `key` is the same over all attempts: a mail's Message-ID, by which others know repeats of other messages, too.
    """

    id: int
    sender: str
    recipient: str
    raw: bytes
    key: str = ""


class Result(NamedTuple):
    """What became of one message.

    `sent`: the other side took it · `later`: not now, and surely not taken · `unreachable`: the other side is not
    there, whoever the mail is for · `failed`: never · `uncertain`: it may have been taken.
    """

    id: int
    outcome: str
    response: str = ""


Send = Callable[[Iterable[Outgoing]], Iterable[Result]]
