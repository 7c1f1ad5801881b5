"""Rules as pieces of SQL over `p`, the people whom a statement is about: one row an enrolment.

`p` has `enrolment_id` and `contact_id`; for what must have come about also `entered_at` (the step), `since` (what let
the person in) and `trigger_id`. `OFFSET 0` keeps each question a look-up by person: turned into a join, a wrong guess
of the planner about a small table made one tick run for hours.

A rule that cannot be read any more (its field is gone) raises RuleError; the caller holds those people back instead of
guessing.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.core.exceptions import EmptyResultSet

from contacts.models import Contact, Touchpoint
from contacts.rulefields import Vocabulary
from contacts.rules import parse, to_q, touchpoints_matching
from contacts.sql import Fragment, fragment, join, named

_OPERATORS = {"eq": "=", "ne": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_PLACE = re.compile(r"\{(\w+)\}")


def piece(sql: str, **values: Any) -> Fragment:
    """A piece of SQL with its places filled: a Fragment stands there as it is, any other value as a parameter."""
    params: dict[str, Any] = {}

    def fill(match: re.Match[str]) -> str:
        value = values[match[1]]
        part = value if isinstance(value, Fragment) else named("%s", [value])
        params.update(part.params)
        return part.sql

    return Fragment(_PLACE.sub(fill, sql), params)


def case(column: str, answers: list[tuple[int, Fragment, Any]], otherwise: str) -> Fragment:
    """The first answer that holds: each stands for people with this value of a column of `p`, under a condition."""
    if not answers:
        return Fragment(otherwise)
    whens = [
        piece("WHEN {column} = {value} AND ({holds}) THEN {answer}", column=Fragment(column), value=value, holds=holds,
              answer=answer)
        for value, holds, answer in answers
    ]  # fmt: skip
    return piece("CASE {whens} ELSE {otherwise} END", whens=join(" ", whens), otherwise=Fragment(otherwise))


def is_meant(rule: Any, now: datetime, names: Vocabulary) -> Fragment:
    """Does the rule mean this person? As a condition over `p`."""
    try:
        meant = fragment(Contact.objects.filter(to_q(parse(rule, names), now)).order_by().values("pk"))
    except EmptyResultSet:
        return Fragment("false")
    return piece("EXISTS (SELECT FROM ({meant}) meant(id) WHERE meant.id = p.contact_id OFFSET 0)", meant=meant)


def has_come(
    rule: Any, now: datetime, names: Vocabulary, since: str = "enrolment", until: Fragment | None = None
) -> Fragment:
    """Has come about what a journey waits for (a goal, an exit rule, a wait)? As a condition over `p`.

    An event without a time of its own counts since the enrolment, or since the step, and if told so `until` a moment;
    all else is asked as of now.
    """
    if isinstance(rule, Mapping):
        for group, word in (("all", " AND "), ("any", " OR ")):
            if group in rule:
                parse(rule, names)
                parts = [has_come(part, now, names, since, until) for part in rule[group]]
                return piece("({parts})", parts=join(word, parts))
        if "not" in rule:
            return piece("NOT ({part})", part=has_come(rule["not"], now, names, since, until))
        if "did" in rule and not {"within", "before", "after"} & rule.keys():
            return _did_since(rule, now, names, since, until)
    return is_meant(rule, now, names)


def _did_since(
    rule: Mapping[str, Any], now: datetime, names: Vocabulary, since: str, until: Fragment | None
) -> Fragment:
    found = _events(rule, now, names, since, until)
    if found is None:
        return is_meant(rule, now, names)
    if "count" not in rule:
        return piece("EXISTS (SELECT {found} OFFSET 0)", found=found)
    return piece(
        "(SELECT count(*) {found}) {operator} {number}",
        found=found,
        operator=Fragment(_OPERATORS[rule["count"].get("op", "gte")]),
        number=int(rule["count"]["value"]),
    )


def has_reached(milestone: str) -> Fragment:
    """Has this person reached a milestone of the journey? As a condition over `p`."""
    return piece(
        """EXISTS (SELECT FROM campaigns_achievement a
                   WHERE a.enrolment_id = p.enrolment_id AND a.kind = 'milestone' AND a.key = {milestone} OFFSET 0)""",
        milestone=milestone,
    )


def _events(
    rule: Mapping[str, Any], now: datetime, names: Vocabulary, since: str, until: Fragment | None
) -> Fragment | None:
    """The touchpoints of a person that a `did` names, as FROM and WHERE; None where there cannot be any."""
    try:
        events = fragment(
            Touchpoint.objects.filter(touchpoints_matching(rule, now, names)).values("id", "contact_id", "occurred_at")
        )
    except EmptyResultSet:
        return None
    # What let the person in is not yet an answer; what she did after it is, even before the tick noticed her.
    return piece(
        """FROM ({events}) t
           WHERE t.contact_id = p.contact_id AND t.id <> p.trigger_id AND t.occurred_at >= {begin}
             AND t.occurred_at <= {end}""",
        events=events,
        begin=Fragment("p.since" if since == "enrolment" else "p.entered_at"),
        end=piece("least({now}::timestamptz, {until})", now=now, until=until) if until else now,
    )


def shown_by(rule: Mapping[str, Any], now: datetime, names: Vocabulary, until: Fragment | None = None) -> Fragment:
    """The touchpoint by which a `did` came about since the enrolment, as a value over `p`: of so many the last."""
    found = _events(rule, now, names, "enrolment", until)
    if found is None:
        return Fragment("NULL::bigint")
    order = Fragment("DESC" if "count" in rule else "ASC")
    return piece("(SELECT t.id {found} ORDER BY t.occurred_at {order}, t.id {order} LIMIT 1)", found=found, order=order)


def values_asked(rules: list[Any]) -> Fragment:
    """The values of the contact's own fields that rules ask about, as JSON over `p`: what a decision was made by."""
    plain = (field for field in Contact._meta.concrete_fields if field.get_internal_type() != "JSONField")
    columns = {field.name: str(field.column) for field in plain}
    pairs = []
    for key in sorted(_fields_of(rules)):
        if key in columns:
            pairs.append(piece("{key}::text, c." + columns[key], key=key))
        elif "." not in key:
            pairs.append(piece("{key}::text, c.attributes->{key}::text", key=key))
    if not pairs:
        return Fragment("NULL::jsonb")
    return piece(
        "(SELECT jsonb_build_object({pairs}) FROM contacts_contact c WHERE c.id = p.contact_id)",
        pairs=join(", ", pairs),
    )


def _fields_of(part: Any) -> set[str]:
    if isinstance(part, list):
        return set().union(*map(_fields_of, part))
    if not isinstance(part, Mapping) or "did" in part:
        return set()
    mine = {part["field"]} if isinstance(part.get("field"), str) else set()
    return mine | ({"stage"} if "stage" in part else set()) | set().union(*map(_fields_of, part.values()))


def at_nodes(conditions: dict[int, Fragment]) -> Fragment:
    """Does this person of `p` meet the condition of the node where she stands?"""
    holds = Fragment("true")
    return case("p.node_id", [(node_id, condition, holds) for node_id, condition in conditions.items()], "false")
