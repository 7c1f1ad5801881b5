"""Moves and their way back: what a rep does by mistake has not happened, before the tick and after it."""

import threading
from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, connection, transaction

from campaigns.models import Enrolment
from contacts.merging import merge
from contacts.models import Contact, Incoming
from contacts.stream import Step, run_step
from journey_crm.roles import ADMINISTRATOR, MARKETER
from leads import activities, desk, handing, moves, tasks
from leads.desk import GRACE
from leads.models import Absence, Activity, Lead, LeadMove, RejectReason, Task, Team
from tests.leads.test_desk import all_steps, lead_of, person
from tests.scoring.world import NOW, did, known, model, rule, tick, told

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)
SOON = NOW + timedelta(seconds=10)
LATER = NOW + timedelta(hours=2)
COLUMNS = [field.attname for field in Lead._meta.concrete_fields if field.name not in ("version", "updated_at")]


@pytest.fixture
def ann():
    return person("ann")


@pytest.fixture
def jan():
    return person("jan")


@pytest.fixture
def no_budget():
    return RejectReason.objects.create(key="no-budget", name="No budget", track_key="education")


def in_state(state: str, by, **more) -> Lead:
    lead = lead_of(known(), **more)
    if state in ("claimed", "accepted"):
        lead = desk.claim(lead=lead, by=by, now=NOW)
    if state == "accepted":
        lead = desk.accept(lead=lead, by=by, now=NOW)
    return lead


def columns(lead: Lead) -> dict:
    row = Lead.objects.filter(pk=lead.pk).values(*COLUMNS).get()
    return row | {"contact_owner": Contact.objects.values_list("owner", flat=True).get(pk=lead.contact_id)}


def settle(now) -> int:
    return run_step(Step("moves", moves.settle), now)


# Undo ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "move", "words"),
    [
        ("open", "claim", {}),
        ("open", "accept", {}),
        ("claimed", "accept", {}),
        ("claimed", "release", {}),
        ("claimed", "reject", {"note": "Spring"}),
        ("accepted", "reject", {}),
        ("accepted", "convert", {"value": Decimal("99.50"), "order_number": "A-1", "note": "Yes"}),
        ("accepted", "snooze", {"until": LATER, "reason": "Holiday"}),
        ("open", "assign", {}),
        ("accepted", "assign", {}),
    ],
)
def test_an_undo_gives_every_column_back(state, move, words, ann, jan, no_budget):
    Team.objects.create(key="inside").reps.add(ann, jan)
    lead = in_state(state, ann)
    words |= {"reason": no_budget} if move == "reject" else {"to": jan} if move == "assign" else {}
    before = columns(lead)
    moved = getattr(handing if move == "assign" else desk, move)(lead=lead, by=ann, now=SOON, **words)
    assert columns(lead) != before
    assert moves.undoable(moved, ann, SOON)
    undone = moves.undo(lead=moved, by=ann, now=SOON + MINUTE)
    assert columns(lead) == before
    assert (undone.state, moves.undoable(undone, ann, SOON)) == (state, LeadMove.objects.filter(undone_at=None).first())
    assert Incoming.objects.latest("pk").kind == "lead.undone"
    assert Incoming.objects.latest("pk").properties == {"lead": lead.pk, "by": "ann", "move": move}


def test_moves_are_undone_one_after_the_other_the_last_first(ann):
    lead = in_state("accepted", ann)
    assert moves.undo(lead=lead, by=ann, now=SOON).state == "claimed"
    assert moves.undo(lead=lead, by=ann, now=SOON).state == "open"
    with pytest.raises(moves.NothingToUndo, match="nothing to undo"):
        moves.undo(lead=lead, by=ann, now=SOON)


def test_who_comes_too_late_to_undo_is_told_who_moved_the_lead(ann, jan):
    lead = in_state("claimed", ann)
    desk.release(lead=lead, by=ann, now=SOON)
    desk.claim(lead=lead, by=jan, now=SOON)
    with pytest.raises(moves.NothingToUndo, match="Jan Novák has moved this lead since."):
        moves.undo(lead=lead, by=ann, now=SOON)
    assert Lead.objects.get().owner == jan
    assert LeadMove.objects.filter(undone_at=None).count() == 3


