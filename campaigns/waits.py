"""Waits and spans of time: what may be written, and what of it the database needs (see its function `wakes_at`)."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from django.utils.translation import gettext as _

from campaigns.findings import Findings
from contacts.durations import parse_duration

Step = Mapping[str, Any]
WEEKDAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


def days_and_seconds(text: str) -> dict[str, int]:
    """A span as whole calendar days, which keep the clock time, and elapsed seconds: `1d` is not `24h`."""
    span, text = parse_duration(text), text.strip()
    if text.startswith("P"):
        date, _mark, time = text.partition("T")
        seconds = int(parse_duration(f"PT{time}").total_seconds()) if time.strip("0HMS") else 0
        return {"days": (span.days * 86_400 + span.seconds - seconds) // 86_400, "seconds": seconds}
    if text[-1] in "dw":
        return {"days": span.days, "seconds": 0}
    return {"days": 0, "seconds": int(span.total_seconds())}


def weekdays(value: Any) -> list[int]:
    """`mon-fri`, `mon,wed` or a list of days as numbers, Monday 1 … Sunday 7. Raises ValueError with a sentence."""
    if value in (None, ""):
        return list(range(1, 8))
    parts = value if isinstance(value, list) else str(value).split(",")
    days: set[int] = set()
    for part in parts:
        first, mark, last = str(part).strip().lower().partition("-")
        if first not in WEEKDAYS or (mark and last not in WEEKDAYS):
            raise ValueError(_("“%(value)s” is not a weekday; write mon-fri or mon,wed.") % {"value": part})
        begin, end = WEEKDAYS.index(first), WEEKDAYS.index(last if mark else first)
        days |= {day % 7 + 1 for day in range(begin, (end if end >= begin else end + 7) + 1)}
    return sorted(days)


def clock(value: Any) -> str:
    """A wall time `HH:MM`. Raises ValueError with a sentence."""
    if not isinstance(value, str) or not _CLOCK.fullmatch(value):
        raise ValueError(_('Write a time like "09:00", in quotes.'))
    return value


def check_wait(f: Findings, step: Step, path: str, key: str) -> None:
    f.span(step["wait"], f"{path}.wait", key)


# `wait_until` has four forms: a time of day, a window of the day, a date of the contact, a date that the trigger told.
_UNTIL = {
    "local_time": ["local_time", "weekdays"],
    "from": ["from", "to", "weekdays"],
    "field": ["field", "offset", "local_time"],
    "property": ["property", "offset", "local_time"],
}


def _form_of_until(until: Step) -> str:
    return next((form for form in ("field", "property", "from") if form in until), "local_time")


def check_wait_until(f: Findings, step: Step, path: str, key: str) -> None:
    until, here = step["wait_until"], f"{path}.wait_until"
    if not isinstance(until, Mapping):
        f.say(here, _("Write a local_time, a window (from, to), a date field or a property of the trigger."), key)
        return
    form = _form_of_until(until)
    f.only(until, _UNTIL[form], here, key)
    for name in ("local_time", "from", "to"):
        if name in until or (form, name) in (("local_time", "local_time"), ("from", "to")):
            _reads(f, clock, until.get(name), f"{here}.{name}", key)
    if form == "from" and until.get("from") == until.get("to"):
        f.say(f"{here}.to", _("A window ends at another time than it begins."), key)
    if form not in ("field", "property"):
        _reads(f, weekdays, until.get("weekdays"), f"{here}.weekdays", key)
        return
    if form == "field":
        _check_date_field(f, until["field"], f"{here}.field", key)
    else:
        f.text(until["property"], f"{here}.property", key)
    if "offset" in until:
        _reads(f, offset, until["offset"], f"{here}.offset", key)


def _check_date_field(f: Findings, name: Any, path: str, key: str) -> None:
    if not isinstance(name, str):
        f.text(name, path, key)
    elif f.known.fields is not None and f.known.fields.get(name) not in ("date", "datetime"):
        f.say(path, _("There is no custom field “%(key)s” that holds a date.") % {"key": name}, key)


def _reads(f: Findings, read: Callable[[Any], Any], value: Any, path: str, key: str) -> None:
    try:
        read(value)
    except (ValueError, OverflowError) as error:
        f.say(path, str(error), key)


def offset(value: Any) -> dict[str, int]:
    """A span before (`-7d`) or after (`2h`) a moment, as days and seconds. Raises ValueError with a sentence."""
    text = str(value).strip()
    sign = -1 if text.startswith("-") else 1
    return {name: sign * number for name, number in days_and_seconds(text.lstrip("+-")).items()}


def until_config(until: Step) -> dict[str, Any]:
    form = _form_of_until(until)
    if form in ("field", "property"):
        at = {"local_time": until["local_time"]} if "local_time" in until else {}
        return {form: until[form], **(offset(until["offset"]) if "offset" in until else {}), **at}
    if form == "from":
        return {"from": until["from"], "to": until["to"], "weekdays": weekdays(until.get("weekdays"))}
    return {"local_time": until["local_time"], "weekdays": weekdays(until.get("weekdays"))}


def check_wait_for(f: Findings, step: Step, path: str, key: str) -> None:
    f.rule(step["wait_for"], f"{path}.wait_for", key)
    if "timeout" not in step:
        f.say(f"{path}.timeout", _("A wait for something needs a timeout, so that nobody gets stuck."), key)
    else:
        f.span(step["timeout"], f"{path}.timeout", key)
    if step.get("since", "enrolment") not in ("enrolment", "step"):
        f.say(f"{path}.since", _("Count events since “enrolment” or since “step”."), key)
