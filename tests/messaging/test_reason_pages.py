"""The pages about messages that did not leave: the ledger of reasons, and why or why not."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from messaging.gates import arbitrate
from messaging.ledger import ledger
from messaging.models import Message, SendingPolicy, Suppression

pytestmark = pytest.mark.django_db


@pytest.fixture
def boss():
    client = Client()
    client.force_login(User.objects.create_superuser("lenka"))
    return client


@pytest.fixture
def mixed(make_message, make_contact, make_template, allow, now):
    """Messages of three days, two journeys and two templates, each of which fared otherwise."""
    letter, other = make_template(key="letter", is_repeatable=True), make_template(key="other")
    for day in range(3):
        at = now + timedelta(days=day)
        for number in range(6):
            person = make_contact()
            if number == 0:
                Suppression.objects.create(address=person.email, reason="bounced")
            if number == 1:
                allow(person, "newsletter", "denied")
            template = letter if number % 2 else other
            make_message(person, template, now=at, journey_key="spring" if number < 4 else "", is_ghost=number == 5)
            if number == 2:
                make_message(person, letter, now=at, valid_until=at + timedelta(hours=2), tier=5)
        arbitrate(at, 0, 0)
        passed = list(Message.objects.filter(state="ready").values_list("pk", flat=True))
        Message.objects.filter(pk=passed[0]).update(state="uncertain", claimed_at=at)
        Message.objects.filter(pk__in=passed[1:]).update(state="sent", sent_at=at)
    make_message(now=now, due_at=now + timedelta(days=9))
    return now + timedelta(days=2)


@pytest.mark.parametrize("by", ["day", "journey", "template"])
def test_the_columns_of_every_line_add_up_and_each_number_is_the_length_of_its_list(boss, mixed, by):
    found = ledger(by=by, days=7, until=mixed.date())
    assert found.total.intents == Message.objects.count() == sum(line.intents for line in found.lines)
    assert {"sent", "waiting", "uncertain", "suppressed", "topic_refused", "holdout", "capped"} == {
        one.key for one in found.total.outcomes
    }
    for line in [found.total, *found.lines]:
        assert line.intents == sum(one.number for one in line.outcomes)
        assert listed(boss, line.query) == line.intents
    for line in [found.total, found.lines[0]]:
        for one in line.outcomes:
            assert listed(boss, one.query) == one.number, one


def listed(client, query: str) -> int:
    """How many messages the list behind a number shows."""
    return client.get(f"/admin/messaging/message/?{query}").context["cl"].result_count


def test_the_page_shows_the_numbers_and_links_to_their_lists(boss, mixed):
    page = boss.get(f"/admin/messaging/message/ledger/?by=journey&days=7&until={mixed:%Y-%m-%d}").content.decode()
    assert "spring" in page and "of no journey" in page
    assert "The address is suppressed" in page and "The person refused this topic." in page
    links = [unescape(link) for link in re.findall(r'href="(/admin/messaging/message/\?[^"]*)"', page)]
    assert links and all(boss.get(link).status_code == 200 for link in links)


@pytest.mark.parametrize(
    "query", ["", "?by=nonsense&days=9999", "?until=tomorrow", "?until=0001-01-01", "?until=9999-12-31"]
)
def test_odd_questions_are_answered(boss, query):
    answer = boss.get(f"/admin/messaging/message/ledger/{query}")
    assert answer.status_code == 200
    assert ("This is no day" in answer.content.decode()) == (query == "?until=tomorrow")


def test_an_empty_ledger_says_what_belongs_there(boss):
    page = boss.get("/admin/messaging/message/ledger/").content.decode()
    assert "Nobody was to be written to yet." in page and "one reason" in page


def test_the_ledger_reads_its_days_by_an_index(make_message, now):
    make_message()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(
            "EXPLAIN SELECT count(*) FROM messaging_message WHERE created_at >= %s AND created_at < %s",
            [now, now + timedelta(days=1)],
        )
        assert "message_created" in str(cursor.fetchall())


# Why? ----------------------------------------------------------------------------------------------------------------


def ask(client, contact, message) -> str:
    answer = client.get("/admin/messaging/message/why/", {"contact": contact, "message": message})
    assert answer.status_code == 200
    return unescape(answer.content.decode())


def test_staff_choose_a_person_and_a_message_and_get_the_checklist(boss, make_contact, make_template, allow):
    person, template = make_contact(), make_template(key="spring", name="Spring")
    assert "The person refused this topic." not in ask(boss, person.email.upper(), "spring")
    allow(person, "newsletter", "denied")
    page = ask(boss, person.pk, "spring")
    assert "The person refused this topic." in page and "Failed:" in page and "Not asked:" in page
    assert f"/admin/contacts/contact/{person.pk}/change/" in page
    assert template.key in page


@pytest.mark.parametrize(
    ("contact", "message", "said"),
    [
        ("nobody@example.com", "spring", "There is no such contact."),
        ("99999999999999999999", "spring", "There is no such contact."),
        ("", "spring", "Say whom"),
        ("them", "", "Choose a message."),
        ("them", "nonsense", "There is neither a template nor a message"),
        ("a\0@b.cz", "spring", "There is no such contact."),
        ("", "", "Did they get it, and why not?"),
    ],
)
def test_what_is_missing_is_said_beside_its_field(boss, make_contact, make_template, contact, message, said):
    make_template(key="spring")
    assert said in ask(boss, make_contact().email if contact == "them" else contact, message)


def test_the_page_of_a_message_says_which_one_took_its_place_by_which_clock_and_when_it_is_asked_again(
    boss, make_contact, make_template, make_message
):
    now = timezone.now()
    SendingPolicy.objects.create(pk=1, quiet_from="00:00", quiet_until="00:00")
    person = make_contact(country="CZ")
    make_message(person, make_template(name="Renew now"), tier=1, now=now)
    second = make_message(person, tier=5, now=now)
    arbitrate(now, 0, 0)
    page = unescape(boss.get(f"/admin/messaging/message/{second.pk}/change/").content.decode())
    assert "“Renew now” goes before it." in page
    assert "The clock is that of Europe/Prague, because the country is CZ." in page
    assert "it is asked again on" in page
    assert "1 of 1 marketing messages today" in page


def test_caps_and_zones_are_set_in_the_admin_and_a_mistake_names_its_field(boss, newsletter):
    SendingPolicy.objects.create(pk=1)
    url = "/admin/messaging/sendingpolicy/1/change/"
    form = {
        "quiet_from": "20:00", "quiet_until": "08:00", "max_defer": "72:00:00", "per_day": "1", "per_week": "3",
        "per_month": "12", "drain_per_minute": "1000", "global_holdout": "0", "caps-TOTAL_FORMS": "1",
        "caps-INITIAL_FORMS": "0", "zones-TOTAL_FORMS": "0", "zones-INITIAL_FORMS": "0", "caps-0-policy": "1",
    }  # fmt: skip
    wrong = [
        ({"caps-0-channel": "sms"}, "Say how many, in one of the three fields."),
        ({"caps-0-per_day": "1"}, "Choose a channel, a topic or both"),
        ({"caps-0-channel": "sms", "caps-0-per_day": "-1"}, "greater than or equal to 0"),
    ]
    for change, said in wrong:
        answer = boss.post(url, form | change)
        assert answer.status_code == 200 and said in unescape(answer.content.decode()), change
    assert (
        boss.post(
            url, form | {"caps-0-channel": "sms", "caps-0-topic": newsletter.pk, "caps-0-per_week": "2"}
        ).status_code
        == 302
    )
    (cap,) = SendingPolicy.objects.get().caps.all()
    assert (cap.channel, cap.topic, cap.per_day, cap.per_week) == ("sms", newsletter, None, 2)
