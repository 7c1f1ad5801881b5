"""What happened with one person, told as a page of a story: newest first, by days."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from contacts.models import Contact, Touchpoint
from contacts.stages import STAGES

PAGE = 50

# Kind → its sentence, its icon and its colour; another kind is told by its name.
_TOLD = {
    "contact.created": (gettext_lazy("First seen"), "person", ""),
    "contact.identified": (gettext_lazy("Became known"), "person", "is-info"),
    "contact.updated": (gettext_lazy("Details changed"), "pencil", ""),
    "contact.merged": (gettext_lazy("Two records became one"), "merge", ""),
    "contact.unmerged": (gettext_lazy("One record became two again"), "undo", ""),
    "page.viewed": (gettext_lazy("Viewed a page"), "eye", ""),
    "screen.viewed": (gettext_lazy("Viewed a screen"), "eye", ""),
    "form.submitted": (gettext_lazy("Sent a form"), "list", "is-teal"),
    "consent.changed": (gettext_lazy("Consent changed"), "shield", "is-violet"),
    "segment.entered": (gettext_lazy("Entered a segment"), "people", ""),
    "segment.left": (gettext_lazy("Left a segment"), "people", ""),
    "score.crossed": (gettext_lazy("Score crossed its threshold"), "gauge", "is-warn"),
    "stage.changed": (gettext_lazy("Stage changed"), "steps", "is-good"),
    "journey.entered": (gettext_lazy("Entered a journey"), "route", "is-violet"),
    "journey.left": (gettext_lazy("Left a journey"), "route", ""),
    "track.exhausted": (gettext_lazy("Got all that a track has for them"), "route", ""),
    "track.superseded": (gettext_lazy("A track gave way to another"), "pause", ""),
    "track.resumed": (gettext_lazy("A track goes on"), "play", "is-violet"),
    "track.re_engaged": (gettext_lazy("Re-engaged while in nurture"), "star", "is-good"),
    "journey.goal_reached": (gettext_lazy("Reached the goal of a journey"), "flag", "is-good"),
    "stage.requested": (gettext_lazy("A journey set the stage"), "steps", ""),
    "score.granted": (gettext_lazy("A journey granted points"), "gauge", "is-good"),
    "journey.called": (gettext_lazy("A journey told other systems"), "link", "is-teal"),
    "handoff.requested": (gettext_lazy("Handed to sales"), "inbox", "is-teal"),
    "lead.qualified": (gettext_lazy("Became a lead for sales"), "star", "is-good"),
    "lead.assigned": (gettext_lazy("Given to a sales rep"), "person", "is-teal"),
    "lead.reassigned": (gettext_lazy("Given to another sales rep"), "people", "is-warn"),
    "lead.overdue": (gettext_lazy("Not answered by sales in time"), "clock", "is-bad"),
    "lead.claimed": (gettext_lazy("Claimed by sales"), "inbox", "is-teal"),
    "lead.accepted": (gettext_lazy("Accepted by sales"), "check", "is-good"),
    "lead.rejected": (gettext_lazy("Rejected by sales"), "undo", "is-bad"),
    "task.requested": (gettext_lazy("Somebody is asked to do something"), "person", "is-teal"),
    "task.done": (gettext_lazy("A task was done"), "check-circle", "is-good"),
    "task.reopened": (gettext_lazy("A task was opened again"), "undo", ""),
    "milestone.reached": (gettext_lazy("Reached a milestone"), "flag", "is-good"),
    "onboarding.activated": (gettext_lazy("Was activated"), "flag", "is-good"),
    "onboarding.timed_out": (gettext_lazy("Was not activated in time"), "clock", "is-warn"),
    "offer.presented": (gettext_lazy("Was shown an offer"), "tag", "is-info"),
    "lead.converted": (gettext_lazy("Converted"), "check-circle", "is-good"),
    "email.sent": (gettext_lazy("Got an e-mail"), "mail", "is-info"),
    "email.opened": (gettext_lazy("Opened an e-mail"), "mail", "is-info"),
    "email.clicked": (gettext_lazy("Clicked in an e-mail"), "link", "is-info"),
    "email.rejudged": (gettext_lazy("An open or a click was judged anew"), "shield", ""),
    "email.skipped": (gettext_lazy("An e-mail was held back"), "mail", "is-warn"),
    "email.failed": (gettext_lazy("An e-mail could not be sent"), "warning", "is-bad"),
    "email.delivered": (gettext_lazy("An e-mail arrived"), "mail", "is-good"),
    "sms.sent": (gettext_lazy("Got an SMS"), "mail", "is-info"),
    "sms.clicked": (gettext_lazy("Clicked in an SMS"), "link", "is-info"),
    "sms.skipped": (gettext_lazy("An SMS was held back"), "mail", "is-warn"),
    "sms.failed": (gettext_lazy("An SMS could not be sent"), "warning", "is-bad"),
    "webhook.sent": (gettext_lazy("A message went to another system"), "link", "is-info"),
    "webhook.skipped": (gettext_lazy("A message to another system was held back"), "link", "is-warn"),
    "webhook.failed": (gettext_lazy("A message to another system could not be sent"), "warning", "is-bad"),
    "alert.sent": (gettext_lazy("The team was told"), "alert", "is-info"),
    "alert.skipped": (gettext_lazy("An alert to the team was held back"), "alert", "is-warn"),
    "alert.failed": (gettext_lazy("An alert to the team could not be sent"), "warning", "is-bad"),
    "onsite.shown": (gettext_lazy("Saw a message on our website"), "mail", "is-info"),
    "onsite.clicked": (gettext_lazy("Clicked in a message on our website"), "link", "is-info"),
    "onsite.dismissed": (gettext_lazy("Closed a message on our website"), "mail", "is-info"),
    "onsite.skipped": (gettext_lazy("A message on our website was held back"), "mail", "is-warn"),
    "email.bounced": (gettext_lazy("An e-mail came back"), "warning", "is-bad"),
    "email.complained": (gettext_lazy("Complained about an e-mail"), "alert", "is-bad"),
    "order.placed": (gettext_lazy("Placed an order"), "receipt", "is-good"),
    "order.cancelled": (gettext_lazy("Cancelled an order"), "receipt", "is-bad"),
}
# What each kind that we know is called.
TITLES = {kind: title for kind, (title, _icon, _css) in _TOLD.items()}
_SAYS_MOST = (
    "subject", "title", "url", "path", "form", "name", "segment", "number", "topic", "journey", "score", "reason",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    touchpoint: Touchpoint
    title: str
    detail: str
    icon: str
    css: str
    times: int = 1


@dataclass
class Day:
    day: date
    entries: list[Entry] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """`earlier` goes into the next page's address; empty at the beginning of the story."""

    days: list[Day]
    earlier: str


