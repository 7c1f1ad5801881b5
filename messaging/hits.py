"""Clicks and opens: taken at once, judged a few seconds later, told to the inbox with the verdict."""

from datetime import datetime

from contacts.sql import load

SQL = load(__file__)


def tell_hits(now: datetime, after: int, upto: int) -> int:
    """The tick's first step: judges the hits that are ripe and puts them into the inbox; how many."""
    count = SQL["tell_hits"].run(now=now)
    SQL["forget_hits"].run(now=now)
    return count
