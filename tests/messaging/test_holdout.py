"""The global holdout: a few people get no marketing at all, the same ones for as long as it lasts."""

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from contacts.merging import merge
from contacts.models import Contact
from messaging.explaining import explain_message, why
from messaging.gates import arbitrate
from messaging.models import Holdout, Message, SendingPolicy

pytestmark = pytest.mark.django_db


def held_out(share: int) -> SendingPolicy:
    return SendingPolicy.objects.update_or_create(pk=1, defaults={"global_holdout": share})[0]


def ends(messages) -> dict[int, tuple[str, str]]:
    rows = Message.objects.filter(pk__in=[one.pk for one in messages])
    return {contact: (state, reason) for contact, state, reason in rows.values_list("contact_id", "state", "reason")}


@pytest.fixture
def crowd(make_contact):
    return [make_contact() for _ in range(200)]


def test_nobody_is_held_out_unless_somebody_says_so(make_message, crowd, now):
    messages = [make_message(one) for one in crowd[:50]]
    arbitrate(now, 0, 0)
    assert set(ends(messages).values()) == {("ready", "")}
    assert not Holdout.objects.exists()


def test_some_get_no_marketing_and_it_is_written_down_who(make_message, crowd, now):
    held_out(20)
    messages = [make_message(one) for one in crowd]
    arbitrate(now, 0, 0)
    found = ends(messages)
    held = {contact for contact, end in found.items() if end == ("skipped", "holdout")}
    assert 20 < len(held) < 60
    assert {end for contact, end in found.items() if contact not in held} == {("ready", "")}
    rows = Holdout.objects.filter(scope="global", decided_at=now)
    assert rows.count() == 200
    assert set(rows.filter(is_held=True).values_list("contact_id", flat=True)) == held


@pytest.mark.parametrize("kind", ["operational", "transactional"])
def test_only_marketing_is_held_back(make_message, make_template, crowd, kind, now):
    held_out(20)
    template = make_template(message_class=kind)
    messages = [make_message(one, template) for one in crowd[:100]]
    arbitrate(now, 0, 0)
    assert set(ends(messages).values()) == {("ready", "")}
    assert not Holdout.objects.exists()


def test_who_is_held_out_stays_so_when_the_share_changes(make_message, make_template, crowd, now):
    held_out(20)
    arbitrate_all(make_message, make_template, crowd, now)
    first = dict(Holdout.objects.values_list("contact_id", "is_held"))
    held_out(1)
    later = arbitrate_all(make_message, make_template, crowd, now + timedelta(days=3))
    assert dict(Holdout.objects.values_list("contact_id", "is_held")) == first
    assert {contact for contact, end in later.items() if end[1] == "holdout"} == {one for one in first if first[one]}
    held_out(0)
    ended = arbitrate_all(make_message, make_template, crowd, now + timedelta(days=6))
    assert "holdout" not in {reason for _state, reason in ended.values()}
    held_out(20)
    again = arbitrate_all(make_message, make_template, crowd, now + timedelta(days=9))
    assert {contact for contact, end in again.items() if end[1] == "holdout"} == {one for one in first if first[one]}


def arbitrate_all(make_message, make_template, crowd, at):
    template = make_template()
    messages = [make_message(one, template, now=at) for one in crowd]
    arbitrate(at, 0, 0)
    Message.objects.filter(state="ready").update(state="cancelled", reason="withdrawn")
    return ends(messages)


def test_of_two_people_who_become_one_the_survivors_draw_stays(make_message, make_contact, now):
    held_out(20)
    survivor, loser = make_contact(), make_contact()
    for contact, is_held in ((survivor, True), (loser, False)):
        Holdout.objects.create(scope="global", contact=contact, is_held=is_held, decided_at=now)
    with transaction.atomic():
        merge(survivor=survivor, loser=loser, reason="by hand", now=now)
    assert list(Holdout.objects.values_list("contact_id", "is_held")) == [(survivor.pk, True)]
    message = make_message(Contact.objects.get(pk=survivor.pk))
    arbitrate(now, 0, 0)
    assert ends([message]) == {survivor.pk: ("skipped", "holdout")}


def test_a_reason_before_it_is_told_first(make_message, make_contact, allow, now):
    held_out(20)
    person = make_contact()
    Holdout.objects.create(scope="global", contact=person, is_held=True, decided_at=now)
    allow(person, "", "denied")
    message = make_message(person)
    arbitrate(now, 0, 0)
    assert ends([message])[person.pk] == ("skipped", "unsubscribed")


def test_the_checklist_says_that_it_is_the_global_one(make_message, make_contact, make_template, now):
    held_out(20)
    person = make_contact()
    Holdout.objects.create(scope="global", contact=person, is_held=True, decided_at=now)
    template = make_template(key="spring")
    answer = explain_message(contact=person, key="spring", now=now)
    assert answer.reason == "holdout"
    (failed,) = [one for one in answer.checks if one.is_passed is False]
    assert failed.gate == "holdout"
    assert failed.sentence.startswith("The person is one of those who get no marketing at all")
    message = make_message(person, template)
    assert why(message, now).reason == ""
    arbitrate(now, 0, 0)
    message.refresh_from_db()
    assert why(message, now).reason == "holdout"


def test_the_draw_costs_one_statement_however_many_people(make_message, crowd, now):
    held_out(10)
    counts = []
    for people in (crowd[:2], crowd[2:]):
        for one in people:
            make_message(one)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            arbitrate(now, 0, 0)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 12


def test_more_than_a_fifth_cannot_be_held_out():
    policy = SendingPolicy(pk=1, global_holdout=21)
    with pytest.raises(ValidationError):
        policy.full_clean()
    with pytest.raises(IntegrityError), transaction.atomic():
        policy.save()
