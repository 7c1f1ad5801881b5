"""Claim, hand over, mark: nothing twice, nothing lost, and one bad recipient harms nobody else."""

import json
from collections import Counter
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection

from contacts.erasure import erase
from contacts.models import Contact, Incoming
from messaging.delivery import LEASE, MOST_ATTEMPTS, SQL, _claim, backoff, deliver, sweep
from messaging.gates import arbitrate
from messaging.models import Handover, Message, Suppression


def states() -> Counter:
    return Counter(Message.objects.values_list("state", "reason"))


def test_it_sends_a_message_that_is_due_and_tells_the_inbox(smtp_sink, make_message, send, now):
    message = make_message()
    assert send() == 1
    message.refresh_from_db()
    assert (message.state, message.sent_at, message.attempts) == ("sent", now, 1)
    assert message.context == {"contact": {"first_name": message.contact.first_name}}
    mail = smtp_sink.mails[0]
    assert mail.recipients == (message.contact.email,)
    assert mail["Subject"] == f"Hello {message.contact.first_name}"
    event = Incoming.objects.get(kind="email.sent")
    assert event.contact_id == message.contact_id
    assert event.properties["message"] == message.pk
    assert event.properties["subject"] == f"Hello {message.contact.first_name}"


def test_it_does_not_send_before_the_message_is_due(smtp_sink, make_message, send, now):
    make_message(due_at=now + timedelta(hours=1))
    assert send() == 0
    assert send(now + timedelta(hours=1)) == 1


def test_it_sends_a_key_once_however_often_it_is_intended(smtp_sink, make_message, send):
    message = make_message()
    make_message(message.contact, message.template, key=message.key)
    for _ in range(3):
        send()
    assert len(smtp_sink.mails) == 1


def test_one_bad_recipient_harms_nobody_else(
    smtp_sink, make_ready, make_template, make_contact, make_message, send, now
):
    smtp_sink.on_recipient = lambda address: "554 5.7.1 we do not like you" if address == "no@example.com" else None
    make_ready(96)
    refused = make_message(make_contact(email="no@example.com"))
    unwritable = make_message(template=make_template(body="{{ contact.shoe_size }}"))
    invalid = make_message(make_contact(email="not an address"))
    injecting = make_message(make_contact(first_name="Eva\nBcc: all@example.com"))
    send()
    for minutes in range(20):
        at = now + timedelta(minutes=minutes)
        arbitrate(at, 0, 0)
        deliver(now=at)
    assert len(smtp_sink.mails) == 96
    found = {message.pk: (message.state, message.reason) for message in Message.objects.exclude(state="sent")}
    assert found == {
        refused.pk: ("failed", "refused"),
        unwritable.pk: ("failed", "render_error"),
        invalid.pk: ("skipped", "invalid_address"),
        injecting.pk: ("failed", "header_injection"),
    }
    assert "shoe_size" in Message.objects.get(pk=unwritable.pk).response


def test_an_address_that_does_not_exist_is_suppressed(smtp_sink, make_message, make_contact, send):
    smtp_sink.on_recipient = lambda address: "550 5.1.1 no such user" if address == "gone@example.com" else None
    person = make_contact(email="gone@example.com")
    make_message(person)
    send()
    assert states() == {("failed", "bounced"): 1}
    assert Suppression.objects.get().address == "gone@example.com"
    make_message(person)
    send()
    assert states() == {("failed", "bounced"): 1, ("skipped", "suppressed"): 1}


def test_it_tries_again_later_when_the_server_says_so_and_gives_up_in_the_end(smtp_sink, make_message, send, now):
    smtp_sink.on_recipient = lambda address: "450 4.2.1 busy"
    message = make_message()
    at = now
    for attempt in range(1, MOST_ATTEMPTS):
        send(at)
        message.refresh_from_db()
        assert (message.state, message.attempts) == ("pending", attempt)
        assert message.due_at == at + backoff(message.pk, attempt)
        at = message.due_at
    send(at)
    assert states() == {("failed", "gave_up"): 1}
    assert Message.objects.get().attempts == MOST_ATTEMPTS
    assert smtp_sink.mails == []


def test_a_storm_of_temporary_errors_still_reaches_everybody_once(smtp_sink, make_ready, now):
    seen = Counter()

    def moody(address):
        seen[address] += 1
        return "421 4.3.2 come back" if seen[address] == 1 and int(address[1:].split("@")[0]) % 3 == 0 else None

    smtp_sink.on_recipient = moody
    make_ready(60)
    at = now
    for _ in range(8):
        arbitrate(at, 0, 0)
        deliver(now=at)
        at += timedelta(minutes=5)
    assert states() == {("sent", ""): 60}
    assert Counter(mail.recipients[0] for mail in smtp_sink.mails).most_common(1)[0][1] == 1
    assert len(smtp_sink.mails) == 60


def test_an_outage_costs_no_attempt(make_message, send, now, monkeypatch):
    monkeypatch.setattr(settings, "EMAIL_URL", "smtp://127.0.0.1:1")
    message = make_message()
    at = now
    for _ in range(10):
        send(at)
        at += timedelta(minutes=2)
    message.refresh_from_db()
    assert (message.state, message.attempts) == ("pending", 0)


def test_a_worker_whose_lease_is_over_may_not_begin(make_ready, now):
    one = make_ready(1)[0]
    Message.objects.update(state="sending", lease_until=now + LEASE, claimed_by="slow", attempts=1)
    mine = {"ids": [one.pk], "worker": "slow", "now": now}
    assert SQL["begin_messages"].rows(**mine, asked_at=now + LEASE) == []
    assert not Handover.objects.exists()
    assert SQL["begin_messages"].rows(**mine, asked_at=now + LEASE - timedelta(seconds=1)) == [(one.pk,)]


