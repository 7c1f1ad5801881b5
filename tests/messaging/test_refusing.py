"""Unsubscribing: always possible, at once, and never by a mere look."""

import re
from collections import Counter
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from contacts.consent import record_consent
from contacts.models import Consent, ConsentChange, Contact, Identity
from contacts.rules import matching
from contacts.syncing import upsert
from messaging import tokens
from messaging.delivery import deliver
from messaging.gates import arbitrate
from messaging.models import Message, Suppression


@pytest.fixture
def anonymous() -> Client:
    return Client(enforce_csrf_checks=True)


@pytest.fixture
def mailed(smtp_sink, make_message, send):
    """A person with a mail; the addresses in it."""
    message = make_message()
    assert send() == 1
    mail = smtp_sink.mails[-1]
    return message, re.search(r"<http://localhost:8000(/u/[^>]+)>", mail["List-Unsubscribe"])[1]


def state(contact, topic="") -> str | None:
    return Consent.objects.filter(contact=contact, topic=topic).values_list("state", flat=True).first()


def test_looking_never_unsubscribes(anonymous, mailed):
    message, path = mailed
    for _ in range(3):
        response = anonymous.get(path)
        assert response.status_code == 200
        assert response.content.count(b'<button type="submit"') == 1
        assert anonymous.head(path).status_code == 200
    assert state(message.contact) is None
    assert response["Cache-Control"] == "no-store"
    assert response["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("multipart", [True, False])
def test_one_click_unsubscribes_at_once(anonymous, mailed, multipart):
    message, path = mailed
    for _ in range(3):
        if multipart:
            response = anonymous.post(path, {"List-Unsubscribe": "One-Click"})
        else:
            response = anonymous.post(
                path, "List-Unsubscribe=One-Click", content_type="application/x-www-form-urlencoded"
            )
        assert response.status_code == 200
    assert state(message.contact) == "denied"
    assert ConsentChange.objects.get().source == "one-click"


def test_it_withdraws_what_waits(anonymous, mailed, make_message):
    message, path = mailed
    make_message(message.contact)
    anonymous.post(path)
    assert Counter(Message.objects.values_list("state", "reason")) == {
        ("sent", ""): 1,
        ("cancelled", "unsubscribed"): 1,
    }


def test_it_works_after_a_merge(anonymous, mailed, make_contact, now):
    message, path = mailed
    survivor = make_contact()
    Message.objects.update(contact=survivor)
    Contact.objects.filter(pk=message.contact_id).update(merged_into=survivor)
    assert anonymous.post(path).status_code == 200
    assert state(survivor) == "denied"


def test_it_answers_after_an_erasure(anonymous, mailed):
    message, path = mailed
    Message.objects.all().delete()
    Contact.objects.filter(pk=message.contact_id).update(erased_at=timezone.now(), email="")
    for response in (anonymous.post(path), anonymous.get(path), anonymous.get(path.replace("/u/", "/p/"))):
        assert response.status_code == 200


def test_a_forged_token_unsubscribes_nobody(anonymous, mailed):
    message, path = mailed
    assert anonymous.post(path[:-3] + ("AA/" if path[-3:] != "AA/" else "BB/")).status_code == 404
    pixel = tokens.current().token(tokens.OPEN, message.pk)
    assert anonymous.post(f"/u/{pixel}/").status_code == 404
    assert state(message.contact) is None


def test_the_preference_page_shows_and_changes_what_is_allowed(anonymous, mailed, tips, newsletter):
    message, path = mailed
    page = path.replace("/u/", "/p/")
    assert b'value="newsletter" checked' in anonymous.get(page).content
    assert b'value="tips" checked' not in anonymous.get(page).content
    anonymous.post(page, {"topic": ["tips"]})
    assert (state(message.contact, "tips"), state(message.contact, "newsletter")) == ("granted", "denied")
    anonymous.post(page, {"refuse_all": "1"})
    assert state(message.contact) == "denied"
    assert b"checked" not in anonymous.get(page).content
    anonymous.post(page, {"topic": ["newsletter"]})
    assert (state(message.contact), state(message.contact, "newsletter")) == ("granted", "granted")
    assert state(message.contact, "tips") == "denied"


def test_a_preference_post_with_an_unknown_topic_adds_none(anonymous, mailed):
    message, path = mailed
    anonymous.post(path.replace("/u/", "/p/"), {"topic": ["newsletter", "evil"]})
    assert not Consent.objects.filter(topic="evil").exists()


def test_names_of_strangers_are_escaped(anonymous, mailed):
    message, path = mailed
    Contact.objects.update(email='"><script>x</script>@example.com')
    assert b"<script>x" not in anonymous.get(path.replace("/u/", "/p/")).content


def test_suppression_by_every_route_stops_what_is_ready(smtp_sink, make_ready, anonymous, now):
    """500 are ready; 240 of them are stopped by six routes; 260 mails leave, and nothing more ever comes of it."""
    messages = make_ready(500)
    arbitrate(now, 0, 0)
    for n, message in enumerate(messages[:240]):
        person, route = message.contact, n % 6
        token = tokens.current().token(tokens.PERSON, message.pk, person.pk)
        if route == 0:
            anonymous.post(f"/u/{token}/")
        elif route == 1:
            anonymous.post(f"/u/{token}/", {"List-Unsubscribe": "One-Click"})
        elif route == 2:
            record_consent(contact=person, topic="newsletter", channel="email", state="denied", source="api", now=now)
        elif route == 3:
            Suppression.objects.create(address=person.email, reason="manual", suppressed_at=now)
        elif route == 4:
            Suppression.objects.create(address=person.email, reason="complained", suppressed_at=now)
        else:
            Suppression.objects.create(address=person.email, reason="bounced", suppressed_at=now)
    for minutes in range(11):
        at = now + timedelta(minutes=minutes)
        arbitrate(at, 0, 0)
        deliver(now=at)
    assert len(smtp_sink.mails) == 260
    assert Counter(Message.objects.values_list("state", "reason")) == {
        ("sent", ""): 260,
        ("cancelled", "unsubscribed"): 80,
        ("cancelled", "topic_refused"): 40,
        ("cancelled", "suppressed"): 120,
    }


def test_the_rule_asks_as_the_gates_do(make_contact, allow, newsletter, tips, now):
    silent, granted, denied, vetoed, bounced = (make_contact() for _ in range(5))
    for topic in ("newsletter", "tips"):
        allow(granted, topic)
        allow(denied, topic, "denied")
        allow(vetoed, topic)
        allow(bounced, topic)
    allow(vetoed, "", "denied")
    Suppression.objects.create(address=bounced.email, reason="bounced")
    assert set(matching({"consent": "newsletter"}, now)) == {silent, granted}
    assert set(matching({"consent": "tips"}, now)) == {granted}
    assert set(matching({"not": {"consent": "tips"}}, now)) == {silent, denied, vetoed, bounced}


def test_an_unsubscribe_follows_the_address_that_the_mail_went_to(anonymous, mailed, now):
    message, path = mailed
    address = message.contact.email
    Identity.objects.create(contact=message.contact, kind="email", value=address, created_at=now)
    upsert([{"user_id": "u1", "email": address}], source="sync", now=now)
    upsert([{"user_id": "u1", "email": None}], source="sync", now=now)
    anonymous.post(path, {"List-Unsubscribe": "One-Click"})
    upsert([{"email": address}], source="sync", now=now)
    assert state(Identity.objects.get(value=address).contact) == "denied"


def test_an_unsubscribe_is_also_of_whoever_has_the_address_now(anonymous, mailed, now):
    message, path = mailed
    address = message.contact.email
    Identity.objects.create(contact=message.contact, kind="email", value=address, created_at=now)
    upsert([{"user_id": "u1", "email": address}], source="sync", now=now)
    upsert([{"user_id": "u1", "email": None}, {"user_id": "u2"}], source="sync", now=now)
    upsert([{"user_id": "u2", "email": address}], source="sync", now=now)
    anonymous.post(path, {"List-Unsubscribe": "One-Click"})
    assert state(Identity.objects.get(value=address).contact) == "denied"
    assert state(message.contact) == "denied"
