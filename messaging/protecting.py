"""Peace for newcomers: while somebody is being led into a product, promotions wait (see the gates)."""

from datetime import datetime

from contacts.sql import Fragment, load

SQL = load(__file__)


def protect(rows: Fragment) -> int:
    """Protects people: `rows` selects contact_id, source and until. A source that is told again changes nothing."""
    return SQL["protect_people"].run(fragments={"rows": rows})


def end(sources: Fragment, now: datetime) -> int:
    """Ends what these sources (a SELECT of them) protect; what was put off for it is asked again now.

    How many ended.
    """
    ended = [row[0] for row in SQL["end_protection"].rows(fragments={"sources": sources})]
    if ended:
        SQL["ask_promotions_again"].run(contacts=ended, now=now)
    return len(ended)
