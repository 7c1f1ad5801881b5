"""What e-mail providers tell by their webhooks: checked, of our mail alone, in any order and number."""

import base64
import hashlib
import hmac
import json
from itertools import permutations

import pytest

from contacts.consent import proof
from contacts.models import Incoming
from messaging import tokens
from messaging.models import Feedback, Message, ReportCount, Suppression

pytestmark = pytest.mark.django_db
SECRET = "acme:correct horse"
AUTHORISED = {"Authorization": "Basic " + base64.b64encode(SECRET.encode()).decode()}


@pytest.fixture(autouse=True)
def _set_up(settings):
    settings.ESP_WEBHOOK_SECRET = SECRET


@pytest.fixture
def sent(make_message, now):
    message = make_message()
    Message.objects.filter(pk=message.pk).update(
        state="sent", sent_at=now, claimed_at=now, address=message.contact.email
    )
    message.refresh_from_db()
    return message


def sign(message) -> str:
    return f"m{message.pk}.{tokens.first().message_tag(message.pk)}"


def call(client, provider, told, **headers):
    return client.post(
        f"/hooks/esp/{provider}/", json.dumps(told), content_type="application/json", headers=AUTHORISED | headers
    )


def postmark(kind, message, **more):
    return {
        "RecordType": kind, "MessageID": "5b6f", "Recipient": message.address,
        "Metadata": {"journey": sign(message)}, **more,
    }  # fmt: skip


def test_every_order_of_a_providers_events_ends_the_same(client, make_message, now):
    events = [
        lambda one: postmark("Delivery", one, DeliveredAt="2026-11-10T08:00:00Z"),
        lambda one: postmark("Bounce", one, ID=1, Type="SoftBounce", BouncedAt="2026-11-10T08:01:00Z", Details=""),
        lambda one: postmark("Bounce", one, ID=2, Type="HardBounce", BouncedAt="2026-11-10T08:02:00Z",
                             Details="smtp;550 5.1.1 unknown"),
        lambda one: postmark("SpamComplaint", one, ID=3, Type="SpamComplaint", BouncedAt="2026-11-10T08:03:00Z"),
    ]  # fmt: skip
    ends = []
    for order in permutations(range(4)):
        message = make_message()
        Message.objects.filter(pk=message.pk).update(
            state="sent", sent_at=now, claimed_at=now, address=message.contact.email
        )
        message.refresh_from_db()
        for place in [*order, order[0]]:
            assert call(client, "postmark", events[place](message)).json() == {"settled": 1}
        feedback = Feedback.objects.filter(message=message)
        told = set(Incoming.objects.filter(contact_id=message.contact_id).exclude(kind="consent.changed")
                   .values_list("kind", "message_id"))  # fmt: skip
        ends.append((
            feedback.values_list("verdict", "delivered_at", "soft_at", "bounced_at", "complained_at", "code").get(),
            Suppression.objects.values_list("reason", flat=True).get(address=message.address),
            {(kind, name.replace(str(message.pk), "N")) for kind, name in told},
        ))  # fmt: skip
    assert all(end == ends[0] for end in ends)
    assert ends[0][0][0] == "complaint" and ends[0][1] == "complained"
    assert {kind for kind, _name in ends[0][2]} == {"email.delivered", "email.bounced", "email.complained"}


def test_the_door_is_shut_until_a_secret_is_set_and_for_whoever_does_not_know_it(client, sent, settings):
    wrong = {"Authorization": "Basic " + base64.b64encode(b"acme:guess").decode()}
    for headers in (wrong, {"Authorization": ""}, {"Authorization": "Basic ?"}, {"Authorization": f"Bearer {SECRET}"}):
        answer = call(client, "postmark", postmark("SpamComplaint", sent, Type="SpamComplaint"), **headers)
        assert (answer.status_code, answer["WWW-Authenticate"]) == (401, 'Basic realm="bounces"')
    assert call(client, "nobody", {}).status_code == 404
    settings.ESP_WEBHOOK_SECRET = ""
    assert call(client, "postmark", postmark("SpamComplaint", sent, Type="SpamComplaint")).status_code == 404
    assert not Feedback.objects.exists()


