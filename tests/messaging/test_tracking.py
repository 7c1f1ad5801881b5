"""Clicks and opens: where they lead, and who made them."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from contacts.ingest import ingest
from contacts.models import Incoming
from contacts.stream import Step, run_step
from messaging.hits import tell_hits
from messaging.models import Link, Message

BROWSER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36"


@pytest.fixture
def links(smtp_sink, make_message, make_template, send):
    """Sends a mail with these links; the tracked addresses by the URL they stand for."""

    def run(urls, **values):
        anchors = "".join(f'<a href="{url.replace("&", "&amp;")}">x</a> ' for url in urls)
        message = make_message(template=make_template(body_format="html", body=anchors, **values))
        assert send() == 1
        html = smtp_sink.mails[-1].body("html")
        found = re.findall(r'href="http://localhost:8000(/t/c/[^"]+)"', html)
        return message, dict(zip(urls, found, strict=True))

    return run


def tell(seconds=4):
    at = timezone.now() + timedelta(seconds=seconds)
    tell_hits(at, 0, 0)
    return list(Incoming.objects.filter(kind__in=["email.clicked", "email.opened"]).order_by("pk"))


def sent_long_ago(message):
    Message.objects.filter(pk=message.pk).update(sent_at=timezone.now() - timedelta(minutes=24))


def test_a_link_that_runs_a_script_is_never_sent(make_message, make_template, make_contact, send, smtp_sink):
    make_message(template=make_template(body="[x](javascript:alert(1))"))
    make_message(
        make_contact(attributes={"site": "javascript:alert(1)"}), make_template(body="[x]({{ contact.site }})")
    )
    assert send() == 0
    assert set(Message.objects.values_list("state", "reason")) == {("failed", "render_error")}


def test_a_stored_link_with_a_bad_scheme_is_not_followed(client, links):
    _, tracked = links(["https://acme.example/bad"])
    Link.objects.update(url="javascript:alert(1)")
    assert client.get(tracked["https://acme.example/bad"]).status_code == 404


def test_a_personal_link_is_kept_for_its_person(client, smtp_sink, make_message, make_template, make_contact, send):
    body = "[x](https://acme.example/{{ contact.id }}?m={{ contact.email | url_encode }}&c={{ contact.city }})"
    person = make_contact(attributes={"city": 'B&"<>'})
    make_message(person, make_template(body=body))
    assert send() == 1
    path = re.search(r'href="http://localhost:8000(/t/c/[^"]+)"', smtp_sink.mails[0].body("html"))[1]
    assert path in smtp_sink.mails[0].body()
    expected = f'https://acme.example/{person.pk}?m={person.email.replace("@", "%40")}&c=B&"<>'
    assert Link.objects.get().url == expected


def test_a_single_click_later_is_a_persons(client, links):
    message, tracked = links(["https://acme.example/a", "https://acme.example/b"])
    sent_long_ago(message)
    client.get(tracked["https://acme.example/a"], headers={"user-agent": BROWSER})
    (event,) = tell()
    assert event.kind == "email.clicked"
    assert event.contact_id == message.contact_id
    assert event.properties["url"] == "https://acme.example/a"
    assert event.properties["message"] == message.pk
    assert "machine_reason" not in event.properties


def test_a_hit_waits_until_it_can_be_judged(client, links):
    message, tracked = links(["https://acme.example/a"])
    client.get(tracked["https://acme.example/a"], headers={"user-agent": BROWSER})
    assert tell(seconds=1) == []
    assert len(tell()) == 1
    assert len(tell()) == 1


def test_who_clicks_all_links_at_once_is_a_machine_with_every_click(client, links):
    urls = [f"https://acme.example/{n}" for n in range(3)]
    message, tracked = links(urls)
    sent_long_ago(message)
    for path in tracked.values():
        client.get(path, headers={"user-agent": BROWSER})
    assert [event.properties["machine_reason"] for event in tell()] == ["all_links"] * 3


def test_who_clicks_some_links_quickly_is_no_machine(client, links):
    urls = [f"https://acme.example/{n}" for n in range(3)]
    message, tracked = links(urls)
    sent_long_ago(message)
    for path in list(tracked.values())[:2]:
        client.get(path, headers={"user-agent": BROWSER})
    assert [event.properties.get("machine_reason") for event in tell()] == [None, None]


@pytest.mark.parametrize(
    ("method", "agent", "seconds", "reason"),
    [
        ("get", BROWSER, 1, "too_fast"),
        ("get", BROWSER, 3, None),
        ("head", BROWSER, 60, "head"),
        ("get", "", 60, "no_agent"),
        ("get", "Mozilla/5.0", 60, "bare_agent"),
        ("get", "curl/8.5", 60, "robot"),
        ("get", "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)", 60, "robot"),
    ],
)
def test_it_knows_machines_by_their_clicks(client, links, method, agent, seconds, reason):
    message, tracked = links(["https://acme.example/a"])
    Message.objects.filter(pk=message.pk).update(sent_at=timezone.now() - timedelta(seconds=seconds))
    getattr(client, method)(tracked["https://acme.example/a"], headers={"user-agent": agent})
    (event,) = tell()
    assert event.properties.get("machine_reason") == reason


@pytest.mark.parametrize(
    ("agent", "seconds", "reason"),
    [
        (BROWSER, 3, "too_fast"),
        (BROWSER, 60, None),
        (
            "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
            60,
            "gmail_privacy",
        ),
        ("Mozilla/5.0", 60, "apple_privacy"),
        ("Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.4266; Pro)", 60, None),
    ],
)
def test_it_knows_machines_by_their_opens(client, links, smtp_sink, agent, seconds, reason):
    message, _ = links(["https://acme.example/a"])
    path = re.search(r"http://localhost:8000(/t/o/\S+?\.gif)", smtp_sink.mails[-1].body("html"))[1]
    Message.objects.filter(pk=message.pk).update(sent_at=timezone.now() - timedelta(seconds=seconds))
    response = client.get(path, headers={"user-agent": agent})
    assert response["Content-Type"] == "image/gif"
    assert response["Cache-Control"] == "no-store"
    (event,) = tell()
    assert (event.kind, event.properties.get("machine_reason")) == ("email.opened", reason)


def test_the_stream_gets_the_verdict(client, links):
    message, tracked = links(["https://acme.example/a"])
    sent_long_ago(message)
    client.head(tracked["https://acme.example/a"], headers={"user-agent": BROWSER})
    client.get(tracked["https://acme.example/a"], headers={"user-agent": BROWSER})
    tell()
    run_step(Step("ingest", ingest), timezone.now() + timedelta(seconds=5))
    verdicts = message.contact.touchpoints.filter(kind="email.clicked").values_list("is_machine", flat=True)
    assert sorted(verdicts) == [False, True]


def test_a_link_works_when_its_message_is_gone(client, links):
    message, tracked = links(["https://acme.example/a"])
    message.delete()
    assert client.get(tracked["https://acme.example/a"]).status_code == 302
    assert tell() == []
