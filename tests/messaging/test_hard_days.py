"""Days on which much goes wrong at once: whoever may get a mail gets it once, and all others have one reason."""

import threading
import zlib
from collections import Counter
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from contacts import tokens as keys
from contacts.models import Contact
from journey_crm.invariants import check
from messaging import outbox, tokens
from messaging.channels import choose, smtp
from messaging.delivery import MOST_ATTEMPTS, _deliver_by, deliver, sweep
from messaging.gates import arbitrate
from messaging.models import Message, Suppression
from tests.messaging.pipelining import PipeliningServer

MINUTE = timedelta(minutes=1)


def tick(at) -> None:
    sweep(at)
    arbitrate(at, 0, 0)
    deliver(now=at)


def test_of_a_hundred_ninety_six_get_it_once_and_four_end_for_a_reason(
    smtp_sink, make_ready, make_template, make_contact, make_message, now
):
    """A 554, a text that can not be filled in, a bad address, and a result that the database does not take."""
    smtp_sink.on_recipient = lambda address: "554 5.7.1 we do not like you" if address == "no@example.com" else None
    unlucky = make_ready(97)[40]
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF NEW.state = 'sent' AND NEW.id = {unlucky.pk} THEN "
            "RAISE EXCEPTION 'no' USING ERRCODE = '22000'; END IF; RETURN NEW; END $$; "
            "CREATE TRIGGER refuse BEFORE UPDATE ON messaging_message FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    refused = make_message(make_contact(email="no@example.com"))
    unwritable = make_message(template=make_template(body="{{ contact.shoe_size }}"))
    invalid = make_message(make_contact(email="not an address"))
    tick(now)
    tick(now + 6 * MINUTE)

    def found():
        return {
            message.pk: (message.state, message.reason)
            for message in Message.objects.exclude(state="sent").order_by("pk")
        }

    expected = {
        unlucky.pk: ("uncertain", ""),
        refused.pk: ("failed", "refused"),
        unwritable.pk: ("failed", "render_error"),
        invalid.pk: ("skipped", "invalid_address"),
    }
    assert found() == expected
    assert Message.objects.sent().count() == 96
    for number in range(20):
        tick(now + (7 + 6 * number) * MINUTE)
    assert found() == expected
    arrived = Counter(mail.recipients[0] for mail in smtp_sink.mails)
    # The one whose result could not be written got it, too: once.
    assert len(arrived) == 97 and set(arrived.values()) == {1}
    assert set(check(now + 130 * MINUTE).values()) == {0}


@pytest.mark.django_db(transaction=True)
def test_a_storm_with_pauses_and_restarts_reaches_everybody_once(make_ready, settings, now):
    """421 to three in ten, every fiftieth connection dropped behind a text; paused and gone on with three times, and
    each time with new connections."""
    asked: Counter[bytes] = Counter()

    def moody(line: bytes) -> str | None:
        asked[line] += 1
        return "421 4.3.2 come back" if asked[line] == 1 and zlib.crc32(line) % 10 < 3 else None

    people = 300
    make_ready(people)
    Message.objects.update(journey_key="storm")
    with PipeliningServer(
        on_recipient=moody, on_text=lambda number, raw: "drop" if number % 50 == 49 else None
    ) as server:
        settings.EMAIL_URL = server.url
        for number in range(16):
            at = now + 6 * number * MINUTE
            if number in (1, 3, 5):
                outbox.hold(journey_key="storm", is_held=True)
                before = len(server.texts)
                tick(at)
                assert len(server.texts) == before
                outbox.hold(journey_key="storm", is_held=False)
                smtp.close_all()
            sweep(at)
            arbitrate(at, 0, 0)
            # A restart in the middle: this worker stops after some, and the next one goes on.
            deliver(now=at, limit=100 if number < 4 else None)
    smtp.close_all()
    states = Counter(Message.objects.values_list("state", flat=True))
    assert set(states) == {"sent", "uncertain"} and sum(states.values()) == people
    assert Counter(server.recipients).most_common(1)[0][1] == 1
    assert len(server.texts) == people
    # In doubt is whose text was taken by a connection that then broke, and nobody else.
    assert states["uncertain"] == people // 50
    assert max(Message.objects.values_list("attempts", flat=True)) <= MOST_ATTEMPTS
    assert set(check(now + 100 * MINUTE).values()) == {0}


