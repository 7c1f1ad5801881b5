"""Points: what touchpoints earn, what is left of it at any instant, and who crosses a threshold.

The ledger (`ScoreEntry`) is the truth, `ContactScore` where it stood when it was last added up. Only the step `score`
writes either.

- A crossing is a difference between two ticks: a score that fell and rose again before any tick saw it did not cross.
- Who crosses by the clock alone, down as points fade or up as penalties do, crosses at the instant that was computed
  when the ledger last changed (`falls_at`, `rises_at`); the tick that follows says so.
- An edited engagement rule counts from then on: history keeps the points and half-life by which it was booked, only the
  days that get new events are booked anew. `rebuild` recounts a model from all touchpoints.
- An edited fit rule, threshold or hysteresis, and a rule added or deleted, counts for everybody at the next tick.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import structlog
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import EmptyResultSet
from django.db import connection, transaction
from django.db.models import BigIntegerField, Case, DateTimeField, F, FloatField, Func, QuerySet, Value, When
from django.utils.translation import gettext as _

from contacts.models import Contact, Touchpoint
from contacts.rulefields import Vocabulary
from contacts.rules import RuleError, has_time, parse, to_q, touchpoints_matching
from contacts.sql import Fragment, fragment, join, load
from contacts.stream import head, hold_tick_lock
from scoring.models import ScoreModel, ScoreRule

log = structlog.get_logger(__name__)
SQL = load(__file__)

_BOOK_DAYS = Fragment(SQL["book_days"].sql)
_NOBODY = Fragment("SELECT 0::bigint AS id, 0::bigint AS rule_id WHERE false")
# So many touchpoints at once are a crowd: see _size_up.
CROWD = 5_000
# How often fit rules that look at the calendar are asked of everybody.
SWEEP_EVERY = timedelta(hours=1)


@dataclass(frozen=True)
class Fall:
    """One row of a waterfall: what a rule gave on a day, and what is left of it."""

    rule: str
    name: str
    day: date
    first_at: datetime
    last_at: datetime
    touchpoint_ids: list[int]
    earned: float
    worth: float
    half_life: timedelta | None

    @property
    def events(self) -> int:
        return len(self.touchpoint_ids)


def check_when(kind: str, when: Any, names: Vocabulary | None = None) -> None:
    """Refuses what a score rule of this kind of score can not ask; raises RuleError with the path of what is wrong."""
    parse(when, names)
    if kind != "engagement":
        return
    if "did" not in when:
        raise RuleError("", _("An engagement rule is one “did”, asked of each touchpoint."))
    for key in ("count", "within", "before", "after"):
        if key in when:
            raise RuleError(
                key, _("Each touchpoint is asked by itself; how many and when is for the cap and the half-life.")
            )


# The step ------------------------------------------------------------------------------------------------------------


def score(now: datetime, after: int, upto: int) -> int:
    """The tick's step: books what the window's touchpoints earned, then says who crossed. Counts the crossings."""
    models = list(ScoreModel.objects.prefetch_related("rules"))
    changed: set[int] = set()
    if upto - after >= CROWD:
        _size_up()
    if upto > after:
        window = Touchpoint.objects.filter(id__gt=after, id__lte=upto)
        rules = [rule for model in models if model.kind == "engagement" for rule in model.rules.all()]
        changed |= book(rules, window, now)
        changed |= _rebook_rejudged(rules, after, upto, now)
        changed |= set(window.filter(kind="contact.merged").values_list("contact_id", flat=True))
        touched = Contact.objects.living().filter(pk__in=window.values("contact_id"))
        changed |= book_fit([model for model in models if model.kind == "fit"], touched, now)
    edited = [model for model in models if model.applied != definition(model) or model.is_recount_asked]
    for model in edited:
        if model.is_recount_asked:
            _recount(model, now)
    due = [model for model in models if model.kind == "fit" and (model in edited or _is_due(model, now))]
    changed |= book_fit(due, Contact.objects.living(), now)
    for model in {*edited, *due}:
        done = {"applied": definition(model), "swept_at": now}
        if model.is_recount_asked:
            # Whoever asks while this step runs asks the next one.
            done["is_recount_asked"] = False
        ScoreModel.objects.filter(pk=model.pk).update(**done)
    return _stand(changed, edited, now)


def _stand(changed: set[int], models: Collection[ScoreModel], now: datetime) -> int:
    """Says anew where these contacts stand, and everybody of these models, and who is due; counts the crossings."""
    due = {contact for (contact,) in SQL["due"].rows(now=now)} - changed
    asked = []
    if changed or due:
        asked.append(Fragment("SELECT unnest(%(contacts)s::bigint[]) AS id", {"contacts": sorted(changed | due)}))
    if models:
        asked.append(Fragment(SQL["everybody"].sql, {"models": [model.pk for model in models]}))
        # Whoever crosses for another reason too crosses now.
        due = set()
    if not asked:
        return 0
    return SQL["stand"].run(fragments={"asked": join(" UNION ", asked)}, now=now, due=sorted(due))


def _size_up() -> None:
    """Makes ready for a crowd: after a first import the planner would take the tables for what they were before."""
    with connection.cursor() as cursor:
        for (table,) in SQL["size_up"].rows():
            cursor.execute(f"ANALYZE {table}")


def definition(model: ScoreModel) -> str:
    """All of a model that counts for everybody at once when it changes, as one text to compare."""
    return json.dumps(
        [
            model.kind,
            model.qualify_at,
            model.hysteresis,
            sorted(
                [rule.pk, *([rule.when, rule.points, rule.is_active] if model.kind == "fit" else [])]
                for rule in model.rules.all()
            ),
        ],
        sort_keys=True,
    )


def _is_due(model: ScoreModel, now: datetime) -> bool:
    if model.swept_at is not None and now < model.swept_at + SWEEP_EVERY:
        return False
    return any(_changes_by_itself(rule) for rule in model.rules.all() if rule.is_active)


def _changes_by_itself(rule: ScoreRule) -> bool:
    try:
        return has_time(parse(rule.when))
    except RuleError:
        return True


def book(rules: Iterable[ScoreRule], touchpoints: QuerySet[Touchpoint], now: datetime) -> set[int]:
    """Books what touchpoints earned by engagement rules, all rules in one pass; the contacts whose ledger changed."""
    hits, names = [], Vocabulary()
    for rule in rules:
        if rule.is_active:
            try:
                condition = touchpoints_matching(rule.when, now, names)
            except RuleError as error:
                _say_broken(rule, error)
                continue
            hits.append(Case(When(condition, then=Value(rule.pk)), output_field=BigIntegerField()))
    if not hits:
        return set()
    # Opens and clicks by programs never earn anything.
    found = touchpoints.filter(is_machine=False).values("id", "contact_id", "occurred_at", "received_at")
    found = found.annotate(
        rule_ids=Func(*hits, template="ARRAY[%(expressions)s]::bigint[]", output_field=ArrayField(BigIntegerField()))
    )
    fragments = {"hits": fragment(found.order_by()), "book_days": _BOOK_DAYS}
    return {contact for (contact,) in SQL["book_points"].rows(fragments=fragments)}


def _rebook_rejudged(rules: Iterable[ScoreRule], after: int, upto: int, now: datetime) -> set[int]:
    """Follows new verdicts on opens and clicks: programs lose what they earned, people get it; whose ledger changed."""
    rejudged = SQL["rejudged"].rows(after=after, upto=upto)
    if not rejudged:
        return set()
    gone = [pk for pk, is_machine in rejudged if is_machine]
    unbooked = SQL["unbook_points"].rows(fragments={"book_days": _BOOK_DAYS}, touchpoints=gone)
    changed = {contact for (contact,) in unbooked}
    if people := [pk for pk, is_machine in rejudged if not is_machine]:
        changed |= book(rules, Touchpoint.objects.filter(pk__in=people), now)
    return changed


def _say_broken(rule: ScoreRule, error: RuleError) -> None:
    # A field that somebody deleted must not stop the scores of all others.
    log.warning("score_rule_broken", score=rule.model.key, rule=rule.key, reason=str(error))


def book_fit(models: Iterable[ScoreModel], contacts: QuerySet[Contact], now: datetime) -> set[int]:
    """Asks the fit rules of models of some contacts; the contacts whose ledger changed."""
    rules = [rule for model in models for rule in model.rules.all()]
    if not rules:
        return set()
    holding, asked, names = [], [], Vocabulary()
    for rule in rules:
        if not rule.is_active:
            asked.append(rule.pk)
            continue
        try:
            those = contacts.filter(to_q(parse(rule.when, names), now)).values("id")
        except RuleError as error:
            # Its rows stay as they are until somebody puts the rule right.
            _say_broken(rule, error)
            continue
        asked.append(rule.pk)
        try:
            holding.append(fragment(those.annotate(rule_id=Value(rule.pk, BigIntegerField())).order_by()))
        except EmptyResultSet:
            continue
    rows = SQL["book_fit"].rows(
        fragments={
            "asked": fragment(contacts.values("id").order_by()),
            "holding": join(" UNION ALL ", holding or [_NOBODY]),
        },
        rules=asked,
        now=now,
    )
    return {contact for (contact,) in rows}


def _recount(model: ScoreModel, now: datetime) -> None:
    """Empties a model's ledger; for engagement, books every touchpoint there is anew."""
    SQL["drop_entries"].run(model=model.pk)
    if model.kind == "engagement":
        book(model.rules.all(), Touchpoint.objects.filter(id__lte=head()), now)


