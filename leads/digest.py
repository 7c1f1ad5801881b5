"""The daily digest: what waits for a rep at the start of the working day, and for managers how the teams do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import Count, Exists, F, OuterRef, Q
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from contacts.models import Touchpoint
from contacts.sql import load
from leads import presence
from leads.alerts import preference_of, workers
from leads.clock import Clock, clock
from leads.models import Lead, LeadQuerySet, SalesMail, Task

SQL = load(__file__)

LISTED = 8
# News since the digest before; who had none for longer hears of the last week.
LONGEST = timedelta(days=7)


@dataclass(frozen=True)
class Line:
    """One lead or task in a digest."""

    name: str
    about: str
    url: str
    clock: Clock | None = None


@dataclass(frozen=True)
class Section:
    title: str
    lines: Sequence[Line]
    # So many more than are listed.
    more: int = 0


@dataclass(frozen=True)
class TeamDay:
    """How one team did since the digest before, and where it stands."""

    name: str
    new: int
    accepted: int
    rejected: int
    won: int
    waiting: int
    overdue: int

    @property
    def told(self) -> list[tuple[str, int]]:
        """Its numbers with their titles, as both forms of the mail show them."""
        return [
            (_("new"), self.new), (_("accepted"), self.accepted), (_("rejected"), self.rejected), (_("won"), self.won),
            (_("unanswered"), self.waiting), (_("overdue"), self.overdue),
        ]  # fmt: skip


@dataclass
class Digest:
    subject: str
    outcome: str = ""
    sections: list[Section] = field(default_factory=list)
    teams: list[TeamDay] = field(default_factory=list)
    overdue: Section | None = None


def plan_digests(now: datetime) -> int:
    """Puts a digest into the outbox for each who wants one and whose working day has begun, once a day; how many."""
    wanting = [user for user in workers().select_related("alert_preference") if preference_of(user).digest]
    working = presence.calendars(wanting, now)
    due = []
    for user in wanting:
        today = presence.shift(working[user.pk], now)
        if today and today.begins_at <= now < today.ends_at:
            due.append(SalesMail(kind="digest", user=user, day=today.day, due_at=today.begins_at))
    known = set(
        SalesMail.objects.filter(user__in=wanting, day__in={one.day for one in due}).values_list("user_id", "day")
    )
    fresh = [one for one in due if (one.user_id, one.day) not in known]
    SalesMail.objects.bulk_create(fresh, ignore_conflicts=True)
    return len(fresh)


def digest(user: Any, mail: SalesMail, now: datetime) -> Digest | None:
    """What there is to say to a user this morning; None where that is nothing."""
    # With what Django remembers of permissions and the like left behind.
    user = get_user_model().objects.select_related("alert_preference").get(pk=user.pk)
    before = SalesMail.objects.filter(user=user, kind="digest", day__lt=mail.day).order_by("-day").first()
    since = max(before.due_at, now - LONGEST) if before else now - timedelta(days=1)
    today = presence.shift(presence.calendars([user], now)[user.pk], now)
    ends_at = today.ends_at if today else now + timedelta(hours=12)
    found = Digest(subject=_("Your leads this morning"))
    if user.has_perm("leads.work_lead"):
        found.sections = _sections(user, since, ends_at, now)
        found.outcome = _outcome(user, since)
    if user.has_perm("leads.view_lead"):
        found.teams = [TeamDay(*row) for row in SQL["team_days"].rows(since=since, now=now)]
        found.teams = [
            team for team in found.teams if any((team.new, team.accepted, team.rejected, team.won, team.waiting))
        ]
        late = _section(_("Overdue in all teams"), Lead.objects.overdue(now).exclude(_holder(user)), now)
        found.overdue = late if late.lines else None
    if not (found.sections or found.outcome or found.teams or found.overdue):
        return None
    late_count = sum(len(one.lines) + one.more for one in found.sections if one.title == _("Overdue"))
    if late_count:
        found.subject = ngettext(
            "Your leads this morning: %(count)d is overdue",
            "Your leads this morning: %(count)d are overdue",
            late_count,
        ) % {"count": late_count}
    elif not found.sections and not found.outcome:
        found.subject = _("Sales this morning")
    return found


def _holder(user: Any) -> Q:
    """Leads that are a rep's own, or wait for him."""
    return Q(owner=user) | Q(owner=None, assigned_to=user)


