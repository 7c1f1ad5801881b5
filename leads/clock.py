"""The clock of a lead: how long sales has left to answer, in words."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from leads.models import Lead

SOON = timedelta(hours=1)


@dataclass(frozen=True)
class Clock:
    """What is left of the time to answer; `colour` is a class of the house style."""

    text: str
    colour: str
    due_at: datetime


def clock(lead: Lead, now: datetime) -> Clock | None:
    """The clock runs until a rep accepts the lead or gives it back; None where it does not run."""
    if lead.due_at is None or lead.state not in ("open", "claimed"):
        return None
    left = lead.due_at - now
    if left < timedelta():
        return Clock(_late(-left), "is-bad", lead.due_at)
    return Clock(_left(left), "is-warn" if left < SOON else "", lead.due_at)


def _left(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    if minutes < 1:
        return _("less than a minute left")
    if minutes < 60:
        return ngettext("%(count)d minute left", "%(count)d minutes left", minutes) % {"count": minutes}
    hours = minutes // 60
    if hours < 48:
        return ngettext("%(count)d hour left", "%(count)d hours left", hours) % {"count": hours}
    return ngettext("%(count)d day left", "%(count)d days left", hours // 24) % {"count": hours // 24}


def _late(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    if minutes < 1:
        return _("less than a minute late")
    if minutes < 60:
        return ngettext("%(count)d minute late", "%(count)d minutes late", minutes) % {"count": minutes}
    hours = minutes // 60
    if hours < 48:
        return ngettext("%(count)d hour late", "%(count)d hours late", hours) % {"count": hours}
    return ngettext("%(count)d day late", "%(count)d days late", hours // 24) % {"count": hours // 24}
