"""Messages on our website: for whom, through which gates, and what became of them."""

import json
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model

from campaigns.models import Enrolment
from contacts import tokens
from contacts.erasure import erase
from contacts.ingest import ingest
from contacts.merging import merge
from contacts.models import Consent, Identity, Incoming, Touchpoint
from contacts.stream import put
from journey_crm.tick import tick
from messaging import onsite
from messaging import tokens as mail_tokens
from messaging.delivery import deliver
from messaging.gates import arbitrate
from messaging.hits import tell_hits
from messaging.models import Hit, Message, SendingPolicy
from tests.campaigns.world import journey

pytestmark = pytest.mark.django_db


@pytest.fixture
def write_key(db, now):
    user = get_user_model().objects.create_superuser("admin", password="x")
    return tokens.issue(user=user, scopes=["track"], name="web", now=now)[1]


@pytest.fixture
def visitor(make_contact, now):
    def make(name, **values):
        person = make_contact(**values)
        Identity.objects.create(kind="anonymous_id", value=name, contact=person, created_at=now)
        return person

    return make


@pytest.fixture
def make_onsite(make_template):
    def make(**values):
        body = "Hello {{ contact.first_name | default: 'you' }}.\n\n[Look here](https://acme.example/new?a=1&b=2) now!"
        told = {"channel": "onsite", "body_format": "text", "subject": "News", "body": body}
        return make_template(**told | values)

    return make


@pytest.fixture
def ask(client, write_key, monkeypatch, now):
    """What the browser asks at a moment: `ask("anna")`, `ask("anna", "/shown", token=…)`."""

    def run(anonymous_id=None, path="", at=None, **more):
        monkeypatch.setattr("messaging.onsite_views.timezone.now", lambda: at or now)
        body = {"writeKey": write_key, "anonymousId": anonymous_id} | more
        return client.post(f"/v1/onsite{path}", json.dumps(body), content_type="text/plain")

    return run


def shown(answer):
    assert answer.status_code == 200
    return answer.json()["message"]


def outcome(message) -> tuple[str, str]:
    message.refresh_from_db()
    return message.state, message.reason


def test_a_message_waits_for_its_person_and_has_left_when_it_is_seen(
    ask, visitor, make_onsite, make_message, client, settings, now
):
    person = visitor("anna", first_name="Anna")
    visitor("bob")
    message = make_message(person, make_onsite())
    arbitrate(now, 0, 0)
    assert deliver(now=now) == 0
    assert outcome(message) == ("ready", "")
    assert shown(ask("bob")) is None
    assert shown(ask("nobody")) is None
    told = shown(ask("anna"))
    assert (told["title"], told["language"], told["close"]) == ("News", "en", "Close")
    [[hello], [link, rest]] = told["text"]
    assert hello == {"text": "Hello Anna."}
    assert (link["text"], rest["text"]) == ("Look here", " now!")
    assert outcome(message) == ("ready", ""), "asked for is not yet seen"
    later = now + timedelta(minutes=1)
    assert ask("anna", "/shown", token=told["token"], at=later).status_code == 200
    assert ask("anna", "/shown", token=told["token"], at=later).status_code == 200
    assert outcome(message) == ("sent", "")
    assert message.sent_at == later
    assert shown(ask("anna", at=later)) is None
    ask("anna", "/dismissed", token=told["token"], at=later)
    ask("anna", "/dismissed", token=told["token"], at=later)
    # Whoever clicks at once is no machine here.
    where = client.get(link["url"].removeprefix(settings.BASE_URL), headers={"User-Agent": "Mozilla/5.0 Firefox/140.0"})
    assert where["Location"] == "https://acme.example/new?a=1&b=2"
    Hit.objects.update(hit_at=later + timedelta(seconds=1))
    tell_hits(later + timedelta(seconds=10), 0, 0)
    ingest(later + timedelta(seconds=10), 0, 0)
    kinds = (
        Touchpoint.objects.filter(contact=person, channel="onsite").order_by("kind").values_list("kind", "is_machine")
    )
    assert list(kinds) == [("onsite.clicked", False), ("onsite.dismissed", False), ("onsite.shown", False)]


