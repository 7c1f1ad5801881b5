"""The leaf `did`: what a contact did or did not do, asked of the stream."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from contacts import rulewords
from contacts.durations import format_duration
from contacts.leaves import only
from contacts.models import Contact, Touchpoint
from contacts.moments import Moment
from contacts.rulefields import Vocabulary
from contacts.rulevalues import (
    Condition,
    RuleError,
    duration,
    has_value,
    json_value,
    moment,
    negate,
    number,
    parse_condition,
    text,
    typed,
    within,
)
from contacts.timeline import TITLES

_KIND = re.compile(r"[^\s.]+(\.[^\s.]+)+")
_COUNTS = ["eq", "ne", "gt", "gte", "lt", "lte"]
_MOST_EVENTS = 10_000
_EVIDENCE = 5


@dataclass(frozen=True)
class Where:
    """A filter on a property of a touchpoint; a dotted name reaches into nested properties."""

    field: str
    condition: Condition

    def to_q(self, now: datetime) -> Q:
        value = json_value("properties", *self.field.split("."))
        condition = self.condition.to_q(typed(self.condition.type, value), now, has_value(value))
        if self.condition.op == "contains":
            # Of a list, `contains` asks for an element.
            condition |= Condition("list", "contains", self.condition.value).to_q(value, now)
        return condition


@dataclass(frozen=True)
class Did:
    """What a contact did: touchpoints of a kind, filtered, counted, in a span of time. The future does not count."""

    kind: str
    where: tuple[Where, ...] = ()
    count_op: str = "gte"
    count: int = 1
    within: timedelta | None = None
    before: Moment | None = None
    after: Moment | None = None
    include_machines: bool = False

    @classmethod
    def parse(cls, data: Mapping[str, Any], path: str, names: Vocabulary) -> Self:
        only(data, path, {"did", "where", "count", "within", "before", "after", "include_machines"})
        kind = data["did"]
        if not isinstance(kind, str) or not _KIND.fullmatch(text(kind, within(path, "did"))):
            raise RuleError(
                within(path, "did"),
                _("%(kind)s is no kind of touchpoint; kinds are written noun.verbed.") % {"kind": repr(kind)},
            )
        machines = data.get("include_machines", False)
        if not isinstance(machines, bool):
            raise RuleError(
                within(path, "include_machines"),
                _("%(machines)s is neither true nor false.") % {"machines": repr(machines)},
            )
        op, count = cls._parse_count(data.get("count", {"op": "gte", "value": 1}), within(path, "count"))
        return cls(
            kind,
            cls._parse_where(data.get("where", []), within(path, "where")),
            op,
            count,
            duration(data["within"], within(path, "within")) if "within" in data else None,
            moment(data["before"], within(path, "before")) if "before" in data else None,
            moment(data["after"], within(path, "after")) if "after" in data else None,
            machines,
        )

    @staticmethod
    def _parse_where(data: Any, path: str) -> tuple[Where, ...]:
        if not isinstance(data, list | tuple):
            raise RuleError(path, _("A list of filters is needed."))
        filters = []
        for position, one in enumerate(data):
            at = within(path, position)
            if not isinstance(one, Mapping):
                raise RuleError(at, _("A filter is a mapping of field, op and value."))
            only(one, at, {"field", "op", "value"})
            name = text(one.get("field"), within(at, "field"))
            filters.append(Where(name, parse_condition(one, at, None)))
        return tuple(filters)

    @staticmethod
    def _parse_count(data: Any, path: str) -> tuple[str, int]:
        if not isinstance(data, Mapping):
            raise RuleError(path, _("A count is a mapping of op and value."))
        only(data, path, {"op", "value"})
        op = data.get("op", "gte")
        if op not in _COUNTS:
            raise RuleError(
                within(path, "op"),
                _("There is no operator %(op)s for counts; there are %(known)s.")
                % {"op": repr(op), "known": ", ".join(_COUNTS)},
            )
        value = data.get("value")
        count = number(value, within(path, "value"))
        if count != count.to_integral_value() or not 0 <= count <= _MOST_EVENTS:
            raise RuleError(
                within(path, "value"),
                _("A count is a whole number from 0 to %(most_events)s.") % {"most_events": _MOST_EVENTS},
            )
        return op, int(count)

    @classmethod
    def describe(cls, names: Vocabulary) -> dict[str, Any]:
        return {"label": _("What the person did")}

    def says(self) -> str:
        did = rulewords.say_count(TITLES.get(self.kind, self.kind), self.count_op, self.count)
        details = []
        if self.within:
            details.append(_("in the last %(span)s") % {"span": rulewords.say_span(self.within)})
        if self.after:
            details.append(_("after %(moment)s") % {"moment": rulewords.say_moment(self.after)})
        if self.before:
            details.append(_("before %(moment)s") % {"moment": rulewords.say_moment(self.before)})
        details += [rulewords.say_condition(one.field, one.condition) for one in self.where]
        if self.include_machines:
            details.append(_("machines count too"))
        return _("%(did)s (%(details)s)") % {"did": did, "details": "; ".join(details)} if details else did

    def dump(self) -> dict[str, Any]:
        data: dict[str, Any] = {"did": self.kind}
        if self.where:
            data["where"] = [{"field": one.field, **one.condition.dump()} for one in self.where]
        if (self.count_op, self.count) != ("gte", 1):
            data["count"] = {"op": self.count_op, "value": self.count}
        if self.within:
            data["within"] = format_duration(self.within)
        if self.before:
            data["before"] = self.before.text
        if self.after:
            data["after"] = self.after.text
        if self.include_machines:
            data["include_machines"] = True
        return data

    def of_one(self, now: datetime) -> Q:
        """Over Touchpoint: is it one of these, by kind, properties and maker? When it happened is not asked."""
        wanted = Q(kind=self.kind)
        if not self.include_machines:
            wanted &= Q(is_machine=False)
        for one in self.where:
            wanted &= one.to_q(now)
        return wanted

    def in_time(self, now: datetime) -> Q:
        """Over Touchpoint: did it happen in the span that is asked about?"""
        wanted = Q(occurred_at__lte=now)
        if self.within:
            wanted &= Q(occurred_at__gt=now - self.within)
        if self.before:
            wanted &= Q(occurred_at__lt=self.before.span(now)[0])
        if self.after:
            wanted &= Q(occurred_at__gte=self.after.span(now)[1])
        return wanted

    def to_q(self, now: datetime) -> Q:
        mine = Touchpoint.objects.filter(self.of_one(now), self.in_time(now), contact_id=OuterRef("pk"))

        def at_least(count: int) -> Q:
            # Skipping all but one of the wanted rows stops reading as soon as the answer is known.
            return Q(Exists(mine[count - 1 : count] if count > 1 else mine)) if count > 0 else ~Q(pk=None)

        if self.count_op == "gte":
            return at_least(self.count)
        if self.count_op == "gt":
            return at_least(self.count + 1)
        if self.count_op == "lt":
            return negate(at_least(self.count))
        if self.count_op == "lte":
            return negate(at_least(self.count + 1))
        exactly = at_least(self.count) & negate(at_least(self.count + 1))
        return exactly if self.count_op == "eq" else negate(exactly)

    def evidence(self, contact: Contact, now: datetime) -> dict[str, Any]:
        mine = Touchpoint.objects.filter(self.of_one(now), self.in_time(now), contact_id=contact.pk)
        last = list(mine.order_by("-occurred_at", "-id").values("id", "occurred_at")[:_EVIDENCE])
        return {"count": mine.count(), "last": last}

    def because(self, evidence: dict[str, Any]) -> str:
        count = evidence["count"]
        if not count:
            return _("There is no such touchpoint.")
        said = {"count": count, "moment": rulewords.say_instant(evidence["last"][0]["occurred_at"])}
        return (
            ngettext(
                "There is one such touchpoint, on %(moment)s.",
                "There are %(count)d such touchpoints, the newest on %(moment)s.",
                count,
            )
            % said
        )

    @property
    def has_time(self) -> bool:
        if self.within or any(edge and edge.is_relative for edge in (self.before, self.after)):
            return True
        return any(one.condition.has_time for one in self.where)
