"""The daily digest: once a working day, in the morning, only if there is something to say."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth import get_user_model

from journey_crm.roles import MARKETER, SALES_REP, ensure_roles
from leads import moves
from leads.digest import plan_digests
from leads.mails import deliver_mails
from leads.models import Absence, AlertPreference, Lead, RejectReason, Rep, SalesMail, Task, Team
from messaging.models import Brand
from tests.scoring.world import NOW, known

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
# A Tuesday, half past eight in Prague.
MORNING = NOW.replace(hour=7, minute=30)


@pytest.fixture
def team(db):
    Brand.objects.create(pk=1, name="Acme", sender="Acme <hello@acme.example>", postal_address="Praha")
    return Team.objects.create(
        key="inside", name="Inside sales", hours="mon-fri 08:30-17:00 Europe/Prague", holidays=["CZ"]
    )


def person(name: str, role: str, team: Team | None = None):
    user = get_user_model().objects.create_user(name, email=f"{name}@acme.example", is_staff=role == MARKETER)
    user.groups.add(ensure_roles()[role])
    if team:
        Rep.objects.create(team=team, user=user)
    return user


def lead(name: str, team: Team | None, **more) -> Lead:
    values = {"created_at": MORNING - 3 * HOUR, "updated_at": MORNING - 3 * HOUR, **more}
    return Lead.objects.create(contact=known(f"{name}@example.com", first_name=name), team=team, **values)


def test_a_rep_reads_in_the_morning_what_waits_and_what_yesterday_brought(team, smtp_sink, settings):
    ann, ben = person("ann", SALES_REP, team), person("ben", SALES_REP, team)
    mine = {"assigned_to": ann, "assigned_at": MORNING - HOUR}
    late = lead("Late", team, due_at=MORNING - HOUR, headline="Asked for a demo", **mine)
    today = lead("Today", team, due_at=MORNING + 2 * HOUR, state="claimed", owner=ann, claimed_at=MORNING - HOUR)
    lead("Waiting", team, **mine)
    lead("Free", team)
    lead("Bens", team, assigned_to=ben, assigned_at=MORNING)
    lead("Bens2", team, state="claimed", owner=ben, claimed_at=MORNING, due_at=MORNING - HOUR)
    lead("Other", Team.objects.create(key="other"))
    lead("Older", team, created_at=MORNING - timedelta(days=5))
    lead("Won", team, state="converted", ended_at=MORNING - 12 * HOUR, ended_by=ann, owner=ann, value=Decimal(500))
    Task.objects.create(contact=late.contact, title="Send the offer", assignee=ann, created_at=NOW, due_at=MORNING)
    Task.objects.create(contact=late.contact, title="Next week", assignee=ann, created_at=NOW,
        due_at=MORNING + timedelta(days=7))  # fmt: skip
    assert plan_digests(MORNING - timedelta(minutes=1)) == 0
    assert plan_digests(MORNING) == 2
    deliver_mails(MORNING)
    [mail] = smtp_sink.to(ann.email)
    assert mail["Subject"] == "Your leads this morning: 1 is overdue"
    text = mail.body()
    order = ["1 won", "Overdue", "Late", "Asked for a demo", "1 hour late", "To answer today", "Today", "For you",
        "Waiting", "New and nobody's", "Free", "Tasks", "Send the offer"]  # fmt: skip
    places = [text.index(word) for word in order]
    assert places == sorted(places), text
    for word in ("Bens", "Other", "Older", "Next week"):
        assert word not in text and word not in mail.body("html")
    assert f"{settings.BASE_URL}/sales/{today.pk}/" in text


def test_once_a_day_each_however_often_it_is_planned_and_never_without_anything_to_say(team, smtp_sink):
    ann = person("ann", SALES_REP, team)
    person("idle", SALES_REP, team)
    lead("Late", team, due_at=MORNING - HOUR, assigned_to=ann, assigned_at=MORNING - HOUR)
    for minute in range(0, 180, 20):
        plan_digests(MORNING + timedelta(minutes=minute))
        deliver_mails(MORNING + timedelta(minutes=minute))
    assert [mail.recipients for mail in smtp_sink.mails] == [(ann.email,)]
    assert dict(SalesMail.objects.values_list("user__username", "state")) == {"ann": "sent", "idle": "dropped"}
    plan_digests(MORNING + timedelta(days=1))
    deliver_mails(MORNING + timedelta(days=1))
    assert len(smtp_sink.mails) == 2


@pytest.mark.parametrize(
    ("day", "said"),
    [
        (date(2026, 11, 13), 1),
        (date(2026, 11, 14), 0),  # a Saturday
        (date(2026, 11, 17), 0),  # the day of freedom and democracy
        (date(2026, 11, 18), 0),  # away
        (date(2026, 11, 19), 1),
    ],
)
def test_not_on_days_off(team, day, said):
    ann = person("ann", SALES_REP, team)
    Absence.objects.create(user=ann, first_day=date(2026, 11, 18), last_day=date(2026, 11, 18))
    assert plan_digests(MORNING.replace(day=day.day)) == said
    assert plan_digests(MORNING.replace(day=day.day, hour=16, minute=30)) == 0  # work is over


def test_who_does_not_want_it_gets_none_and_who_wants_hot_leads_in_it_finds_them(team, smtp_sink):
    ann, ben = person("ann", SALES_REP, team), person("ben", SALES_REP, team)
    AlertPreference.objects.create(user=ben, digest=False)
    AlertPreference.objects.create(user=ann, hot="digest")
    hot = lead("Hot", team, assigned_to=ann, assigned_at=MORNING - HOUR)
    hot.hot_alerts.create(told_at=MORNING - HOUR)
    plan_digests(MORNING)
    deliver_mails(MORNING)
    [mail] = smtp_sink.mails
    assert mail.recipients == (ann.email,) and "Hot since the last digest" in mail.body()


def test_a_manager_reads_the_figures_of_the_teams_and_what_is_overdue(team, smtp_sink):
    boss = person("boss", MARKETER)
    ann = person("ann", SALES_REP, team)
    AlertPreference.objects.create(user=ann, digest=False)
    reason = RejectReason.objects.create(key="no", name="No")
    lead("Late", team, due_at=MORNING - HOUR, assigned_to=ann, assigned_at=MORNING - HOUR)
    lead("Good", team, state="accepted", owner=ann, accepted_at=MORNING - HOUR)
    lead("Won", team, state="converted", ended_at=MORNING - HOUR, value=Decimal(500))
    lead("Lost", team, state="rejected", ended_at=MORNING - HOUR, reject_reason=reason)
    old = MORNING - timedelta(days=40)
    lead("Ancient", team, state="converted", created_at=old, updated_at=old, ended_at=old)
    plan_digests(MORNING)
    deliver_mails(MORNING)
    [mail] = smtp_sink.to(boss.email)
    text = mail.body()
    assert mail["Subject"] == "Sales this morning"
    assert "Inside sales: new 4, accepted 1, rejected 1, won 1, unanswered 1, overdue 1" in text
    assert "Overdue in all teams" in text and "Late" in text and "Ancient" not in text


def test_what_slept_until_today_is_named_and_what_sleeps_on_is_not(team, smtp_sink):
    ann, ben = person("ann", SALES_REP, team), person("ben", SALES_REP, team)
    held = {"state": "accepted", "claimed_at": MORNING, "accepted_at": MORNING}
    lead("Today", team, owner=ann, snoozed_until=MORNING + 2 * HOUR, **held)
    lead("Tomorrow", team, owner=ann, snoozed_until=MORNING + 24 * HOUR, **held)
    lead("Bens", team, owner=ben, snoozed_until=MORNING + 24 * HOUR, **held)
    lead("Working", team, owner=ann, **held)
    night = lead("Night", team, owner=ann, snoozed_until=MORNING - HOUR, **held)
    # The tick has woken it before the mail is written.
    assert moves.settle(MORNING - HOUR, 0, 0) == 1
    night.refresh_from_db()
    assert night.snoozed_until is None
    plan_digests(MORNING)
    deliver_mails(MORNING)
    [mail] = smtp_sink.to(ann.email)
    text = mail.body()
    for word in ("Night", "Today"):
        assert word in text.split("Awake again today")[1]
    for word in ("Tomorrow", "Bens", "Working"):
        assert word not in text
    assert not smtp_sink.to(ben.email)
