"""The leaves of rules that this app knows. Each knows how to be read, written, compiled to a `Q`, and to show evidence.

Apps above add leaves of the same shape by `contacts.rules.register_leaf`.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Self

from django.db.models import DateTimeField, Exists, F, Func, IntegerField, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Coalesce
from django.db.models.lookups import GreaterThanOrEqual, LessThanOrEqual
from django.utils.translation import gettext as _

from contacts import rulewords
from contacts.durations import format_duration
from contacts.models import Contact, Membership, Segment, Touchpoint
from contacts.rulefields import Leaf, RuleField, Vocabulary, company_attribute
from contacts.rulevalues import (
    Condition,
    RuleError,
    begin,
    duration,
    negate,
    parse_condition,
    text,
    within,
)
from contacts.stages import LADDER, STAGES

STAGE_KEYS = [key for key, _label in STAGES]


def only(data: Mapping[str, Any], path: str, allowed: set[str]) -> None:
    """Refuses keys that the leaf does not know; a misspelt filter must not widen an audience."""
    for key in data:
        if key not in allowed:
            raise RuleError(
                within(path, str(key)),
                _("“%(key)s” means nothing here; known here: %(known)s.")
                % {"key": key, "known": ", ".join(sorted(allowed))},
            )


@dataclass(frozen=True)
class FieldIs:
    """A field of the contact compared with a value; with a span of time, unchanged for that long."""

    field: RuleField
    condition: Condition
    lasting: timedelta | None = None

    @classmethod
    def parse(cls, data: Mapping[str, Any], path: str, names: Vocabulary) -> Leaf:
        only(data, path, {"field", "op", "value", "for"})
        key = data["field"]
        field = names.field(key) if isinstance(key, str) else None
        if field is None and isinstance(key, str) and _OF_COMPANY.fullmatch(key):
            # Nobody says of which type these are, so what they are compared with does.
            field = company_attribute(key, parse_condition({**data, **_as_equal(data)}, path, None).type)
        if field is None:
            raise RuleError(within(path, "field"), _("There is no field %(key)s.") % {"key": repr(key)})
        lasting = None
        if data.get("op") == "has_been_for":
            lasting = cls._parse_span(data, path, field)
            data = {**data, **_as_equal(data)}
        elif "for" in data:
            raise RuleError(within(path, "for"), _("Only “has_been_for” takes a span of time."))
        condition = parse_condition(data, path, field.type, field.clean)
        if field.choices and condition.op in ("eq", "ne", "in", "not_in"):
            for value in condition.value if isinstance(condition.value, tuple) else [condition.value]:
                if value not in field.choices:
                    raise RuleError(
                        within(path, "value"),
                        _("%(value)s is no choice of %(key)s; there are %(known)s.")
                        % {"value": repr(value), "key": key, "known": ", ".join(field.choices)},
                    )
        if lasting and key == "stage":
            # The stage alone stands in a column with its moment.
            return Stage(condition.value, "eq", lasting)
        return cls(field, condition, lasting)

    @staticmethod
    def _parse_span(data: Mapping[str, Any], path: str, field: RuleField) -> timedelta:
        if not field.can_last:
            raise RuleError(
                within(path, "op"),
                _("Nobody writes down since when %(field)s has its value, or it has more than one.")
                % {"field": field.key},
            )
        if "value" not in data:
            raise RuleError(within(path, "value"), _("“has_been_for” needs a value."))
        if "for" not in data:
            raise RuleError(within(path, "for"), _("“has_been_for” needs a span of time, such as for: 14d."))
        return duration(data["for"], within(path, "for"))

    @classmethod
    def describe(cls, names: Vocabulary) -> dict[str, Any]:
        return {"label": _("Field of the person")}

    def says(self) -> str:
        label, name = self.field.label or self.field.key, self.field.name_of
        if self.lasting:
            return rulewords.say_lasting(self.field.type, label, self.condition.value, self.lasting, name)
        return rulewords.say_condition(label, self.condition, name)

    def dump(self) -> dict[str, Any]:
        data = {"field": self.field.key, **self.condition.dump()}
        return data | {"op": "has_been_for", "for": format_duration(self.lasting)} if self.lasting else data

    def to_q(self, now: datetime) -> Q:
        presence = self.field.presence(now) if self.field.presence else None
        value = self.field.expression(now)
        wanted = self.condition.to_q(value, now, presence)
        if self.field.is_begun and self.condition.op in {"eq", "in"}:
            wanted = self.condition.begun().to_q(begin(value), now) & wanted
        if not self.lasting:
            return wanted
        # Nothing told of the field since then, and there was somebody: an update before it, or the contact itself.
        edge = now - self.lasting
        told = self._told(OuterRef("pk"), now)
        wanted &= negate(Q(Exists(told.filter(occurred_at__gt=edge))))
        wanted &= Q(created_at__lte=edge) | Q(Exists(told.filter(occurred_at__lte=edge)))
        if self.field.edited:
            wanted &= Q(LessThanOrEqual(F(self.field.edited), Value(edge, DateTimeField())))
        return wanted

    def _told(self, contact: Any, now: datetime) -> QuerySet[Touchpoint]:
        """The touchpoints that tell of a change of the field."""
        return Touchpoint.objects.filter(
            contact_id=contact,
            kind="contact.updated",
            occurred_at__lte=now,
            properties__fields__contains=[self.field.told],
        )

    def evidence(self, contact: Contact, now: datetime) -> dict[str, Any]:
        shown = (self.field.raw or self.field.expression)(now)
        # An alias that no column of the contact has.
        row = (
            Contact.objects.filter(pk=contact.pk).annotate(rule_evidence=shown).values_list("rule_evidence", flat=True)
        )
        value = row.first()
        if isinstance(value, Decimal):
            value = float(value)
        found: dict[str, Any] = {"value": value}
        if self.field.told:
            newest = self._told(contact.pk, now).order_by("-occurred_at", "-pk").values("id", "occurred_at").first()
            since = [newest["occurred_at"] if newest else contact.created_at]
            if self.field.edited:
                edited = Contact.objects.filter(pk=contact.pk).values_list(self.field.edited, flat=True).first()
                since += [edited] if edited else []
            found |= {"since": max(since), "touchpoint": newest["id"] if newest else None}
        if self.field.rows:
            found |= self.field.rows(contact, now)
        return found

    def because(self, evidence: dict[str, Any]) -> str:
        value, since = evidence["value"], evidence.get("since")
        said = {
            "value": rulewords.say_value(
                value, self.field.type, self.field.name_of if isinstance(value, str) else None
            ),
            "since": rulewords.say_instant(since) if since else "",
        }
        if value in (None, "", [], {}):
            return _("It has had no value since %(since)s.") % said if since else _("It has no value.")
        if since:
            return _("It has been %(value)s since %(since)s.") % said
        if evidence.get("rows"):
            return _("It is %(value)s, from: %(rows)s.") % (said | {"rows": "; ".join(evidence["rows"])})
        return _("It is %(value)s.") % said

    @property
    def has_time(self) -> bool:
        return self.field.has_time or self.condition.has_time or self.lasting is not None


_OF_COMPANY = re.compile(r"company\.attributes(\.[^.]{1,64}){1,5}")


def _as_equal(data: Mapping[str, Any]) -> dict[str, Any]:
    return {"op": "eq"} if data.get("op") == "has_been_for" else {}


@dataclass(frozen=True)
class Stage:
    """The stage of the contact: now, ever reached on the ladder, or held for a span of time."""

    stage: str
    op: str = "eq"
    lasting: timedelta | None = None

    @classmethod
    def parse(cls, data: Mapping[str, Any], path: str, names: Vocabulary) -> Self:
        only(data, path, {"stage", "op", "for"})
        stage, op = data["stage"], data.get("op", "eq")
        if stage not in STAGE_KEYS:
            raise RuleError(
                within(path, "stage"),
                _("There is no stage %(stage)s; there are %(known)s.")
                % {"stage": repr(stage), "known": ", ".join(STAGE_KEYS)},
            )
        if op not in ("eq", "reached"):
            raise RuleError(
                within(path, "op"), _("A stage can be asked by eq or reached, not by %(op)s.") % {"op": repr(op)}
            )
        if op == "reached" and stage not in LADDER:
            raise RuleError(
                within(path, "stage"),
                _("%(stage)s stands beside the ladder, so it cannot be reached or passed.") % {"stage": stage},
            )
        lasting = duration(data["for"], within(path, "for")) if "for" in data else None
        if lasting and op != "eq":
            raise RuleError(within(path, "for"), _("Only the current stage can be asked for how long."))
        return cls(stage, op, lasting)

    @classmethod
    def describe(cls, names: Vocabulary) -> dict[str, Any]:
        return {
            "label": _("Stage"),
            "choices": [{"value": key, "label": str(label)} for key, label in STAGES],
            "operators": [
                {"op": "eq", "label": _("is")},
                {"op": "reached", "label": _("is or ever was, or a higher one")},
            ],
            # Only these can be asked by `reached`.
            "ladder": LADDER,
        }

    def says(self) -> str:
        stage = dict(STAGES)[self.stage]
        if self.op == "reached":
            return _("Reached the stage %(stage)s or a higher one") % {"stage": stage}
        if self.lasting:
            return _("Has been in the stage %(stage)s for at least %(span)s") % {
                "stage": stage,
                "span": rulewords.say_span(self.lasting),
            }
        return _("Is in the stage %(stage)s") % {"stage": stage}

    def dump(self) -> dict[str, Any]:
        data: dict[str, Any] = {"stage": self.stage}
        if self.op != "eq":
            data["op"] = self.op
        if self.lasting:
            data["for"] = format_duration(self.lasting)
        return data

    def to_q(self, now: datetime) -> Q:
        if self.op == "reached":
            return Q(highest_stage__in=LADDER[LADDER.index(self.stage) :])
        wanted = Q(stage=self.stage)
        if self.lasting:
            since = Coalesce(F("stage_changed_at"), F("created_at"))
            wanted &= Q(LessThanOrEqual(since, Value(now - self.lasting, DateTimeField())))
        return wanted

    def evidence(self, contact: Contact, now: datetime) -> dict[str, Any]:
        row = Contact.objects.values("stage", "highest_stage", "stage_changed_at", "created_at").get(pk=contact.pk)
        since = row["stage_changed_at"] or row["created_at"]
        return {"value": row["stage"], "highest": row["highest_stage"], "since": since}

    def because(self, evidence: dict[str, Any]) -> str:
        stages = dict(STAGES)
        return _("The stage has been %(stage)s since %(since)s; the highest so far is %(highest)s.") % {
            "stage": stages.get(evidence["value"], evidence["value"]),
            "since": rulewords.say_instant(evidence["since"]),
            "highest": stages.get(evidence["highest"], evidence["highest"]),
        }

    @property
    def has_time(self) -> bool:
        return self.lasting is not None


@dataclass(frozen=True)
class InSegment:
    """Membership of a segment, as it was last refreshed; with a span of time, uninterrupted for that long."""

    segment: str
    lasting: timedelta | None = None
    name: str = field(default="", compare=False)

    @classmethod
    def parse(cls, data: Mapping[str, Any], path: str, names: Vocabulary) -> Self:
        only(data, path, {"in_segment", "for"})
        segment = text(data["in_segment"], within(path, "in_segment"))
        name = names.segment(segment)
        if name is None:
            raise RuleError(
                within(path, "in_segment"), _("There is no segment %(segment)s.") % {"segment": repr(segment)}
            )
        return cls(segment, duration(data["for"], within(path, "for")) if "for" in data else None, name)

    @classmethod
    def describe(cls, names: Vocabulary) -> dict[str, Any]:
        segments = Segment.objects.order_by("name", "pk").values_list("key", "name")
        return {"label": _("Segment"), "choices": [{"value": key, "label": name or key} for key, name in segments]}

    def says(self) -> str:
        if self.lasting:
            return _("Has been in the segment “%(segment)s” for at least %(span)s") % {
                "segment": self.name or self.segment,
                "span": rulewords.say_span(self.lasting),
            }
        return _("Is in the segment “%(segment)s”") % {"segment": self.name or self.segment}

    def dump(self) -> dict[str, Any]:
        data = {"in_segment": self.segment}
        if self.lasting:
            data["for"] = format_duration(self.lasting)
        return data

    def to_q(self, now: datetime) -> Q:
        mine = Membership.objects.filter(contact_id=OuterRef("pk"), segment__key=self.segment)
        if self.lasting:
            mine = mine.filter(entered_at__lte=now - self.lasting)
        return Q(Exists(mine))

    def evidence(self, contact: Contact, now: datetime) -> dict[str, Any]:
        found = Membership.objects.filter(contact_id=contact.pk, segment__key=self.segment)
        return {"entered_at": found.values_list("entered_at", flat=True).first()}

    def because(self, evidence: dict[str, Any]) -> str:
        if evidence["entered_at"] is None:
            return _("At the last tick this person was not in it.")
        return _("In it since %(moment)s.") % {"moment": rulewords.say_instant(evidence["entered_at"])}

    @property
    def has_time(self) -> bool:
        return self.lasting is not None


def bucket_of(salt: str, contact_id: int) -> int:
    """A contact's place from 0 to 99, sticky for a salt; the same as `bucket_of` in the database."""
    return int(hashlib.md5(f"{salt}:{contact_id}".encode(), usedforsecurity=False).hexdigest()[:8], 16) % 100