def test_what_the_clock_moved_since_is_not_undone(ann, jan):
    lead = desk.claim(lead=in_state("open", ann), by=ann, now=NOW)
    Lead.objects.update(state="open", owner=None, claimed_at=None, assigned_to=jan, assigned_at=NOW)
    with pytest.raises(moves.NothingToUndo, match="has changed since"):
        moves.undo(lead=lead, by=ann, now=SOON)


def test_an_undo_comes_within_an_hour(ann):
    lead = in_state("claimed", ann)
    late = NOW + moves.UNDO_WITHIN + MINUTE
    assert moves.undoable(lead, ann, late) is None
    with pytest.raises(moves.NothingToUndo, match="too late"):
        moves.undo(lead=lead, by=ann, now=late)


# The grace -----------------------------------------------------------------------------------------------------------


def test_a_rejection_that_is_undone_before_the_tick_has_never_been_told(ann, no_budget):
    engagement = model(qualify_at=50)
    rule(engagement, "webinar.attended", 60, days=7)
    contact = known()
    did(contact, "webinar.attended")
    tick()
    lead = desk.claim(lead=Lead.objects.get(), by=ann, now=NOW)
    desk.reject(lead=lead, by=ann, now=NOW, reason=no_budget)
    moves.undo(lead=lead, by=ann, now=SOON)
    all_steps(NOW + GRACE * 2)
    contact.refresh_from_db()
    assert contact.stage == "qualified"
    assert told(contact, "lead.rejected") == []
    assert [one["move"] for one in told(contact, "lead.undone")] == ["reject"]
    assert Lead.objects.get().state == "claimed"


def test_a_tick_within_the_grace_tells_nothing_and_one_behind_it_does(ann, no_budget):
    lead = in_state("claimed", ann)
    desk.reject(lead=lead, by=ann, now=NOW, reason=no_budget)
    assert settle(NOW + GRACE - timedelta(seconds=1)) == 0
    assert settle(NOW + GRACE) == 1
    assert settle(NOW + GRACE) == 0
    assert [one["track"] for one in told(lead.contact, "lead.rejected")] == ["education"]
    with pytest.raises(moves.NothingToUndo, match="everybody has been told"):
        moves.undo(lead=lead, by=ann, now=NOW + GRACE)
    assert Lead.objects.get().state == "rejected"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("attempt", range(4))
def test_an_undo_and_the_tick_at_once_never_both_win(attempt, no_budget):
    ann = person("ann")
    leads = [desk.claim(lead=lead_of(known(f"p{n}@example.com")), by=ann, now=NOW) for n in range(6)]
    for lead in leads:
        desk.reject(lead=lead, by=ann, now=NOW, reason=no_budget)
    start, undone = threading.Barrier(2), []

    def undo():
        try:
            start.wait(timeout=30)
            for lead in leads:
                try:
                    undone.append(moves.undo(lead=lead, by=ann, now=NOW + GRACE).pk)
                except moves.NothingToUndo:
                    pass
        finally:
            connection.close()

    thread = threading.Thread(target=undo)
    thread.start()
    start.wait(timeout=30)
    settle(NOW + GRACE)
    thread.join()
    rejected = {lead.pk for lead in leads if told(lead.contact, "lead.rejected")}
    assert rejected | set(undone) == {lead.pk for lead in leads}
    assert not rejected & set(undone)
    assert set(Lead.objects.filter(state="rejected").values_list("pk", flat=True)) == rejected


def test_a_rejection_is_not_undone_where_a_new_lead_has_begun(ann, no_budget):
    lead = in_state("claimed", ann)
    desk.reject(lead=lead, by=ann, now=NOW, reason=no_budget)
    lead_of(lead.contact)
    with pytest.raises(moves.NothingToUndo, match="A new lead of this person"):
        moves.undo(lead=lead, by=ann, now=SOON)
    assert LeadMove.objects.get(kind="reject").undone_at is None


