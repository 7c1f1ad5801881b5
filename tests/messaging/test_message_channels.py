"""A message goes by its template's channel: to that channel's address, by its consents, through its gates."""

import json
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured, ValidationError

from contacts.definitions import DefinitionError
from contacts.erasure import erase
from contacts.models import Consent, Contact, Incoming
from journey_crm import as_code
from messaging.delivery import deliver
from messaging.explaining import explain_message, why
from messaging.gates import arbitrate
from messaging.models import Message, Suppression, Template, TemplateVersion
from messaging.preview import rendered
from messaging.texts import count

PHONE = "+420777123456"


@pytest.fixture
def make_sms(make_template):
    def make(**values) -> Template:
        told = {
            "channel": "sms",
            "body_format": "text",
            "subject": "",
            "body": "Ahoj {{ contact.first_name | default: '' }}",
        }
        return make_template(**told | values)

    return make


@pytest.fixture
def arrived(data_dir):
    """The SMS that left, in the order of their messages."""
    return lambda: [json.loads(file.read_text()) for file in sorted((data_dir / "sms").glob("*.json"))]


def outcome(message) -> tuple[str, str]:
    message.refresh_from_db()
    return message.state, message.reason


def test_an_sms_goes_to_the_telephone_and_a_mail_to_the_address(
    smtp_sink, arrived, make_contact, make_sms, make_template, make_message, send
):
    person = make_contact(phone=PHONE, first_name="Eva")
    text = make_message(person, make_sms(message_class="transactional", topic=None))
    mail = make_message(person)
    assert send() == 2
    assert [(one["to"], one["text"]) for one in arrived()] == [(PHONE, "Ahoj Eva")]
    assert [one.recipients for one in smtp_sink.mails] == [(person.email,)]
    assert outcome(text) == outcome(mail) == ("sent", "")
    assert (text.channel, text.address) == ("sms", PHONE)
    assert sorted(Incoming.objects.filter(kind__endswith=".sent").values_list("kind", "channel")) == [
        ("email.sent", "email"), ("sms.sent", "sms"),
    ]  # fmt: skip
    assert rendered(text).text == "Ahoj Eva"


@pytest.mark.parametrize(
    ("person", "reason"),
    [
        ({"phone": ""}, "no_address"),
        ({"phone": "777 123 456"}, "invalid_address"),
        ({"phone": "+0420777123456"}, "invalid_address"),
        ({"phone": PHONE, "email": ""}, ""),
    ],
)
def test_the_gate_of_the_address_is_the_channels(make_contact, make_sms, make_message, send, now, person, reason):
    message = make_message(make_contact(**person), make_sms())
    send()
    assert outcome(message) == (("skipped", reason) if reason else ("sent", ""))
    if reason:
        assert Message.objects.get().state == "skipped"
        checks = {one.gate: one.is_passed for one in why(message, now).checks}
        assert (checks["consent"], checks["address"], checks["journey"]) == (True, False, None)


def test_consent_is_asked_channel_by_channel(arrived, make_contact, make_sms, make_message, tips, send, now):
    def says(person, topic, channel, state):
        Consent.objects.create(contact=person, topic=topic, channel=channel, state=state, changed_at=now)

    by_mail, by_sms, no_sms = (make_contact(phone=f"+42077712345{n}") for n in range(3))
    says(by_mail, "tips", "email", "granted")
    says(by_sms, "tips", "sms", "granted")
    says(by_sms, "", "email", "denied")
    says(no_sms, "tips", "sms", "granted")
    says(no_sms, "", "sms", "denied")
    template = make_sms(topic=tips)
    messages = [make_message(one, template) for one in (by_mail, by_sms, no_sms)]
    send()
    assert [outcome(one) for one in messages] == [
        ("skipped", "no_consent"), ("sent", ""), ("skipped", "unsubscribed"),
    ]  # fmt: skip
    assert [one["to"] for one in arrived()] == [by_sms.phone]


def test_a_suppressed_number_stops_sms_and_no_mail(smtp_sink, arrived, make_contact, make_sms, make_message, send, now):
    person = make_contact(phone=PHONE)
    Suppression.objects.create(address=PHONE, channel="sms", reason="manual", suppressed_at=now)
    text, mail = make_message(person, make_sms()), make_message(person, due_at=now)
    send()
    assert outcome(text) == ("skipped", "suppressed")
    assert outcome(mail) == ("sent", "")
    assert arrived() == []


