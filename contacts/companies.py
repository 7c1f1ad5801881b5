"""Companies: people join one by the domain of their address, and two that are one become one."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.utils.translation import gettext as _

from contacts import segments
from contacts.identity import FREE_MAIL
from contacts.models import Company, Contact
from contacts.sql import load

SQL = load(__file__)

# Of how many people a company's activity is summed up; above, it is that of the first of them.
MOST_PEOPLE = 1_000
_FILLED = ("country", "employees", "industry")


@dataclass(frozen=True)
class Doing:
    """What the people of a company did of one kind."""

    kind: str
    times: int
    people: int
    last_at: datetime


def join_by_domain(now: datetime, after: int, upto: int) -> int:
    """A step of the tick: people without a company join the one whose domain their address has; how many.

    Providers of mail for everybody join nobody.
    """
    count = SQL["join_companies"].run(now=now, after=after, upto=upto, free=sorted(FREE_MAIL))
    SQL["mark_joined"].run()
    return count


def activity(company: Company, *, now: datetime, days: int = 90) -> list[Doing]:
    """What the people of a company did in the last `days`, what they did most first; programs are left out."""
    rows = SQL["activity_of_company"].rows(company=company.pk, since=now - timedelta(days=days), most=MOST_PEOPLE)
    return [Doing(*row) for row in rows]


@transaction.atomic
def merge_companies(*, survivor: Company, loser: Company, now: datetime, source: str = "merge") -> Company:
    """Makes two companies one: the loser's people move, its domain and name lead to the survivor from now on.

    The survivor keeps what it knows and learns the rest. Raises ValueError with a sentence.
    """
    rows = Company.objects.select_for_update().order_by("pk").in_bulk([survivor.pk, loser.pk])
    if len(rows) != 2:
        raise ValueError(_("A company can not be merged into itself."))
    survivor, loser = rows[survivor.pk], rows[loser.pk]
    for one in (survivor, loser):
        if one.merged_into_id:
            raise ValueError(_("The company “%(name)s” was merged into another one already.") % {"name": one.name})
    SQL["move_people_of_company"].run(survivor=survivor.pk, loser=loser.pk, now=now, source=source)
    for name in _FILLED:
        if getattr(survivor, name) in (None, ""):
            setattr(survivor, name, getattr(loser, name))
    survivor.attributes = {**loser.attributes, **survivor.attributes}
    survivor.updated_at = now
    if not survivor.domain and loser.domain:
        domain, loser.domain = loser.domain, None
        loser.save(update_fields=["domain"])
        survivor.domain, survivor.is_joined = domain, False
    survivor.save()
    Company.objects.filter(merged_into=loser).update(merged_into=survivor)
    Company.objects.filter(pk=loser.pk).update(merged_into=survivor, updated_at=now)
    # No single contact tells of what the survivor learned.
    segments.ask_again_readers_of("company.")
    return survivor


def people_of(company: Company):
    """The living contacts of a company, who was seen last first."""
    return Contact.objects.living().filter(company=company).order_by("-last_seen_at", "-pk")
