"""Test sends: they reach whom they are for, and nothing else ever notices."""

import email
import email.policy
import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from contacts.models import Consent, Incoming
from messaging import trials
from messaging.models import Hit, Link, Message, Suppression, TemplateVersion, TrialMail
from messaging.trials import NotAsked, deliver_trials


@pytest.fixture
def boss(db):
    return User.objects.create_superuser("boss", email="boss@acme.example")


@pytest.fixture
def ask(boss, now):
    def run(template, *addresses, contact=None, language="", at=None):
        return trials.ask(
            template=template, contact=contact, language=language, addresses=addresses or ["boss@acme.example"],
            by=boss, now=at or now,
        )  # fmt: skip

    return run


def test_it_arrives_with_the_values_of_the_chosen_contact_and_counts_nowhere(
    ask, make_template, make_contact, smtp_sink, now, client
):
    person = make_contact(first_name="Žofie", language="cs")
    template = make_template(
        translations={"cs": {"subject": "Ahoj {{ contact.first_name | default: 'ty' }}"}}, body_format="markdown"
    )
    ask(template, "A@Acme.example", "b@acme.example", "a@acme.example", contact=person)
    before = Incoming.objects.count()
    assert deliver_trials(now) == 2 and deliver_trials(now) == 0
    assert sorted(one.recipients for one in smtp_sink.mails) == [("a@acme.example",), ("b@acme.example",)]
    [arrived] = smtp_sink.to("a@acme.example")
    mail = email.message_from_bytes(arrived.raw, policy=email.policy.default)
    assert mail["Subject"] == "[Test] Ahoj Žofie" and mail["To"] == "a@acme.example"
    html = mail.get_body(("html",)).get_content()
    # Links lead straight to their pages, and nothing looks who opens it.
    assert 'href="https://acme.example/look"' in html and "/t/c/" not in html and "/t/o/" not in html
    for model in (Message, Link, Hit, TemplateVersion):
        assert not model.objects.exists(), model
    assert Incoming.objects.count() == before
    assert not TrialMail.objects.exclude(state="sent").exists() and not TrialMail.objects.exclude(raw=b"").exists()
    # The way out is there, works, and unsubscribes nobody.
    way_out = re.search(r"http://[^>]+", mail["List-Unsubscribe"])[0]
    path = "/u/" + way_out.split("/u/")[1]
    assert client.get(path).status_code == 200
    assert client.post(path, {"List-Unsubscribe": "One-Click"}).status_code == 200
    page = path.replace("/u/", "/p/")
    assert client.get(page).status_code == 200 and client.post(page, {"refuse_all": "1"}).status_code == 200
    assert not Consent.objects.exists() and not Suppression.objects.exists()
    assert Incoming.objects.count() == before


def test_nobody_in_particular_gets_the_fallbacks(ask, make_template, smtp_sink, now):
    ask(make_template())
    deliver_trials(now)
    assert b"[Test] Hello friend" in smtp_sink.mails[0].raw


@pytest.mark.parametrize(
    ("addresses", "sentence"),
    [
        ([""], "to which address"),
        (["x"], "x is no e-mail address"),
        (["a@acme.example\r\nBcc: b@acme.example"], "no e-mail address"),
        ([f"{letter}@acme.example" for letter in "abcdef"], "at most 5"),
        (["dead@acme.example"], "No mail goes to dead@acme.example: hard bounce"),
    ],
)
def test_where_it_can_not_go_is_told(ask, make_template, addresses, sentence):
    Suppression.objects.create(address="dead@acme.example", reason="bounced")
    with pytest.raises(NotAsked, match=sentence):
        ask(make_template(), *addresses)
    assert not TrialMail.objects.exists()


def test_what_can_not_be_written_is_told(ask, make_template):
    for values in ({"subject": "{{ contact.gone }}"}, {"body": "{% if %}"}, {"body": "[x](javascript:x)"}):
        with pytest.raises(NotAsked):
            ask(make_template(**values))


def test_many_are_too_many(ask, make_template, now):
    template, five = make_template(), [f"{letter}@acme.example" for letter in "abcde"]
    for _round in range(6):
        ask(template, *five)
    with pytest.raises(NotAsked, match="many tests"):
        ask(template)
    ask(template, at=now + trials.WITHIN)


def test_what_does_not_leave_is_tried_again_for_an_hour(ask, make_template, now, settings):
    ask(make_template())
    settings.EMAIL_URL = "smtp://localhost:1"
    assert deliver_trials(now) == 0
    one = TrialMail.objects.get()
    assert one.state == "queued" and one.response
    assert deliver_trials(now + timedelta(seconds=5)) == 0
    deliver_trials(now + timedelta(hours=2))
    one.refresh_from_db()
    assert one.state == "failed" and not one.raw and one.response
    # Whose worker died in between may have left.
    TrialMail.objects.update(state="sending", lease_until=now)
    deliver_trials(now)
    assert TrialMail.objects.get().state == "uncertain"
    assert trials.forget_trials(now + trials.KEPT + timedelta(days=1)) == 1


def test_the_screen_sends_what_is_not_saved_and_says_what_became_of_it(
    boss, client, make_template, make_contact, smtp_sink, now
):
    client.force_login(boss)
    template = make_template()
    form = {"pk": template.pk, "language": "en", "subject": "Unsaved", "body": "New", "body_format": "markdown",
            "message_class": "marketing", "translations": "{}", "utm": "{}", "quiet_hours": "default",
        "holdout": "0"}  # fmt: skip
    url = "/admin/messaging/template/try/"
    assert client.get(url).status_code == 405
    said = client.post(url, form | {"to": "a@acme.example; b@acme.example"})
    assert said.json() == {"message": "On its way to a@acme.example, b@acme.example."}
    assert client.post(url, form | {"to": "nobody"}).status_code == 422
    tries = client.post("/admin/messaging/template/tries/", {"pk": template.pk}).json()["tries"]
    assert [(one["address"], one["state"]) for one in tries] == [
        ("b@acme.example", "queued"), ("a@acme.example", "queued"),
    ]  # fmt: skip
    deliver_trials(now + timedelta(days=365))
    assert b"[Test] Unsaved" in smtp_sink.mails[0].raw
    tries = client.post("/admin/messaging/template/tries/", {"pk": template.pk}).json()["tries"]
    assert {one["state"] for one in tries} == {"sent"}
    # Without script the saved one is sent from its preview.
    said = client.post(url, {"saved": template.pk, "to": "c@acme.example"}, follow=True).content.decode()
    assert "On its way to c@acme.example." in said
    template.refresh_from_db()
    assert template.subject.startswith("Hello")


def test_who_may_not_write_sends_nothing(client, make_template):
    template = make_template()
    client.force_login(User.objects.create_user("staff", is_staff=True))
    for name in ("try", "tries", "draw", "draw/mail", "people"):
        assert (
            client.post(f"/admin/messaging/template/{name}/", {"saved": template.pk, "to": "a@b.cz"}).status_code == 403
        )
    assert not TrialMail.objects.exists()
