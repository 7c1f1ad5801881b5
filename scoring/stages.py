"""Stages: where each person stands on the way from visitor to customer, moved up and down with a reason.

- visitor → known: an e-mail address or a user id leads to the person.
- → qualified: the score crosses the threshold of any score that has one (or had, when the person becomes known).
- → customer: an order, or a lead converted by sales. → known, lead, … by `StageRule.rule`; the highest that holds wins.
- Down by an event: sales rejects the lead (→ lead, or → disqualified for good), the only order is taken back (→ lead).
- Down by `StageRule.leave_rule` or `cold_after`, last in a tick and only of whom nothing else moved in it.
- Anywhere by a step of a journey that says so, or by hand (`stage.requested`).
- Disqualified and churned people come back by an order or by leaving, and not by points or rules.

What a hand decided, rules leave alone; events do not. For whom the leaving rule of a stage holds, neither rules nor
scores bring in: so nobody is moved to and fro.
"""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.core.exceptions import EmptyResultSet
from django.db.models import BooleanField, Case, Exists, OuterRef, Q, QuerySet, Subquery, TextField, Value, When
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from contacts.durations import format_duration
from contacts.models import Contact, Touchpoint
from contacts.rulefields import RuleField, Vocabulary
from contacts.rules import All, AnyOf, Not, Rule, RuleError, fields_in, has_time, parse, to_q
from contacts.rulevalues import negate
from contacts.sql import Fragment, fragment, join, load
from contacts.stages import LADDER
from contacts.stream import put
from scoring.models import ContactScore, StageRule
from scoring.models.stages import LEAVES_TO

log = structlog.get_logger(__name__)
SQL = load(__file__)

# How often stage rules that look at the calendar, and how long people stay, are asked of everybody.
SWEEP_EVERY = timedelta(hours=1)
# Which stage wins when several hold.
ORDER = ["visitor", "known", "lead", "qualified", "disqualified", "customer", "ambassador", "churned"]

_NOBODY = Fragment("SELECT 0::bigint AS id, ''::text AS stage WHERE false")
_NOBODY_LEAVES = Fragment(
    "SELECT 0::bigint AS id, ''::text AS of_stage, ''::text AS to_stage, ''::text AS why WHERE false"
)


# The step ------------------------------------------------------------------------------------------------------------


def stage(now: datetime, after: int, upto: int) -> int:
    """The tick's step: moves whom the window touched, and whom the calendar moves. Counts the moves."""
    rules = list(StageRule.objects.all())
    due = [rule for rule in rules if _is_due(rule, now)]
    if upto <= after and not due:
        return 0
    window: dict[str, Any] = {"after": after, "upto": upto, "now": now, "ladder": LADDER, "order": ORDER}
    touched = Contact.objects.living().filter(
        pk__in=Touchpoint.objects.filter(id__gt=after, id__lte=upto).values("contact_id")
    )
    moves = SQL["move_stages"].run(fragments={"moves": Fragment(SQL["stage_falls"].sql)}, **window)
    rising = {"ruled": _ruled(rules, due, touched, now), "barred": _barred(rules, touched, now)}
    moves += SQL["move_stages"].run(fragments={"moves": Fragment(SQL["stage_rises"].sql), **rising}, **window)
    if leaving := _leaving(rules, due, touched, now):
        leavers = {"moves": Fragment(SQL["stage_leavers"].sql), "leaving": leaving}
        moves += SQL["move_stages"].run(fragments=leavers, **window)
    clocks = {rule.stage: rule.sla for rule in due if rule.sla}
    if clocks:
        SQL["tell_overdue"].run(now=now, stages=list(clocks), spans=list(clocks.values()))
    for rule in due:
        StageRule.objects.filter(pk=rule.pk).update(applied=_definition(rule), swept_at=now)
    return moves


def _definition(rule: StageRule) -> str:
    spans = [span and format_duration(span) for span in (rule.cold_after, rule.sla)]
    return json.dumps([rule.rule, rule.leave_rule, rule.leave_to, *spans], sort_keys=True)


def _is_edited(rule: StageRule) -> bool:
    return rule.swept_at is None or rule.applied != _definition(rule)


def _is_due(rule: StageRule, now: datetime) -> bool:
    """A new or edited rule, and now and then one that looks at the calendar, is asked of everybody."""
    if _is_edited(rule) or rule.swept_at is None:
        return True
    if now < rule.swept_at + SWEEP_EVERY:
        return False
    return bool(rule.sla or rule.cold_after) or _has_time(rule.rule) or _has_time(rule.leave_rule)


