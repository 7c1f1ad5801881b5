"""The mail that asks for confirmation: in the reader's language, few of them, and telling nobody who is known."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from contacts.consent import record_consent
from contacts.erasure import erase
from contacts.ingest import ingest
from contacts.models import Consent, ConsentChange, Contact, Identity
from contacts.stream import Step, run_step
from contacts.syncing import upsert
from messaging import signups, tokens
from messaging.models import Message, Signup, SignupForm, Suppression, Template

pytestmark = pytest.mark.django_db


@pytest.fixture
def form(brand, tips, time_machine, now):
    time_machine.move_to(now, tick=False)
    made = SignupForm.objects.create(key="footer", name="Tips by mail")
    made.topics.set([tips])
    return made


@pytest.fixture
def tick(now, send):
    def run(at=None):
        for name, step in (("ingest", ingest), ("sign_up", signups.sign_up), ("ingest", ingest)):
            run_step(Step(name, step), at or now)
        send(at or now)

    return run


def post(address, language="en", **extra):
    return Client(enforce_csrf_checks=True).post(
        "/f/footer/", {"email": address}, headers={"Accept-Language": language}, **extra
    )


@pytest.mark.parametrize(
    ("language", "subject", "words"),
    [
        ("en", "Please confirm", "Yes, it was me"),
        ("cs", "Potvrďte", "Ano"),
        ("pl", "potwierdzenie", "Tak"),
    ],
)
def test_the_mail_speaks_the_language_of_the_page(language, subject, words, form, tips, tick, smtp_sink):
    type(tips).objects.update(names={"cs": "Tipy", "pl": "Porady"})
    post("ann@x.example", language)
    tick()
    [mail] = smtp_sink.mails
    assert subject.lower() in mail["Subject"].lower()
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["List-Unsubscribe"] is None, "who never asked has nothing to leave"
    topic = {"en": "Product tips", "cs": "Tipy", "pl": "Porady"}[language]
    for part in (mail.body(), mail.body("html")):
        assert words in part
        assert topic in part
        assert "1 Main St, 602 00 Brno" in part
        assert len(set(re.findall(r"http://localhost:8000/confirm/[\w-]+/", part))) == 1
    link = re.search(r"/confirm/[\w-]+/", mail.body())[0]
    assert f'<html lang="{language}"' in Client().get(link, headers={"Accept-Language": language}).content.decode()
    assert Message.objects.get().language == language


def test_the_work_and_the_answer_are_the_same_whoever_is_known(form, tick, smtp_sink, make_contact, allow, now):
    """Statement by statement: what is done at the door does not depend on who is behind it."""
    known, granted, refused = (make_contact(email=f"{name}@x.example") for name in ("known", "granted", "refused"))
    for one in (known, granted, refused):
        Identity.objects.create(contact=one, kind="email", value=one.email, created_at=now)
    allow(granted, "tips")
    allow(refused, "", "denied")
    Suppression.objects.create(address="blocked@x.example", reason="complained")
    upsert([{"email": "gone@x.example"}], source="t", now=now)
    erase(Contact.objects.get(email="gone@x.example"), by=None, now=now)
    post("first@x.example")  # makes what is made once
    seen = set()
    for name in ("new", "known", "granted", "refused", "blocked", "gone"):
        with CaptureQueriesContext(connection) as asked:
            answer = post(f"{name}@x.example")
        statements = tuple(re.sub(r"'[^']*'|\d+", "?", one["sql"])[:60] for one in asked.captured_queries)
        page = re.sub(rb'name="csrfmiddlewaretoken" value="\w+"', b"", answer.content)
        seen.add((answer.status_code, page, tuple(sorted(answer.headers.items())), statements))
    assert len(seen) == 1
    bodies = {
        (answer.status_code, answer.content)
        for name in ("new2", "known", "granted")
        for answer in [
            Client().post("/f/footer/", json.dumps({"email": f"{name}@x.example"}), content_type="application/json")
        ]
    }
    assert len(bodies) == 1


def test_nobody_is_mailed_more_than_three_times_a_day_and_the_next_day_begins_anew(
    form, tick, smtp_sink, now, time_machine
):
    for day in range(2):
        for n in range(6):
            moment = now + timedelta(days=day, hours=3 * n)
            time_machine.move_to(moment, tick=False)
            post("victim@x.example", REMOTE_ADDR=f"198.51.{day}.{n}")
            tick(moment)
        sent = [mail["Message-ID"] for mail in smtp_sink.mails]
        assert len(sent) == len(set(sent)) == 3 * (day + 1)
    for mail in smtp_sink.mails:
        assert mail.recipients == ("victim@x.example",)
    assert Consent.objects.exclude(state="pending").count() == 0


def test_the_ledger_says_who_when_how_and_to_which_words(form, tick, smtp_sink, now, time_machine):
    post("ann@x.example", REMOTE_ADDR="192.0.2.7")
    tick()
    link = re.search(r"/confirm/[\w-]+/", smtp_sink.mails[0].body())[0]
    pressed = now + timedelta(hours=3)
    time_machine.move_to(pressed, tick=False)
    Client().post(link, REMOTE_ADDR="192.0.2.99", headers={"User-Agent": "Mozilla/5.0 (phone)"})
    asked, granted = (ConsentChange.objects.get(topic="tips", state=state) for state in ("pending", "granted"))
    assert (asked.ip_address, asked.changed_at) == ("192.0.2.7", now)
    assert (granted.ip_address, granted.changed_at) == ("192.0.2.99", pressed)
    assert granted.user_agent == "Mozilla/5.0 (phone)"
    assert granted.source == asked.source == "form:footer"
    assert granted.wording == asked.wording
    assert len(granted.wording) == 64


def test_a_confirmation_is_signed_for_one_sign_up_and_for_nothing_else(form, tick, smtp_sink):
    for name in ("ann", "bob"):
        post(f"{name}@x.example")
    tick()
    ann, bob = Signup.objects.order_by("pk")
    signer = tokens.current()
    for forged in (signer.token(tokens.OPEN, bob.pk), signer.token(tokens.CONFIRM, bob.pk)[:-2] + "AA"):
        assert Client().post(f"/confirm/{forged}/").status_code == 404
    Client().post(f"/confirm/{signer.token(tokens.CONFIRM, ann.pk)}/")
    bob.refresh_from_db()
    assert bob.confirmed_at is None
    assert set(Consent.objects.filter(state="granted").values_list("contact__email", flat=True)) == {"ann@x.example"}


@pytest.mark.django_db(transaction=True)
def test_ten_presses_at_once_confirm_once(brand, tips, now, time_machine):
    person = Contact.objects.create(email="ann@x.example", stage="known")
    Identity.objects.create(contact=person, kind="email", value=person.email, created_at=now)
    signup = Signup.objects.create(
        contact=person, address=person.email, topics=["tips"], source="form:footer", asked_at=now,
        expires_at=now + timedelta(days=3650),
    )  # fmt: skip
    path = f"/confirm/{tokens.current().token(tokens.CONFIRM, signup.pk)}/"

    def press(_number: int) -> int:
        try:
            return Client(enforce_csrf_checks=True).post(path).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(press, range(10))) == {200}
    assert list(ConsentChange.objects.values_list("topic", "state")) == [("tips", "granted")]


def test_a_marketers_own_words_keep_the_link(form, tick, smtp_sink, now):
    """The mail is a template like others: rewritten, it still leads to the one page that counts."""
    signups.ensure_template(now)
    Template.objects.filter(key=signups.TEMPLATE).update(
        subject="One more press", body="Press [here]({{ links.confirm }}) for {{ topics }}.", translations={}
    )
    post("ann@x.example")
    tick()
    [mail] = smtp_sink.mails
    assert mail["Subject"] == "One more press"
    Client().post(re.search(r"/confirm/[\w-]+/", mail.body())[0])
    assert Consent.objects.get(topic="tips").state == "granted"


def test_a_refusal_by_rest_after_the_mail_makes_its_link_too_old(form, tick, smtp_sink, now, time_machine):
    post("ann@x.example")
    tick()
    link = re.search(r"/confirm/[\w-]+/", smtp_sink.mails[0].body())[0]
    ann = Contact.objects.get(email="ann@x.example")
    later = now + timedelta(minutes=5)
    time_machine.move_to(later, tick=False)
    record_consent(contact=ann, topic="tips", channel="email", state="denied", source="rest", now=later)
    assert b"too old" in Client().post(link).content
    assert Consent.objects.get(topic="tips").state == "denied"
