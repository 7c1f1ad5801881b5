"""Rules: who is meant. Frozen dataclasses, read from JSON, compiled in one function to a `Q` over contacts.

    all: [{field: plan, op: eq, value: trial}, {not: {did: order.placed, within: 90d}}]

The Python twin in the tests is right where the two differ. `now` is always an argument.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from django.db.models import BooleanField, Case, Q, When
from django.utils.translation import gettext as _

from contacts import leaves
from contacts.did import Did
from contacts.leaves import InSegment, bucket_of
from contacts.models import Contact, ContactQuerySet
from contacts.rulefields import Leaf, Vocabulary, leaf_kinds, register_leaf
from contacts.rulevalues import RuleError, negate, within

__all__ = ["RuleError", "bucket_of", "register_leaf"]  # read from here by apps above

# Deeper or wider than any person writes; a limit keeps hostile input from eating the stack or the planner.
DEEPEST = 12
MOST_LEAVES = 200


@dataclass(frozen=True)
class All:
    """Holds where each part does."""

    rules: tuple["Rule", ...]


@dataclass(frozen=True)
class AnyOf:
    """Holds where at least one part does."""

    rules: tuple["Rule", ...]


@dataclass(frozen=True)
class Not:
    """Holds exactly where the part does not, people without a value included."""

    rule: "Rule"


Rule: TypeAlias = All | AnyOf | Not | Leaf

_leaves = leaf_kinds()

register_leaf("field", leaves.FieldIs)
register_leaf("did", Did)
register_leaf("stage", leaves.Stage)
register_leaf("in_segment", leaves.InSegment)
register_leaf("bucket", leaves.Bucket)


def parse(data: Any, names: Vocabulary | None = None) -> Rule:
    """Reads a rule. Raises RuleError with the path of what is wrong, such as `all[1].where[0].op`.

    Give the same `names` to read many rules with one look into the database.
    """
    rule = _parse(data, "", names or Vocabulary(), 1)
    if sum(1 for _one in leaves_of(rule)) > MOST_LEAVES:
        raise RuleError(
            "",
            _("A rule asks at most %(most_leaves)s questions; put some of them into a segment.")
            % {"most_leaves": MOST_LEAVES},
        )
    return rule


def _parse(data: Any, path: str, names: Vocabulary, depth: int) -> Rule:
    if depth > DEEPEST:
        raise RuleError(path, _("Groups may stand at most %(deepest)s deep.") % {"deepest": DEEPEST})
    if not isinstance(data, Mapping):
        raise RuleError(path, _("A rule is a mapping such as {field: country, op: eq, value: CZ}."))
    groups = [key for key in ("all", "any", "not") if key in data]
    kinds = groups or [key for key in _leaves if key in data]
    # `stage` may stand beside `field` only by mistake; `field` alone decides nothing then.
    if len(kinds) != 1:
        known = ", ".join(["all", "any", "not", *_leaves])
        found = ", ".join(map(str, data)) or "nothing"
        raise RuleError(
            path, _("A rule has exactly one of %(known)s; here is %(found)s.") % {"known": known, "found": found}
        )
    kind = kinds[0]
    if not groups:
        return _leaves[kind].parse(data, path, names)
    leaves.only(data, path, {kind})
    parts, at = data[kind], within(path, kind)
    if kind == "not":
        return Not(_parse(parts, at, names, depth + 1))
    if not isinstance(parts, list | tuple) or not parts:
        raise RuleError(at, _("A group needs a list with at least one rule."))
    rules = tuple(_parse(part, within(at, position), names, depth + 1) for position, part in enumerate(parts))
    return All(rules) if kind == "all" else AnyOf(rules)


def dump(rule: Rule) -> dict[str, Any]:
    """The rule as JSON; `parse` reads an equal one."""
    if isinstance(rule, All):
        return {"all": [dump(part) for part in rule.rules]}
    if isinstance(rule, AnyOf):
        return {"any": [dump(part) for part in rule.rules]}
    if isinstance(rule, Not):
        return {"not": dump(rule.rule)}
    return rule.dump()


def to_q(rule: Rule, now: datetime) -> Q:
    """The rule over Contact at a moment; a contact without a value is never unknown, but in or out."""
    if isinstance(rule, All):
        wanted = Q()
        for part in rule.rules:
            wanted &= to_q(part, now)
        return wanted
    if isinstance(rule, AnyOf):
        wanted = Q()
        for part in rule.rules:
            wanted |= to_q(part, now)
        return wanted
    if isinstance(rule, Not):
        return negate(to_q(rule.rule, now))
    return rule.to_q(now)


def matching(data: Any, now: datetime, names: Vocabulary | None = None) -> ContactQuerySet:
    """The living contacts whom the rule (as JSON, or parsed) means at a moment."""
    people: ContactQuerySet = Contact.objects.living().filter(to_q(_ready(data, names), now))
    return people


def touchpoints_matching(data: Any, now: datetime, names: Vocabulary | None = None) -> Q:
    """Over Touchpoint: is one touchpoint of the kind, maker and properties that a `did` leaf names?

    Count and time are not asked. Raises RuleError if the rule is anything but one `did` leaf.
    """
    rule = _ready(data, names)
    if not isinstance(rule, Did):
        raise RuleError("", _("Only one “did” can be asked of a touchpoint."))
    return rule.of_one(now)


def _ready(data: Any, names: Vocabulary | None) -> Rule:
    is_parsed = isinstance(data, (All, AnyOf, Not, *_leaves.values()))
    return data if is_parsed else parse(data, names)


def leaves_of(rule: Rule, path: str = "") -> Iterator[tuple[str, Leaf]]:
    """Each leaf with its path, in the order in which they are written."""
    if isinstance(rule, All | AnyOf):
        at = within(path, "all" if isinstance(rule, All) else "any")
        for position, part in enumerate(rule.rules):
            yield from leaves_of(part, within(at, position))
    elif isinstance(rule, Not):
        yield from leaves_of(rule.rule, within(path, "not"))
    else:
        yield path, rule


def has_time(rule: Rule) -> bool:
    """Whether the answer may change by the clock alone."""
    return any(leaf.has_time for _path, leaf in leaves_of(rule))


def segments_in(rule: Rule) -> set[str]:
    """The keys of the segments that the rule asks about."""
    return {leaf.segment for _path, leaf in leaves_of(rule) if isinstance(leaf, InSegment)}


def fields_in(rule: Rule) -> set[str]:
    """The keys of the fields that the rule asks about."""
    return {leaf.field.key for _path, leaf in leaves_of(rule) if isinstance(leaf, leaves.FieldIs)}


# Why --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What one leaf says about one contact: `leaf` as JSON, and the evidence that it rests on.

    `says` is the leaf as a sentence, `because` the evidence as another, both in the reader's language.
    """

    path: str
    leaf: dict[str, Any]
    is_true: bool
    evidence: dict[str, Any]
    says: str
    because: str


