"""Rules of a score in words: what one gives, how it fades, what caps it, and what it gave of late."""

from datetime import datetime, timedelta

from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from contacts.sql import in_time, load
from scoring.models import ScoreRule

SQL = load(__file__)

OF_LATE = timedelta(days=30)
_TIME_LIMIT = timedelta(seconds=2)


def halves(half_life: timedelta) -> str:
    """How points fade."""
    if half_life < timedelta(days=2):
        hours = round(half_life / timedelta(hours=1))
        return ngettext("halves every %(count)d hour", "halves every %(count)d hours", hours) % {"count": hours}
    return ngettext("halves every %(count)d day", "halves every %(count)d days", half_life.days) % {
        "count": half_life.days
    }


def in_short(rule: ScoreRule) -> str:
    """What a rule gives, in one line: “+10 points each time, halves every 14 days, at most 20 a day”."""
    points = _number(abs(rule.points))
    points = f"+{points}" if rule.points >= 0 else f"−{points}"
    if rule.model.kind == "fit":
        said = [_("%(points)s points as long as it holds") % {"points": points}]
    else:
        said = [_("%(points)s points each time") % {"points": points}]
        said.append(halves(rule.half_life) if rule.half_life else _("never fades"))
        if rule.cap_per_day is not None:
            said.append(_("at most %(points)s a day") % {"points": _number(rule.cap_per_day)})
        if rule.group is not None:
            shared = {"points": _number(rule.group.cap_per_day), "group": rule.group}
            said.append(_("at most %(points)s a day with “%(group)s”") % shared)
    return ", ".join(said)


def _number(points: float) -> str:
    return number_format(int(points) if points == int(points) else points)


def use_of_rules(model_id: int, now: datetime) -> dict[int, tuple[int, float]] | None:
    """How many people got how many points by each rule of a score of late; None where counting takes too long."""
    found: dict[int, tuple[int, float]] = {}
    with in_time(_TIME_LIMIT) as time:
        rows = SQL["rule_use"].rows(model=model_id, since=(now - OF_LATE).date())
        found = {rule: (people, points) for rule, people, points in rows}
    return None if time.is_up else found