def test_the_schema_lets_nothing_be_told_and_undone(ann, no_budget):
    lead = in_state("claimed", ann)
    desk.reject(lead=lead, by=ann, now=NOW, reason=no_budget)
    with pytest.raises(IntegrityError, match="what_was_told_is_not_undone"), transaction.atomic():
        LeadMove.objects.filter(kind="reject").update(told_at=NOW, undone_at=NOW)
    assert not Enrolment.objects.exists()


# Snooze --------------------------------------------------------------------------------------------------------------


def test_a_snoozed_lead_stays_the_reps_and_wakes_by_itself(ann, jan):
    lead = in_state("accepted", ann)
    asleep = desk.snooze(lead=lead, by=ann, now=NOW, until=LATER, reason="Holiday")
    assert (asleep.owner, asleep.state, asleep.snooze_reason) == (ann, "accepted", "Holiday")
    assert list(Lead.objects.snoozed(NOW)) == [lead]
    assert list(Lead.objects.awake(NOW)) == []
    assert list(Lead.objects.awake(LATER)) == [lead]
    assert settle(LATER - MINUTE) == 0
    assert settle(LATER) == 1
    lead.refresh_from_db()
    assert (lead.snoozed_until, lead.snooze_reason, lead.owner) == (None, "", ann)
    assert told(lead.contact, "lead.woken") == [{"lead": lead.pk}]
    with pytest.raises(desk.TakenByOther):
        desk.snooze(lead=lead, by=jan, now=NOW, until=LATER)


def test_a_lead_is_woken_early_and_a_moment_that_is_past_is_refused(ann):
    lead = in_state("claimed", ann, due_at=LATER)
    for until in (NOW, NOW + timedelta(days=400)):
        with pytest.raises(desk.WrongWords) as refused:
            desk.snooze(lead=lead, by=ann, now=NOW, until=until)
        assert refused.value.field == "until"
    assert desk.snooze(lead=lead, by=ann, now=NOW, until=LATER).due_at == LATER  # its clock runs on
    assert desk.unsnooze(lead=lead, by=ann, now=SOON).snoozed_until is None
    with pytest.raises(desk.WrongState):
        desk.unsnooze(lead=lead, by=ann, now=SOON)


def test_nobodys_lead_sleeps(ann):
    lead = in_state("claimed", ann)
    desk.snooze(lead=lead, by=ann, now=NOW, until=LATER)
    assert desk.release(lead=lead, by=ann, now=SOON).snoozed_until is None
    # By whatever way it was taken from him.
    desk.claim(lead=lead, by=ann, now=NOW)
    desk.snooze(lead=lead, by=ann, now=NOW, until=LATER)
    Lead.objects.update(state="open", owner=None)
    assert Lead.objects.get().snoozed_until is None
    with pytest.raises(IntegrityError, match="only_a_lead_in_hand_sleeps"), transaction.atomic():
        lead_of(known("other@example.com"), snoozed_until=LATER)


# Assign --------------------------------------------------------------------------------------------------------------


def test_an_open_lead_is_assigned_and_one_in_hand_is_handed_over(ann, jan):
    Team.objects.create(key="inside").reps.add(ann, jan)
    lead = in_state("open", ann)
    given = handing.assign(lead=lead, to=jan, by=ann, now=NOW)
    assert (given.state, given.owner, given.assigned_to, given.assigned_at) == ("open", None, jan, NOW)
    desk.claim(lead=lead, by=ann, now=NOW)
    desk.accept(lead=lead, by=ann, now=NOW)
    handed = handing.assign(lead=lead, to=jan, by=ann, now=NOW)
    assert (handed.state, handed.owner, handed.assigned_to) == ("accepted", jan, jan)
    assert Contact.objects.get().owner == jan  # the person goes with it
    with pytest.raises(desk.TakenByOther, match="Jan Novák"):
        handing.assign(lead=lead, to=ann, by=ann, now=NOW)


