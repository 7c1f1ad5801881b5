"""The desk: one rep wins a lead, the other learns who; every move is told to the stream."""

import threading
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, connection, transaction
from django.utils import translation

from contacts.ingest import ingest
from contacts.models import Contact, Incoming
from contacts.stream import Step, run_step
from journey_crm.roles import ADMINISTRATOR, MARKETER, SALES_REP, ensure_roles
from leads import desk
from leads.models import Lead, LeadMove, RejectReason
from scoring.models import StageChange
from tests.scoring.world import NOW, did, known, model, rule, tick, told

pytestmark = pytest.mark.django_db

SOON = NOW + timedelta(hours=1)


def person(name: str, role: str = SALES_REP, **more):
    user = get_user_model().objects.create_user(name, first_name=name.capitalize(), last_name="Novák", **more)
    user.groups.add(ensure_roles()[role])
    return user


def lead_of(contact: Contact, **more) -> Lead:
    return Lead.objects.create(contact=contact, created_at=NOW, **more)


def all_steps(now):
    run_step(Step("ingest", ingest), now)
    return tick(now)


@pytest.fixture
def ann():
    return person("ann")


@pytest.fixture
def jan():
    return person("jan")


@pytest.fixture
def lead():
    return lead_of(known())


@pytest.fixture
def no_budget():
    return RejectReason.objects.create(key="no-budget", name="No budget", track_key="education")


def test_a_lead_goes_from_claim_over_accept_to_conversion(ann, lead):
    claimed = desk.claim(lead=lead, by=ann, now=NOW)
    assert (claimed.state, claimed.owner, claimed.claimed_by, claimed.claimed_at) == ("claimed", ann, ann, NOW)
    accepted = desk.accept(lead=lead, by=ann, now=SOON)
    assert (accepted.state, accepted.accepted_by, accepted.accepted_at) == ("accepted", ann, SOON)
    assert Contact.objects.get().owner == ann
    converted = desk.convert(lead=lead, by=ann, now=SOON, value=Decimal("1250.50"))
    assert (converted.state, converted.ended_by, converted.value) == ("converted", ann, Decimal("1250.50"))
    # Of the end the stream is told when it can no longer be undone.
    assert list(Incoming.objects.order_by("id").values_list("kind", "properties__lead")) == [
        (kind, lead.pk) for kind in ("lead.claimed", "lead.accepted")
    ]
    all_steps(SOON + desk.GRACE)
    contact = Contact.objects.get()
    assert told(contact, "lead.converted") == [
        {"lead": lead.pk, "by": "ann", "value": "1250.50", "currency": "EUR", "order": None}
    ]
    assert (contact.stage, contact.owner) == ("customer", ann)


def test_the_second_rep_learns_who_was_first(ann, jan, lead):
    desk.claim(lead=lead, by=ann, now=NOW)
    with pytest.raises(desk.TakenByOther, match="Ann Novák has taken this lead.") as refused:
        desk.claim(lead=lead, by=jan, now=NOW)
    assert refused.value.owner == ann
    for move in (desk.accept, desk.release, desk.convert):
        with pytest.raises(desk.TakenByOther):
            move(lead=lead, by=jan, now=NOW)
    assert Incoming.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_reps_who_claim_at_once_one_wins_and_the_others_see_who():
    reps = [person(name) for name in ("ann", "jan", "eva", "petr")]
    leads = [lead_of(known(f"p{number}@example.com")) for number in range(10)]
    start, outcomes = threading.Barrier(len(reps)), []

    def work(rep):
        try:
            for lead in leads:
                start.wait(timeout=30)
                try:
                    outcomes.append((lead.pk, desk.claim(lead=lead, by=rep, now=NOW).owner_id, rep.pk))
                except desk.TakenByOther as taken:
                    outcomes.append((lead.pk, taken.owner.pk, None))
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=[rep]) for rep in reps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for lead in leads:
        mine = [outcome for outcome in outcomes if outcome[0] == lead.pk]
        (winner,) = [rep for _, _, rep in mine if rep]
        assert [owner for _, owner, _ in mine] == [winner] * 4
        assert Lead.objects.get(pk=lead.pk).owner_id == winner
    assert Incoming.objects.filter(kind="lead.claimed").count() == 10


@pytest.mark.parametrize(
    ("state", "allowed"),
    [
        ("open", {"claim", "accept"}),
        ("claimed", {"accept", "release", "reject"}),
        ("accepted", {"reject", "convert"}),
        ("rejected", set()),
        ("converted", set()),
    ],
)
def test_each_state_allows_its_moves_and_no_other(state, allowed, ann, no_budget):
    with translation.override("en"):
        for move in ("claim", "accept", "release", "reject", "convert"):
            Lead.objects.all().delete()
            Contact.objects.all().delete()
            owned = {} if state == "open" else {"owner": ann, "claimed_at": NOW}
            ended = {"ended_at": NOW} if state in ("rejected", "converted") else {}
            why = {"reject_reason": no_budget} if state == "rejected" else {}
            lead = lead_of(known(), state=state, **owned, **ended, **why)
            more = {"reason": no_budget} if move == "reject" else {}
            before = LeadMove.objects.count()
            if move in allowed:
                assert getattr(desk, move)(lead=lead, by=ann, now=SOON, **more).state != state
            else:
                with pytest.raises(desk.WrongState, match=f"This lead is {state}."):
                    getattr(desk, move)(lead=lead, by=ann, now=SOON, **more)
            assert LeadMove.objects.count() == before + (move in allowed)


