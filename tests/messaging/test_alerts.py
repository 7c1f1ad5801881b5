"""Alerts to the team: to whom, by what kind of mail, and that nothing they set off sets them off again."""

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

from contacts.models import Consent
from journey_crm.tick import tick
from messaging import tokens
from messaging.delivery import deliver
from messaging.models import Brand, Message
from tests.campaigns.world import journey

pytestmark = pytest.mark.django_db


@pytest.fixture
def ann(db):
    return get_user_model().objects.create_user("ann", email="Ann@Acme.example")


@pytest.fixture
def make_alert(make_template):
    def make(**values):
        told = {
            "key": "hot-lead", "channel": "alert", "body_format": "text", "message_class": "transactional",
            "topic": None, "subject": "Žhavý kontakt: {{ contact.first_name | default: '?' }}",
            "body": "Look: https://acme.example/x",
        }  # fmt: skip
        return make_template(**told | values)

    return make


def test_an_alert_goes_to_the_persons_owner_and_never_to_the_person(
    smtp_sink, make_contact, make_alert, make_message, send, ann, settings, now
):
    person = make_contact(owner=ann, first_name="Eva")
    Consent.objects.create(contact=person, topic="", channel="email", state="denied", changed_at=now)
    night = now + timedelta(hours=14)
    message = make_message(person, make_alert(), due_at=night)
    assert send(night) == 1
    [mail] = smtp_sink.mails
    assert mail.recipients == ("ann@acme.example",)
    assert mail["Subject"] == "Žhavý kontakt: Eva"
    assert mail.body().startswith("Look: https://acme.example/x\r\n")
    assert f"{settings.BASE_URL}/admin/contacts/contact/{person.pk}/change/" in mail.body()
    assert tokens.message_of(mail["Message-ID"]) == message.pk
    assert person.email.encode() not in mail.raw


def test_no_machine_answers_an_alert(smtp_sink, make_contact, make_alert, make_message, send, ann):
    make_message(make_contact(owner=ann), make_alert())
    send()
    [mail] = smtp_sink.mails
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["X-Auto-Response-Suppress"] == "All"
    assert mail.sender == "<>", "a bounce or a vacation notice has nowhere to go"
    assert mail["List-Unsubscribe"] is None
    assert all(len(line) <= 998 and line.isascii() for line in mail.raw.split(b"\r\n"))


@pytest.mark.parametrize(
    ("owner", "reply_to", "address"),
    [
        ("", "", ""),
        ("", "team@acme.example", "team@acme.example"),
        ("", "The team <Team@acme.example>", "team@acme.example"),
        ("away", "team@acme.example", "team@acme.example"),
        ("ann", "team@acme.example", "ann@acme.example"),
    ],
)
def test_whose_owner_is_not_there_is_told_to_where_answers_go(
    smtp_sink, make_contact, make_alert, make_message, send, ann, owner, reply_to, address
):
    Brand.objects.update(reply_to=reply_to)
    if owner == "away":
        get_user_model().objects.update(is_active=False)
    template = make_alert()
    Brand.objects.update(reply_to=reply_to)
    message = make_message(make_contact(owner=ann if owner else None), template)
    send()
    message.refresh_from_db()
    assert [mail.recipients for mail in smtp_sink.mails] == ([(address,)] if address else [])
    assert (message.state, message.reason) == (("sent", "") if address else ("skipped", "no_address"))


def test_a_rule_that_is_set_off_by_its_own_alert_stops_after_one_turn(
    smtp_sink, make_contact, make_alert, make_message, ann, now
):
    template = make_alert()
    person = make_contact(owner=ann)
    journey(
        now, kind="follow_up", trigger={"touchpoint": "alert.sent"},
        reentry={"policy": "after_exit", "cooldown": "1m"}, steps=[{"send": "hot-lead"}],
    )  # fmt: skip
    tick(now)
    make_message(person, template)
    for minutes in range(0, 50, 5):
        at = now + timedelta(minutes=minutes)
        tick(at)
        deliver(now=at)
    assert len(smtp_sink.mails) == 1
    assert sorted(Message.objects.values_list("state", "reason")) == [("sent", ""), ("skipped", "already_sent")]


def test_the_same_alert_about_somebody_else_or_an_hour_later_is_given(
    smtp_sink, make_contact, make_alert, make_message, send, ann, now
):
    template, person = make_alert(), make_contact(owner=ann)
    make_message(person, template)
    make_message(make_contact(owner=ann), template)
    assert send() == 2
    later = now + timedelta(hours=1, minutes=1)
    make_message(person, template, now=later)
    assert send(later) == 1


@pytest.mark.parametrize(
    ("values", "field"), [({"subject": " "}, "subject"), ({"message_class": "operational"}, "message_class")]
)
def test_an_alert_is_transactional_and_has_a_subject(make_alert, values, field):
    template = make_alert()
    for name, value in values.items():
        setattr(template, name, value)
    with pytest.raises(ValidationError) as error:
        template.full_clean()
    assert list(error.value.message_dict) == [field]