def test_who_is_given_a_lead_has_a_clock_of_his_own_and_who_is_away_is_given_none(ann, jan):
    team = Team.objects.create(key="inside", sla=timedelta(hours=4))
    team.reps.add(ann, jan)
    lead = in_state("claimed", ann, team=team, due_at=NOW - MINUTE)
    assert handing.assign(lead=lead, to=jan, by=ann, now=NOW).due_at == NOW + timedelta(hours=4)
    Absence.objects.create(user=ann, first_day=NOW.date(), last_day=NOW.date())
    with pytest.raises(desk.WrongWords, match="Ann Novák is away"):
        handing.assign(lead=lead, to=ann, by=jan, now=NOW)


def test_a_rep_gives_leads_to_his_team_and_who_may_hand_over_to_every_rep(ann, jan):
    ada = person("ada", ADMINISTRATOR)
    mark = person("mark", MARKETER)
    Team.objects.create(key="inside").reps.add(ann)
    lead = in_state("claimed", ann)
    for other in (jan, mark):
        with pytest.raises(desk.WrongWords, match="not in a team with you"):
            handing.assign(lead=lead, to=other, by=ann, now=NOW)
    assert handing.assign(lead=lead, to=jan, by=ada, now=NOW).owner == jan
    with pytest.raises(desk.WrongWords, match="does not work on leads"):
        handing.assign(lead=lead, to=mark, by=ada, now=NOW)
    assert set(handing.colleagues(ada)) >= {ann, jan, ada}
    assert list(handing.colleagues(ann)) == [ann]


# Notes, calls and tasks ----------------------------------------------------------------------------------------------


def test_notes_are_their_writers_for_a_day(ann, jan):
    lead = in_state("claimed", ann)
    note = activities.note(lead=lead, by=ann, now=NOW, body=" Likes boats. ")
    activities.note(lead=lead, by=ann, now=NOW, body="Has two dogs.")
    assert {one.body for one in activities.of(Lead.objects.all())} == {"Likes boats.", "Has two dogs."}
    assert told_of(lead, "lead.noted") == [{"lead": lead.pk, "by": "ann", "activity": one.pk} for one in notes()]
    assert activities.edit_note(activity=note, by=ann, now=SOON, body="Hates boats.").edited_at == SOON
    for by, now in ((jan, SOON), (ann, NOW + activities.EDIT_WITHIN)):
        with pytest.raises(activities.NotYours):
            activities.edit_note(activity=note, by=by, now=now, body="x")
        with pytest.raises(activities.NotYours):
            activities.delete_note(activity=note, by=by, now=now)
    with pytest.raises(desk.WrongWords, match="Write something"):
        activities.edit_note(activity=note, by=ann, now=SOON, body="  ")
    activities.delete_note(activity=note, by=ann, now=SOON)
    assert [one.body for one in notes()] == ["Has two dogs."]
    with pytest.raises(desk.TakenByOther):
        activities.note(lead=lead, by=jan, now=NOW, body="Mine!")


def notes() -> list[Activity]:
    return list(Activity.objects.order_by("pk"))


def told_of(lead, kind) -> list[dict]:
    return list(Incoming.objects.filter(kind=kind).order_by("pk").values_list("properties", flat=True))


def test_a_call_to_make_again_puts_the_lead_off_and_makes_a_task(ann):
    lead = in_state("claimed", ann)
    called = activities.call(lead=lead, by=ann, now=NOW, outcome="call_back", body="At lunch", back_at=LATER)
    assert (called.snoozed_until, called.owner) == (LATER, ann)
    task = Task.objects.get()
    assert (task.assignee, task.due_at, task.contact, task.created_by) == (ann, LATER, lead.contact, ann)
    assert tasks.next_task(lead.contact, ann) == task
    assert told_of(lead, "lead.called")[0]["outcome"] == "call_back"
    moves.undo(lead=called, by=ann, now=SOON)
    assert Lead.objects.get().snoozed_until is None
    assert Task.objects.get().state == "dropped"
    assert not Activity.objects.exists()


