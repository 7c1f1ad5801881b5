"""The twin: what a rule means, in plain Python over plain dicts. Where it and the compiled SQL differ, it is right.

A person is a dict of columns, with `company` (a dict or None), `owner`, `attributes`, `touchpoints` (dicts), `segments`
(key → entered_at), `consents` ((topic, channel) → state), `points`, `orders` (dicts) and `identities` (kind → values).
A rule is its JSON; nothing of the compiler is used here.
"""

import hashlib
import json
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Europe/Prague")
LADDER = ["visitor", "known", "lead", "qualified", "customer", "ambassador"]
COLUMNS = {
    "created_at": "datetime", "identified_at": "datetime", "last_seen_at": "datetime", "company.employees": "number",
    "stage_changed_at": "datetime", "orders.count": "number", "orders.total": "number", "orders.average": "number",
    "orders.last_at": "datetime",
}  # fmt: skip
SHAPE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII)


def holds(rule: dict, person: dict, now: datetime, fields: dict[str, str]) -> bool:
    """Does the rule mean this person? `fields` gives the types of the custom fields."""
    if "all" in rule:
        return all(holds(part, person, now, fields) for part in rule["all"])
    if "any" in rule:
        return any(holds(part, person, now, fields) for part in rule["any"])
    if "not" in rule:
        return not holds(rule["not"], person, now, fields)
    if "field" in rule:
        return field_is(rule, person, now, fields)
    if "did" in rule:
        return did(rule, person, now)
    if "stage" in rule:
        return stage_is(rule, person, now)
    if "in_segment" in rule:
        entered = person["segments"].get(rule["in_segment"])
        return entered is not None and ("for" not in rule or entered <= now - span(rule["for"]))
    if "consent" in rule:
        return consents_to(rule["consent"], rule.get("channel", "email"), rule.get("state", "granted"), person)
    if "score" in rule:
        return compare("number", rule["op"], rule["value"], score(rule["score"], person, now), True, now)
    if "grade" in rule:
        return compare("text", rule["op"], rule["value"], grade(person, now), True, now)
    first, last = map(int, rule["bucket"].split("-"))
    digest = hashlib.md5(f"{rule['salt']}:{person['id']}".encode()).hexdigest()
    return first <= int(digest[:8], 16) % 100 <= last


def stage_is(rule: dict, person: dict, now: datetime) -> bool:
    if rule.get("op") == "reached":
        highest = person["highest_stage"]
        return highest in LADDER and LADDER.index(highest) >= LADDER.index(rule["stage"])
    since = person["stage_changed_at"] or person["created_at"]
    return person["stage"] == rule["stage"] and ("for" not in rule or since <= now - span(rule["for"]))


OPT_OUT = {"news": True, "tips": False}
SUPPRESSED = {"cz", "gone@example.com"}


def consents_to(topic: str, channel: str, wanted: str, person: dict) -> bool:
    said = {about: state for (about, by), state in person["consents"].items() if by == channel}
    if "denied" in (said.get(""), said.get(topic)):
        state = "denied"
    elif said.get("") == "pending":
        state = "pending"
    else:
        state = said.get(topic, "none")
    if wanted != "granted":
        return state == wanted
    if channel == "email" and person["email"].strip(" ").lower() in SUPPRESSED:
        return False
    return state == "granted" or state == "none" and OPT_OUT[topic]


def score(key: str, person: dict, now: datetime) -> Decimal:
    worth = sum(
        one["points"] * (2 ** -((now - one["at"]) / one["half_life"]) if one["half_life"] else 1)
        for one in person["points"]
        if one["score"] == key and one["at"] <= now
    )
    return Decimal(f"{worth:.15g}")  # as many digits as a float is sure of


BOUNDS = (10, 5)


def grade(person: dict, now: datetime) -> str:
    """The letter of fit and the number of engagement, by the first bound that is reached."""
    steps = []
    for key in ("fit", "engagement"):
        value = score(key, person, now)
        steps.append(next((place for place, bound in enumerate(BOUNDS) if value >= bound), len(BOUNDS)))
    return "ABC"[steps[0]] + "123"[steps[1]]


