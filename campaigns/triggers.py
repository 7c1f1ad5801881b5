"""What brings people in: what a definition may say of it, how often it lets the same person in, and how to read that.

Pure but for the compiling of rules: no table of journeys is looked at.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q
from django.utils.translation import gettext as _

from campaigns.cadence import check_cadence
from campaigns.findings import Findings
from campaigns.waits import clock, days_and_seconds
from contacts.durations import parse_duration
from contacts.models import Contact
from contacts.rulefields import Vocabulary
from contacts.rules import matching, touchpoints_matching

TRIGGERS = [
    "segment_entered", "segment_left", "touchpoint", "stage_changed", "score_crossed", "field_changed",
    "manual", "date",
]  # fmt: skip
# An event that was told later than this after it happened starts nothing, unless the journey says otherwise.
GRACE = timedelta(hours=24)
# The place of what was asked for by hand, by REST or by another journey: no trigger of the list.
BY_REQUEST = -1
_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})?")


# Reading -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cause:
    """What one trigger reacts to: touchpoints of a kind under a condition, and the entry filter (a rule, or None).

    `place` is the trigger's place in the journey's list.
    """

    place: int
    kind: str
    wanted: Q
    when: Any = None


def triggers_of(definition: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The triggers with their paths: one may stand alone, or any of a list."""
    trigger = definition.get("trigger")
    if isinstance(trigger, list) and trigger:
        return [(f"trigger[{place}]", one) for place, one in enumerate(trigger)]
    return [("trigger", trigger)]


def grace_of(definition: Mapping[str, Any]) -> timedelta:
    """How late an event, or a date, may be told and still start the journey."""
    return parse_duration(definition["grace"]) if "grace" in definition else GRACE


def filter_of(definition: Mapping[str, Any], place: int) -> Any:
    """The entry filter of the trigger at this place; None where there is none."""
    found = triggers_of(definition)
    trigger = found[place][1] if 0 <= place < len(found) else None
    return trigger.get("when") if isinstance(trigger, Mapping) else None


def dates_of(definition: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any], Any]]:
    """The triggers by date: place, what it says of the date, and who is meant (a rule, or None for everybody)."""
    return [
        (place, trigger["date"], trigger.get("who"))
        for place, (_path, trigger) in enumerate(triggers_of(definition))
        if isinstance(trigger, Mapping) and "date" in trigger
    ]


def offset_of(said: Any) -> dict[str, int]:
    """A span before (`-30d`) or after (`7d`) a date, as days of the calendar and elapsed seconds.

    Raises ValueError with a sentence.
    """
    if said in (None, 0, "0", "0d"):
        return {"days": 0, "seconds": 0}
    text = str(said).strip()
    span = days_and_seconds(text.lstrip("+-"))
    return {name: -number for name, number in span.items()} if text.startswith("-") else span


def instant_of(said: str) -> datetime:
    """When an absolute date is: a wall time of no zone (each person's own), or one instant. Raises ValueError."""
    if not isinstance(said, str) or not _INSTANT.fullmatch(said):
        raise ValueError(_("Write a local time like 2027-03-28T09:00, or with an offset one instant."))
    try:
        return datetime.fromisoformat(said)
    except ValueError:
        raise ValueError(_("There is no such day or time in the calendar.")) from None


def is_track(definition: Mapping[str, Any]) -> bool:
    """Whether it is one of those journeys of which a person is on one at a time (see `campaigns.nurture`)."""
    return definition.get("kind") == "nurture" and "streams" in definition


def causes(journey_key: str, definition: Mapping[str, Any], now: datetime, names: Vocabulary) -> list[Cause]:
    """What lets people in. Raises RuleError.

    A request by hand or by the API always does; and into a track, a lead that sales gave back to it.
    """
    asked = Q(kind="journey.requested", properties__journey=journey_key)
    found = [Cause(BY_REQUEST, "journey.requested", asked)]
    if is_track(definition):
        given_back = Q(kind="lead.rejected", properties__track=journey_key)
        found.append(Cause(BY_REQUEST, "lead.rejected", given_back))
    for place, (_path, trigger) in enumerate(triggers_of(definition)):
        if isinstance(trigger, Mapping) and "manual" not in trigger:
            kind, wanted = _cause(journey_key, trigger, now, names)
            if kind == "date.reached":
                wanted &= Q(properties__place=place)
            found.append(Cause(place, kind, wanted, trigger.get("when")))
    return found


