"""Segments: named groups of people, by a rule, by hand, or both. `contacts.refreshing` keeps them right."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from graphlib import CycleError, TopologicalSorter
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext as _

from contacts.models import AT_ONCE, Contact, ContactQuerySet, Membership, MembershipOverride, Segment, Turn
from contacts.refreshing import SWEEP_EVERY, read_all, refresh
from contacts.rulefields import Vocabulary
from contacts.rules import Rule, RuleError, fields_in, matching, parse, segments_in
from contacts.turning import CannotSay, open_turn

__all__ = ["SWEEP_EVERY", "refresh"]

# Asking --------------------------------------------------------------------------------------------------------------


def members(segment: Segment) -> ContactQuerySet:
    """Who is in it, as of the last tick."""
    return Contact.objects.living().filter(
        Exists(Membership.objects.filter(segment=segment, contact_id=OuterRef("pk")))
    )


def preview(rule: Any, now: datetime) -> ContactQuerySet:
    """Whom a rule (JSON or parsed; None means nobody) would take in at this moment. Raises RuleError."""
    return Contact.objects.none() if rule is None else matching(rule, now)


def audience(segment: Segment, now: datetime) -> ContactQuerySet:
    """Who belongs in it at this moment, by its rule and by hand: what the next refresh makes its members."""
    held = MembershipOverride.objects.filter(segment=segment, contact_id=OuterRef("pk")).exclude(expires_at__lte=now)
    by_rule = Q(pk__in=preview(segment.rule, now).values("pk")) if segment.rule is not None else Q(pk__in=[])
    return Contact.objects.living().filter(
        Exists(held.filter(is_member=True)) | by_rule & ~Exists(held.filter(is_member=False))
    )


def is_swept(rule: Rule | None, now: datetime) -> bool:
    """Whether nobody can say when the clock turns an answer to this rule, so that everybody is asked now and then."""
    try:
        if rule is not None:
            open_turn(rule, now)
    except CannotSay:
        return True
    return False


def problems() -> dict[str, str]:
    """The keys of segments that cannot be asked any more and so keep the members that they have, each with why."""
    return read_all()[1]


# Changing ------------------------------------------------------------------------------------------------------------


def check(key: str, rule: Any, names: Vocabulary | None = None) -> Rule | None:
    """Reads the rule of the segment `key`. Raises RuleError also where segments would ask each other in a circle."""
    if rule is None:
        return None
    parsed = parse(rule, names)
    asks = {other: _asks(data) for other, data in Segment.objects.values_list("key", "rule")}
    asks[key] = segments_in(parsed)
    try:
        TopologicalSorter(asks).prepare()
    except CycleError as error:
        circle = " → ".join(reversed(error.args[1]))
        raise RuleError(
            "", _("The segments would ask each other in a circle: %(circle)s.") % {"circle": circle}
        ) from None
    return parsed


def _asks(data: Any) -> set[str]:
    """The keys of segments named anywhere in a stored rule, readable or not."""
    return _named(data, "in_segment")


def _named(data: Any, word: str) -> set[str]:
    """What stands under a word anywhere in a stored rule, but for the filters on what events carry."""
    if isinstance(data, dict):
        own = {data[word]} if isinstance(data.get(word), str) else set()
        return own.union(*(_named(part, word) for name, part in data.items() if name != "where"))
    if isinstance(data, list):
        return set().union(*(_named(part, word) for part in data))
    return set()


@transaction.atomic
def create(*, key: str, name: str = "", rule: Any = None) -> Segment:
    """Makes a segment; the next tick asks everybody. Raises RuleError, IntegrityError where the key is taken."""
    _hold_all()
    check(key, rule)
    return Segment.objects.create(key=key, name=name or key, rule=rule)


def _hold_all() -> None:
    """Two editors must not close a circle between them, nor one delete what the other begins to ask about."""
    list(Segment.objects.order_by("pk").select_for_update(no_key=True).values_list("pk"))


@transaction.atomic
def change_rule(segment: Segment, rule: Any) -> bool:
    """Gives a stored segment another rule (None: only people added by hand); the next tick asks everybody.

    The same rule again changes nothing and answers False. Raises RuleError.
    """
    _hold_all()
    check(segment.key, rule)
    if Segment.objects.filter(pk=segment.pk, rule=rule).exists() if rule is not None else segment.rule is None:
        segment.rule = rule
        return False
    segment.rule, segment.sweep_at = rule, AT_ONCE
    segment.save(update_fields=["rule", "sweep_at"])
    return True


@transaction.atomic
def override(
    *,
    segment: Segment,
    contacts: Iterable[int],
    is_member: bool,
    by: Any,
    now: datetime,
    expires_at: datetime | None = None,
) -> int:
    """Puts contacts into a segment or keeps them out, whatever its rule says; how many. The next tick acts on it."""
    rows = [
        MembershipOverride(
            segment=segment, contact_id=pk, is_member=is_member, expires_at=expires_at, made_by=by, made_at=now
        )
        for pk in contacts
    ]
    MembershipOverride.objects.bulk_create(
        rows,
        batch_size=5_000,
        update_conflicts=True,
        unique_fields=["segment", "contact"],
        update_fields=["is_member", "expires_at", "made_by", "made_at"],
    )
    return ask_about(segment, [row.contact_id for row in rows])


@transaction.atomic
def let_decide(*, segment: Segment, contacts: Iterable[int]) -> int:
    """Takes back what was said by hand about these contacts, so that the rule decides again; about how many."""
    gone = MembershipOverride.objects.filter(segment=segment, contact_id__in=list(contacts))
    asked = list(gone.values_list("contact_id", flat=True))
    gone.delete()
    return ask_about(segment, asked)


def ask_about(segment: Segment, contacts: Iterable[int]) -> int:
    """Has the next tick ask these contacts again; how many they are."""
    rows = [Turn(segment=segment, contact_id=pk, turns_at=AT_ONCE) for pk in set(contacts)]
    Turn.objects.bulk_create(
        rows,
        batch_size=5_000,
        update_conflicts=True,
        unique_fields=["contact", "segment"],
        update_fields=["turns_at"],
    )
    return len(rows)


def ask_again(segments: QuerySet[Segment]) -> None:
    """Has the next tick ask everybody."""
    segments.update(sweep_at=AT_ONCE)


def readers_of(name: str) -> QuerySet[Segment]:
    """The segments whose rule asks about a field, or about any field of a group such as `company.`."""
    names = Vocabulary()
    readers = []
    for segment in Segment.objects.filter(rule__isnull=False):
        try:
            fields = fields_in(parse(segment.rule, names))
        except RuleError:
            continue
        if any(key == name or (name.endswith(".") and key.startswith(name)) for key in fields):
            readers.append(segment.pk)
    return Segment.objects.filter(pk__in=readers)


def ask_again_readers_of(name: str) -> int:
    """Has the next tick ask everybody in `readers_of(name)`; how many segments. For changes that no contact tells."""
    readers = readers_of(name)
    ask_again(readers)
    return len(readers)


_users_of_fields: list[tuple[Callable[[str], Iterable[str]], bool]] = []


def register_user_of_fields(names_of_users: Callable[[str], Iterable[str]], *, is_asking: bool = True) -> None:
    """Adds a function from a field's key to the names of those who need it; call it from `AppConfig.ready`.

    Not `is_asking`: they print the field or fill it in, and nobody is found by it.
    """
    _users_of_fields.append((names_of_users, is_asking))


_rules: list[Callable[[], Iterable[tuple[str, Any]]]] = []


def register_rules(named_rules: Callable[[], Iterable[tuple[str, Any]]]) -> None:
    """Adds the stored rules of an app, each after the name by which people know its owner; call it in `ready`.

    What they ask about cannot be deleted, and those that cannot be asked are told by `broken_rules`.
    """
    _rules.append(named_rules)


def _named_rules() -> Iterator[tuple[str, Any]]:
    for named_rules in _rules:
        yield from named_rules()


def broken_rules() -> dict[str, str]:
    """The rules of apps above that cannot be asked any more, by the name of their owner, each with why."""
    names, broken = Vocabulary(), {}
    for name, rule in _named_rules():
        try:
            parse(rule, names)
        except RuleError as error:
            broken[name] = str(error)
    return broken


def users_of_field(key: str, *, is_asking: bool = False) -> list[str]:
    """The names of all that need a field of contacts: segments, scores, journeys, templates, …

    With `is_asking`, of those only who find people by it.
    """
    names = [_("segment “%(name)s”") % {"name": segment.name} for segment in readers_of(key)]
    names += dict.fromkeys(name for name, rule in _named_rules() if key in _named(rule, "field"))
    for names_of_users, they_ask in _users_of_fields:
        if they_ask or not is_asking:
            names += names_of_users(key)
    return names


class InUse(Exception):
    """The segment cannot go; `users` names who asks about it."""

    def __init__(self, segment: Segment, users: list[str]) -> None:
        super().__init__(_("“%(name)s” is used by: %(users)s.") % {"name": segment.name, "users": ", ".join(users)})
        self.users = users


_users: list[Callable[[str], Iterable[str]]] = []


def register_user_of_segments(names_of_users: Callable[[str], Iterable[str]]) -> None:
    """Adds a function from a segment's key to the names of those who need it; call it from `AppConfig.ready`."""
    _users.append(names_of_users)


def users_of(segment: Segment) -> list[str]:
    """The names of all that need the segment: other segments, scores, offers, journeys, …"""
    names = [
        _("segment “%(name)s”") % {"name": name}
        for name, rule in Segment.objects.exclude(pk=segment.pk).values_list("name", "rule")
        if segment.key in _asks(rule)
    ]
    names += dict.fromkeys(name for name, rule in _named_rules() if segment.key in _asks(rule))
    for one in _users:
        names += one(segment.key)
    return names


@transaction.atomic
def remove(segment: Segment) -> None:
    """Deletes a segment that nobody needs. Raises InUse."""
    _hold_all()
    if users := users_of(segment):
        raise InUse(segment, users)
    segment.delete()
