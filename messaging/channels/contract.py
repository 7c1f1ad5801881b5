"""What goes into a channel and what comes out of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Outgoing:
    """One mail on its way: its envelope, and its bytes (RFC 5322, CRLF, 7 bit)."""

    id: int
    sender: str
    recipient: str
    raw: bytes


@dataclass(frozen=True)
class Result:
    """What became of one mail.

    `sent`: the other side took it · `later`: not now, and surely not taken · `unreachable`: the other side is not
    there, whoever the mail is for · `failed`: never · `uncertain`: it may have been taken.
    """

    id: int
    outcome: str
    response: str = ""


Send = Callable[[Iterable[Outgoing]], Iterable[Result]]