def _cause(journey_key: str, trigger: Mapping[str, Any], now: datetime, names: Vocabulary) -> tuple[str, Q]:
    if "date" in trigger:
        return "date.reached", Q(kind="date.reached", properties__journey=journey_key)
    if "touchpoint" in trigger:
        did = {"did": trigger["touchpoint"]} | ({"where": trigger["where"]} if "where" in trigger else {})
        return trigger["touchpoint"], touchpoints_matching(did, now, names)
    for word in ("segment_entered", "segment_left"):
        if word in trigger:
            kind = word.replace("_", ".")
            return kind, Q(kind=kind, properties__segment=trigger[word])
    if "stage_changed" in trigger:
        ends = _ends(trigger["stage_changed"], "to")
        return "stage.changed", Q(kind="stage.changed", **{f"properties__{end}": stage for end, stage in ends.items()})
    if "score_crossed" in trigger:
        ends = _ends(trigger["score_crossed"], "score")
        wanted = Q(properties__score=ends["score"], properties__direction=ends.get("direction", "up"))
        return "score.crossed", Q(kind="score.crossed") & wanted
    return "contact.updated", _field_changed(_ends(trigger["field_changed"], "field"), now, names)


def _ends(said: Any, short: str) -> Mapping[str, Any]:
    """What a trigger says, also where it says only the one word that matters."""
    return {short: said} if isinstance(said, str) else said


def _field_changed(ends: Mapping[str, Any], now: datetime, names: Vocabulary) -> Q:
    field = names.field(ends["field"])
    told = (field.told if field else "") or ends["field"]
    changed = Q(kind="contact.updated", properties__fields__contains=[told])
    if "from" in ends:
        # What it was comes with the touchpoint; a field that had no value is not among what was.
        nothing = Q(properties__former__isnull=True) | ~Q(properties__former__has_key=told)
        before = Q(properties__former__contains={told: ends["from"]})
        changed &= nothing if ends["from"] is None else before
    if "to" in ends:
        meant: Any = matching(_value_is(ends), now, names)
        changed &= Q(contact_id__in=Contact.objects.filter(pk__in=meant.values("pk")).values("pk"))
    return changed


def _value_is(ends: Mapping[str, Any]) -> dict[str, Any]:
    if ends["to"] is None:
        return {"field": ends["field"], "op": "is_empty"}
    return {"field": ends["field"], "op": "eq", "value": ends["to"]}


def state_of(trigger: Any) -> Any:
    """The rule of those whom a trigger by state would name already, were it not for the moment; None for events."""
    if not isinstance(trigger, Mapping):
        return None
    if "segment_entered" in trigger:
        return {"in_segment": trigger["segment_entered"]}
    if "segment_left" in trigger:
        return None  # everybody who was never in it is no answer
    if "stage_changed" in trigger and "to" in (ends := _ends(trigger["stage_changed"], "to")):
        return {"stage": ends["to"]}
    if "field_changed" in trigger and "to" in (ends := _ends(trigger["field_changed"], "field")):
        return _value_is(ends)
    if "date" in trigger and "field" in trigger["date"]:
        # Whose day is still ahead, though the journey would have begun before it by now.
        return _begun_before_its_day(trigger["date"])
    return None