def test_what_was_claimed_but_not_begun_goes_back(make_ready, now):
    make_ready(1)
    Message.objects.update(state="sending", lease_until=now, claimed_by="dead", attempts=1)
    assert sweep(now) == 1
    assert Message.objects.get().state == "ready"
    assert Message.objects.get().attempts == 0


@pytest.mark.parametrize(("message_class", "state"), [("marketing", "uncertain"), ("transactional", "ready")])
def test_what_was_begun_is_uncertain_unless_it_is_transactional(make_ready, now, message_class, state):
    make_ready(1)
    Message.objects.update(state="sending", lease_until=now, claimed_by="dead", attempts=1, message_class=message_class)
    Handover.objects.create(worker="dead", begun_at=now, messages=[Message.objects.get().pk])
    assert sweep(now - timedelta(seconds=1)) == 0
    sweep(now)
    assert Message.objects.get().state == state


def test_a_transactional_mail_goes_again_under_the_same_message_id(smtp_sink, make_message, make_template, send, now):
    template = make_template(message_class="transactional", topic=None)
    make_message(template=template)
    smtp_sink.on_data = lambda mail: "451 4.3.0 once more"
    first = []
    smtp_sink.on_data = lambda mail: first.append(mail["Message-ID"]) or "451 4.3.0 once more"
    send()
    smtp_sink.on_data = lambda mail: None
    send(now + timedelta(minutes=5))
    assert smtp_sink.mails[0]["Message-ID"] == first[0]


def test_a_worker_that_lost_its_claim_sends_nothing(smtp_sink, make_ready, now, monkeypatch):
    """The sweep comes between the claim and the hand-over."""
    from messaging import delivery

    make_ready(3)
    monkeypatch.setattr(delivery, "hit", lambda name: name == "after_claim" and sweep(now + timedelta(minutes=6)))
    assert deliver(now=now, limit=3) == 0
    assert smtp_sink.mails == []
    monkeypatch.undo()


def test_a_transport_that_re_enters_the_delivery_sends_one_mail(smtp_sink, make_ready, now):
    from messaging import delivery
    from messaging.channels import Result

    make_ready(1)
    sent = []

    def channel(messages):
        for message in messages:
            sent.append(message.id)
            assert deliver(now=now) == 0
            yield Result(message.id, "sent")

    original, delivery.openers = delivery.openers, lambda: {"email": lambda: channel}
    try:
        assert deliver(now=now) == 1
    finally:
        delivery.openers = original
    assert len(sent) == 1


def test_a_result_that_can_not_be_written_harms_no_other(smtp_sink, make_ready, now):
    """The database itself refuses one of ten results; that one is left to the sweep, which calls it uncertain."""
    unlucky = make_ready(10)[4]
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF NEW.state = 'sent' AND NEW.id = " + str(unlucky.pk) + " THEN "
            "RAISE EXCEPTION 'no' USING ERRCODE = '22000'; END IF; RETURN NEW; END $$; "
            "CREATE TRIGGER refuse BEFORE UPDATE ON messaging_message FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    deliver(now=now)
    assert len(smtp_sink.mails) == 10
    assert states() == {("sent", ""): 9, ("sending", ""): 1}
    sweep(now + timedelta(minutes=6))
    assert states() == {("sent", ""): 9, ("uncertain", ""): 1}


def test_without_a_brand_nothing_leaves(smtp_sink, make_message, brand, send):
    make_message()
    brand.delete()
    send()
    assert states() == {("failed", "no_brand"): 1}


def test_each_mail_holds_only_its_own_persons_data(smtp_sink, make_template, now):
    template = make_template(body="{{ contact.first_name }} {{ contact.last_name }} {{ contact.secret }}")
    people = Contact.objects.bulk_create(
        Contact(
            email=f"c{n}@example.com", first_name=f"first{n}x", last_name=f"last{n}x", attributes={"secret": f"sec{n}x"}
        )
        for n in range(200)
    )
    Message.objects.bulk_create(
        Message(key=f"c:{person.pk}", contact=person, template=template, message_class="marketing", created_at=now,
                due_at=now, state="ready")
        for person in people
    )  # fmt: skip
    deliver(now=now)
    assert len(smtp_sink.mails) == 200
    for mail in smtp_sink.mails:
        n = mail.recipients[0][1:].split("@")[0]
        assert f"first{n}x last{n}x sec{n}x" in mail.body()
        assert mail["Subject"] == f"Hello first{n}x"
        assert mail.body("html").count("first") == 1


def test_the_default_channel_writes_files(make_message, send, data_dir):
    message = make_message()
    assert send() == 1
    (file,) = (data_dir / "mail" / "new").iterdir()
    assert message.contact.email.encode() in file.read_bytes()


def test_whoever_is_erased_while_their_mail_is_on_its_way_stays_forgotten(make_message, now):
    message = make_message()
    arbitrate(now, 0, 0)

    ids, _taken = _claim("email", "w", 9, now, now + timedelta(minutes=5))
    erase(message.contact, by=None, now=now)
    told = [{
        "id": pk, "state": "sent", "reason": "", "response": "250 for ann@x.example", "due_at": None, "attempts": 1,
        "subject": "Hello Ann", "language": "en", "version_id": None, "context": {"contact": {"first_name": "Ann"}},
    } for pk in ids]  # fmt: skip
    SQL["mark_messages"].rows(told=json.dumps(told), worker="w", now=now)
    message.refresh_from_db()
    assert (message.state, message.address, message.context, message.response) == ("sent", "", {}, "")
    assert message.key == f"erased:{message.pk}"
