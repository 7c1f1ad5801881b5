"""The hand-over to sales: who became qualified, or was handed over by a journey, becomes a lead with its reasons."""

from datetime import datetime

import structlog
from django.core.exceptions import EmptyResultSet
from django.db.models import BigIntegerField, Q, Value

from contacts.models import Contact, Touchpoint
from contacts.rules import RuleError, parse, to_q
from contacts.sql import Fragment, fragment, join, load
from leads.models import Team

log = structlog.get_logger(__name__)
SQL = load(__file__)


def handoff(now: datetime, after: int, upto: int) -> int:
    """The tick's step: makes leads of the window's qualified contacts and tells so by `lead.qualified`. Counts leads.

    One unfinished lead per contact: who is in sales' hands already is not announced again.
    """
    told = Touchpoint.objects.filter(
        Q(kind="handoff.requested") | Q(kind="stage.changed", properties__to="qualified"), id__gt=after, id__lte=upto
    )
    if not told.exists():
        return 0
    asked = Contact.objects.filter(pk__in=told.values("contact_id"))
    routes = [Fragment("SELECT 0::bigint AS id, 0::bigint AS team_id WHERE false")]
    for team in Team.objects.exclude(rule=None):
        try:
            those = asked.filter(to_q(parse(team.rule), now)).values("id")
        except RuleError as error:
            # A field that somebody deleted must not keep leads from all other teams.
            log.warning("routing_rule_broken", team=team.key, reason=str(error))
            continue
        try:
            routes.append(fragment(those.annotate(team_id=Value(team.pk, BigIntegerField())).order_by()))
        except EmptyResultSet:
            continue
    return SQL["make_leads"].run(fragments={"routes": join(" UNION ALL ", routes)}, now=now, after=after, upto=upto)