def of_orders(what: str, person: dict):
    orders = [one for one in person["orders"] if one["state"] in ("placed", "paid")]
    total = sum((Decimal(one["total"]) for one in orders), Decimal())
    if what == "count":
        return Decimal(len(orders))
    if what == "total":
        return total
    if not orders:
        return None
    return total / len(orders) if what == "average" else max(one["placed_at"] for one in orders)


def has_been(rule: dict, person: dict, now: datetime, fields: dict[str, str]) -> bool:
    """Has the value, and nothing told of a change of it for so long; if nothing ever did, the contact is that old."""
    if not field_is({"field": rule["field"], "op": "eq", "value": rule["value"]}, person, now, fields):
        return False
    told = "company" if rule["field"].startswith("company.") else rule["field"]
    since = max(
        (
            one["occurred_at"]
            for one in person["touchpoints"]
            if one["kind"] == "contact.updated"
            and one["occurred_at"] <= now
            and isinstance(one["properties"].get("fields"), list)
            and told in one["properties"]["fields"]
        ),
        default=person["created_at"],
    )
    edge = now - span(rule["for"])
    return since <= edge and (told != "company" or person["company"]["updated_at"] <= edge)


def did(rule: dict, person: dict, now: datetime) -> bool:
    count = 0
    for touchpoint in person["touchpoints"]:
        at = touchpoint["occurred_at"]
        count += (
            touchpoint["kind"] == rule["did"]
            and at <= now
            and (not touchpoint["is_machine"] or rule.get("include_machines", False))
            and ("within" not in rule or at > now - span(rule["within"]))
            and ("before" not in rule or at < edges(rule["before"], now)[0])
            and ("after" not in rule or at >= edges(rule["after"], now)[1])
            and all(property_is(one, touchpoint["properties"], now) for one in rule.get("where", []))
        )
    wanted = rule.get("count", {"op": "gte", "value": 1})
    return order(wanted["op"], count, wanted["value"])


def property_is(where: dict, properties: dict, now: datetime) -> bool:
    raw = inside(properties, where["field"].split("."))
    op, value = where["op"], where.get("value")
    type_ = type_of(op, value)
    if op == "contains" and isinstance(raw, list):
        return value in raw
    return compare(type_, op, value, read(type_, raw), is_there(raw), now)


def inside(raw, keys: list[str]):
    for key in keys:
        raw = raw.get(key) if isinstance(raw, dict) else None
    return raw


def type_of(op: str, value) -> str:
    """Of which type a value is that nobody declared: of that with which it is compared."""
    first = value[0] if isinstance(value, list) else value
    if op in ("before", "after", "within_last") or (op in ("gt", "gte", "lt", "lte") and isinstance(value, str)):
        return "datetime"
    if isinstance(first, bool):
        return "boolean"
    return "number" if isinstance(first, int | float) else "text"


def field_is(rule: dict, person: dict, now: datetime, fields: dict[str, str]) -> bool:
    key, op, value = rule["field"], rule["op"], rule.get("value")
    if op == "has_been_for" and key == "stage":
        return stage_is({"stage": value, "for": rule["for"]}, person, now)
    if op == "has_been_for":
        return has_been(rule, person, now, fields)
    if key in fields:
        type_, raw = {"choice": "text"}.get(fields[key], fields[key]), person["attributes"].get(key)
        return compare(type_, op, value, read(type_, raw), is_there(raw), now)
    if key.startswith("company.attributes."):
        attributes = person["company"]["attributes"] if person["company"] else {}
        type_, raw = type_of(op, value), inside(attributes, key.split(".")[2:])
        return compare(type_, op, value, read(type_, raw), is_there(raw), now)
    if key.startswith("identity."):
        mine = person["identities"].get(key.removeprefix("identity."))
        return compare("list", op, value, mine, bool(mine), now)
    if key.startswith("orders."):
        mine = of_orders(key.removeprefix("orders."), person)
    elif key.startswith("company."):
        mine = person["company"][key.removeprefix("company.")] if person["company"] else None
    else:
        mine = person[key]
    return compare(COLUMNS.get(key, "text"), op, value, mine, mine not in (None, ""), now)


