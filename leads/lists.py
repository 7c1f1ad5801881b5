"""The lists of the workspace: which leads a tab holds, under which reason to act now, in which order."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any
from urllib.parse import urlencode

from django.core.paginator import Page, Paginator
from django.db.models import Case, Count, Exists, F, IntegerField, OuterRef, Q, Subquery, Value, When, Window
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from contacts.models import Contact, Touchpoint
from contacts.searching import by_name
from leads.clock import Clock, clock
from leads.models import Lead, LeadQuerySet, Task

PAGE = 50
TASKS = 3
# So long after it became hot a lead is no longer news; so long a new one is fresh.
HOT, FRESH = timedelta(days=2), timedelta(days=1)

ENDED = ["rejected", "converted"]
# Reasons to act now, the most urgent first: key → words and colour.
REASONS = {
    "for_you": (gettext_lazy("For you"), "is-violet"),
    "hot": (gettext_lazy("Hot now"), "is-bad"),
    "overdue": (gettext_lazy("Answer overdue"), "is-bad"),
    "woken": (gettext_lazy("Awake again"), "is-warn"),
    "claimed": (gettext_lazy("To be accepted"), "is-info"),
    "fresh": (gettext_lazy("New today"), "is-good"),
    "waiting": (gettext_lazy("Waiting for somebody"), "is-teal"),
    "accepted": (gettext_lazy("In work"), ""),
    "asleep": (gettext_lazy("Asleep"), ""),
    "done": (gettext_lazy("Done"), ""),
}
TABS = ("mine", "unclaimed", "snoozed", "all", "done")


@dataclass(frozen=True)
class Place:
    """Where in the lists somebody is: a tab, or what they look for (`words`), and a page of it."""

    tab: str
    words: str = ""
    page: int = 1

    def query(self, page: int | None = None) -> str:
        """The place as an address's query."""
        number = self.page if page is None else page
        told: dict[str, Any] = {"q": self.words} if self.words else {"tab": self.tab}
        return urlencode({**told, **({"page": number} if number > 1 else {})})


@dataclass(frozen=True)
class Tab:
    key: str
    label: str
    count: int | None
    url: str


@dataclass(frozen=True)
class Row:
    """A line of the list. What came in within a day says how long ago, the rest on which day."""

    lead: Lead
    clock: Clock | None
    is_recent: bool


@dataclass(frozen=True)
class Section:
    """The leads of a page that share a reason to act now."""

    key: str
    title: str
    colour: str
    rows: list[Row]


@dataclass(frozen=True)
class Shown:
    """A page of a list; `leads` are its leads in their order."""

    place: Place
    page: Page
    leads: list[Lead]
    sections: list[Section]


class _CountedPaginator(Paginator):
    """A paginator that is told its count, which the tabs know already."""

    def __init__(self, leads: LeadQuerySet, count: int):
        super().__init__(leads, PAGE)
        self._count = count

    @cached_property
    def count(self) -> int:
        return self._count


# Tabs ----------------------------------------------------------------------------------------------------------------


def tab_names(user: Any) -> dict[str, str]:
    """The tabs of a user: keys and words."""
    words = (_("Mine"), _("Unclaimed"), _("Snoozed"), _("All"), _("Done"))
    tabs = dict(zip(TABS, words, strict=True))
    if not user.has_perm("leads.work_lead"):
        del tabs["mine"]
    if not user.has_perm("leads.view_lead"):
        del tabs["all"]
    return tabs


def counts_of(user: Any, now: datetime, words: str = "") -> dict[str, int]:
    """How many leads each tab holds; with words to look for, how many are `found`."""
    asked = {key: Count("pk", filter=_in(key, user, now)) for key in TABS}
    if words:
        asked["found"] = Count("pk", filter=_told_by(words))
    counts: dict[str, int] = Lead.objects.visible_to(user).aggregate(**asked)
    return counts


def words_of(asked: Mapping[str, str]) -> str:
    """What is looked for; empty where nothing is."""
    return asked.get("q", "").strip()[:100]


def _in(tab: str, user: Any, now: datetime) -> Q:
    is_ended, sleeps = Q(state__in=ENDED), Q(snoozed_until__gt=now)
    return {
        "mine": Q(owner=user) & ~is_ended & ~(Q(snoozed_until__isnull=False) & sleeps)
        | Q(state="open", owner=None, assigned_to=user),
        "unclaimed": Q(state="open", owner=None),
        "snoozed": sleeps,
        "all": ~is_ended,
        "done": is_ended,
    }[tab]


def place_of(
    asked: Mapping[str, str], chosen: Lead | None, user: Any, now: datetime, counts: Mapping[str, int]
) -> Place:
    """The place that was asked for; else the tab where the chosen lead is, else the first with something to do."""
    page = asked.get("page", "")
    number = int(page) if page.isdecimal() and len(page) < 9 else 1
    return Place(_tab(asked.get("tab", ""), chosen, user, now, counts), words_of(asked), max(number, 1))


def _tab(asked: str, chosen: Lead | None, user: Any, now: datetime, counts: Mapping[str, int]) -> str:
    allowed = tab_names(user)
    if asked in allowed:
        return asked
    if chosen and chosen.state in ENDED:
        return "done"
    if chosen and chosen.state == "open":
        return "mine" if chosen.assigned_to_id == user.pk and "mine" in allowed else "unclaimed"
    if chosen and chosen.snoozed_until and chosen.snoozed_until > now:
        return "snoozed"
    if chosen and chosen.owner_id != user.pk and "all" in allowed:
        return "all"
    if "mine" in allowed and (chosen or counts["mine"]):
        return "mine"
    return "unclaimed" if counts["unclaimed"] or "all" not in allowed else "all"


