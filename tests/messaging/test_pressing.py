"""One-click unsubscribes as a set say what the view says for one, whatever is known of the person."""

import threading
from datetime import timedelta

import pytest
from django.db import DataError, connection, transaction
from django.utils import timezone

from contacts.consent import record_consent
from contacts.erasure import erase
from contacts.merging import merge
from contacts.models import Consent, ConsentChange, Identity, Incoming
from messaging import pressing, refusing, tokens
from messaging.models import Message
from messaging.pressing import Press, refuse
from tests.messaging.test_links import asked_in_front

pytestmark = pytest.mark.django_db
PROOF = ("192.0.2.7", "Mail/1")


@pytest.fixture
def person(make_contact):
    """Somebody with an address of their own, and further facts."""

    def make(**values):
        one = make_contact(**values)
        if one.email:
            Identity.objects.get_or_create(kind="email", value=one.email, defaults={"contact": one})
        return one

    return make


@pytest.fixture
def sent(make_message, now):
    """A mail that reached somebody, at this address."""

    def make(contact, address=None, **values):
        message = make_message(contact)
        told = {"state": "sent", "sent_at": now, "address": contact.email if address is None else address, **values}
        Message.objects.filter(pk=message.pk).update(**told)
        return message

    return make


def one_by_one(presses, now):
    """What the view does."""
    for one in presses:
        reader = refusing.person_of(one.message, one.contact)
        if reader is None:
            continue
        for who in refusing.readers_of(one.message, reader, now):
            refusing.refuse_all(
                contact=who, source="one-click", wording="", now=now, ip_address=one.ip_address,
                user_agent=one.user_agent,
            )  # fmt: skip


def seen():
    """All that a refusal may write."""
    return {
        "consents": sorted(Consent.objects.values_list("contact", "topic", "channel", "state", "changed_at")),
        "ledger": sorted(
            ConsentChange.objects.values_list(
                "contact", "topic", "channel", "state", "source", "wording", "actor", "ip_address", "user_agent",
                "changed_at",
            ),
            key=str,
        ),
        "inbox": sorted(
            Incoming.objects.values_list(
                "kind", "source", "message_id", "channel", "contact_id", "occurred_at", "received_at", "properties",
                "anonymous_id", "user_id", "email", "error",
            ),
            key=str,
        ),
        "messages": sorted(Message.objects.values_list("pk", "state", "reason", "finished_at"), key=str),
        "identities": sorted(Identity.objects.values_list("kind", "value", "contact")),
    }  # fmt: skip


class _Back(Exception):
    pass


def after(act, presses, now):
    """What is seen after it, and as if it had not been."""
    try:
        with transaction.atomic():
            act(presses, now)
            found = seen()
            raise _Back
    except _Back:
        return found


def test_as_a_set_and_one_by_one_are_the_same(person, sent, make_message, make_template, now):
    later = now + timedelta(hours=1)
    plain = person()
    waiting = person(phone="+420601000111")
    for message_class, state in (("marketing", "pending"), ("marketing", "ready"), ("transactional", "pending")):
        one = make_message(waiting, make_template(message_class=message_class))
        Message.objects.filter(pk=one.pk).update(state=state)
    pressed_before, refused_on_page, granted = person(), person(), person()
    said = {"topic": "", "channel": "email", "now": now}
    record_consent(contact=pressed_before, state="denied", source="one-click", **said)
    record_consent(contact=refused_on_page, state="denied", source="unsubscribe-page", wording="Yes", **said)
    record_consent(contact=granted, state="granted", source="form", **said)
    record_consent(contact=granted, state="granted", source="form", topic="", channel="whatsapp", now=now)
    bare = person()
    Consent.objects.create(contact=bare, topic="", channel="email", state="denied", changed_at=now)
    heir, middle, loser = person(), person(), person()
    merged = sent(loser)
    merge(survivor=middle, loser=loser, reason="same", now=now)
    merge(survivor=heir, loser=middle, reason="same", now=now)
    moved = person()
    elsewhere = sent(moved, address=plain.email)
    nobodys = sent(moved, address="free@example.com")
    gone = person()
    forgotten = sent(gone)
    erase(gone, by=None, now=now)
    presses = [
        Press(sent(one).pk, one.pk, *PROOF) for one in (plain, waiting, pressed_before, refused_on_page, granted, bare)
    ] + [
        Press(merged.pk, loser.pk, *PROOF),
        Press(10**9, middle.pk, *PROOF),
        Press(elsewhere.pk, moved.pk, None, ""),
        Press(nobodys.pk, moved.pk, *PROOF),
        Press(forgotten.pk, gone.pk, *PROOF),
        Press(10**9, 10**9, *PROOF),
    ]
    Incoming.objects.all().delete()
    for some in ([one] for one in presses):
        assert after(refuse, some, later) == after(one_by_one, some, later), some
    whole = after(refuse, presses, later)
    expected = after(one_by_one, presses, later)
    # Somebody for whom two spoke at once is proven by the first of them.
    assert {name: rows for name, rows in whole.items() if name != "ledger"} == {
        name: rows for name, rows in expected.items() if name != "ledger"
    }
    assert len(whole["ledger"]) == len(expected["ledger"])
    assert len(whole["messages"]) == Message.objects.count()
    assert sum(row[2] == "unsubscribed" for row in whole["messages"]) == 2