def test_who_refuses_after_the_gates_is_not_written_to(arrived, make_contact, make_sms, make_message, now):
    message = make_message(make_contact(phone=PHONE), make_sms())
    arbitrate(now, 0, 0)
    Suppression.objects.create(address=PHONE, channel="sms", reason="complained", suppressed_at=now)
    deliver(now=now)
    assert outcome(message) == ("cancelled", "suppressed")
    assert Incoming.objects.get(kind="sms.skipped").properties["reason"] == "suppressed"
    assert arrived() == []


def test_transactional_messages_are_claimed_first(smtp_sink, make_ready, make_template, now):
    make_ready(3)
    urgent = make_ready(2, make_template(message_class="transactional", topic=None))
    Message.objects.filter(pk__in=[one.pk for one in urgent]).update(due_at=now - timedelta(seconds=1))
    Message.objects.exclude(pk__in=[one.pk for one in urgent]).update(due_at=now - timedelta(hours=1))
    assert deliver(now=now, limit=2) == 2
    assert set(Message.objects.sent()) == set(urgent)
    assert deliver(now=now) == 3


def test_the_limit_of_a_delivery_counts_over_all_channels(smtp_sink, make_ready, make_sms, now):
    make_ready(2)
    for message in make_ready(2, make_sms()):
        Message.objects.filter(pk=message.pk).update(channel="sms")
    Contact.objects.update(phone=PHONE)
    assert deliver(now=now, limit=3) == 3
    assert deliver(now=now) == 1


def test_a_wrong_setting_of_any_channel_is_told_before_anything_is_claimed(make_ready, settings, now):
    make_ready(1)
    for wrong in ("", "pigeon:x", "file:"):
        settings.SMS_URL = wrong
        with pytest.raises(ImproperlyConfigured, match="SMS_URL"):
            deliver(now=now)
    assert Message.objects.get().state == "ready"


# The text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ("GSM-7", 0, 1)),
        ("a" * 160, ("GSM-7", 160, 1)),
        ("a" * 161, ("GSM-7", 161, 2)),
        ("a" * 306, ("GSM-7", 306, 2)),
        ("a" * 307, ("GSM-7", 307, 3)),
        ("€" * 80, ("GSM-7", 160, 1)),
        # A sign of two is not cut: 76 of them and a hole stand in the first part.
        ("€" * 81, ("GSM-7", 162, 2)),
        ("a" + "€" * 152, ("GSM-7", 305, 2)),
        ("€" * 153, ("GSM-7", 306, 3)),
        ("ř" * 70, ("UCS-2", 70, 1)),
        ("ř" * 71, ("UCS-2", 71, 2)),
        ("ř" * 134, ("UCS-2", 134, 2)),
        ("ř" * 135, ("UCS-2", 135, 3)),
        ("🙂" * 35, ("UCS-2", 70, 1)),
        ("🙂" * 36, ("UCS-2", 72, 2)),
        ("🙂" * 67, ("UCS-2", 134, 3)),
    ],
)
def test_an_sms_is_counted_as_operators_count_it(text, told):
    found = count(text)
    assert (found.alphabet, found.characters, found.parts) == told


def test_marketing_by_sms_tells_the_way_out_unless_the_text_does(
    arrived, make_contact, make_sms, make_message, send, settings
):
    bodies = ["Sale!", "Sale! Stop: {{ links.unsubscribe }}", "Your code is 1234"]
    templates = [
        make_sms(body=bodies[0]), make_sms(body=bodies[1], is_repeatable=True),
        make_sms(body=bodies[2], message_class="transactional", topic=None),
    ]  # fmt: skip
    for number, template in enumerate(templates):
        make_message(make_contact(phone=f"+42077712345{number}"), template)
    send()
    first, second, third = (one["text"] for one in arrived())
    assert first.startswith(f"Sale!\nUnsubscribe {settings.BASE_URL}/u/")
    assert second.startswith(f"Sale! Stop: {settings.BASE_URL}/u/")
    assert "Unsubscribe" not in second
    assert third == "Your code is 1234"


def test_the_link_in_an_sms_refuses_sms(arrived, client, make_contact, make_sms, make_message, send, settings):
    person = make_contact(phone=PHONE)
    make_message(person, make_sms())
    send()
    path = arrived()[0]["text"].rsplit(settings.BASE_URL, 1)[1]
    assert client.post(path).status_code == 200
    assert Consent.objects.filter(contact=person, channel="sms", topic="", state="denied").exists()


