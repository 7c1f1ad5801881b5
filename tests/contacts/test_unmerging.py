"""A merge taken back leaves two people again, each with what was theirs, and nobody more willing to be written to."""

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from campaigns.models import Due, Enrolment, Visit
from contacts.consent import consent_state, record_consent
from contacts.erasure import erase
from contacts.ingest import ingest
from contacts.merging import merge
from contacts.models import (
    Company,
    Consent,
    ConsentChange,
    Contact,
    Identity,
    Membership,
    Merge,
    MergeEntry,
    Segment,
    Touchpoint,
    TouchpointTotal,
)
from contacts.stream import Step, put, run_step
from contacts.unmerging import unmerge
from journey_crm import invariants
from leads.models import Lead
from scoring.models import ContactScore, ScoreEntry, ScoreModel, ScoreRule
from scoring.points import score
from tests.contacts.test_merging import NOW, count, fill, leading_to_contacts, person

pytestmark = pytest.mark.django_db

LATER = NOW + timedelta(hours=3)
# What an undo writes anew: who may be written to, with its ledger, and where the two stand by theirs.
_SAID_BY_UNDO = {"contacts_consentchange", "contacts_consent", "scoring_contactscore"}


def rows_of(contacts) -> dict[str, list]:
    """Every row of every table that leads to these contacts, as it stands; what counts changes counts an undo, too."""
    found = {}
    for model, name in leading_to_contacts():
        table, column = model._meta.db_table, model._meta.get_field(name).column
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT (to_jsonb(t) - %s::text[])::text FROM {table} t WHERE {column} = ANY(%s) "
                f"ORDER BY t.{model._meta.pk.column}",
                [["version", "told_version"], [one.pk for one in contacts]],
            )
            found[table] = cursor.fetchall()
    return found


def undo(log: Merge, **told) -> Merge:
    return unmerge(log, **{"now": LATER} | told)


def check_invariants():
    counts = invariants.check(LATER)
    assert {name: counts[name] for name in ("I3", "I6", "I8", "I10")} == {"I3": 0, "I6": 0, "I8": 0, "I10": 0}


def test_whatever_moved_is_back_in_every_relation():
    survivor, loser = person(email="ann@example.com"), person(first_name="Ann", attributes={"plan": "pro"})
    for model, name in leading_to_contacts():
        fill(model, **{name: loser})
        if model is not Contact and model is not Identity:
            fill(model, **{name: survivor})
    before = rows_of([survivor]), rows_of([loser])
    columns = {one.pk: Contact.objects.values().get(pk=one.pk) for one in (survivor, loser)}
    log = merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    assert all(count(model, name, loser) == 0 for model, name in leading_to_contacts())
    undo(log)
    after = rows_of([survivor]), rows_of([loser])
    for table in before[0]:
        if table not in _SAID_BY_UNDO:
            assert after[0][table] == before[0][table], table
            assert after[1][table] == before[1][table], table
    for pk, was in columns.items():
        now = Contact.objects.values().get(pk=pk)
        assert {name: now[name] for name in now if name != "updated_at"} == {
            name: was[name] for name in was if name != "updated_at"
        }
    assert not MergeEntry.objects.exists()


def test_what_the_merge_dropped_is_there_again():
    survivor, loser = person(), person()
    segment, gone = fill(Segment), fill(Segment)
    for contact, entered in ((survivor, NOW), (loser, NOW - timedelta(days=1))):
        Membership.objects.create(segment=segment, contact=contact, entered_at=entered)
        Membership.objects.create(segment=gone, contact=contact, entered_at=entered)
    log = merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    gone.delete()
    undo(log)
    assert {(one.contact, one.entered_at) for one in Membership.objects.all()} == {
        (survivor, NOW),
        (loser, NOW - timedelta(days=1)),
    }


