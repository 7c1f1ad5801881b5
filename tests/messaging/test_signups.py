"""Sign-ups: nobody but the owner of an address says yes for it, and nobody is bombed by our forms."""

import json
import re
from collections import Counter
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from contacts.consent import proof, record_consent
from contacts.erasure import erase
from contacts.ingest import ingest
from contacts.models import Consent, ConsentChange, Contact, Identity, Wording
from contacts.stream import Step, run_step
from contacts.syncing import upsert
from messaging import signups
from messaging.gates import arbitrate
from messaging.models import Message, Signup, SignupForm, Topic
from messaging.refusing import refuse_all

pytestmark = pytest.mark.django_db


@pytest.fixture
def anonymous() -> Client:
    return Client(enforce_csrf_checks=True)


@pytest.fixture
def form(brand, tips, newsletter, time_machine, now):
    time_machine.move_to(now, tick=False)
    made = SignupForm.objects.create(
        key="footer", name="Tips by mail", fields=["first_name"], origins=["https://acme.example"],
        wording={"en": {"consent": "I want tips."}, "cs": {"consent": "Chci tipy."}},
    )  # fmt: skip
    made.topics.set([tips])
    return made


@pytest.fixture
def tick(now, send):
    """Everything that a sign-up waits for, at a moment; the confirmation links that were mailed so far."""

    def run(at=None):
        at = at or now
        run_step(Step("ingest", ingest), at)
        run_step(Step("sign_up", signups.sign_up), at)
        run_step(Step("ingest", ingest), at)
        send(at)

    return run


def links(sink) -> list[str]:
    return [re.search(r"http://localhost:8000(/confirm/[\w-]+/)", mail.body())[1] for mail in sink.mails]


def said(answer) -> bytes:
    """What a page says, but for the token against forgery that its language switch holds."""
    return re.sub(rb'name="csrfmiddlewaretoken" value="\w+"', b"", answer.content)


def held(address) -> dict[str, str]:
    person = Identity.objects.get(kind="email", value=address).contact
    return dict(person.consents.filter(channel="email").values_list("topic", "state"))


def test_a_sign_up_is_confirmed_by_one_press_in_the_mail(anonymous, form, tick, smtp_sink, now):
    assert b'name="website"' in anonymous.get("/f/footer/").content
    agent = {"User-Agent": "Mozilla/5.0"}
    anonymous.post("/f/footer/", {"email": "Ann@X.example", "first_name": "Ann"}, headers=agent)
    tick()
    assert held("ann@x.example") == {"tips": "pending", "": "pending"}
    [link] = links(smtp_sink)
    for _ in range(3):
        answer = anonymous.get(link)
        assert answer.content.count(b'<button type="submit"') == 1
        anonymous.head(link)
    assert held("ann@x.example") == {"tips": "pending", "": "pending"}, "a look, or a scanner, confirms nothing"
    assert anonymous.post(link, headers=agent).status_code == 200
    assert held("ann@x.example") == {"tips": "granted", "": "granted"}
    tick()
    ann = Identity.objects.get(kind="email", value="ann@x.example").contact
    assert ann.first_name == "Ann"
    told = {(row["topic"], row["state"]): row for row in proof(ann)}
    assert "I want tips." in told["tips", "granted"]["wording"]
    assert told["tips", "granted"]["source"] == "form:footer"
    for row in told.values():
        assert (row["ip_address"], row["user_agent"]) == ("127.0.0.1", "Mozilla/5.0")


def test_nothing_is_told_about_an_address_before_its_owner_said_yes(anonymous, form, tick, make_contact, smtp_sink):
    upsert([{"email": "ann@x.example", "first_name": "Ann"}], source="t", now=timezone.now())
    anonymous.post("/f/footer/", {"email": "ann@x.example", "first_name": "Mallory"})
    tick()
    assert Contact.objects.get(email="ann@x.example").first_name == "Ann"


def test_the_link_is_in_no_row_and_works_once(anonymous, form, tick, smtp_sink):
    anonymous.post("/f/footer/", {"email": "ann@x.example"})
    tick()
    [link] = links(smtp_sink)
    token = link.split("/")[2]
    assert token not in json.dumps(list(Message.objects.values("context", "response", "key")), default=str)
    assert len(token) >= 22
    anonymous.post(link)
    record_consent(
        contact=Contact.objects.get(email="ann@x.example"), topic="tips", channel="email", state="denied", source="t",
        now=timezone.now(),
    )  # fmt: skip
    again = anonymous.post(link)
    assert b"used already" in again.content
    assert held("ann@x.example")["tips"] == "denied"


