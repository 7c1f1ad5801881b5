"""The hand-over to sales: who became qualified, or was handed over by a journey, becomes a lead with its reasons."""

import json
from datetime import datetime

from django.db.models import Q

from contacts.models import Contact, Touchpoint
from contacts.sql import load
from leads.routing import assign, clocks, team_routes

SQL = load(__file__)


def handoff(now: datetime, after: int, upto: int) -> int:
    """The tick's step: makes leads of the window's qualified contacts, tells so by `lead.qualified`, and gives each to
    a rep of its team. Counts leads.

    One unfinished lead per contact: who is in sales' hands already is not announced again.
    """
    told = Touchpoint.objects.filter(
        Q(kind="handoff.requested") | Q(kind="stage.changed", properties__to="qualified"), id__gt=after, id__lte=upto
    )
    if not told.exists():
        return 0
    asked = Contact.objects.filter(pk__in=told.values("contact_id"))
    made = SQL["make_leads"].run(
        fragments={"routes": team_routes(asked, now)}, now=now, after=after, upto=upto, clocks=json.dumps(clocks(now))
    )
    if made:
        assign(now, only_new=True)
    return made
