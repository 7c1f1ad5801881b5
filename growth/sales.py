"""Orders that sales brings: a lead that was won with an order's number, or its total, becomes an order."""

from datetime import datetime

from contacts.sql import load

SQL = load(__file__)


def take_orders(now: datetime, after: int, upto: int) -> int:
    """The tick's step: makes the orders of the window's won leads, each number once. Counts those that are new.

    What the shop has told under this number is the truth: the lead is linked to it by the number, and nothing changes.
    """
    return SQL["take_sold_leads"].run(now=now, after=after, upto=upto)