def rebuild(model: ScoreModel, now: datetime) -> int:
    """Recounts a model from all touchpoints by its rules of today; the number of people who crossed its threshold.

    Reads the whole stream in one transaction. Raises contacts.stream.Busy while a tick runs; from a page, set
    `is_recount_asked` instead and leave the work to the next tick.
    """
    with transaction.atomic():
        hold_tick_lock()
        _recount(model, now)
        if model.kind == "fit":
            book_fit([model], Contact.objects.living(), now)
        return _stand(set(), [model], now)


# Reading -------------------------------------------------------------------------------------------------------------


def score_at(model: ScoreModel, contact_ids: Iterable[int] | None, at: datetime) -> dict[int, float]:
    """The exact score at any instant, past or to come if nothing more happens, by contact id.

    `contact_ids` None means everybody who has a ledger row; a contact named without one has 0.
    """
    ids = None if contact_ids is None else sorted(contact_ids)
    scores = dict(SQL["scores_at"].rows(model=model.pk, contacts=ids, at=at))
    return scores if ids is None else {contact: scores.get(contact, 0.0) for contact in ids}


def waterfall(contact: Contact, model: ScoreModel, now: datetime) -> list[Fall]:
    """Each row of a contact's ledger with what is left of it at `now`, the most first; these add up to the score."""
    return waterfalls(contact, [model], now)[model.pk]


def waterfalls(contact: Contact, models: Iterable[ScoreModel], now: datetime) -> dict[int, list[Fall]]:
    """The waterfalls of several scores in one query, by their ids."""
    found: dict[int, list[Fall]] = {model.pk: [] for model in models}
    for model, *row in SQL["waterfall"].rows(models=list(found), contact=contact.pk, now=now):
        found[model].append(Fall(*row))
    return found


def worth_at(at: datetime) -> Func:
    """What a ledger row is worth at an instant, as an expression over ScoreEntry."""
    from_row = [F(name) for name in ("day", "weight", "half_life", "occurred_ats", "event_points")]
    return Func(*from_row, Value(at, DateTimeField()), function="worth", output_field=FloatField())


def count_wrong_scores() -> int:
    """Invariant I6: how many stored scores differ from the sum of their ledger."""
    return SQL["count_wrong_scores"].value()