@dataclass(frozen=True)
class Bucket:
    """A random but sticky share of all contacts: buckets `first` to `last` of 100."""

    first: int
    last: int
    salt: str

    @classmethod
    def parse(cls, data: Mapping[str, Any], path: str, names: Vocabulary) -> Self:
        only(data, path, {"bucket", "salt"})
        match = re.fullmatch(r"([0-9]{1,2})(?:-([0-9]{1,2}))?", str(data["bucket"]))
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise RuleError(
                within(path, "bucket"),
                _("%(share)s is no share; write it like 0-49 (of 0-99).") % {"share": repr(data["bucket"])},
            )
        return cls(int(match[1]), int(match[2] or match[1]), text(data.get("salt"), within(path, "salt")))

    @classmethod
    def describe(cls, names: Vocabulary) -> dict[str, Any]:
        return {"label": _("Random share")}

    def says(self) -> str:
        return _("Is in a random share of %(share)s (places %(first)d to %(last)d of 0 to 99, drawn as “%(salt)s”)") % {
            "share": f"{self.last - self.first + 1}\u00a0%",
            "first": self.first,
            "last": self.last,
            "salt": self.salt,
        }

    def dump(self) -> dict[str, Any]:
        return {"bucket": f"{self.first}-{self.last}", "salt": self.salt}

    def to_q(self, now: datetime) -> Q:
        mine = Func(Value(self.salt), F("pk"), function="bucket_of", output_field=IntegerField())
        return Q(GreaterThanOrEqual(mine, self.first)) & Q(LessThanOrEqual(mine, self.last))

    def evidence(self, contact: Contact, now: datetime) -> dict[str, Any]:
        return {"bucket": bucket_of(self.salt, contact.pk)}

    def because(self, evidence: dict[str, Any]) -> str:
        return _("The place drawn is %(place)d.") % {"place": evidence["bucket"]}

    @property
    def has_time(self) -> bool:
        return False