@pytest.mark.django_db(transaction=True)
def test_whoever_refuses_between_the_gates_and_the_door_gets_nothing(
    smtp_sink, make_ready, newsletter, admin_client, now
):
    """500 are due; 250 refuse by six ways; 250 mails leave."""
    smtp_sink.on_recipient = lambda address: "550 5.1.1 no such user" if address == gone.contact.email else None
    messages = make_ready(500)
    refusing, gone = messages[:249], messages[249]
    signer = tokens.current()
    _token, secret = keys.issue(user=User.objects.get(username="admin"), scopes=["sync"], now=now)
    anonymous = Client(enforce_csrf_checks=True)
    for message in refusing[:5]:
        page = f"/u/{signer.token(tokens.PERSON, message.pk, message.contact_id)}/"
        assert anonymous.post(page).status_code == 200
    for message in refusing[5:10]:
        page = f"/u/{signer.token(tokens.PERSON, message.pk, message.contact_id)}/"
        assert anonymous.post(page, {"List-Unsubscribe": "One-Click"}).status_code == 200
    for message in refusing[10:15]:
        said = {
            "contact": message.contact_id,
            "topic": "newsletter",
            "channel": "email",
            "state": "denied",
            "source": "form",
        }
        answer = Client().post(
            "/api/v1/consents/", said, content_type="application/json", headers={"Authorization": f"Bearer {secret}"}
        )
        assert answer.status_code in (200, 201), answer.content
    for message in refusing[15:20]:
        values = {"address": message.contact.email, "reason": "manual"}
        assert admin_client.post("/admin/messaging/suppression/add/", values).status_code == 302
    Suppression.objects.bulk_create(
        Suppression(address=message.contact.email, reason="complained" if number % 2 else "bounced", suppressed_at=now)
        for number, message in enumerate(refusing[20:])
    )
    for number in range(11):
        tick(now + 6 * number * MINUTE)
    assert len(smtp_sink.mails) == 250
    assert not {mail.recipients[0] for mail in smtp_sink.mails} & {one.contact.email for one in messages[:250]}
    ended = Counter(Message.objects.exclude(state="sent").values_list("state", "reason"))
    assert ended == {
        ("cancelled", "unsubscribed"): 10,
        ("cancelled", "topic_refused"): 5,
        ("cancelled", "suppressed"): 234,
        ("failed", "bounced"): 1,
    }
    assert Message.objects.count() == 500


@pytest.mark.django_db(transaction=True)
def test_four_workers_mix_up_nobody(make_template, now):
    """A thousand people with a word of their own in each field; each mail holds its own person's and no other."""
    fields = ("first_name", "last_name", "job_title", "country")
    body = "".join(f"{{{{ contact.{name} }}}} " for name in (*fields, "secret"))
    body += "{% if contact.secret %}{{ contact.secret }}{% endif %} [own](https://acme.example/?s={{ contact.secret }})"
    template = make_template(subject="{{ contact.first_name }}", body=body)
    people = Contact.objects.bulk_create(
        Contact(
            email=f"c{n}@example.com",
            stage="known",
            attributes={"secret": f"canary{n}xsecret"},
            **{name: f"canary{n}x{name}" for name in fields},
        )
        for n in range(1000)
    )
    Message.objects.bulk_create(
        Message(
            key=f"c:{one.pk}",
            contact=one,
            template=template,
            message_class="marketing",
            created_at=now,
            due_at=now,
            state="ready",
        )
        for one in people
    )
    with PipeliningServer() as server:
        threads = [threading.Thread(target=_deliver_apart, args=(server.url, now)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.texts) == 1000
    for recipient, raw in zip(server.recipients, server.texts, strict=True):
        number = recipient.split(b"<c")[1].split(b"@")[0]
        text = raw.replace(b"=\r\n", b"")
        parts = text.split(b"canary")[1:]
        assert {one.split(b"x")[0] for one in parts} == {number}
        assert all(f"canary{number.decode()}x{name}".encode() in text for name in (*fields, "secret"))


def _deliver_apart(url, now) -> None:
    try:
        _deliver_by({"email": choose(url)}, worker=f"t{threading.get_ident()}", now=now, limit=300)
        _deliver_by({"email": choose(url)}, worker=f"t{threading.get_ident()}", now=now, limit=None)
    finally:
        smtp.close_all()
        connection.close()


def test_whoever_is_on_three_lists_gets_one_mail_also_after_a_failure(
    smtp_sink, make_contact, make_template, make_message, now
):
    person, template = make_contact(), make_template()
    for key in ("broadcast:a:1", "broadcast:b:1", "journey:c:1"):
        make_message(person, template, key=key)
    smtp_sink.on_recipient = lambda address: "451 4.3.0 later"
    tick(now)
    assert smtp_sink.mails == []
    smtp_sink.on_recipient = lambda address: None
    for number in range(1, 6):
        tick(now + 2 * number * MINUTE)
    assert len(smtp_sink.mails) == 1
    assert Counter(Message.objects.values_list("state", "reason")) == {("sent", ""): 1, ("skipped", "already_sent"): 2}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("extensions", [("8BITMIME",), ("PIPELINING",)])
def test_a_server_that_does_not_pipeline_gets_the_same_mails(make_ready, settings, extensions, now):
    make_ready(30)
    with PipeliningServer(extensions=extensions) as server:
        settings.EMAIL_URL = f"{server.url}?connections=3"
        assert deliver(now=now) == 30
    smtp.close_all()
    assert len(set(server.recipients)) == len(server.texts) == 30
    assert server.connections == 3


@pytest.mark.django_db(transaction=True)
def test_nothing_leaves_that_could_not_be_noted_before(smtp_sink, make_ready, now):
    """The database takes no more writes: what is claimed is not sent, and all heals by itself."""
    make_ready(5)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$; "
            "CREATE TRIGGER full_disk BEFORE INSERT ON messaging_handover EXECUTE FUNCTION full_disk()"
        )
    with pytest.raises(Exception, match="could not extend file"):
        deliver(now=now)
    assert smtp_sink.mails == []
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION full_disk CASCADE")
    tick(now + 6 * MINUTE)
    assert len(smtp_sink.mails) == 5