def explain(data: Any, contact: Contact, now: datetime, names: Vocabulary | None = None) -> list[Answer]:
    """Each leaf of a rule (JSON or parsed), in the order in which it is written, with its answer and evidence."""
    found = list(leaves_of(_ready(data, names)))
    answers = {
        f"answer_{position}": Case(When(leaf.to_q(now), then=True), default=False, output_field=BooleanField())
        for position, (_path, leaf) in enumerate(found)
    }
    row = Contact.objects.filter(pk=contact.pk).annotate(**answers).values(*answers).get()
    told = []
    for position, (path, leaf) in enumerate(found):
        evidence = leaf.evidence(contact, now)
        told.append(Answer(path, leaf.dump(), row[f"answer_{position}"], evidence, leaf.says(), leaf.because(evidence)))
    return told


def verdict(rule: Rule, answers: list[Answer]) -> bool:
    """What the whole rule says, put together from the answers of its leaves."""
    by_path = {answer.path: answer.is_true for answer in answers}

    def holds(part: Rule, path: str) -> bool:
        if isinstance(part, All):
            return all(holds(one, within(within(path, "all"), at)) for at, one in enumerate(part.rules))
        if isinstance(part, AnyOf):
            return any(holds(one, within(within(path, "any"), at)) for at, one in enumerate(part.rules))
        if isinstance(part, Not):
            return not holds(part.rule, within(path, "not"))
        return by_path[path]

    return holds(rule, "")