def test_later_words_stay_with_the_survivor_and_earlier_ones_go_back():
    survivor = person(first_name="Ann", attributes={"plan": "pro"})
    company = Company.objects.create(name="Acme")
    loser = person(
        last_name="Lee", phone="+420777123456", language="cs", company=company, attributes={"city": "Brno", "size": 7}
    )
    log = merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    assert (survivor.last_name, survivor.company) == ("Lee", company)
    Contact.objects.filter(pk=survivor.pk).update(
        phone="+420777999999", attributes=survivor.attributes | {"size": 8, "new": 1}
    )
    put(kind="page.viewed", source="t", now=LATER, contact_id=loser.pk)
    run_step(Step("ingest", ingest), LATER)
    undo(log)
    survivor.refresh_from_db()
    loser.refresh_from_db()
    assert (survivor.first_name, survivor.last_name, survivor.language, survivor.company) == ("Ann", "", "", None)
    assert survivor.phone == "+420777999999"
    assert survivor.attributes == {"plan": "pro", "size": 8, "new": 1}
    assert (loser.last_name, loser.phone, loser.company, loser.merged_into) == ("Lee", "+420777123456", company, None)
    assert loser.attributes == {"city": "Brno", "size": 7}
    # Whoever it was meant for, it was written of the one person they were then.
    assert Touchpoint.objects.get(kind="page.viewed").contact == survivor


def test_an_address_leads_to_whom_it_did_and_is_nobody_elses_main_one():
    survivor, loser = person(email="ann@example.com"), person(email="lee@example.com")
    for contact in (survivor, loser):
        Identity.objects.create(contact=contact, kind="email", value=contact.email)
    log = merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    # Somebody made the other address the main one afterwards.
    Contact.objects.filter(pk=survivor.pk).update(email="lee@example.com")
    undo(log)
    assert Identity.objects.get(value="lee@example.com").contact == loser
    assert dict(Contact.objects.values_list("pk", "email")) == {
        survivor.pk: "ann@example.com",
        loser.pk: "lee@example.com",
    }


@pytest.mark.parametrize(
    ("mine", "theirs", "since", "mine_after", "theirs_after"),
    [
        ("granted", "denied", None, "denied", "denied"),
        ("denied", "granted", None, "denied", "denied"),
        ("granted", "granted", None, "granted", "granted"),
        ("granted", "pending", None, "pending", "pending"),
        # A grant goes back to who gave it; a refusal holds for both.
        (None, "granted", None, "", "granted"),
        (None, "denied", None, "denied", "denied"),
        ("denied", None, None, "denied", "denied"),
        ("granted", None, None, "granted", ""),
        # What was said afterwards was said by the survivor, and refuses for both.
        ("granted", "granted", "denied", "denied", "denied"),
        (None, "granted", "denied", "denied", "denied"),
        ("denied", "denied", "granted", "granted", "denied"),
    ],
)
def test_consent_is_never_raised_by_an_undo(mine, theirs, since, mine_after, theirs_after):
    survivor, loser = person(), person()

    def say(contact, state, now=NOW):
        record_consent(contact=contact, topic="news", channel="email", state=state, source="form", now=now)

    for contact, state in ((survivor, mine), (loser, theirs)):
        if state:
            say(contact, state)
    log = merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    if since:
        say(survivor, since, NOW + timedelta(hours=1))
    undo(log)
    assert consent_state(survivor, "news", "email") == mine_after
    assert consent_state(loser, "news", "email") == theirs_after
    if theirs_after != (theirs or ""):
        last = ConsentChange.objects.filter(contact=loser).latest("pk")
        assert (last.state, last.source, last.changed_at) == (theirs_after, "unmerge", LATER)
    for contact in (survivor, loser):
        for consent in Consent.objects.filter(contact=contact):
            assert ConsentChange.objects.filter(contact=contact, state=consent.state).exists()


def test_a_pause_and_an_own_limit_hold_for_both():
    survivor, loser = person(most_per_week=2), person(paused_until=LATER, most_per_week=5)
    log = merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    assert (survivor.paused_until, survivor.most_per_week) == (LATER, 2)
    undo(log)
    for contact in (survivor, loser):
        contact.refresh_from_db()
        assert (contact.paused_until, contact.most_per_week) == (LATER, 2)


