"""Stages: where each person stands on the way from visitor to customer, moved up and down with a reason.

- visitor → known: an e-mail address or a user id leads to the person.
- → qualified: the score crosses the threshold of any score that has one (or had, when the person becomes known).
- → customer: an order, or a lead converted by sales. → known, lead, … by `StageRule`; the highest that holds wins.
- Down only by an event: sales rejects the lead (→ lead, or → disqualified for good), the only order is taken back
  (→ lead).
- Anywhere by a step of a journey that says so (`stage.requested`).
- Disqualified and churned people come back by an order, and not by points or rules.
"""

import json
from datetime import datetime, timedelta

import structlog
from django.core.exceptions import EmptyResultSet
from django.db.models import TextField, Value

from contacts.models import Contact, Touchpoint
from contacts.rules import RuleError, has_time, parse, to_q
from contacts.sql import Fragment, fragment, join, load
from contacts.stages import LADDER
from scoring.models import StageRule

log = structlog.get_logger(__name__)
SQL = load(__file__)

# How often stage rules that look at the calendar are asked of everybody.
SWEEP_EVERY = timedelta(hours=1)
# Which stage wins when several hold.
ORDER = ["visitor", "known", "lead", "qualified", "disqualified", "customer", "ambassador", "churned"]


def stage(now: datetime, after: int, upto: int) -> int:
    """The tick's step: moves whom the window touched, and whom the calendar moves. Counts the moves."""
    rules = list(StageRule.objects.all())
    swept = [rule for rule in rules if _is_due(rule, now)]
    if upto <= after and not swept:
        return 0
    window = {"after": after, "upto": upto}
    fallen = SQL["move_stages"].run(
        fragments={"moves": Fragment(SQL["stage_falls"].sql)}, **window, now=now, ladder=LADDER, order=ORDER
    )
    ruled = _ruled(rules, swept, now, after, upto)
    risen = SQL["move_stages"].run(
        fragments={"moves": Fragment(SQL["stage_rises"].sql), "ruled": ruled},
        **window, now=now, ladder=LADDER, order=ORDER,
    )  # fmt: skip
    for rule in swept:
        StageRule.objects.filter(pk=rule.pk).update(applied=_definition(rule), swept_at=now)
    return fallen + risen


def _definition(rule: StageRule) -> str:
    return json.dumps(rule.rule, sort_keys=True)


def _is_due(rule: StageRule, now: datetime) -> bool:
    """A new or edited rule, and now and then one that looks at the calendar, is asked of everybody."""
    if rule.swept_at is None or rule.applied != _definition(rule):
        return True
    if now < rule.swept_at + SWEEP_EVERY:
        return False
    try:
        return has_time(parse(rule.rule))
    except RuleError:
        return True


def _ruled(rules: list[StageRule], swept: list[StageRule], now: datetime, after: int, upto: int) -> Fragment:
    """Who matches which stage rule, of those whom the window touched or, for swept rules, of everybody."""
    living = Contact.objects.living()
    touched = living.filter(pk__in=Touchpoint.objects.filter(id__gt=after, id__lte=upto).values("contact_id"))
    pieces = [Fragment("SELECT 0::bigint AS id, ''::text AS stage WHERE false")]
    for rule in rules:
        asked = living if rule in swept else touched
        try:
            those = asked.filter(to_q(parse(rule.rule), now)).values("id")
        except RuleError as error:
            # A field that somebody deleted must not stop the stages of all others.
            log.warning("stage_rule_broken", stage=rule.stage, reason=str(error))
            continue
        try:
            # Named `to_stage`, for the contact has a `stage` of its own.
            pieces.append(fragment(those.annotate(to_stage=Value(rule.stage, TextField())).order_by()))
        except EmptyResultSet:
            continue
    return join(" UNION ALL ", pieces)