def test_the_answer_is_open_to_every_origin_and_kept_by_nobody(ask, client, visitor, make_onsite, make_message, now):
    make_message(visitor("anna", email="anna@private.example", last_name="Secret"), make_onsite())
    arbitrate(now, 0, 0)
    answer = ask("anna")
    assert answer["Access-Control-Allow-Origin"] == "*"
    assert answer["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Credentials" not in answer
    assert b"private.example" not in answer.content
    assert b"Secret" not in answer.content
    assert set(shown(answer)) == {"token", "language", "title", "text", "close"}
    assert client.options("/v1/onsite").status_code == 204
    assert client.get("/v1/onsite").status_code == 405


@pytest.mark.parametrize(
    ("body", "status"),
    [({"writeKey": ""}, 401), ({"writeKey": "jc_wrong"}, 401), ({"anonymousId": 7}, 400), ("no JSON", 400)],
)
def test_what_can_not_be_answered_is_refused(client, write_key, body, status):
    text = body if isinstance(body, str) else json.dumps({"writeKey": write_key} | body)
    assert client.post("/v1/onsite", text, content_type="text/plain").status_code == status


@pytest.mark.parametrize("path", ["/shown", "/dismissed"])
def test_a_token_of_something_else_tells_nothing(ask, visitor, make_onsite, make_message, path, now):
    message = make_message(visitor("anna"), make_onsite())
    arbitrate(now, 0, 0)
    for token in ("", "x", mail_tokens.current().token(mail_tokens.OPEN, message.pk)):
        assert ask("anna", path, token=token).status_code == 404
    assert outcome(message) == ("ready", "")


def test_a_user_id_alone_opens_nothing(ask, visitor, make_onsite, make_message, now):
    anna = visitor("anna")
    bob = visitor("bob")
    for person, user_id in ((anna, "1"), (bob, "2")):
        Identity.objects.create(kind="user_id", value=user_id, contact=person, created_at=now)
    make_message(anna, make_onsite())
    arbitrate(now, 0, 0)
    assert shown(ask(None, userId="1")) is None
    assert shown(ask("unknown", userId="1")) is None
    assert shown(ask("anna", userId="2")) is None, "somebody else is logged in on Anna's browser"
    assert shown(ask("anna", userId="1"))


def test_a_merged_visitor_gets_what_waits_for_who_they_became_and_nobody_an_erased_ones(
    ask, visitor, make_onsite, make_message, now
):
    old, new, other = visitor("old-browser"), visitor("new-browser"), visitor("other")
    template = make_onsite()
    first = make_message(old, template)
    make_message(other, make_onsite(subject="For the other"))
    arbitrate(now, 0, 0)
    token = shown(ask("old-browser"))["token"]
    merge(survivor=new, loser=old, reason="by hand", now=now)
    arbitrate(now, 0, 0)
    titles = [shown(ask(name))["title"] for name in ("old-browser", "new-browser", "other")]
    assert titles == ["News", "News", "For the other"]
    erase(new, by=None, now=now)
    assert shown(ask("old-browser")) is None
    assert shown(ask("new-browser")) is None
    ask("old-browser", "/shown", token=token)
    ask("old-browser", "/dismissed", token=token)
    assert outcome(first) == ("cancelled", "erased")
    assert shown(ask("other"))["title"] == "For the other"
    assert not Incoming.objects.filter(kind__startswith="onsite.", contact_id=new.pk).exists()


# Gates ---------------------------------------------------------------------------------------------------------------


def test_whoever_refused_meanwhile_sees_nothing(ask, visitor, make_onsite, make_message, now):
    person = visitor("anna")
    message = make_message(person, make_onsite())
    arbitrate(now, 0, 0)
    Consent.objects.create(contact=person, topic="", channel="email", state="denied", changed_at=now)
    assert shown(ask("anna")) is None
    assert outcome(message) == ("cancelled", "unsubscribed")
    assert Incoming.objects.get(kind="onsite.skipped").properties["reason"] == "unsubscribed"


def test_a_bounced_address_is_no_reason_to_be_silent_on_the_website(ask, visitor, make_onsite, make_message, now):
    person = visitor("anna", email="")
    make_message(person, make_onsite())
    arbitrate(now, 0, 0)
    assert shown(ask("anna"))


def test_nobody_is_asleep_on_our_website(ask, visitor, make_onsite, make_message, now):
    midnight = now + timedelta(hours=14)
    make_message(visitor("anna"), make_onsite(), due_at=midnight)
    arbitrate(midnight, 0, 0)
    assert shown(ask("anna", at=midnight))


def test_what_is_shown_counts_and_what_waits_does_not(ask, visitor, make_onsite, make_message, send, smtp_sink, now):
    SendingPolicy.objects.create(pk=1, per_day=1, per_week=3, per_month=12)
    person = visitor("anna")
    make_message(person, make_onsite())
    arbitrate(now, 0, 0)
    mail = make_message(person)
    send()
    assert outcome(mail) == ("sent", "")
    # A mail today is enough for today; the message waits on.
    assert shown(ask("anna")) is None
    tomorrow = now + timedelta(days=1)
    told = shown(ask("anna", at=tomorrow))
    ask("anna", "/shown", token=told["token"], at=tomorrow)
    second = make_message(person, due_at=tomorrow)
    send(tomorrow)
    assert outcome(second) == ("pending", "")
    Message.objects.filter(pk=second.pk).delete()


def test_one_message_at_a_time_the_most_urgent_first(ask, visitor, make_onsite, make_message, now):
    person = visitor("anna")
    make_message(person, make_onsite(subject="Later"))
    make_message(person, make_onsite(subject="Ends soon"), valid_until=now + timedelta(hours=2))
    make_message(person, make_onsite(subject="Your order", message_class="transactional", topic=None))
    Message.objects.update(state="ready")
    assert shown(ask("anna"))["title"] == "Your order"


def test_what_nobody_came_to_see_ends_in_time(ask, visitor, make_onsite, make_message, now):
    person = visitor("anna")
    template = make_onsite(message_class="transactional", topic=None)
    dated = make_message(person, template, valid_until=now + timedelta(hours=2))
    plain = make_message(person, template)
    arbitrate(now, 0, 0)
    later = now + timedelta(hours=2)
    assert shown(ask("anna", at=later))["title"] == "News"
    assert onsite.expire(later) == 1
    assert outcome(dated) == ("skipped", "expired")
    assert shown(ask("anna", at=now + timedelta(days=31))) is None
    assert onsite.expire(now + timedelta(days=31)) == 1
    assert outcome(plain) == ("skipped", "expired")
    assert Incoming.objects.filter(kind="onsite.skipped").count() == 2


def test_a_text_that_can_not_be_filled_in_is_withdrawn(ask, visitor, make_onsite, make_message, now):
    message = make_message(visitor("anna"), make_onsite(body="{{ contact.shoe_size }}"))
    arbitrate(now, 0, 0)
    assert shown(ask("anna")) is None
    assert outcome(message) == ("cancelled", "render_error")


def test_no_value_can_make_a_link(ask, visitor, make_onsite, make_message, now):
    make_message(visitor("anna", first_name="[x](https://evil.example)"), make_onsite())
    arbitrate(now, 0, 0)
    assert shown(ask("anna"))["text"][0] == [{"text": "Hello [x](https://evil.example)."}]


# Journeys ------------------------------------------------------------------------------------------------------------


def test_a_journey_waits_at_its_step_until_the_message_is_seen_or_ends(ask, visitor, make_onsite, now):
    make_onsite(key="box")
    journey(now, kind="follow_up", steps=[{"send": "box", "valid_for": "2d"}, {"exit": "done"}])
    tick(now)
    for name in ("anna", "bob"):
        put(kind="trial.started", source="test", contact_id=visitor(name).pk, now=now)
    tick(now)
    tick(now)
    assert dict(Enrolment.objects.values_list("contact__identities__value", "state")) == {"anna": "open", "bob": "open"}
    tomorrow = now + timedelta(days=1)
    told = shown(ask("anna", at=tomorrow))
    ask("anna", "/shown", token=told["token"], at=tomorrow)
    tick(tomorrow)
    by_name = Enrolment.objects.values_list("contact__identities__value", "state")
    assert (dict(by_name)["anna"] != "open", dict(by_name)["bob"]) == (True, "open")
    later = now + timedelta(days=3)
    assert onsite.expire(later) == 1
    tick(later)
    assert "open" not in dict(by_name.all()).values()