def test_totals_of_dropped_touchpoints_are_added_up_and_parted():
    survivor, loser = person(), person()
    for contact, number in ((survivor, 3), (loser, 4)):
        TouchpointTotal.objects.create(
            contact=contact, kind="page.viewed", count=number, machine_count=1, first_at=NOW, last_at=NOW
        )
    log = merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    total = TouchpointTotal.objects.get()
    assert (total.contact, total.count, total.machine_count) == (survivor, 7, 2)
    undo(log)
    assert dict(TouchpointTotal.objects.values_list("contact", "count")) == {survivor.pk: 3, loser.pk: 4}


# What other apps settled ---------------------------------------------------------------------------------------------


@pytest.fixture
def model(db):
    model = ScoreModel.objects.create(key="engagement", kind="engagement", qualify_at=30, hysteresis=5)
    ScoreRule.objects.create(
        model=model, key="page", when={"did": "page.viewed"}, points=5, cap_per_day=20, half_life=timedelta(days=7)
    )
    return model


def tick(now):
    for step in (Step("ingest", ingest), Step("score", score)):
        run_step(step, now)


def view(contact, number, now=NOW):
    for _number in range(number):
        put(kind="page.viewed", source="t", now=now, contact_id=contact.pk)


def test_scores_are_parted_event_by_event(model):
    survivor, loser = person(), person()
    view(survivor, 3)
    view(loser, 2)
    view(loser, 1, NOW - timedelta(days=1))
    tick(NOW)
    before = dict(ContactScore.objects.values_list("contact", "value"))
    log = merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    assert ContactScore.objects.get().value > before[survivor.pk]
    # After the merge, on the same day and on the day that only the loser had a row of.
    view(survivor, 1, NOW + timedelta(minutes=1))
    put(kind="page.viewed", source="t", now=NOW, occurred_at=NOW - timedelta(days=1), contact_id=survivor.pk)
    tick(NOW + timedelta(minutes=1))
    undo(log)
    check_invariants()
    tick(LATER)
    check_invariants()
    ours = {contact: [] for contact in (survivor.pk, loser.pk)}
    for entry in ScoreEntry.objects.order_by("day"):
        ours[entry.contact_id].append((entry.day.day, len(entry.touchpoint_ids), entry.points))
    assert ours == {survivor.pk: [(9, 1, 5), (10, 4, 20)], loser.pk: [(9, 1, 5), (10, 2, 10)]}
    for entry in ScoreEntry.objects.all():
        owners = Touchpoint.objects.filter(pk__in=entry.touchpoint_ids).values_list("contact", flat=True)
        assert set(owners) == {entry.contact_id}


def test_two_runs_of_one_journey_are_two_again():
    survivor, loser = person(), person()
    first = fill(Enrolment, contact=survivor)
    second = Enrolment.objects.create(
        contact=loser, journey=first.journey, version=first.version, enrolled_at=NOW, entry_key=first.entry_key
    )
    other = fill(Enrolment, contact=loser)
    for enrolment in (first, second, other):
        fill(Due, enrolment=enrolment, contact_id=enrolment.contact_id)
    log = merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    check_invariants()
    assert Due.objects.count() == 2
    undo(log)
    check_invariants()
    assert Enrolment.objects.filter(state="open").count() == 3
    assert {(due.enrolment, due.contact_id) for due in Due.objects.all()} == {
        (first, survivor.pk),
        (second, loser.pk),
        (other, loser.pk),
    }
    assert not Visit.objects.exists()


def test_the_lead_that_gave_way_is_there_again():
    survivor, loser = person(), person()
    mine = Lead.objects.create(contact=survivor, state="open", created_at=NOW)
    theirs = Lead.objects.create(contact=loser, state="claimed", created_at=NOW, claimed_at=NOW)
    log = merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    assert Lead.objects.get() == theirs
    undo(log)
    assert {(lead.pk, lead.contact, lead.state) for lead in Lead.objects.all()} == {
        (mine.pk, survivor, "open"),
        (theirs.pk, loser, "claimed"),
    }