def test_a_call_says_how_it_went(ann, jan):
    lead = in_state("claimed", ann)
    for words, field in [
        ({"outcome": "sang"}, "outcome"),
        ({"outcome": "call_back"}, "back_at"),
        ({"outcome": "call_back", "back_at": NOW}, "back_at"),
        ({"outcome": "reached", "back_at": LATER}, "back_at"),
    ]:
        with pytest.raises(desk.WrongWords) as refused:
            activities.call(lead=lead, by=ann, now=NOW, **words)
        assert refused.value.field == field
    for outcome in ("reached", "no_answer", "wrong_number"):
        assert activities.call(lead=lead, by=ann, now=NOW, outcome=outcome).snoozed_until is None
    assert [one.outcome for one in notes()] == ["reached", "no_answer", "wrong_number"]
    with pytest.raises(desk.TakenByOther):
        activities.call(lead=lead, by=jan, now=NOW, outcome="reached")
    with pytest.raises(desk.WrongState):
        desk.release(lead=lead, by=ann, now=NOW)
        activities.call(lead=lead, by=ann, now=NOW, outcome="reached")


def test_a_rep_makes_tasks_for_himself_and_for_his_team(ann, jan):
    eva = person("eva")
    Team.objects.create(key="inside").reps.add(ann, jan)
    lead = in_state("claimed", ann)
    mine = tasks.make(contact=lead.contact, title="Send the offer", by=ann, now=NOW, due_at=LATER)
    theirs = tasks.make(contact=lead.contact, title="Check the terms", by=ann, now=NOW, assignee=jan)
    assert (mine.assignee, theirs.assignee, mine.source) == (ann, jan, "sales")
    assert tasks.next_task(lead.contact, ann) == mine
    assert told_of(lead, "task.requested")[1] == {
        "task": theirs.pk, "title": "Check the terms", "by": "ann", "assign": "jan", "due_at": None,
    }  # fmt: skip
    # The tick makes none a second time of what a rep asked for.
    all_steps(SOON)
    assert run_step(Step("tasks", tasks.ask), SOON) == 0
    with pytest.raises(desk.WrongWords, match="not in a team with you"):
        tasks.make(contact=lead.contact, title="Nothing", by=ann, now=NOW, assignee=eva)
    with pytest.raises(PermissionDenied):
        tasks.make(contact=lead.contact, title="Nothing", by=eva, now=NOW)
    with pytest.raises(desk.WrongWords, match="What is to be done"):
        tasks.make(contact=lead.contact, title=" ", by=ann, now=NOW)


@pytest.mark.django_db(transaction=True)
def test_moves_and_merges_at_once_shut_nobody_out():
    ann = person("ann")
    pairs = [(known(f"a{n}@example.com"), known(f"b{n}@example.com")) for n in range(8)]
    leads = [lead_of(loser) for _survivor, loser in pairs]
    start, failed = threading.Barrier(2), []

    def work():
        try:
            start.wait(timeout=30)
            for lead in leads:
                for move in (desk.claim, desk.accept, moves.undo, moves.undo):
                    move(lead=lead, by=ann, now=NOW)
        except Exception as error:
            failed.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    start.wait(timeout=30)
    for survivor, loser in pairs:
        merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    thread.join()
    assert failed == []
    assert set(Lead.objects.values_list("contact", "state")) == {(survivor.pk, "open") for survivor, _loser in pairs}


def test_what_is_a_colleagues_turn_is_not_accepted_by_the_way(ann, jan):
    lead = in_state("open", ann, assigned_to=jan, assigned_at=NOW)
    with pytest.raises(desk.WrongState):
        desk.accept(lead=lead, by=ann, now=NOW)
    assert desk.accept(lead=lead, by=jan, now=NOW).owner == jan
