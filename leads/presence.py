"""When the people of sales are at work, as far as mails to them must know."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from leads.models import Absence, Rep
from leads.working import Calendar, HoursError, calendar, instant_of, parse_hours

# Of who has no place in a team; and who is always at work reads the digest in the morning, too.
USUAL = "mon-fri 08:00-17:00"


@dataclass(frozen=True)
class Shift:
    """One working day of somebody, by the clock of their own hours."""

    day: date
    begins_at: datetime
    ends_at: datetime


def calendars(users: Iterable[Any], now: datetime) -> dict[int, Calendar]:
    """When each user works, by user id: the hours of the place in a team (of several, the first) less days away."""
    ids = [user.pk for user in users]
    away: dict[int, list[tuple[date, date]]] = {}
    # Somewhere it is still yesterday.
    yesterday = (now - timedelta(days=1)).date()
    for absence in Absence.objects.filter(user__in=ids, last_day__gte=yesterday):
        away.setdefault(absence.user_id, []).append((absence.first_day, absence.last_day))
    found = {pk: calendar(USUAL, (), away.get(pk, ())) for pk in ids}
    for rep in Rep.objects.filter(user__in=ids).select_related("team").order_by("-pk"):
        try:
            found[rep.user_id] = calendar(rep.hours or rep.team.hours, rep.team.holidays, away.get(rep.user_id, ()))
        except HoursError:
            # Hours that nobody can read do not count; routing logs it.
            continue
    return found


def shift(of: Calendar, now: datetime) -> Shift | None:
    """The working day on which somebody is at this moment; None on a day off."""
    if of.hours.week == parse_hours("").week:
        of = replace(of, hours=replace(of.hours, week=parse_hours(USUAL).week))
    day = of.hours.local_day(now)
    windows = []
    for begins, ends in of.windows(instant_of(day, 0, of.hours.zone)):
        if of.hours.local_day(begins) != day:
            break
        windows.append((begins, ends))
    return Shift(day, windows[0][0], windows[-1][1]) if windows else None