def test_an_old_link_confirms_nothing_and_offers_a_new_one(anonymous, form, tick, smtp_sink, time_machine, now):
    anonymous.post("/f/footer/", {"email": "ann@x.example"})
    tick()
    [link] = links(smtp_sink)
    later = now + timedelta(days=7, minutes=1)
    time_machine.move_to(later, tick=False)
    assert b"too old" in anonymous.post(link).content
    assert held("ann@x.example")["tips"] == "pending"
    assert b"Send me a new link" in anonymous.get(link).content
    anonymous.post(link, {"again": "1"})
    tick(later)
    fresh = links(smtp_sink)[-1]
    assert fresh != link
    anonymous.post(fresh)
    assert held("ann@x.example")["tips"] == "granted"


def test_a_link_that_was_asked_for_before_a_refusal_confirms_nothing(
    anonymous, form, tick, smtp_sink, time_machine, now
):
    anonymous.post("/f/footer/", {"email": "ann@x.example"})
    tick()
    later = now + timedelta(hours=1)
    time_machine.move_to(later, tick=False)
    refuse_all(contact=Contact.objects.get(email="ann@x.example"), source="one-click", now=later)
    [link] = links(smtp_sink)
    anonymous.post(link)
    assert held("ann@x.example")[""] == "denied"
    anonymous.post(link, {"again": "1"})
    tick(later)
    anonymous.post(links(smtp_sink)[-1])
    assert held("ann@x.example")["tips"] == "granted"


def test_signing_up_again_never_unconfirms_a_reader(anonymous, form, tick, smtp_sink):
    anonymous.post("/f/footer/", {"email": "ann@x.example"})
    tick()
    anonymous.post(links(smtp_sink)[0])
    before = ConsentChange.objects.count()
    anonymous.post("/f/footer/", {"email": "ann@x.example"})
    tick()
    assert held("ann@x.example") == {"tips": "granted", "": "granted"}
    assert ConsentChange.objects.count() == before
    assert len(smtp_sink.mails) == 1


def test_two_hundred_sign_ups_for_one_address_are_three_mails_a_day(anonymous, form, tick, smtp_sink, now, allow):
    answers = set()
    for n in range(200):
        answer = anonymous.post("/f/footer/", {"email": "victim@x.example"}, REMOTE_ADDR=f"192.0.2.{n}")
        answers.add((answer.status_code, said(answer)))
        if n % 10 == 0:
            tick()
    for minutes in range(12):
        tick(now + timedelta(minutes=minutes))
    assert len(smtp_sink.mails) == 3
    assert len(answers) == 1
    assert Signup.objects.count() <= signups.MOST_KEPT


def test_the_answer_tells_nobody_who_is_known(anonymous, form, tick, smtp_sink, make_contact, allow):
    known = make_contact()
    allow(known, "tips")
    answers = {said(anonymous.post("/f/footer/", {"email": one})) for one in (known.email, "new@x.example")}
    assert len(answers) == 1
    trapped = anonymous.post("/f/footer/", {"email": "bot@x.example", "website": "https://spam.example"})
    assert answers == {said(trapped)}
    tick()
    assert not Identity.objects.filter(value="bot@x.example").exists()


def test_a_stranger_who_was_typed_in_gets_no_newsletter_either(anonymous, form, tick, smtp_sink, make_message, now):
    anonymous.post("/f/footer/", {"email": "victim@x.example"})
    tick()
    message = make_message(Contact.objects.get(email="victim@x.example"))
    arbitrate(now, 0, 0)
    message.refresh_from_db()
    assert message.reason == "no_consent"