def _sections(user: Any, since: datetime, ends_at: datetime, now: datetime) -> list[Section]:
    """A lead stands in the first section that it belongs to."""
    mine = Lead.objects.unfinished().filter(_holder(user))
    late = mine.overdue(now)
    today = mine.unaccepted().filter(due_at__gte=now, due_at__lte=ends_at)
    waiting = mine.filter(state="open").exclude(due_at__lte=ends_at)
    told = Touchpoint.objects.filter(contact=OuterRef("contact"), kind="lead.woken", occurred_at__gt=since)
    wakes = Q(snoozed_until__lte=ends_at) | Q(Exists(told), snoozed_until=None)
    awake = mine.filter(wakes, owner=user).exclude(pk__in=(late | today).values("pk"))
    free = Lead.objects.unclaimed().filter(assigned_to=None, created_at__gt=since)
    free = free.filter(Q(team=None) | Q(team__reps=user)).distinct()
    tasks = Task.objects.open().filter(assignee=user, due_at__lte=ends_at)
    found = [
        _section(_("Overdue"), late, now),
        _section(_("To answer today"), today, now),
        _section(_("Awake again today"), awake, now),
        _section(_("For you"), waiting, now),
        _section(_("New and nobody's"), free, now),
    ]
    if preference_of(user).hot == "digest":
        hot = Lead.objects.unfinished().filter(hot_alerts__told_at__gt=since).filter(_holder(user)).distinct()
        found.insert(0, _section(_("Hot since the last digest"), hot, now))
    lines = [
        Line(
            name=task.title,
            about=task.contact.name,
            url=f"{settings.BASE_URL}/sales/tasks/",
            clock=None,
        )
        for task in tasks.select_related("contact").order_by("due_at", "pk")[:LISTED]
    ]
    found.append(Section(_("Tasks"), lines, max(0, tasks.count() - LISTED)))
    return [one for one in found if one.lines]


def _section(title: str, leads: LeadQuerySet, now: datetime) -> Section:
    rows = leads.select_related("contact__company").order_by(F("due_at").asc(nulls_last=True), "-created_at", "pk")
    lines = [
        Line(
            name=lead.contact.name,
            about=" · ".join(filter(None, [str(lead.contact.company or ""), lead.headline])),
            url=f"{settings.BASE_URL}/sales/{lead.pk}/",
            clock=clock(lead, now),
        )
        for lead in rows[:LISTED]
    ]
    return Section(title, lines, max(0, leads.count() - LISTED))


def _outcome(user: Any, since: datetime) -> str:
    """What a rep did since the digest before, in a line; empty where that is nothing."""
    done = Lead.objects.aggregate(
        claimed=Count("pk", filter=Q(claimed_by=user, claimed_at__gt=since)),
        accepted=Count("pk", filter=Q(accepted_by=user, accepted_at__gt=since)),
        rejected=Count("pk", filter=Q(state="rejected", ended_by=user, ended_at__gt=since)),
        won=Count("pk", filter=Q(state="converted", ended_by=user, ended_at__gt=since)),
    )
    words = [
        (done["claimed"], ngettext("%(count)d claimed", "%(count)d claimed", done["claimed"])),
        (done["accepted"], ngettext("%(count)d accepted", "%(count)d accepted", done["accepted"])),
        (done["rejected"], ngettext("%(count)d rejected", "%(count)d rejected", done["rejected"])),
        (done["won"], ngettext("%(count)d won", "%(count)d won", done["won"])),
    ]
    said = [text % {"count": count} for count, text in words if count]
    return ", ".join(said)