def page(contact: Contact, *, before: str = "", limit: int = PAGE) -> Page:
    """A page of a contact's touchpoints by day, in the current time zone; repeats of one kind and detail are folded.

    `before` is the `earlier` of the page after it; nonsense is taken as the newest page.
    """
    return page_of([contact.pk], before=before, limit=limit)


def page_of(contacts: list[int], *, before: str = "", limit: int = PAGE) -> Page:
    """The same of several contacts at once, such as the people of a company; each entry's touchpoint knows whose."""
    found = Touchpoint.objects.filter(contact_id__in=contacts).select_related("contact")
    if edge := _edge(before):
        found = found.filter(Q(occurred_at__lt=edge[0]) | Q(occurred_at=edge[0], pk__lt=edge[1]))
    rows = list(found.order_by("-occurred_at", "-pk")[: limit + 1])
    days: list[Day] = []
    for row in rows[:limit]:
        day = timezone.localtime(row.occurred_at).date()
        if not days or days[-1].day != day:
            days.append(Day(day))
        _add(days[-1].entries, row)
    last = rows[limit - 1] if len(rows) > limit else None
    return Page(days, f"{last.occurred_at.isoformat()}~{last.pk}" if last else "")


def _edge(before: str) -> tuple[datetime, int] | None:
    moment, _tilde, pk = before.partition("~")
    try:
        edge = datetime.fromisoformat(moment), int(pk)
        return edge if edge[0].tzinfo and abs(edge[1]) < 2**63 else None
    except ValueError:
        return None


def _add(entries: list[Entry], row: Touchpoint) -> None:
    title, icon, css = _TOLD.get(row.kind, (row.kind, "dot", ""))
    entry = Entry(row, str(title), _detail(row), icon, css)
    last = entries[-1] if entries else None
    # Steps of one person only are one line.
    if last and (last.title, last.detail, last.touchpoint.is_machine, last.touchpoint.contact_id) == (
        entry.title, entry.detail, row.is_machine, row.contact_id
    ):  # fmt: skip
        entries[-1] = Entry(last.touchpoint, last.title, last.detail, icon, css, last.times + 1)
    else:
        entries.append(entry)


def _detail(row: Touchpoint) -> str:
    told: Mapping[str, Any] = row.properties if isinstance(row.properties, dict) else {}
    if row.kind == "stage.changed":
        stages = dict(STAGES)
        moved = {end: stages.get(str(told.get(end)), told.get(end, "?")) for end in ("from", "to")}
        return _("%(from)s → %(to)s") % moved
    if row.kind == "contact.updated" and isinstance(told.get("fields"), list):
        return ", ".join(map(str, told["fields"]))[:200]
    if row.kind == "journey.entered" and told.get("held_out") is True:
        return _("%(journey)s: held out, and gets nothing from it") % {"journey": str(told.get("journey", "?"))[:200]}
    for key in _SAYS_MOST:
        if isinstance(told.get(key), str | int | float) and told[key] != "":
            return str(told[key])[:200]
    return ""
