"""Mail by a provider: what it is told, and what its answers mean."""

import re
import threading

import pytest
from django.core.exceptions import ImproperlyConfigured

from messaging import tokens
from messaging.channels import choose
from messaging.models import Message, Suppression
from tests.messaging.channel_contract import form, mail
from tests.messaging.gateway import GatewayServer


@pytest.fixture
def provider():
    with GatewayServer() as gateway:
        yield gateway


def postmark(gateway) -> str:
    return f"anymail+postmark://TOKEN?api_url={gateway.url}/"


def ok(request):
    return 200, {"ErrorCode": 0, "Message": "OK", "MessageID": "their-id", "To": request.json["To"]}


def test_postmark_is_told_the_mail_that_smtp_would_carry(provider):
    provider.on_request = ok
    list(choose(postmark(provider))([mail(1)]))
    [request] = provider.requests
    assert request.path == "/email"
    assert request.headers["x-postmark-server-token"] == "TOKEN"
    told = request.json
    assert (told["From"], told["To"], told["Subject"]) == ("Acme <us@acme.example>", "p1@example.com", "Žluťoučký")
    assert (told["TextBody"], told["HtmlBody"]) == ("Příliš", "<p>Příliš</p>")
    assert {one["Name"]: one["Value"] for one in told["Headers"]} == {
        "Message-ID": "<m1.tag@acme.example>", "X-PM-KeepID": "true", "List-Id": "<news.acme.example>",
        "List-Unsubscribe": "<https://crm.example/u/token/>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }  # fmt: skip
    assert told["Metadata"] == {"message": "m1.tag@acme.example"}


def test_mailgun_is_told_by_domain_and_key(provider):
    provider.on_request = lambda request: (200, {"id": "<theirs>", "message": "Queued. Thank you."})
    url = f"anymail+mailgun://KEY@mail.acme.example?api_url={provider.url}/v3"
    assert [one.outcome for one in choose(url)([mail(1)])] == ["sent"]
    [request] = provider.requests
    told = form(request)
    assert request.path == "/v3/mail.acme.example/messages"
    assert request.headers["authorization"] == "Basic YXBpOktFWQ=="
    assert told["h:List-Unsubscribe"] == "<https://crm.example/u/token/>"
    assert told["v:message"] == "m1.tag@acme.example"


INACTIVE = "Found inactive addresses: p1@example.com. Inactive recipients"
TAKEN = {"ErrorCode": 0, "MessageID": "x", "To": "p1@example.com"}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ((200, TAKEN | {"Message": "OK, but delivery may be delayed"}), "sent"),
        ((422, {"ErrorCode": 406, "Message": INACTIVE}), "failed"),
        ((422, {"ErrorCode": 300, "Message": "Invalid 'To' address: 'p1@example.com'."}), "failed"),
        ((422, {"ErrorCode": 300, "Message": "Invalid 'From' address: 'us@acme.example'."}), "failed"),
        ((200, {"ErrorCode": 0, "Message": "OK", "MessageID": "x"}), "uncertain"),
        ((200, "no JSON at all"), "uncertain"),
        ((200, {}), "uncertain"),
        ((400, {"Message": "bad"}), "failed"),
        ((401, {"ErrorCode": 10, "Message": "bad token"}), "unreachable"),
        ((403, {}), "unreachable"),
        ((408, {}), "later"),
        ((429, {}), "later"),
        ((500, {}), "later"),
        ((502, "gateway"), "uncertain"),
        ((503, {}), "later"),
        ((504, "timed out"), "uncertain"),
        ("drop", "uncertain"),
    ],
)  # fmt: skip
def test_what_a_provider_answers_is_understood(provider, answer, outcome):
    provider.on_request = lambda request: answer
    [result] = choose(postmark(provider))([mail(1)])
    assert result.outcome == outcome
    assert "TOKEN" not in result.response


def test_a_provider_that_does_not_answer_in_time_leaves_the_mail_in_doubt(provider):
    over = threading.Event()
    provider.on_request = lambda request: over.wait(20) and "drop" or "drop"
    [result] = choose(postmark(provider) + "&timeout=0.3")([mail(1)])
    over.set()
    assert result.outcome == "uncertain"


def test_sessions_are_kept_and_no_more_are_opened_than_allowed(provider):
    provider.on_request = ok
    send = choose(postmark(provider) + "&connections=3")
    list(send([mail(number) for number in range(1, 20)]))
    list(send([mail(number) for number in range(20, 40)]))
    assert provider.connections <= 3
    assert len(provider.requests) == 39


def test_after_the_first_that_nobody_answers_the_rest_is_not_tried(provider):
    provider.on_request = lambda request: (401, {})
    results = list(choose(postmark(provider) + "&connections=2")([mail(number) for number in range(1, 30)]))
    assert {one.outcome for one in results} == {"unreachable"}
    assert len(provider.requests) <= 4


def test_the_whole_way_by_a_provider(provider, settings, make_message, make_contact, send):
    gone = make_contact(email="gone@example.com")

    def answer(request):
        if request.json["To"] == gone.email:
            return 422, {"ErrorCode": 300, "Message": f"Invalid 'To' address: '{gone.email}'."}
        return ok(request)

    provider.on_request = answer
    settings.EMAIL_URL = postmark(provider)
    message, refused = make_message(), make_message(gone)
    assert send() == 1
    told = next(one.json for one in provider.requests if one.json["To"] == message.contact.email)
    assert told["Subject"] == f"Hello {message.contact.first_name}"
    assert tokens.message_of(told["Metadata"]["message"]) == message.pk
    assert re.search(rf'href="{settings.BASE_URL}/t/c/[\w-]+"', told["HtmlBody"])
    refused.refresh_from_db()
    assert (refused.state, refused.reason) == ("failed", "bounced")
    assert Suppression.objects.get().address == gone.email
    assert Message.objects.sent().count() == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("anymail+pigeon://KEY", "the providers are"),
        ("anymail+postmark://", "postmark needs server_token"),
        ("anymail+postmark://a:b", "server_token of postmark"),
        ("anymail+postmark://TOKEN@host", "no host"),
        ("anymail+postmark://TOKEN?colour=red", "unknown parameter 'colour'"),
        ("anymail+postmark://TOKEN?connections=0", "1 to 100"),
        ("anymail+postmark://TOKEN?timeout=long", "must be numbers"),
        ("anymail+mailjet://KEY", "secret_key"),
        ("anymail+postal://KEY", "api_url"),
        ("anymail+ses://", "boto3"),
    ],
)
def test_a_wrong_setting_is_explained_without_the_key(url, words):
    with pytest.raises(ImproperlyConfigured, match="EMAIL_URL") as error:
        choose(url)
    assert words in str(error.value)
    assert "TOKEN" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "anymail+brevo://KEY", "anymail+mailersend://KEY", "anymail+mailgun://KEY@acme.example",
        "anymail+mailjet://KEY:SECRET", "anymail+mailtrap://KEY", "anymail+mandrill://KEY", "anymail+resend://KEY",
        "anymail+postal://KEY?api_url=https://postal.example", "anymail+scaleway://SECRET@project",
        "anymail+sparkpost://KEY", "anymail+postmark://TOKEN?message_stream=broadcast",
    ],
)  # fmt: skip
def test_the_common_providers_need_no_more_than_their_keys(url):
    assert choose(url)