def _begun_before_its_day(date: Mapping[str, Any]) -> Any:
    offset = offset_of(date.get("offset"))
    seconds = -(offset["days"] * 86_400 + offset["seconds"])
    if seconds <= 0:
        return None
    days = max(1, -(-seconds // 86_400))
    asked = [
        {"field": date["field"], "op": "gte", "value": "now"},
        {"field": date["field"], "op": "lte", "value": f"+{days}d"},
    ]
    return {"all": asked}


# Checking ------------------------------------------------------------------------------------------------------------


def check_trigger(f: Findings, trigger: Any, path: str) -> None:
    """What is wrong with one trigger."""
    if trigger == "manual":
        return
    kinds = [key for key in trigger if key in TRIGGERS] if isinstance(trigger, Mapping) else []
    if len(kinds) != 1:
        f.say(path, _("Say what brings people in, one of: %(known)s.") % {"known": ", ".join(TRIGGERS)})
        return
    kind, said = kinds[0], trigger[kinds[0]]
    more = {"touchpoint": ["where"], "date": ["who"]}.get(kind, [])
    f.only(trigger, [kind, *more, "when"], path)
    if trigger.get("when") is not None:
        f.rule(trigger["when"], f"{path}.when")
    _CHECKS[kind](f, said, f"{path}.{kind}", trigger, path)


def _check_segment(f: Findings, said: Any, here: str, trigger: Mapping[str, Any], path: str) -> None:
    if not isinstance(said, str) or (f.known.segments is not None and said not in f.known.segments):
        f.say(here, _("There is no segment “%(key)s”.") % {"key": said})


def _check_touchpoint(f: Findings, said: Any, here: str, trigger: Mapping[str, Any], path: str) -> None:
    f.rule({"did": said} | ({"where": trigger["where"]} if "where" in trigger else {}), path)


def _check_stage(f: Findings, said: Any, here: str, trigger: Mapping[str, Any], path: str) -> None:
    ends = _ends(said, "to")
    if not isinstance(ends, Mapping) or not ends:
        f.say(here, _("Say the stage that people come to, or {from: …, to: …}."))
        return
    f.only(ends, ["from", "to"], here)
    for end, stage in ends.items():
        f.rule({"stage": stage}, f"{here}.{end}")


def _check_score(f: Findings, said: Any, here: str, trigger: Mapping[str, Any], path: str) -> None:
    ends = _ends(said, "score")
    if not isinstance(ends, Mapping) or not isinstance(ends.get("score"), str):
        f.say(here, _("Name the score, or write {score: …, direction: up}."))
        return
    f.only(ends, ["score", "direction"], here)
    if ends.get("direction", "up") not in ("up", "down"):
        f.say(f"{here}.direction", _("A score crosses its threshold “up” or “down”."))


def _check_field(f: Findings, said: Any, here: str, trigger: Mapping[str, Any], path: str) -> None:
    ends = _ends(said, "field")
    if not isinstance(ends, Mapping) or not isinstance(ends.get("field"), str):
        f.say(here, _("Name the field, or write {field: …, to: …}."))
        return
    f.only(ends, ["field", "from", "to"], here)
    f.rule({"field": ends["field"], "op": "is_set"}, here)
    if ends.get("to") is not None:
        f.rule(_value_is(ends), here)
    if "from" in ends and ends["field"] not in TOLD and ends["field"] not in f.names.custom_fields():
        f.say(f"{here}.from", _("What it was is not kept of this field; leave out “from”."))
    elif ends.get("from") is not None:
        f.rule({"field": ends["field"], "op": "eq", "value": ends["from"]}, f"{here}.from")


# Of these and of custom fields it is told what they were when they change; names and handles are not kept twice.
TOLD = ("language", "country", "timezone", "job_title", "company_role", "source")


def _check_date(f: Findings, said: Any, here: str, trigger: Mapping[str, Any], path: str) -> None:
    forms = [name for name in ("field", "rrule", "at") if isinstance(said, Mapping) and name in said]
    if not forms:
        f.say(here, _("Say a date: {at: …}, {field: …, offset: …, at: …} or {rrule: …, at: …}."))
        return
    if trigger.get("who") is not None:
        f.rule(trigger["who"], f"{path}.who")
    elif forms[0] != "field":
        f.say(f"{path}.who", _("Say who gets in on this date: a rule."))
    if forms[0] == "field":
        _check_date_field(f, said, here)
    elif forms[0] == "rrule":
        f.only(said, ["rrule", "at"], here)
        for name, message in check_cadence(said):
            f.say(f"{here}.{name}" if name else here, message)
    else:
        f.only(said, ["at"], here)
        try:
            instant_of(said["at"])
        except ValueError as error:
            f.say(f"{here}.at", str(error))


def _check_date_field(f: Findings, said: Mapping[str, Any], here: str) -> None:
    f.only(said, ["field", "offset", "at"], here)
    field = f.names.field(said["field"]) if isinstance(said["field"], str) else None
    if field is None or field.type not in ("date", "datetime"):
        f.say(f"{here}.field", _("There is no field “%(key)s” that holds a date.") % {"key": said["field"]})
        return
    try:
        offset_of(said.get("offset"))
    except (ValueError, OverflowError) as error:
        f.say(f"{here}.offset", str(error))
    # A moment has a time of day of its own.
    if "at" in said or field.type == "date":
        try:
            clock(said.get("at"))
        except ValueError as error:
            f.say(f"{here}.at", str(error))


def _check_nothing(f: Findings, said: Any, here: str, trigger: Mapping[str, Any], path: str) -> None:
    pass


_CHECKS = {
    "segment_entered": _check_segment,
    "segment_left": _check_segment,
    "touchpoint": _check_touchpoint,
    "stage_changed": _check_stage,
    "score_crossed": _check_score,
    "field_changed": _check_field,
    "date": _check_date,
    "manual": _check_nothing,
}


def check_reentry(f: Findings, definition: Mapping[str, Any]) -> None:
    """How often the same person gets in, and how late an event may come."""
    if "grace" in definition:
        f.span(definition["grace"], "grace")
    reentry = definition.get("reentry", {"policy": "never"})
    policy = str(reentry.get("policy")) if isinstance(reentry, Mapping) else ""
    allowed = {
        "never": [],
        "after_exit": ["cooldown", "max", "window"],
        "per_key": ["key", "max", "window"],
    }
    if policy not in allowed:
        f.say("reentry.policy", _("The policy must be one of: %(known)s.") % {"known": ", ".join(allowed)})
        return
    f.only(reentry, ["policy", *allowed[policy]], "reentry")
    if policy == "per_key":
        f.text(reentry.get("key"), "reentry.key")
    for name in ("cooldown", "window"):
        if name in reentry:
            f.span(reentry[name], f"reentry.{name}")
    if "max" in reentry:
        most = reentry["max"]
        if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= 1000:
            f.say("reentry.max", _("Say how many times at most: 1 to 1000."))
        if "window" not in reentry:
            f.say("reentry.window", _("Say within which time, such as 30d."))
    elif "window" in reentry:
        f.say("reentry.max", _("Say how many times at most: 1 to 1000."))