def test_a_provider_that_signs_its_calls_is_believed_only_with_its_signature(client, sent, settings):
    told = {
        "signature": {"token": "t" * 50, "timestamp": "1762765200"},
        "event-data": {"event": "complained", "timestamp": 1762765200.0, "recipient": sent.address,
                       "message": {"headers": {"message-id": f"{sign(sent)}@crm.acme.example"}}},
    }  # fmt: skip
    assert call(client, "mailgun", told).status_code == 404, "without its key nothing is set up"
    settings.ESP_WEBHOOK_SIGNING_KEY = "key-1"
    told["signature"]["signature"] = "0" * 64
    assert call(client, "mailgun", told).status_code == 401
    signed = f"{told['signature']['timestamp']}{told['signature']['token']}".encode()
    told["signature"]["signature"] = hmac.new(b"key-1", signed, hashlib.sha256).hexdigest()
    # Matched by the Message-ID alone.
    assert call(client, "mailgun", told).json() == {"settled": 1}
    assert Feedback.objects.get().verdict == "complaint"


@pytest.mark.parametrize(
    ("told", "verdict", "suppressed"),
    [
        ({"event": "delivered"}, "delivered", None),
        ({"event": "hard_bounce", "reason": "550 5.1.1 no such user"}, "hard", "bounced"),
        ({"event": "hard_bounce"}, "hard", "bounced"),
        ({"event": "soft_bounce"}, "soft", None),
        ({"event": "blocked"}, "policy", None),
        ({"event": "invalid_email"}, "hard", "bounced"),
        ({"event": "spam"}, "complaint", "complained"),
        ({"event": "deferred"}, None, None),
        ({"event": "opened"}, None, None),
        ({"event": "click", "link": "https://acme.example/"}, None, None),
    ],
)
def test_each_event_has_its_class(client, sent, told, verdict, suppressed):
    custom = json.dumps({"message": sign(sent)})
    answer = call(
        client, "brevo", {**told, "email": sent.address, "ts_epoch": 1762765200000, "X-Mailin-custom": custom}
    )
    assert answer.json() == ({"settled": 1} if verdict else {"unused": 1})
    assert Feedback.objects.values_list("verdict", flat=True).first() == verdict
    assert Suppression.objects.values_list("reason", flat=True).first() == suppressed


def test_who_unsubscribes_there_refuses_here_with_its_proof(client, sent):
    custom = json.dumps({"message": sign(sent)})
    call(client, "brevo", {"event": "unsubscribe", "email": sent.address, "X-Mailin-custom": custom})
    assert {(row["state"], row["source"]) for row in proof(sent.contact)} == {("denied", "esp:brevo")}


def test_what_is_of_no_message_of_ours_is_counted_and_dropped(client, sent):
    forged = sign(sent)[:-4] + "0000"
    for metadata in ({}, {"journey": forged}, {"journey": "m1"}, {"message": 12}):
        told = postmark("SpamComplaint", sent, Type="SpamComplaint") | {"Metadata": metadata}
        assert call(client, "postmark", told).json() == {"unknown": 1}
    assert list(ReportCount.objects.values_list("source", "outcome", "count")) == [("postmark", "unknown", 4)]
    assert not Feedback.objects.exists() and not Suppression.objects.exists()


def test_what_is_no_event_is_said_so_and_what_tries_the_address_is_answered(client):
    assert call(client, "postmark", ["?"]).status_code == 400
    assert call(client, "sparkpost", {"a": 1}).status_code == 400
    assert client.head("/hooks/esp/postmark/", headers=AUTHORISED).status_code == 200
    assert client.get("/hooks/esp/postmark/").status_code == 401


def test_a_batch_is_settled_as_one_set(client, make_message, now, django_assert_max_num_queries):
    told = []
    for _ in range(20):
        message = make_message()
        Message.objects.filter(pk=message.pk).update(state="sent", sent_at=now, claimed_at=now, address="x@example.com")
        told.append({"msys": {"message_event": {
            "type": "bounce", "bounce_class": "10", "raw_reason": "550 5.1.1 unknown", "timestamp": "1762765200",
            "event_id": str(message.pk), "rcpt_meta": {"journey": sign(message)}, "message_id": "1",
        }}})  # fmt: skip
    with django_assert_max_num_queries(8):
        assert call(client, "sparkpost", told).json() == {"settled": 20}
    assert Feedback.objects.filter(verdict="hard").count() == 20
