"""Two who are one person become one, and nothing that pointed to either is lost (D-15)."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import connection, models

from contacts.consent import consent_state, record_consent
from contacts.ingest import ingest
from contacts.merging import merge, older, places
from contacts.models import (
    Consent,
    ConsentChange,
    Contact,
    Identity,
    Membership,
    Merge,
    MergeEntry,
    Segment,
    Touchpoint,
)
from contacts.stream import Step, put, run_step

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 10, 9, 0, tzinfo=UTC)


def person(**columns) -> Contact:
    return Contact.objects.create(**{"created_at": NOW, "identified_at": NOW} | columns)


def fill(model: type[models.Model], **given) -> models.Model:
    """A row of any model: what must be told is made up from the kind of its field."""
    values = dict(given)
    for field in model._meta.concrete_fields:
        is_told = field.name in values or field.attname in values
        if (
            is_told
            or field.primary_key
            or field.null
            or field.has_default()
            or field.db_default is not models.NOT_PROVIDED
        ):
            continue
        if field.is_relation:
            values[field.name] = fill(field.related_model)
        elif field.choices:
            values[field.name] = field.choices[0][0]
        elif isinstance(field, models.DateTimeField):
            values[field.name] = NOW
        elif isinstance(field, models.DateField):
            values[field.name] = NOW.date()
        elif isinstance(field, models.DecimalField):
            values[field.name] = Decimal(1)
        elif isinstance(field, models.FloatField | models.IntegerField):
            values[field.name] = 1
        elif isinstance(field, models.BooleanField):
            values[field.name] = True
        elif isinstance(field, models.JSONField):
            values[field.name] = {}
        else:
            values[field.name] = f"{field.name}-{model.objects.count()}"
    if model._meta.label == "messaging.Template":
        values |= {"message_class": "operational"}
    if model._meta.label == "scoring.PredictionModel":
        values |= {"state": "refused"}  # of those asked for there is one
    if model._meta.label == "scoring.StageChange":
        values |= {"from_stage": "visitor", "to_stage": "known"}
    return model.objects.create(**values)


def leading_to_contacts() -> list[tuple[type[models.Model], str]]:
    """Every model and foreign key to Contact, found without `contacts.merging`."""
    return [
        (model, field.name)
        for model in apps.get_models(include_auto_created=True)
        if not model._meta.proxy and model is not Merge
        for field in model._meta.get_fields()
        if field.concrete and field.many_to_one and field.related_model is Contact
    ]


def count(model, name, contact) -> int:
    return model._base_manager.filter(**{name: contact}).count()


def test_every_relation_to_a_contact_is_walked():
    mine = {(model._meta.db_table, model._meta.get_field(name).column) for model, name in leading_to_contacts()}
    assert {(place.table, place.column) for place in places()} == mine
    assert len(mine) >= 12


def test_whatever_points_to_the_loser_points_to_the_survivor_afterwards():
    survivor, loser = person(), person()
    for model, name in leading_to_contacts():
        fill(model, **{name: loser})
    before = {
        (model, name): model._base_manager.count() for model, name in leading_to_contacts() if model is not Contact
    }
    assert all(count(model, name, loser) == 1 for model, name in leading_to_contacts())
    merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    for model, name in leading_to_contacts():
        # Among contacts the loser itself now leads to the survivor, as does who had been merged into the loser.
        assert count(model, name, loser) == 0, model
        assert count(model, name, survivor) == (2 if model is Contact else 1), model
    after = {(model, name): model._base_manager.count() for model, name in before}
    # The incoming `contact.merged` is no row that leads to a contact; nothing appeared or went.
    assert after == before
    assert loser.merged_into == survivor
    entries = Merge.objects.get().entries.all()
    assert sum(len(entry.keys) for entry in entries) == len(before) + 1
    assert [entry.row for entry in entries if entry.row] == []


def test_where_both_have_the_same_thing_one_stays_and_the_log_keeps_the_other():
    survivor, loser = person(), person()
    segment, other = fill(Segment), fill(Segment)
    for contact, entered in ((survivor, NOW), (loser, NOW - timedelta(days=1))):
        Membership.objects.create(segment=segment, contact=contact, entered_at=entered)
    Membership.objects.create(segment=other, contact=loser, entered_at=NOW)
    merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    assert {(one.contact, one.segment, one.entered_at) for one in Membership.objects.all()} == {
        (survivor, segment, NOW),
        (survivor, other, NOW),
    }
    dropped = MergeEntry.objects.exclude(row=None)
    assert [(one.table_name, one.row["contact_id"]) for one in dropped] == [("contacts_membership", loser.pk)]


def test_two_runs_of_one_journey_become_one():
    from campaigns.models import Due, Enrolment

    survivor, loser = person(), person()
    first = fill(Enrolment, contact=survivor)
    second = Enrolment.objects.create(
        contact=loser, journey=first.journey, version=first.version, enrolled_at=NOW, entry_key=first.entry_key
    )
    for enrolment in (first, second):
        fill(Due, enrolment=enrolment, contact_id=enrolment.contact_id)
    merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    assert Enrolment.objects.filter(state="open").get() == first
    second.refresh_from_db()
    assert (second.contact, second.state, second.exit_reason) == (survivor, "exited", "merged")
    assert Due.objects.get().enrolment == first


def test_a_token_under_way_goes_on_with_the_survivor():
    from campaigns.models import Due, Enrolment

    survivor, loser = person(), person()
    enrolment = fill(Enrolment, contact=loser)
    fill(Due, enrolment=enrolment, contact_id=loser.pk)
    merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    assert Due.objects.get().contact_id == survivor.pk


@pytest.mark.parametrize(
    ("mine", "theirs", "expected"),
    [
        ("granted", "denied", "denied"),
        ("denied", "granted", "denied"),
        ("granted", "pending", "pending"),
        ("pending", "denied", "denied"),
        ("granted", "granted", "granted"),
        ("granted", None, "granted"),
        (None, "denied", "denied"),
    ],
)
def test_the_strictest_consent_wins(mine, theirs, expected):
    survivor, loser = person(), person()
    for contact, state in ((survivor, mine), (loser, theirs)):
        if state:
            record_consent(contact=contact, topic="news", channel="email", state=state, source="form", now=NOW)
    spoken = ConsentChange.objects.count()
    merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    assert Consent.objects.get().state == expected
    assert consent_state(survivor, "news", "email") == expected
    is_settled = mine and theirs and mine != theirs
    assert ConsentChange.objects.filter(contact=survivor).count() == spoken + bool(is_settled)


def test_the_survivor_learns_what_it_did_not_know_and_keeps_what_it_did():
    survivor = person(first_name="Ann", attributes={"plan": "pro"}, stage="known", highest_stage="known")
    loser = person(
        first_name="Anna", last_name="Lee", attributes={"plan": "trial", "city": "Brno"}, stage="customer",
        highest_stage="customer", created_at=NOW - timedelta(days=9), identified_at=NOW - timedelta(days=1),
    )  # fmt: skip
    merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    assert (survivor.first_name, survivor.last_name) == ("Ann", "Lee")
    assert survivor.attributes == {"plan": "pro", "city": "Brno"}
    # The current stage follows by the stage step, with its row in the ledger.
    assert (survivor.stage, survivor.highest_stage) == ("known", "customer")
    assert survivor.created_at == NOW - timedelta(days=9)
    assert (loser.first_name, loser.attributes) == ("", {})
    assert Merge.objects.get().before["contact"]["first_name"] == "Anna"


def test_old_ids_lead_to_the_last_survivor_however_long_the_chain():
    people = [person() for _ in range(4)]
    for number, contact in enumerate(people):
        Identity.objects.create(contact=contact, kind="user_id", value=f"u{number}")
    for loser, survivor in zip(people, people[1:], strict=False):
        merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    last = people[-1]
    assert set(Contact.objects.exclude(pk=last.pk).values_list("merged_into", flat=True)) == {last.pk}
    for number in range(4):
        put(kind="page.viewed", source="t", now=NOW, user_id=f"u{number}")
        put(kind="email.clicked", source="t", now=NOW, contact_id=people[number].pk)
    run_step(Step("ingest", ingest), NOW)
    assert Touchpoint.objects.filter(contact=last, kind__in=["page.viewed", "email.clicked"]).count() == 8
    assert Touchpoint.objects.exclude(contact=last).count() == 0


def test_a_merge_by_hand_is_told_to_the_stream_and_logged_with_its_author():
    survivor, loser = person(), person()
    ann = get_user_model().objects.create(username="ann")
    merge(survivor=survivor, loser=loser, reason="same phone", by=ann, now=NOW)
    run_step(Step("ingest", ingest), NOW)
    told = Touchpoint.objects.get(kind="contact.merged")
    assert (told.contact, told.properties["from"]) == (survivor, loser.pk)
    log = Merge.objects.get()
    assert (log.merged_by, log.reason, log.merged_at) == (ann, "same phone", NOW)


def test_nobody_is_merged_into_themselves_twice_or_after_erasure():
    survivor, loser, gone = person(), person(), person(erased_at=NOW)
    for wrong in ({"survivor": survivor, "loser": survivor}, {"survivor": survivor, "loser": gone}):
        with pytest.raises(ValueError, match="itself|erased"):
            merge(**wrong, reason="by hand", now=NOW)
    merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    with pytest.raises(ValueError, match="already"):
        merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)


def test_many_merges_in_one_batch_go_to_the_right_people():
    for number in range(30):
        put(kind="contact.identified", source="t", now=NOW, user_id=f"u{number}")
        put(kind="page.viewed", source="t", now=NOW, anonymous_id=f"a{number}", properties={"n": number})
        put(kind="page.viewed", source="t", now=NOW, anonymous_id=f"b{number}", properties={"n": number})
    run_step(Step("ingest", ingest), NOW)
    assert Contact.objects.count() == 90
    for number in range(30):
        put(kind="page.viewed", source="t", now=NOW, anonymous_id=f"a{number}", user_id=f"u{number}")
        put(kind="page.viewed", source="t", now=NOW, anonymous_id=f"b{number}", user_id=f"u{number}")
    run_step(Step("ingest", ingest), NOW)
    assert Contact.objects.living().count() == 30
    for number in range(30):
        contact = Identity.objects.get(kind="user_id", value=f"u{number}").contact
        assert contact.identities.count() == 3
        numbers = contact.touchpoints.filter(properties__has_key="n").values_list("properties__n", flat=True)
        assert list(numbers) == [number, number]
    assert Merge.objects.count() == 60


def test_who_was_identified_first_is_the_older():
    visitor, late, early = person(identified_at=None), person(), person(identified_at=NOW - timedelta(days=1))
    assert older(visitor, late) == (late, visitor)
    assert older(late, early) == (early, late)
    another = person(identified_at=None)
    assert older(another, visitor) == (visitor, another)


def test_the_temporary_tables_leave_nothing_behind_for_the_next_merge():
    pairs = [(person(), person()) for _ in range(3)]
    for survivor, loser in pairs:
        merge(survivor=survivor, loser=loser, reason="by hand", now=NOW)
    assert [(one.survivor, one.loser) for one in Merge.objects.order_by("id")] == pairs
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pair")
        assert cursor.fetchone() == (0,)