def test_who_does_not_work_on_leads_moves_none(lead):
    for user in (person("mark", MARKETER, is_staff=True), get_user_model().objects.create_user("nobody")):
        with pytest.raises(PermissionDenied):
            desk.claim(lead=lead, by=user, now=NOW)
    gone = person("gone", is_active=False)
    with pytest.raises(PermissionDenied):
        desk.claim(lead=lead, by=gone, now=NOW)


def test_a_released_lead_is_open_for_the_others(ann, jan, lead):
    desk.claim(lead=lead, by=ann, now=NOW)
    assert desk.release(lead=lead, by=ann, now=NOW).owner is None
    assert desk.claim(lead=lead, by=jan, now=SOON).owner == jan


def test_a_rejected_lead_goes_back_and_comes_again_only_by_a_new_crossing(ann, no_budget):
    engagement = model(qualify_at=50)
    rule(engagement, "webinar.attended", 60, days=7)
    contact = known()
    did(contact, "webinar.attended")
    tick()
    first = Lead.objects.get()
    desk.claim(lead=first, by=ann, now=NOW)
    desk.reject(lead=first, by=ann, now=NOW, reason=no_budget, note="Call in spring.")
    first.refresh_from_db()
    assert (first.state, first.reject_reason, first.note, first.ended_by) == (
        "rejected", no_budget, "Call in spring.", ann,
    )  # fmt: skip
    all_steps(SOON)
    contact.refresh_from_db()
    assert (contact.stage, contact.highest_stage) == ("lead", "qualified")
    assert told(contact, "lead.rejected") == [
        {"lead": first.pk, "by": "ann", "reason": "no-budget", "track": "education", "is_final": False}
    ]
    assert StageChange.objects.latest("pk").reason == "lead.rejected no-budget"
    did(contact, "webinar.attended", SOON)
    all_steps(SOON + timedelta(minutes=1))
    assert Lead.objects.count() == 1
    later = NOW + timedelta(days=60)
    all_steps(later)
    did(contact, "webinar.attended", later)
    all_steps(later)
    assert Lead.objects.count() == 2
    assert len(told(contact, "lead.qualified")) == 2


def test_a_reason_for_good_disqualifies(ann, lead):
    rival = RejectReason.objects.create(key="competitor", name="Competitor", is_final=True)
    desk.claim(lead=lead, by=ann, now=NOW)
    desk.reject(lead=lead, by=ann, now=NOW, reason=rival)
    all_steps(SOON)
    assert Contact.objects.get().stage == "disqualified"


def test_the_schema_keeps_two_unfinished_leads_of_one_contact_out(lead):
    with pytest.raises(IntegrityError, match="one_unfinished_lead_per_contact"), transaction.atomic():
        lead_of(lead.contact)


# Who sees what -------------------------------------------------------------------------------------------------------


def test_a_rep_sees_his_own_and_the_unclaimed_leads_and_their_contacts(ann, jan, no_budget):
    people = {name: known(f"{name}@example.com") for name in ("open", "mine", "done", "theirs", "none", "owned")}
    leads = {name: lead_of(people[name]) for name in ("open", "mine", "done", "theirs")}
    desk.claim(lead=leads["mine"], by=ann, now=NOW)
    desk.claim(lead=leads["done"], by=ann, now=NOW)
    desk.reject(lead=leads["done"], by=ann, now=NOW, reason=no_budget)
    desk.claim(lead=leads["theirs"], by=jan, now=NOW)
    Contact.objects.filter(pk=people["owned"].pk).update(owner=ann)
    seen = {lead.contact.email.split("@")[0] for lead in Lead.objects.visible_to(ann)}
    assert seen == {"open", "mine", "done"}
    assert {contact.email.split("@")[0] for contact in Contact.objects.visible_to(ann)} == {*seen, "owned"}


def test_each_role_sees_its_share(lead, ann, jan):
    desk.claim(lead=lead, by=jan, now=NOW)
    marketer = person("mark", MARKETER, is_staff=True)
    administrator = person("ada", ADMINISTRATOR, is_staff=True)
    nobody = get_user_model().objects.create_user("nobody")
    assert [Lead.objects.visible_to(user).count() for user in (marketer, administrator, jan, ann, nobody)] == [
        1, 1, 1, 0, 0,
    ]  # fmt: skip
    assert [Contact.objects.visible_to(user).count() for user in (marketer, administrator, jan, ann, nobody)] == [
        1, 1, 1, 0, 0,
    ]  # fmt: skip


def test_roles_are_made_once_and_say_what_each_may():
    first = ensure_roles()
    before = {name: set(group.permissions.values_list("codename", flat=True)) for name, group in first.items()}
    again = ensure_roles()
    assert {name: group.pk for name, group in again.items()} == {name: group.pk for name, group in first.items()}
    assert {name: set(group.permissions.values_list("codename", flat=True)) for name, group in again.items()} == before
    assert before[SALES_REP] == {"work_lead"}
    assert {"change_contact", "change_scoremodel", "view_lead", "view_touchpoint"} <= before[MARKETER]
    assert not before[MARKETER] & {
        "work_lead", "change_lead", "add_apitoken", "view_apitoken", "change_touchpoint", "delete_consentchange",
        "change_stagechange", "add_user",
    }  # fmt: skip
    assert {"work_lead", "add_apitoken", "add_user"} <= before[ADMINISTRATOR]