def test_links_in_an_sms_are_tracked_and_lead_where_they_did(
    arrived, client, make_contact, make_sms, make_message, send, settings
):
    body = (
        "Look: https://acme.example/a?b=1&c=2, or {{ contact.first_name | default: 'x' }} "
        "https://acme.example/{{ contact.id }}."
    )
    make_message(make_contact(phone=PHONE, first_name="Eva"), make_sms(body=body))
    send()
    text = arrived()[0]["text"]
    ours = text.split()[1].rstrip(",")
    assert ours.startswith(f"{settings.BASE_URL}/t/c/")
    assert client.get(ours.removeprefix(settings.BASE_URL))["Location"] == "https://acme.example/a?b=1&c=2"
    assert f"Eva https://acme.example/{Contact.objects.get().pk}." in text


def test_an_sms_of_too_many_parts_can_not_be_written_nor_sent(arrived, make_contact, make_sms, make_message, send):
    template = make_sms(body="ř" * 403, message_class="transactional", topic=None)
    with pytest.raises(ValidationError, match="403 characters") as error:
        template.full_clean()
    assert list(error.value.message_dict) == ["body"]
    template = make_sms(body="{{ contact.job_title | default: '' }}", message_class="transactional", topic=None)
    template.full_clean()
    long = make_message(make_contact(phone=PHONE, job_title="ř" * 403), template)
    fine = make_message(make_contact(phone="+420777123457", job_title="ř" * 402), template)
    send()
    assert outcome(long) == ("failed", "render_error")
    assert outcome(fine) == ("sent", "")


def test_each_language_of_an_sms_is_checked(make_sms):
    template = make_sms(translations={"cs": {"body": "{{ contact.first_name }}"}})
    with pytest.raises(ValidationError) as error:
        template.full_clean()
    assert list(error.value.message_dict) == ["translations"]


def test_a_mail_keeps_its_frozen_version_without_a_word_on_channels(make_message, make_sms, make_contact, send):
    make_message()
    make_message(make_contact(phone=PHONE), make_sms())
    send()
    assert [one.content.get("channel") for one in TemplateVersion.objects.order_by("pk")] == [None, "sms"]


# As code, and by REST ------------------------------------------------------------------------------------------------

YAML = """
topics: [{key: news, name: News, opt: out}]
templates:
- {key: code, class: transactional, channel: sms, body: "Your code is 1234"}
- {key: mail, topic: news, class: marketing, subject: Hello, body: Hello there}
"""


def test_a_channel_is_written_and_read_as_code(db, now):
    as_code.apply([as_code.read(YAML)], is_publish=False, now=now)
    assert Template.objects.get(key="code").channel == "sms"
    text = as_code.write(as_code.export())
    assert text.count("channel:") == 1
    assert {one.what for one in as_code.apply([as_code.read(text)], is_publish=False, now=now)} == {"unchanged"}
    assert as_code.write(as_code.export()) == text


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ("channel: pigeon, body: x", "channel"),
        ("channel: sms, mjml: x", "mjml"),
        ("body: no subject", "subject"),
        ("channel: sms, body: ''", "body"),
    ],
)
def test_a_wrong_channel_as_code_is_explained(db, now, change, path):
    with pytest.raises(DefinitionError) as error:
        as_code.apply(
            [as_code.read(f"templates: [{{key: t, class: transactional, {change}}}]")], is_publish=False, now=now
        )
    assert path in str(error.value)


def test_a_template_with_messages_keeps_its_channel(make_message):
    template = make_message().template
    template.channel = "sms"
    with pytest.raises(ValidationError) as error:
        template.full_clean()
    assert list(error.value.message_dict) == ["channel"]


def test_a_mail_is_not_written_as_plain_text(make_template):
    with pytest.raises(ValidationError) as error:
        make_template(body_format="text").full_clean()
    assert list(error.value.message_dict) == ["body_format"]


def test_it_explains_what_would_hold_an_sms_back(make_contact, make_sms, now):
    template = make_sms()
    told = explain_message(contact=make_contact(), key=template.key, now=now)
    assert told.reason == "no_address"


# Privacy -------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_sms_on_disk_and_the_suppressed_number_go_with_their_person(
    arrived, make_contact, make_sms, make_message, send, now
):
    person, other = make_contact(phone=PHONE), make_contact(phone="+420777123457")
    template = make_sms()
    for one in (person, other):
        make_message(one, template)
    send()
    Suppression.objects.create(address=PHONE, channel="sms", reason="manual")
    erase(person, by=None, now=now)
    assert [one["to"] for one in arrived()] == [other.phone]
    assert not Suppression.objects.exists()