def test_a_form_without_confirmation_still_asks_whoever_refused_before(
    anonymous, form, tick, smtp_sink, make_contact, allow, time_machine, now
):
    SignupForm.objects.update(is_double_opt_in=False)
    refused = make_contact(email="no@x.example")
    Identity.objects.create(contact=refused, kind="email", value=refused.email)
    allow(refused, "tips", "denied")
    stamp = re.search(r'name="stamp" value="([^"]+)"', anonymous.get("/f/footer/").content.decode())[1]
    hasty = anonymous.post("/f/footer/", {"email": "hasty@x.example", "stamp": stamp})
    assert hasty.status_code == 200
    time_machine.move_to(now + timedelta(seconds=30), tick=False)
    for address in ("no@x.example", "new@x.example"):
        anonymous.post("/f/footer/", {"email": address, "stamp": stamp, "first_name": "Eva"})
    tick(now + timedelta(minutes=1))
    tick(now + timedelta(minutes=2))
    assert held("no@x.example")["tips"] == "denied"
    assert held("hasty@x.example")["tips"] == "pending"
    assert held("new@x.example") == {"tips": "granted"}
    assert Contact.objects.get(email="new@x.example").first_name == "Eva"
    assert Counter(mail["To"] for mail in smtp_sink.mails) == {"no@x.example": 1, "hasty@x.example": 1}


def test_the_erased_come_back_only_by_their_own_confirmed_word(anonymous, form, tick, smtp_sink, now):
    upsert([{"email": "ann@x.example"}], source="t", now=now)
    erase(Contact.objects.get(email="ann@x.example"), by=None, now=now)
    anonymous.post("/f/footer/", {"email": "ann@x.example"})
    tick()
    assert held("ann@x.example") == {"": "denied", "tips": "pending"}
    anonymous.post(links(smtp_sink)[0])
    assert held("ann@x.example") == {"": "granted", "tips": "granted", "newsletter": "denied"}


def test_a_topic_may_demand_confirmation_of_whoever_is_told_to_want_it(
    make_contact, tips, tick, smtp_sink, brand, now, time_machine
):
    time_machine.move_to(now, tick=False)
    Topic.objects.filter(key="tips").update(is_double_opt_in=True)
    ann = make_contact(email="ann@x.example")
    Identity.objects.create(contact=ann, kind="email", value=ann.email)
    record_consent(contact=ann, topic="tips", channel="email", state="granted", source="rest", wording="Yes", now=now)
    assert held("ann@x.example") == {"tips": "pending"}
    tick()
    [link] = links(smtp_sink)
    Client().post(link)
    assert held("ann@x.example") == {"tips": "granted"}
    change = ConsentChange.objects.get(state="granted")
    assert (change.source, Wording.objects.get(digest=change.wording).words) == ("rest", "Yes")


def test_a_site_embeds_the_form_and_no_other_does(anonymous, form, tick, smtp_sink):
    data = json.dumps({"email": "ann@x.example", "first_name": "Ann"})

    def send(origin, method="post"):
        return getattr(anonymous, method)(
            "/f/footer/", data if method == "post" else "", content_type="application/json", headers={"Origin": origin}
        )

    asked = send("https://acme.example", "options")
    assert (asked.status_code, asked["Access-Control-Allow-Origin"]) == (204, "https://acme.example")
    taken = send("https://acme.example")
    assert (taken.status_code, taken["Access-Control-Allow-Origin"]) == (202, "https://acme.example")
    for foreign in ("https://evil.example", "null", "https://acme.example.evil.example", "http://acme.example"):
        refused = send(foreign)
        assert refused.status_code == 403
        assert "Access-Control-Allow-Origin" not in refused
    tick()
    assert held("ann@x.example")["tips"] == "pending"


@pytest.mark.parametrize("told", [{}, {"email": "nobody"}, {"email": "a@x.example", "first_name": "x" * 500}])
def test_what_is_wrong_is_said_beside_its_field(anonymous, form, told):
    answer = anonymous.post("/f/footer/", told)
    assert answer.status_code == 400
    assert b'class="error"' in answer.content
    for body in (b"[1]", b"{", b"[" * 100_000):
        assert anonymous.post("/f/footer/", body, content_type="application/json").status_code == 400


def test_a_shut_form_is_not_there_and_a_forged_link_neither(anonymous, form):
    SignupForm.objects.update(is_active=False)
    assert anonymous.get("/f/footer/").status_code == 404
    assert anonymous.get("/confirm/AAAA/").status_code == 404


def test_the_form_speaks_the_readers_language_and_so_does_the_mail(anonymous, form, tick, smtp_sink):
    czech = {"Accept-Language": "cs"}
    assert "Chci tipy." in anonymous.get("/f/footer/", headers=czech).content.decode()
    anonymous.post("/f/footer/", {"email": "ann@x.example"}, headers=czech)
    tick()
    assert Message.objects.get().language == "cs"
    assert Consent.objects.count() == 2
