"""The preference page: everything on one page, without a log-in, shown as it holds now, and never changed by a look."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from contacts.models import Consent, ConsentChange, Contact, Incoming, Wording
from messaging import tokens
from messaging.gates import arbitrate
from messaging.models import Message


@pytest.fixture
def reader(make_contact):
    return make_contact(language="en", phone="+420601123456")


@pytest.fixture
def page(reader):
    return f"/p/{tokens.current().token(tokens.PERSON, 0, reader.pk)}/"


@pytest.fixture
def anonymous() -> Client:
    return Client(enforce_csrf_checks=True)


def held(contact):
    return {f"{one.topic}/{one.channel}": one.state for one in Consent.objects.filter(contact=contact)}


def test_looking_changes_nothing_and_is_kept_nowhere(anonymous, reader, page, newsletter, tips):
    for _ in range(2):
        answer = anonymous.get(page)
        anonymous.head(page)
    assert (Consent.objects.count(), ConsentChange.objects.count(), Incoming.objects.count()) == (0, 0, 0)
    assert (answer["Cache-Control"], answer["Referrer-Policy"]) == ("no-store", "no-referrer")
    assert b"<script" not in answer.content


def test_a_pause_is_chosen_shown_and_ended(anonymous, reader, page, newsletter, make_message, now):
    for choice, days in (("1w", 7), ("1m", 28), ("3m", 89)):
        assert anonymous.post(page, {"topic": "newsletter", "pause": choice}).status_code == 200
        reader.refresh_from_db()
        assert timedelta(days=days - 1) < reader.paused_until - timezone.now() < timedelta(days=days + 4)
    assert b"You asked for a pause" in anonymous.get(page).content
    # What is posted without a word on the pause leaves it; ending it leaves the topics.
    anonymous.post(page, {"topic": "newsletter", "pause": "keep"})
    anonymous.post(page, {"topic": "newsletter"})
    reader.refresh_from_db()
    assert reader.paused_until
    anonymous.post(page, {"resume": "1", "pause": "keep"})
    reader.refresh_from_db()
    assert reader.paused_until is None
    assert held(reader) == {}
    assert b"You asked for a pause" not in anonymous.get(page).content


def test_a_pause_until_a_day_ends_where_the_person_lives(anonymous, reader, page, newsletter):
    Contact.objects.update(zone="America/New_York")
    day = (timezone.now() + timedelta(days=40)).date()
    anonymous.post(page, {"topic": "newsletter", "pause": "date", "pause_until": day.isoformat()})
    reader.refresh_from_db()
    assert reader.paused_until.date() == day
    assert reader.paused_until.hour in (4, 5)


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({"pause": "date", "pause_until": "2020-01-01"}, "pause"),
        ({"pause": "date", "pause_until": "9999-01-01"}, "pause"),
        ({"pause": "date", "pause_until": "soon"}, "pause"),
        ({"pause": "for ever"}, "pause"),
        ({"most": "0"}, "most"),
        ({"most": "²"}, "most"),
        ({"most": "1e9"}, "most"),
        ({"language": "xx"}, "language"),
    ],
)
def test_what_is_not_understood_is_said_and_nothing_is_saved(anonymous, reader, page, newsletter, told, field):
    answer = anonymous.post(page, {"topic": [], "pause": "1w", "most": "1"} | told)
    assert answer.status_code == 400
    assert answer.context["wrong"].keys() == {field}
    reader.refresh_from_db()
    assert (reader.paused_until, reader.most_per_week, held(reader)) == (None, None, {})


def test_an_own_limit_is_chosen_shown_and_lifted_and_what_waits_is_asked_anew(
    anonymous, reader, page, newsletter, make_message, now
):
    message = make_message(reader)
    arbitrate(now, 0, 0)
    anonymous.post(page, {"topic": "newsletter", "most": "2"})
    reader.refresh_from_db()
    message.refresh_from_db()
    assert (reader.most_per_week, message.state) == (2, "pending")
    assert b'value="2" selected' in anonymous.get(page).content
    anonymous.post(page, {"topic": "newsletter", "most": ""})
    reader.refresh_from_db()
    assert reader.most_per_week is None


def test_the_end_of_a_pause_wakes_what_was_put_off(anonymous, reader, page, newsletter, make_message, now):
    moment = timezone.now().replace(hour=11)
    Contact.objects.update(paused_until=moment + timedelta(days=3))
    message = make_message(reader, now=moment)
    arbitrate(moment, 0, 0)
    message.refresh_from_db()
    assert message.due_at > moment + timedelta(days=2)
    anonymous.post(page, {"resume": "1"})
    message.refresh_from_db()
    assert message.due_at <= timezone.now()
    Message.objects.all().delete()


def test_a_channel_is_refused_and_allowed_by_itself(anonymous, reader, page, newsletter):
    anonymous.post(page, {"topic": "newsletter", "channels": "1", "channel": ["email"]})
    assert held(reader) == {"/sms": "denied"}
    anonymous.post(page, {"topic": "newsletter", "channels": "1", "channel": ["sms"]})
    assert held(reader) == {"/sms": "granted", "/email": "denied"}
    anonymous.post(page, {"topic": "newsletter", "channels": "1", "channel": ["sms"]})
    assert held(reader)["/email"] == "granted", "who refused all mail and ticks a topic wants mail again"


def test_unsubscribing_from_everything_is_every_channel_and_can_be_taken_back(
    anonymous, reader, page, newsletter, tips
):
    anonymous.post(page, {"refuse_all": "1"})
    assert held(reader) == {"/sms": "denied", "/email": "denied"}
    anonymous.post(page, {"topic": "tips"})
    assert held(reader) == {
        "/sms": "denied", "/email": "granted", "tips/email": "granted", "newsletter/email": "denied",
    }  # fmt: skip


def test_each_choice_is_proved_by_the_words_on_the_page(anonymous, reader, page, newsletter, tips):
    anonymous.post(page, {"topic": ["newsletter", "tips"]}, headers={"User-Agent": "Mozilla/5.0 (test)"})
    change = ConsentChange.objects.get()
    assert (change.topic, change.source, change.user_agent) == ("tips", "preference-page", "Mozilla/5.0 (test)")
    assert change.ip_address == "127.0.0.1"
    assert Wording.objects.get(digest=change.wording).words == "Product tips"


@pytest.mark.parametrize(("language", "html"), [("cs", 'lang="cs"'), ("pl", 'lang="pl"'), ("en", 'lang="en"')])
def test_the_language_is_chosen_and_spoken_at_once(anonymous, reader, page, newsletter, language, html):
    Contact.objects.update(language="pl" if language == "en" else "en")
    answer = anonymous.post(page, {"topic": "newsletter", "language": language})
    assert f"<html {html}" in answer.content.decode()
    reader.refresh_from_db()
    assert reader.language == language
    former = "pl" if language == "en" else "en"
    told = {"fields": ["language"], "former": {"language": former}}
    assert Incoming.objects.get(kind="contact.updated").properties == told


def test_who_was_merged_away_speaks_for_the_survivor(anonymous, reader, page, newsletter, make_contact):
    survivor = make_contact()
    Contact.objects.filter(pk=reader.pk).update(merged_into=survivor)
    anonymous.post(page, {"topic": "newsletter", "pause": "1w", "most": "1", "language": "cs"})
    survivor.refresh_from_db()
    assert survivor.paused_until
    assert (survivor.most_per_week, survivor.language) == (1, "cs")
