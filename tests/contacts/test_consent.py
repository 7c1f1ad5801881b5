"""What a person allows has its proof, and is told to the stream."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from contacts.consent import consent_state, keep_words, proof, record_consent, set_limits
from contacts.ingest import ingest
from contacts.merging import merge
from contacts.models import Consent, ConsentChange, Contact, Incoming, Touchpoint, Wording
from contacts.stream import Step, run_step

NOW = datetime(2026, 11, 10, 9, 0, tzinfo=UTC)


def say(contact, state, *, topic="news", channel="email", now=NOW, **more):
    return record_consent(
        contact=contact, topic=topic, channel=channel, state=state, source="preferences", now=now, **more
    )


@pytest.mark.django_db
def test_a_word_is_written_proved_and_told():
    ann = Contact.objects.create()
    change = say(ann, "granted", wording="Yes, write to me. v3", actor="ann", ip_address="2001:db8::1")
    assert Consent.objects.get().state == "granted"
    assert (change.actor, change.ip_address) == ("ann", "2001:db8::1")
    assert Wording.objects.get(digest=change.wording).words == "Yes, write to me. v3"
    run_step(Step("ingest", ingest), NOW)
    told = Touchpoint.objects.get()
    assert (told.kind, told.contact) == ("consent.changed", ann)
    assert told.properties == {"topic": "news", "channel": "email", "state": "granted", "source": "preferences"}


@pytest.mark.django_db
def test_the_ledger_keeps_every_change_and_a_repeat_adds_nothing():
    ann = Contact.objects.create()
    for day, state in enumerate(["granted", "granted", "denied", "denied", "granted"]):
        say(ann, state, now=NOW + timedelta(days=day))
    assert list(ConsentChange.objects.order_by("id").values_list("state", flat=True)) == [
        "granted",
        "denied",
        "granted",
    ]
    assert Incoming.objects.count() == 3
    assert Consent.objects.get().changed_at == NOW + timedelta(days=4)


@pytest.mark.django_db
def test_the_same_word_to_a_new_wording_is_proved_but_nobody_need_react():
    ann = Contact.objects.create()
    say(ann, "granted", wording="v1")
    assert say(ann, "granted", wording="v2").wording == keep_words("v2", NOW)
    assert ConsentChange.objects.count() == 2
    assert Incoming.objects.count() == 1


@pytest.mark.django_db
def test_who_refuses_a_channel_refuses_each_topic_of_it():
    ann = Contact.objects.create()
    assert consent_state(ann, "news", "email") == ""
    say(ann, "granted")
    say(ann, "denied", topic="")
    assert consent_state(ann, "news", "email") == "denied"
    assert consent_state(ann, "news", "sms") == ""
    say(ann, "granted", topic="")
    assert consent_state(ann, "news", "email") == "granted"


@pytest.mark.django_db
def test_an_old_link_of_somebody_merged_away_speaks_for_the_survivor():
    ann, old = Contact.objects.create(), Contact.objects.create()
    merge(survivor=ann, loser=old, reason="by hand", now=NOW)
    say(old, "denied", topic="")
    assert consent_state(ann, "news", "email") == "denied"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("change", "words"),
    [({"state": "yes"}, "not “yes”"), ({"channel": ""}, "channel"), ({"source": ""}, "source")],
)
def test_a_consent_that_says_nothing_is_refused(change, words):
    ann = Contact.objects.create()
    given = {"topic": "news", "channel": "email", "state": "granted", "source": "form"} | change
    with pytest.raises(ValueError, match=words):
        record_consent(contact=ann, now=NOW, **given)
    assert not Consent.objects.exists()


@pytest.mark.django_db
def test_nothing_is_written_about_somebody_erased():
    with pytest.raises(ValueError, match="erased"):
        say(Contact.objects.create(erased_at=NOW), "granted")


@pytest.mark.django_db(transaction=True)
def test_many_clicks_at_once_are_one_word():
    ann = Contact.objects.create()

    def click():
        try:
            say(ann, "denied", topic="")
        finally:
            connection.close()

    threads = [threading.Thread(target=click) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (Consent.objects.count(), ConsentChange.objects.count(), Incoming.objects.count()) == (1, 1, 1)


@pytest.mark.django_db
def test_the_proof_holds_the_words_themselves_who_said_yes_where_and_from_where():
    ann = Contact.objects.create()
    say(ann, "granted", wording="Yes, write to me.", ip_address="192.0.2.7", user_agent="Mozilla/5.0")
    say(ann, "denied", topic="", actor="petr", now=NOW + timedelta(days=1))
    first, second = proof(ann)
    assert (first["wording"], first["state"], first["ip_address"], first["user_agent"]) == (
        "Yes, write to me.", "granted", "192.0.2.7", "Mozilla/5.0",
    )  # fmt: skip
    assert (second["topic"], second["state"], second["actor"], second["wording"]) == ("", "denied", "petr", "")


@pytest.mark.django_db
def test_a_pause_only_grows_and_a_limit_only_falls_unless_the_person_says_so():
    ann = Contact.objects.create()
    until = NOW + timedelta(days=30)
    told = {"contact": ann, "source": "rest", "now": NOW, "may_raise": False}
    set_limits(**told, paused_until=until, most_per_week=2)
    set_limits(**told, paused_until=until + timedelta(days=1), most_per_week=1)
    for raises in (
        {"paused_until": until}, {"paused_until": None}, {"most_per_week": 2}, {"most_per_week": None},
        {"most_per_week": 0},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"[Ll]imit|pause"):
            set_limits(**told, **raises)
    ann.refresh_from_db()
    assert (ann.paused_until, ann.most_per_week) == (until + timedelta(days=1), 1)
    set_limits(**told | {"may_raise": True, "source": "preference-page"}, paused_until=None, most_per_week=None)
    ann.refresh_from_db()
    assert (ann.paused_until, ann.most_per_week) == (None, None)
    kinds = list(Incoming.objects.order_by("pk").values_list("kind", "source"))
    assert kinds == [("consent.paused", "rest"), ("consent.limited", "rest")] * 2 + [
        ("consent.resumed", "preference-page"), ("consent.limited", "preference-page"),
    ]  # fmt: skip