def _has_time(rule: Any) -> bool:
    try:
        return rule is not None and has_time(parse(rule))
    except RuleError:
        return True


def _say_broken(rule: StageRule, error: RuleError) -> None:
    # A field that somebody deleted must not stop the stages of all others.
    log.warning("stage_rule_broken", stage=rule.stage, reason=str(error))


def _entering(rule: StageRule, now: datetime) -> Q:
    """Who enters by the rule: not for whom the leaving rule of the same stage holds. Raises RuleError."""
    enters = parse(rule.rule)
    return to_q(enters if rule.leave_rule is None else All((enters, Not(parse(rule.leave_rule)))), now)


def _ruled(rules: Iterable[StageRule], due: list[StageRule], touched: QuerySet[Contact], now: datetime) -> Fragment:
    """Who matches which entry rule, of those whom the window touched or, for swept rules, of everybody."""
    pieces = [_NOBODY]
    for rule in rules:
        if rule.rule is None:
            continue
        is_swept = rule in due and (_is_edited(rule) or _has_time(rule.rule) or _has_time(rule.leave_rule))
        try:
            those = (Contact.objects.living() if is_swept else touched).filter(_entering(rule, now)).values("id")
        except RuleError as error:
            _say_broken(rule, error)
            continue
        try:
            # Named `to_stage`, for the contact has a `stage` of its own.
            pieces.append(fragment(those.annotate(to_stage=Value(rule.stage, TextField())).order_by()))
        except EmptyResultSet:
            continue
    return join(" UNION ALL ", pieces)


def _barred(rules: Iterable[StageRule], touched: QuerySet[Contact], now: datetime) -> Fragment:
    """Whom no score brings into “qualified”, because its leaving rule holds for them."""
    nobody = Fragment("SELECT 0::bigint AS id WHERE false")
    for rule in rules:
        if rule.stage == "qualified" and rule.leave_rule is not None:
            try:
                return fragment(touched.filter(to_q(parse(rule.leave_rule), now)).values("id").order_by())
            except (RuleError, EmptyResultSet):
                return nobody
    return nobody


def _leaving(
    rules: Iterable[StageRule], due: list[StageRule], touched: QuerySet[Contact], now: datetime
) -> Fragment | None:
    """Who leaves which stage, to what and why; None where no stage is left by a rule."""
    pieces = [_NOBODY_LEAVES]
    for rule in rules:
        asked = (Contact.objects.living() if rule in due else touched).filter(stage=rule.stage)
        wanted = []
        try:
            if rule.leave_rule is not None:
                wanted.append(("leave_rule", to_q(parse(rule.leave_rule), now)))
        except RuleError as error:
            _say_broken(rule, error)
        if rule.cold_after is not None:
            wanted.append((f"cold {format_duration(rule.cold_after)}", _is_cold(rule.cold_after, now)))
        for why, who in wanted:
            told = {"of_stage": rule.stage, "to_stage": rule.leave_to, "why": why}
            columns = {name: Value(text, TextField()) for name, text in told.items()}
            try:
                pieces.append(fragment(asked.filter(who).values("id").annotate(**columns).order_by()))
            except EmptyResultSet:
                continue
    return join(" UNION ALL ", pieces) if len(pieces) > 1 else None


def _is_cold(span: timedelta, now: datetime) -> Q:
    """Who fell under a line since they came to their stage, so long ago, and is over none now."""
    falls = Touchpoint.objects.filter(
        contact_id=OuterRef("pk"), kind="score.crossed", properties__direction="down",
        occurred_at__gte=Coalesce(OuterRef("stage_changed_at"), OuterRef("created_at")),
    )  # fmt: skip
    over = ContactScore.objects.filter(contact_id=OuterRef("pk"), is_over=True, model__qualify_at__isnull=False)
    last = Subquery(falls.order_by("-occurred_at").values("occurred_at")[:1])
    return negate(Q(Exists(over))) & Q(pk__in=Contact.objects.annotate(fell_at=last).filter(fell_at__lte=now - span))


# Definitions ---------------------------------------------------------------------------------------------------------