def test_again_is_harmless(person, sent, now):
    one = person()
    press = Press(sent(one).pk, one.pk, *PROOF)
    refuse([press, press], now)
    before = seen()
    refuse([press], now + timedelta(days=1))
    assert seen() == before
    assert ConsentChange.objects.filter(contact=one).count() == 1


def test_a_mail_programs_press_takes_the_short_way_and_anything_else_the_long_one(client, person, sent, monkeypatch):
    one, other = person(), person()
    path, second = (f"/u/{tokens.current().token(tokens.PERSON, sent(who).pk, who.pk)}/" for who in (one, other))
    tokens.read(tokens.PERSON, path.split("/")[2])
    taken = []
    monkeypatch.setattr(pressing, "press", lambda press: (taken.append(press), refuse([press], timezone.now())))
    form = {"body": b"List-Unsubscribe=One-Click", "type": "application/x-www-form-urlencoded"}
    status, headers, body = asked_in_front(path, method="POST", **form)
    assert (status, body, headers["Cache-Control"], "Location" in headers) == (200, b"", "no-store", False)
    assert [press.contact for press in taken] == [one.pk]
    assert Consent.objects.get(contact=one).state == "denied"
    for wrong in ({"body": b"List-Unsubscribe=One-Clic_"}, {"type": "text/plain"}, {"body": b"x"}):
        asked_in_front(second, method="POST", **(form | wrong))
    assert not Consent.objects.filter(contact=other).exists() or len(taken) == 1
    changed = second[:-5] + ("A" if second[-5] != "A" else "B") + second[-4:]
    assert asked_in_front(changed, method="POST", **form)[0] == 404
    assert len(taken) == 1
    assert asked_in_front(second, method="GET")[0] == 200
    assert not Consent.objects.filter(contact=other, state="denied", changed_at__isnull=True).exists()


def test_one_that_cannot_be_written_harms_no_other(monkeypatch):
    written = []

    def write(presses, now):
        if any(one.user_agent == "bad" for one in presses):
            raise DataError("bad")
        written.extend(one.contact for one in presses)

    monkeypatch.setattr(pressing, "refuse", write)
    monkeypatch.setattr(pressing, "close_old_connections", lambda: None)
    errors = []

    def press(number):
        try:
            pressing.press(Press(1, number, None, "bad" if number == 3 else ""))
        except DataError:
            errors.append(number)

    with pressing._turn:
        threads = [threading.Thread(target=press, args=(number,)) for number in range(1, 7)]
        for thread in threads:
            thread.start()
        while len(pressing._waiting) < 6:
            pass
    for thread in threads:
        thread.join()
    assert (sorted(written), errors) == ([1, 2, 4, 5, 6], [3])


@pytest.mark.django_db(transaction=True)
def test_presses_at_once_are_all_durable_when_they_are_answered(person, sent):
    presses = [Press(sent(one).pk, one.pk, *PROOF) for one in (person() for _ in range(12))]
    missing = []

    def press(one):
        pressing.press(one)
        if not Consent.objects.filter(contact=one.contact, topic="", state="denied").exists():
            missing.append(one)
        connection.close()

    threads = [threading.Thread(target=press, args=(one,)) for one in presses for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missing == []
    assert ConsentChange.objects.count() == len(presses)
