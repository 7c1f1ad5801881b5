"""What the home page says: problems first, what goes out next, how many, and what a newcomer still has to do.

One query for each subject, asked only where the user may see that subject. `today` gathers them.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.db.models import Count, Exists, Min, Model, Q, QuerySet, Value
from django.urls import NoReverseMatch, Resolver404, resolve, reverse
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns.coming import coming_sends
from campaigns.fuse import in_words
from campaigns.models import Enrolment, Journey
from contacts.models import ApiToken, Contact, Heartbeat, Segment, StepCursor, Webhook
from contacts.stages import STAGES
from journey_crm.health import LATE
from leads.models import Lead, Team
from messaging import brake, nightly
from messaging.models import Brake, Brand, LintFinding, Message, ReturnedMail, Template
from scoring import training

SILENCE = timedelta(minutes=5)  # for a process of which the health page does not say what late means
AHEAD = timedelta(days=7)


@dataclass(frozen=True)
class Line:
    """One sentence with the place where something can be done about it; `colour` is a class of the house style."""

    text: str
    url: str = ""
    colour: str = "is-bad"
    detail: str = ""


@dataclass(frozen=True)
class Figure:
    number: int
    words: str
    url: str = ""
    colour: str = ""


@dataclass(frozen=True)
class Stage:
    label: str
    count: int
    share: int  # per cent of the largest stage, for its bar
    url: str


@dataclass(frozen=True)
class Send:
    """So many people get this, the first of them at `first_at`; `journey` is a key, or empty."""

    what: str
    journey: str
    count: int
    first_at: datetime


@dataclass(frozen=True)
class Task:
    """One thing a newcomer does first; `is_done` is read from the data."""

    text: str
    url: str
    is_done: bool


def today(user: AbstractUser | AnonymousUser, now: datetime) -> dict:
    """All that the home page shows this user: problems, figures, stages, sends, tasks."""
    problems, figures = [], []
    if user.is_superuser or user.has_perm("contacts.view_stepcursor"):
        problems += failing_steps() + silent_processes(now)
    if user.has_perm("contacts.view_webhook"):
        problems += webhook_problems()
    problems += mail_problems(user)
    if user.has_perm("messaging.view_message"):
        messages = message_counts(now)
        problems += message_problems(messages)
        figures += [
            Figure(
                messages["day"],
                ngettext("mail in the last 24 hours", "mails in the last 24 hours", messages["day"]),
                _list(Message),
            ),
            Figure(
                messages["week"],
                ngettext("mail in the last 7 days", "mails in the last 7 days", messages["week"]),
                _list(Message),
            ),
        ]
    if user.has_perm("leads.view_lead") or user.has_perm("leads.work_lead"):
        leads = lead_counts(user, now)
        problems += lead_problems(leads)
        words = ngettext("lead waits to be claimed", "leads wait to be claimed", leads["waiting"])
        figures.insert(0, Figure(leads["waiting"], words, _sales(user)))
    if user.has_perm("campaigns.view_journey"):
        problems += fused_journeys()
    if user.has_perm("campaigns.view_enrolment"):
        people = people_enrolled()
        figures.insert(0, Figure(people, ngettext("person on a journey now", "people on a journey now", people)))
    return {
        "problems": problems,
        "figures": figures,
        "stages": contacts_by_stage() if user.has_perm("contacts.view_contact") else [],
        "sends": next_sends(now) if user.has_perm("messaging.view_message") else None,
        "tasks": first_tasks(user),
    }


# Problems ------------------------------------------------------------------------------------------------------------


def failing_steps() -> list[Line]:
    """Steps of the tick whose last run failed; a failing step stops only itself."""
    return [
        Line(
            _("Since %(when)s the step “%(step)s” has been failing.")
            % {"step": cursor.step, "when": _when(cursor.failed_at)},
            _address("/health/"),
            detail=cursor.error.strip().rpartition("\n")[2][:200],
        )
        for cursor in StepCursor.objects.exclude(failed_at=None).order_by("failed_at")
    ]


def silent_processes(now: datetime) -> list[Line]:
    """Processes that once reported and have stopped doing so."""
    return [
        Line(
            _("Since %(when)s the process “%(name)s” has not reported; start it again.")
            % {"name": beat.name, "when": _when(beat.beat_at)},
            _address("/health/"),
        )
        # These note when traits were counted, messages looked at and the prediction trained last, and are no processes.
        for beat in Heartbeat.objects.exclude(name__in=["traits", nightly.ROUND, training.TRAINED]).order_by("name")
        if now - beat.beat_at > LATE.get(beat.name, SILENCE)
    ]


def webhook_problems() -> list[Line]:
    """Endpoints that were switched off because they failed, and those that fail now."""
    lines = []
    for webhook in Webhook.objects.filter(Q(disabled_reason__in=["gone", "failing"]) | Q(retry_at__isnull=False))[:20]:
        if webhook.is_active:
            text = _("The webhook “%(name)s” has been failing since %(when)s; it is tried again from time to time.")
            moment, colour = webhook.failing_since, "is-warn"
        else:
            text = _("The webhook “%(name)s” was switched off on %(when)s because it failed.")
            moment, colour = webhook.disabled_at, "is-bad"
        words = text % {"name": webhook.name, "when": _when(moment)}
        url = reverse("admin:contacts_webhook_change", args=[webhook.pk])
        lines.append(Line(words, url, colour, detail=webhook.last_error[:200]))
    return lines


def fused_journeys() -> list[Line]:
    """Journeys that paused themselves: a person must look at them and let them go on."""
    return [
        Line(
            _("Paused by the fuse on %(when)s: “%(journey)s”.") % {"when": _when(one.paused_at), "journey": one},
            _journey(one),
            detail=in_words(one.pause_reason),
        )
        for one in Journey.objects.filter(state="paused", pause_reason__isnull=False).order_by("paused_at")[:20]
    ]


def mail_problems(user: AbstractUser | AnonymousUser) -> list[Line]:
    """The complaint brake while it holds all marketing back, mail that came back and that nobody could place, and live
    messages that go out although the linter found an error in them since they were published."""
    asked: list[Any] = []
    if user.has_perm("messaging.view_message"):
        asked.append(ReturnedMail.objects.filter(state="dead").order_by().values_list("state").annotate(n=Count("pk")))
        asked.append(Brake.objects.filter(released_at=None).values_list(Value("held"), "pk"))
    if user.has_perm("messaging.view_lintfinding"):
        errors = LintFinding.objects.open().filter(severity="error").order_by().values_list("severity")
        asked.append(errors.annotate(n=Count("template", distinct=True)))
    if not asked:
        return []
    # One question for all of them; the brake itself is read only while it holds.
    found = dict(asked[0].union(*asked[1:], all=True) if asked[1:] else asked[0])
    lines = []
    if "held" in found and (held := brake.pulled()):
        text = _("All marketing is held back since %(when)s.") % {"when": _when(held.pulled_at)}
        lines.append(Line(text, _list(Brake), detail=brake.in_words(held)))
    if number := found.get("dead"):
        text = ngettext(
            "%(count)d mail that came back could not be read or placed.",
            "%(count)d mails that came back could not be read or placed.",
            number,
        )
        lines.append(Line(text % {"count": number}, _list(ReturnedMail), "is-warn"))
    if number := found.get("error"):
        text = ngettext(
            "%(count)d live message has an error that the linter found.",
            "%(count)d live messages have errors that the linter found.",
            number,
        )
        lines.append(Line(text % {"count": number}, reverse("admin:messaging_consistency")))
    return lines


def message_counts(now: datetime) -> dict[str, int]:
    """Numbers of real (not held-out) messages: sent in a day and in a week, failed in a day, uncertain."""
    week, day = now - timedelta(days=7), now - timedelta(days=1)
    return (
        Message.objects.filter(Q(sent_at__gte=week) | Q(state="uncertain") | Q(state="failed", finished_at__gte=day))
        .filter(is_ghost=False)
        .aggregate(
            day=Count("pk", filter=Q(state="sent", sent_at__gte=day)),
            week=Count("pk", filter=Q(state="sent", sent_at__gte=week)),
            failed=Count("pk", filter=Q(state="failed", finished_at__gte=day)),
            uncertain=Count("pk", filter=Q(state="uncertain")),
        )
    )


def message_problems(counts: dict[str, int]) -> list[Line]:
    lines = []
    if number := counts["uncertain"]:
        text = ngettext(
            "%(count)d message may or may not have left. Decide whether to send it again.",
            "%(count)d messages may or may not have left. Decide whether to send them again.",
            number,
        )
        lines.append(Line(text % {"count": number}, _doubts()))
    if number := counts["failed"]:
        text = ngettext(
            "%(count)d message could not be sent in the last 24 hours.",
            "%(count)d messages could not be sent in the last 24 hours.",
            number,
        )
        lines.append(Line(text % {"count": number}, _list(Message, "state__exact=failed"), "is-warn"))
    return lines


def lead_counts(user: AbstractUser | AnonymousUser, now: datetime) -> dict[str, int]:
    """Numbers of leads the user may see: waiting for a rep, without a team, and waiting longer than promised."""
    waiting = Q(state="open", owner=None)
    return (
        Lead.objects.visible_to(user)
        .filter(state__in=["open", "claimed"])
        .aggregate(
            waiting=Count("pk", filter=waiting),
            unrouted=Count("pk", filter=waiting & Q(team=None)),
            overdue=Count("pk", filter=Q(due_at__lt=now)),
        )
    )


def lead_problems(counts: dict[str, int]) -> list[Line]:
    lines = []
    if number := counts["unrouted"]:
        text = ngettext(
            "%(count)d lead belongs to no team, so nobody is asked to call.",
            "%(count)d leads belong to no team, so nobody is asked to call.",
            number,
        )
        lines.append(Line(text % {"count": number}, _list(Lead, "team__isnull=True&state__exact=open")))
    if number := counts["overdue"]:
        text = ngettext(
            "%(count)d lead has waited longer than promised.",
            "%(count)d leads have waited longer than promised.",
            number,
        )
        lines.append(Line(text % {"count": number}, _address("/sales/"), "is-warn"))
    return lines


# Numbers -------------------------------------------------------------------------------------------------------------


def people_enrolled() -> int:
    """How many people are on at least one journey now; held-out people are not counted."""
    return Enrolment.objects.filter(state="open", is_ghost=False).aggregate(n=Count("contact", distinct=True))["n"]


def contacts_by_stage() -> list[Stage]:
    """Living contacts by lifecycle stage, in the order of the stages; stages nobody is in show 0."""
    counts = dict(Contact.objects.living().order_by().values_list("stage").annotate(n=Count("pk")))
    largest = max(counts.values(), default=0) or 1
    return [
        Stage(
            str(label),
            counts.get(key, 0),
            round(100 * counts.get(key, 0) / largest),
            _list(Contact, f"stage__exact={key}"),
        )
        for key, label in STAGES
    ]


def next_sends(now: datetime, limit: int = 6) -> list[Send]:
    """What leaves in the next seven days, the soonest first: messages made already, and what journeys will make."""
    made = (
        Message.objects.filter(state__in=["pending", "ready"], is_ghost=False, is_held=False, due_at__lt=now + AHEAD)
        .values("template__name", "template__key", "journey_key")
        .annotate(first_at=Min("due_at"), count=Count("pk"))
        .order_by("first_at", "template__key")[:limit]
    )
    sends = [
        Send(row["template__name"] or row["template__key"], row["journey_key"], row["count"], row["first_at"])
        for row in made
    ]
    for one in coming_sends(now + AHEAD, limit):
        what = one.template or _("The next item of “%(track)s”") % {"track": one.name}
        sends.append(Send(what, one.journey if one.template else "", one.people, one.first_at))
    return sorted(sends, key=lambda send: send.first_at)[:limit]


# The first steps of a newcomer ---------------------------------------------------------------------------------------


def first_tasks(user: AbstractUser | AnonymousUser) -> list[Task]:
    """The newcomer's checklist, ticked by what is in the database; only what the user may do.

    All questions are one query; once everything is done the list is empty.
    """
    wishes: list[tuple[str, type[Model], QuerySet, str]] = [
        (_("Describe your brand: name, sender and postal address."), Brand, Brand.objects.all(), _list(Brand)),
        (_("Bring in your contacts."), Contact, Contact.objects.living(), _list(Contact)),
        (
            _("Make an API token, so that your shop or website can report what people do."),
            ApiToken,
            ApiToken.objects.all(),
            _list(ApiToken),
        ),
        (_("Group people into a first segment."), Segment, Segment.objects.all(), _list(Segment)),
        (_("Write a first template."), Template, Template.objects.all(), _list(Template)),
        (_("Publish a first journey."), Journey, Journey.objects.filter(state__in=["live", "paused"]), _journeys()),
        (_("Put your sales reps into a team."), Team, Team.objects.exclude(reps=None), _list(Team)),
    ]
    wishes = [wish for wish in wishes if user.has_perm(f"{wish[1]._meta.app_label}.add_{wish[1]._meta.model_name}")]
    if not wishes:
        return []
    answers = (
        get_user_model().objects.filter(pk=user.pk or 0).values_list(*[Exists(rows) for *_rest, rows, _url in wishes])
    )
    tasks = [Task(text, url, is_done) for (text, _model, _rows, url), is_done in zip(wishes, answers[0], strict=True)]
    return tasks if not all(task.is_done for task in tasks) else []


# Addresses -----------------------------------------------------------------------------------------------------------


def _list(model: type[Model], query: str = "") -> str:
    """The admin's list of this model, or "" where it has none."""
    try:
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    except NoReverseMatch:
        return ""
    return f"{url}?{query}" if query else url


def _doubts() -> str:
    """Where a person decides about messages that may have left."""
    return reverse("admin:messaging_returnedmail_doubtful")


def _journeys() -> str:
    try:
        return reverse("admin:campaigns_onboardingsequence_changelist")
    except NoReverseMatch:
        return ""


def _journey(journey: Journey) -> str:
    screens = {
        "nurture": "nurturetrack", "onboarding": "onboardingsequence", "cross_sell": "crosssellcampaign",
        "broadcast": "broadcast", "follow_up": "followup", "win_back": "winback",
    }  # fmt: skip
    try:
        return reverse(f"admin:campaigns_{screens[journey.kind]}_change", args=[journey.pk])
    except (KeyError, NoReverseMatch):
        return ""


def _address(path: str) -> str:
    try:
        resolve(path)
    except Resolver404:
        return ""
    return path


def _sales(user: AbstractUser | AnonymousUser) -> str:
    return (_address("/sales/") if user.has_perm("leads.work_lead") else "") or _list(Lead)


def _when(moment: datetime | None) -> str:
    return date_format(localtime(moment), "SHORT_DATETIME_FORMAT") if moment else ""
