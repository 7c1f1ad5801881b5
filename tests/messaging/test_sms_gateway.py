"""SMS by a gateway, and messages to another system: what is said, and what answers mean."""

import pytest
from django.core.exceptions import ImproperlyConfigured
from standardwebhooks import Webhook as Verifier

from contacts.models import Consent, Webhook
from contacts.webhooks import BREAKS_AFTER, make_secret
from messaging.channels import sms, webhook
from messaging.delivery import backoff
from messaging.models import Message
from tests.messaging.channel_contract import post, text
from tests.messaging.gateway import GatewayServer


@pytest.fixture
def gateway():
    with GatewayServer() as gateway:
        yield gateway


def test_a_gateway_is_told_as_documented(gateway):
    url = gateway.url.replace("//", "//ann:s%40crt@") + "/send?account=7&from=Acme&connections=2"
    assert [one.outcome for one in sms.choose(url)([text(1)])] == ["sent"]
    [request] = gateway.requests
    assert request.path == "/send?account=7"
    assert request.headers["authorization"] == "Basic YW5uOnNAY3J0"
    assert request.headers["idempotency-key"] == "m1.tag@acme.example"
    assert request.json == {
        "id": 1, "to": "+420777123401", "from": "Acme", "text": text(1).raw.decode(), "key": "m1.tag@acme.example",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ((200, {}), "sent"), ((204, ""), "sent"), ((400, {"error": "no such number"}), "failed"), ((404, {}), "failed"),
        ((401, {}), "unreachable"), ((403, {}), "unreachable"), ((302, {}), "unreachable"), ((429, {}), "later"),
        ((500, {}), "later"), ((503, {}), "later"), ("drop", "uncertain"),
    ],
)  # fmt: skip
def test_what_a_gateway_answers_is_understood(gateway, answer, outcome):
    gateway.on_request = lambda request: answer
    [result] = sms.choose(f"{gateway.url}/")([text(1)])
    assert result.outcome == outcome


def test_the_same_key_over_all_attempts(gateway, settings, make_contact, make_template, make_message, send, now):
    answers = [(503, {}), (200, {})]
    gateway.on_request = lambda request: answers.pop(0)
    settings.SMS_URL = f"{gateway.url}/?from=Acme"
    template = make_template(channel="sms", body_format="text", subject="", body="Hi", message_class="transactional")
    message = make_message(make_contact(phone="+420777123456"), template)
    assert send() == 0
    assert send(now + backoff(message.pk, 1)) == 1
    first, second = gateway.requests
    assert first.json == second.json
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"] != ""


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "must begin with"), ("pigeon://x", "must begin with"), ("https://", "names no host"),
        ("https://host:port/", "Port"), ("https://host/?connections=many", "must be numbers"),
        ("https://host/?connections=0", "1 to 100"), ("file:", "needs a folder"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_explained(url, words):
    with pytest.raises(ImproperlyConfigured, match="SMS_URL") as error:
        sms.choose(url)
    assert words in str(error.value)


# Messages to another system ------------------------------------------------------------------------------------------


@pytest.fixture
def endpoint(db, gateway, settings):
    settings.WEBHOOK_ALLOW_PRIVATE = True
    return Webhook.objects.create(
        name="Letters on paper", url=f"{gateway.url}/hook", kinds=["message.posted"], secret=make_secret()
    )


def test_a_message_is_a_signed_post_to_the_endpoint_that_takes_messages(
    gateway, endpoint, make_contact, make_template, make_message, send, now
):
    Webhook.objects.create(name="all", url=f"{gateway.url}/all", kinds=[], secret=make_secret())
    template = make_template(
        channel="webhook", body_format="text", subject="Letter {{ contact.id }}",
        body="Dear {{ contact.first_name | default: 'friend' }}",
    )  # fmt: skip
    person = make_contact(first_name="Eva", email="")
    message = make_message(person, template)
    assert send() == 1
    [request] = gateway.requests
    assert request.path == "/hook"
    Verifier(endpoint.secret).verify(request.body, request.headers)
    assert request.headers["webhook-id"] == f"msg_{message.pk}"
    assert request.json == {
        "type": "message.posted",
        "timestamp": now.isoformat(),
        "data": {
            "message": message.pk, "contact": {"id": person.pk, "email": None}, "language": "en",
            "subject": f"Letter {person.pk}", "text": "Dear Eva",
        },
    }  # fmt: skip
    message.refresh_from_db()
    assert (message.state, message.channel, message.address) == ("sent", "webhook", "")


def test_what_is_refused_by_mail_comes_by_no_other_door(
    gateway, endpoint, make_contact, make_template, make_message, send, now
):
    person = make_contact()
    Consent.objects.create(contact=person, topic="", channel="email", state="denied", changed_at=now)
    template = make_template(channel="webhook", body_format="text", body="Hi")
    message = make_message(person, template)
    assert send() == 0
    message.refresh_from_db()
    assert (message.state, message.reason) == ("skipped", "unsubscribed")
    assert gateway.requests == []


def test_an_endpoint_that_fails_in_a_row_is_left_alone_until_its_breaker_closes(gateway, endpoint):
    gateway.on_request = lambda request: (500, {})
    results = list(webhook.channel()([post(number) for number in range(1, 30)]))
    assert [one.outcome for one in results].count("later") == len(gateway.requests) == BREAKS_AFTER
    assert [one.outcome for one in results].count("unreachable") == 29 - BREAKS_AFTER
    assert {one.outcome for one in webhook.channel()([post(1)])} == {"unreachable"}
    assert len(gateway.requests) == BREAKS_AFTER
    Webhook.objects.update(retry_at=None)
    gateway.on_request = lambda request: (200, {})
    assert {one.outcome for one in webhook.channel()([post(1)])} == {"sent"}
    endpoint.refresh_from_db()
    assert endpoint.failures == 0


def test_an_endpoint_that_is_gone_is_switched_off(gateway, endpoint):
    gateway.on_request = lambda request: (410, {})
    outcomes = [one.outcome for one in webhook.channel()([post(1), post(2)])]
    assert outcomes == ["failed", "unreachable"]
    endpoint.refresh_from_db()
    assert not endpoint.is_active


def test_an_address_in_our_own_network_is_not_called(gateway, endpoint, settings):
    settings.WEBHOOK_ALLOW_PRIVATE = False
    assert {one.outcome for one in webhook.channel()([post(1)])} == {"later"}
    assert gateway.requests == []


def test_messages_wait_while_nobody_takes_them(db, make_contact, make_template, make_message, send, now):
    template = make_template(channel="webhook", body_format="text", body="Hi")
    message = make_message(make_contact(), template)
    assert send() == 0
    message.refresh_from_db()
    assert (message.state, message.attempts) == ("pending", 0)
    assert message.due_at > now
    assert Message.objects.count() == 1