def problems_of(rule: StageRule, names: Vocabulary | None = None) -> dict[str, str]:
    """What is wrong with a stage's definition as a whole, a sentence by field; nothing where all is well.

    Its single rules must be readable already.
    """
    found: dict[str, str] = {}
    ends, stages = LEAVES_TO.get(rule.stage, []), dict(StageRule._meta.get_field("stage").flatchoices)
    leaves = rule.leave_rule is not None or rule.cold_after is not None
    if leaves and not rule.leave_to:
        found["leave_to"] = _("Say to which stage they fall back.")
    elif rule.leave_to and not leaves:
        found["leave_rule"] = _("Say who falls back.")
    elif rule.leave_to and rule.leave_to not in ends:
        known = ", ".join(str(stages[end]) for end in ends)
        if known:
            found["leave_to"] = _("From here people fall back to: %(known)s.") % {"known": known}
        else:
            found["leave_to"] = _("Nobody falls back from this stage.")
    if rule.cold_after is not None and rule.stage != "qualified":
        found["cold_after"] = _("Only who is qualified can be under the line of a score.")
    if rule.sla is not None and rule.stage == "visitor":
        found["sla"] = _("Visitors are never overdue: nobody knows who they are.")
    has_both = rule.rule is not None and rule.leave_rule is not None
    if has_both and implies(parse(rule.rule, names), parse(rule.leave_rule, names)):
        found["leave_rule"] = _("Whoever enters by the rule would leave at once; the two must differ.")
    if rule.leave_rule is not None and fields_in(parse(rule.leave_rule, names)) & {"stage", "phase"}:
        # It would hold in the stage and not outside of it: whom the other rule brings back would go to and fro.
        found["leave_rule"] = _("This rule says who leaves the stage, so it cannot ask for the stage or the phase.")
    if rule.phase_rule is not None and not rule.phase_before:
        found["phase_rule"] = _("There is no phase before this one for the others to be in.")
    elif rule.phase_rule is not None and "phase" in fields_in(parse(rule.phase_rule, names)):
        found["phase_rule"] = _("This rule says what the phase is, so it cannot ask for the phase.")
    return found


def implies(one: Rule, other: Rule) -> bool:
    """Whether for whomever `one` holds, `other` does, as far as it can be seen from how they are written."""
    if one == other:
        return True
    if isinstance(one, AnyOf):
        return all(implies(part, other) for part in one.rules)
    if isinstance(other, All):
        return all(implies(one, part) for part in other.rules)
    return (isinstance(one, All) and any(implies(part, other) for part in one.rules)) or (
        isinstance(other, AnyOf) and any(implies(one, part) for part in other.rules)
    )


# By hand -------------------------------------------------------------------------------------------------------------

LONGEST_REASON = 500


def request_stage(*, contact: Contact, to: str, reason: str, by: Any, now: datetime, source: str = "admin") -> None:
    """Asks for a stage by hand; the next tick moves. Raises ValueError with a sentence."""
    reason = " ".join(reason.split())
    if to not in ORDER[1:]:
        raise ValueError(_("Choose one of the stages; nobody can be made a visitor again."))
    if not reason:
        raise ValueError(_("Say why: it stands in the history."))
    if len(reason) > LONGEST_REASON:
        raise ValueError(_("At most %(most)d characters.") % {"most": LONGEST_REASON})
    if contact.stage == to:
        raise ValueError(_("This contact is in that stage already."))
    put(
        kind="stage.requested", source=source, now=now, contact_id=contact.pk,
        properties={"to": to, "reason": reason, "by": by.get_username(), "hand": True},
    )  # fmt: skip


def because(reason: str) -> str:
    """A reason of the ledger in words."""
    kind, _space, more = reason.partition(" ")
    words = {
        "rule": _("the rule of the stage held"),
        "leave_rule": _("the leaving rule held"),
        "cold": _("under the line for %(more)s"),
        "hand": _("by hand: %(more)s"),
        "journey": _("a journey: %(more)s"),
        "score.crossed": _("the score “%(more)s” crossed its line"),
        "lead.rejected": _("sales gave the lead back: %(more)s") if more else _("sales gave the lead back"),
        "lead.converted": _("sales won the lead"),
        "order.placed": _("an order"),
        "order.refunded": _("the only order was taken back"),
        "order.cancelled": _("the only order was taken back"),
        "contact.identified": _("became known"),
        "contact.merged": _("a merge with somebody further"),
        "contact.unmerged": _("a merge was undone"),
    }
    return str(words[kind]) % {"more": more} if kind in words else reason


def overdue(now: datetime) -> Q:
    """Over Contact: who stays in their stage longer than it may take."""
    late = Q(pk__in=[])
    for rule in StageRule.objects.filter(sla__isnull=False):
        assert rule.sla
        late |= Q(stage=rule.stage, stage_changed_at__lte=now - rule.sla)
    return late


OVERDUE = RuleField(
    "stage_overdue", "boolean",
    lambda now: Case(When(overdue(now), then=Value(True)), default=Value(False), output_field=BooleanField()),
    gettext_lazy("Too long in this stage"), group=gettext_lazy("Stage and time"), has_time=True,
)  # fmt: skip