# Order, refusals, size -----------------------------------------------------------------------------------------------


def test_merges_are_undone_in_any_order_that_makes_sense():
    first, second, third = person(email="a@example.com"), person(email="b@example.com"), person(phone="+420777123456")
    for contact in (first, second, third):
        Identity.objects.create(contact=contact, kind="user_id", value=f"u{contact.pk}")
    inner = merge(survivor=second, loser=third, reason="1", now=NOW)
    outer = merge(survivor=first, loser=second, reason="2", now=NOW)
    with pytest.raises(ValueError, match="Undo that merge first"):
        undo(inner)
    undo(outer)
    third.refresh_from_db()
    assert third.merged_into == second
    undo(inner)
    for contact in (first, second, third):
        contact.refresh_from_db()
        assert Identity.objects.get(value=f"u{contact.pk}").contact == contact
    assert (first.phone, second.phone, third.phone) == ("", "", "+420777123456")


def test_one_of_two_merges_is_undone_and_the_other_stands():
    survivor, one, other = person(), person(phone="+420777123456"), person(last_name="Lee")
    first = merge(survivor=survivor, loser=one, reason="1", now=NOW)
    merge(survivor=survivor, loser=other, reason="2", now=NOW)
    undo(first)
    survivor.refresh_from_db()
    assert (survivor.phone, survivor.last_name) == ("", "Lee")


def test_what_cannot_be_undone_is_refused_with_a_sentence():
    ann = get_user_model().objects.create(username="ann")
    survivor, loser = person(), person()
    log = merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    assert undo(log, by=ann).undone_by == ann
    with pytest.raises(ValueError, match="undone already"):
        undo(log)
    again = merge(survivor=survivor, loser=loser, reason="again", now=NOW)
    Merge.objects.filter(pk=again.pk).update(before={})
    with pytest.raises(ValueError, match="older version"):
        undo(again)


def test_who_was_erased_comes_back_by_no_undo():
    survivor, loser = person(), person(first_name="Lee")
    log = merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    erase(survivor, by=None, now=NOW)
    assert not Merge.objects.filter(pk=log.pk).exists()
    assert not MergeEntry.objects.exists()


def test_an_undo_is_told_to_the_stream_of_both():
    survivor, loser = person(), person()
    log = merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    undo(log)
    run_step(Step("ingest", ingest), LATER)
    told = Touchpoint.objects.filter(kind="contact.unmerged")
    assert {(one.contact, one.properties["from"]) for one in told} == {(survivor, loser.pk), (loser, survivor.pk)}


def test_a_stage_that_only_the_merge_brought_goes_with_it():
    from scoring.stages import stage

    def step(now):
        for one in (Step("ingest", ingest), Step("stage", stage)):
            run_step(one, now)

    survivor = person(stage="known", highest_stage="known")
    loser = person(stage="customer", highest_stage="customer")
    log = merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    step(NOW)
    survivor.refresh_from_db()
    assert (survivor.stage, survivor.highest_stage) == ("customer", "customer")
    undo(log)
    step(LATER)
    for contact, expected in ((survivor, "known"), (loser, "customer")):
        contact.refresh_from_db()
        assert (contact.stage, contact.highest_stage) == (expected, expected)


def test_thousands_of_touchpoints_go_there_and_back_in_entries_of_a_thousand():
    survivor, loser = person(), person()
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at)
               SELECT %s, 'page.viewed', %s, %s FROM generate_series(1, 5500)""",
            [loser.pk, NOW, NOW],
        )
    log = merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    sizes = [len(entry.keys) for entry in log.entries.filter(table_name="contacts_touchpoint")]
    assert sorted(sizes) == [500, 1000, 1000, 1000, 1000, 1000]
    assert Touchpoint.objects.filter(contact=survivor).count() == 5500
    undo(log)
    assert Touchpoint.objects.filter(contact=loser).count() == 5500
