"""How fast mails may leave: limits by provider and for all, warm-up, and heed of a provider that says "later".

Asked while a worker claims, of all that it would take, in one statement. What is over a limit is put off and said so.
"""

from collections.abc import Mapping
from datetime import datetime

from django.conf import settings

from contacts.sql import Fragment, load
from messaging.channels import Result
from messaging.models import DomainLimit

SQL = load(__file__)
_LOCK = 7_204_117
# "Too many for now", as servers say it; a mailbox that is full (452 4.2.2) is no matter of pace.
_LATER = ("421", "450", "451")

# What big providers of three countries take from a sender whom they know a little.
EXAMPLES = (
    {"name": "Gmail", "domains": ["gmail.com", "googlemail.com"], "per_minute": 600, "per_hour": 20_000},
    {
        "name": "Seznam",
        "domains": ["email.cz", "post.cz", "seznam.cz", "spoluzaci.cz"],
        "per_minute": 300,
        "per_hour": 10_000,
    },
    {"name": "WP", "domains": ["o2.pl", "tlen.pl", "wp.pl"], "per_minute": 200, "per_hour": 6_000},
)


def make_examples() -> None:
    """Makes the examples where there are none of these names: none of them is active."""
    for values in EXAMPLES:
        DomainLimit.objects.get_or_create(name=values["name"], defaults=values)


def is_on() -> bool:
    """Is anything limited at the moment?"""
    return bool(SQL["is_throttled"].value())


def hold_back(*, due: Fragment, now: datetime) -> tuple[list[int], int]:
    """Puts off what is over a limit. Gives the messages that may be claimed now, and how many were put off.

    `due` selects and locks what would be claimed. Within a transaction; others that ask wait until it ends.
    """
    SQL["lock_limits"].rows(lock=_LOCK)
    parts = {"due_messages": due, "asked_limits": Fragment(SQL["asked_limits"].sql)}
    rows = SQL["hold_back"].rows(fragments=parts, now=now, zone=settings.TIME_ZONE)
    allowed = [pk for pk, is_put_off in rows if not is_put_off]
    return allowed, len(rows) - len(allowed)


def note_departures(ids: list[int], now: datetime) -> None:
    """Counts these claimed messages under their limits."""
    parts = {"asked_limits": Fragment(SQL["asked_limits"].sql)}
    SQL["note_departures"].run(fragments=parts, ids=ids, now=now, zone=settings.TIME_ZONE)


def says_later(result: Result) -> bool:
    """Did the other side ask us to slow down?"""
    return result.outcome == "later" and result.response.startswith(_LATER)


def slow_down(told: Mapping[str, tuple[int, str]], now: datetime) -> None:
    """Halves the pace of providers: by domain, how many mails it had of us just now, and what it said."""
    if not told:
        return
    domains = sorted(told)
    SQL["slow_down"].run(
        domains=domains,
        numbers=[told[one][0] for one in domains],
        said=[told[one][1].replace("\0", "")[:200] for one in domains],
        now=now,
    )


def domain_of(address: str) -> str:
    return address.rpartition("@")[2].lower()


def forget(now: datetime) -> None:
    """Drops paces that have recovered, and old counts."""
    SQL["forget_paces"].run(now=now)
    SQL["forget_departures"].run(now=now)