# Rows ----------------------------------------------------------------------------------------------------------------


def shown(place: Place, user: Any, now: datetime, counts: Mapping[str, int]) -> Shown:
    """The page of the list at a place; a page beyond the last one is the last."""
    leads = Lead.objects.visible_to(user).select_related("contact__company", "owner", "assigned_to")
    if place.words:
        leads, count = leads.filter(_told_by(place.words)), counts["found"]
    else:
        leads, count = leads.filter(_in(place.tab, user, now)), counts[place.tab]
    paginator = _CountedPaginator(_urgent_first(leads, user, now), count)
    page = paginator.get_page(place.page)
    rows = list(page.object_list)
    return Shown(Place(place.tab, place.words, page.number), page, rows, _sections(rows, now))


def _told_by(words: str) -> Q:
    people = by_name(Contact.objects.all(), words).values("pk")
    return Q(contact__in=people) | Q(contact__company__name__icontains=words.replace("\x00", ""))


def _urgent_first(leads: LeadQuerySet, user: Any, now: datetime) -> LeadQuerySet:
    """By reason to act now, and under each who must be answered first; what is done by its end, the newest first."""
    told = Touchpoint.objects.filter(contact=OuterRef("contact"))
    hot = told.filter(kind="lead.hot", occurred_at__gt=now - HOT)
    woken = told.filter(kind="lead.woken", occurred_at__gt=now - FRESH)
    waits = Q(state__in=["open", "claimed"])
    places = {key: Value(place) for place, key in enumerate(REASONS)}
    urgency = Case(
        When(state__in=ENDED, then=places["done"]),
        When(snoozed_until__gt=now, then=places["asleep"]),
        When(state="open", assigned_to=user, then=places["for_you"]),
        When(Exists(hot) & waits, then=places["hot"]),
        When(waits & Q(due_at__lt=now), then=places["overdue"]),
        When(Q(snoozed_until__lte=now) | Exists(woken), owner=user, then=places["woken"]),
        When(state="claimed", then=places["claimed"]),
        When(state="accepted", then=places["accepted"]),
        When(created_at__gt=now - FRESH, then=places["fresh"]),
        default=places["waiting"],
        output_field=IntegerField(),
    )
    return leads.defer("evidence").annotate(urgency=urgency).order_by(
        "urgency", F("ended_at").desc(nulls_last=True), F("snoozed_until").asc(nulls_last=True),
        F("due_at").asc(nulls_last=True), F("score").desc(nulls_last=True), "pk",
    )  # fmt: skip


def _sections(leads: Iterable[Any], now: datetime) -> list[Section]:
    keys = list(REASONS)
    found = []
    for place, rows in groupby(leads, key=lambda lead: lead.urgency):
        words, colour = REASONS[keys[place]]
        found.append(Section(keys[place], str(words), colour, [row_of(lead, now) for lead in rows]))
    return found


def row_of(lead: Lead, now: datetime) -> Row:
    """A lead as a line of the list."""
    return Row(lead, clock(lead, now), now - lead.created_at < FRESH)


# Tasks ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DueTasks:
    """How many tasks a user has to do, how many of them until tonight, and the first of these."""

    count: int
    today: int
    late: int
    first: list[Task]


def tasks_of(user: Any, now: datetime) -> DueTasks:
    """The open tasks of a user in one question; each knows the newest lead of its contact in reach (`lead_id`)."""
    tonight = timezone.localtime(now).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    leads = Lead.objects.visible_to(user).filter(contact=OuterRef("contact")).order_by("-created_at", "-pk")
    found: Any = (
        Task.objects.open()
        .visible_to(user)
        .select_related("contact")
        .annotate(
            lead_id=Subquery(leads.values("pk")[:1]),
            count=Window(Count("pk")),
            today=Window(Count("pk", filter=Q(due_at__lt=tonight))),
            late=Window(Count("pk", filter=Q(due_at__lt=now))),
        )
        .order_by(F("due_at").asc(nulls_last=True), "pk")[:TASKS]
    )
    first = list(found)
    if not first:
        return DueTasks(0, 0, 0, [])
    due = [task for task in first if task.due_at and task.due_at < tonight]
    return DueTasks(first[0].count, first[0].today, first[0].late, due)


# Ways ----------------------------------------------------------------------------------------------------------------


def neighbours(shown: Shown, chosen: Lead | None) -> tuple[str, str]:
    """The addresses of the leads before and after the chosen one; beyond the page's end, of the next page."""
    leads, place, page = shown.leads, shown.place, shown.page
    at = next((index for index, row in enumerate(leads) if chosen and row.pk == chosen.pk), None)
    if at is None:  # it has just left this list
        return "", lead_url(leads[0], place) if leads else ""
    if at > 0:
        before = lead_url(leads[at - 1], place)
    else:
        before = inbox_url(place, place.page - 1) if page.has_previous() else ""
    if at + 1 < len(leads):
        return before, lead_url(leads[at + 1], place)
    return before, inbox_url(place, place.page + 1) if page.has_next() else ""


def lead_url(lead: Lead, place: Place) -> str:
    return f"{reverse('sales:lead', args=[lead.pk])}?{place.query()}"


def inbox_url(place: Place, page: int | None = None) -> str:
    return f"{reverse('sales:inbox')}?{place.query(page)}"