def compare(type_: str, op: str, value, mine, there: bool, now: datetime) -> bool:
    if op == "is_set":
        return there
    if op == "is_empty":
        return not there
    if op == "ne":
        return not compare(type_, "eq", value, mine, there, now)
    if op == "not_in":
        return not compare(type_, "in", value, mine, there, now)
    if mine is None:
        return False
    if op == "in":
        return any(compare(type_, "contains" if type_ == "list" else "eq", one, mine, there, now) for one in value)
    if type_ == "text":
        if op == "eq":
            return mine == value
        return lower(value) in lower(mine) if op == "contains" else lower(mine).startswith(lower(value))
    if type_ == "number":
        return order(op, Decimal(mine), Decimal(str(value)))
    if type_ == "boolean":
        return mine is value
    if type_ == "list":
        return any(same(one, value) for one in mine)
    if op == "within_last":
        if type_ == "date":
            return local_day(now - span(value)) <= mine <= local_day(now)
        return now - span(value) < mine <= now
    op = {"before": "lt", "after": "gt"}.get(op, op)
    start, end = edges(value, now)
    if type_ == "date":
        return order(op, mine, local_day(start))
    if start == end:
        return order(op, mine, start)
    return {"gt": mine >= end, "gte": mine >= start, "lt": mine < start, "lte": mine < end}[op]


def order(op: str, left, right) -> bool:
    return {
        "eq": left == right, "ne": left != right,
        "gt": left > right, "gte": left >= right, "lt": left < right, "lte": left <= right,
    }[op]  # fmt: skip


# Reading what stands in JSON -----------------------------------------------------------------------------------------


def is_there(raw) -> bool:
    return raw is not None and raw != "" and raw != [] and raw != {}


def read(type_: str, raw):
    """The value as the type, or None where it is none."""
    if raw is None or isinstance(raw, dict):
        return None
    if type_ == "list":
        return raw if isinstance(raw, list) else None
    if isinstance(raw, list):
        return None
    if type_ == "text":
        return as_text(raw)
    if type_ == "boolean":
        return raw if isinstance(raw, bool) else {"true": True, "false": False}.get(raw)
    if type_ == "number":
        if isinstance(raw, str):
            return Decimal(raw) if re.fullmatch(r"-?[0-9]{1,30}(\.[0-9]{1,30})?", raw) else None
        return None if isinstance(raw, bool) else Decimal(json.dumps(raw))
    if not isinstance(raw, str):
        return None
    if type_ == "date":
        head = raw[:10]
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", head, re.ASCII) or raw[10:11] not in ("", "T", " "):
            return None
        try:
            return date.fromisoformat(head)
        except ValueError:
            return None
    if not SHAPE.fullmatch(raw):
        return None
    try:
        moment = datetime.fromisoformat(raw)
    except ValueError:
        return None
    return moment if moment.tzinfo else local_instant(moment)


def as_text(raw) -> str:
    if isinstance(raw, bool):
        return "true" if raw else "false"
    return raw if isinstance(raw, str) else format(Decimal(json.dumps(raw)), "f")


def same(left, right) -> bool:
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def lower(text: str) -> str:
    # One letter for one letter, wherever it stands; Python alone would make two of İ and look around each Σ.
    return "".join({"İ": "i", "Σ": "σ", "ς": "σ"}.get(letter, letter.lower()) for letter in text)


# Time ----------------------------------------------------------------------------------------------------------------


def span(text: str) -> timedelta:
    return int(text[:-1]) * {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}[text[-1]]


def local_day(moment: datetime) -> date:
    return moment.astimezone(ZONE).date()


def local_instant(wall: datetime) -> datetime:
    if wall.year == 1:
        return datetime.min.replace(tzinfo=UTC)  # the year before has no number in Python, and PostgreSQL minds neither
    while (instant := wall.replace(tzinfo=ZONE).astimezone(UTC)).astimezone(ZONE).replace(tzinfo=None) != wall:
        wall = wall.replace(second=0, microsecond=0) + timedelta(minutes=1)
    return instant


def edges(text: str, now: datetime) -> tuple[datetime, datetime]:
    """When a moment of a rule begins and is over."""
    if text == "now":
        return now, now
    if text[0] in "+-":
        moment = now + span(text[1:]) if text[0] == "+" else now - span(text[1:])
        return moment, moment
    if len(text) == 10:
        day = datetime.combine(date.fromisoformat(text), time())
        return local_instant(day), local_instant(day + timedelta(days=1))
    moment = datetime.fromisoformat(text)
    return moment, moment
