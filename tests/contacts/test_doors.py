"""The same nasty writings through every door: one person is found by each, and no two people ever become one."""

import base64
import json
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.test import Client

from contacts import syncing, tokens
from contacts.finding import find_contact
from contacts.identity import normalise
from contacts.importing import new_import, run_import
from contacts.models import Contact, Identity, Incoming
from contacts.searching import by_name
from contacts.segments import preview
from journey_crm.tick import tick
from messaging.models import Suppression

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 10, 9, 0, tzinfo=UTC)

# Each line is one address in all its writings; no two lines are one.
PEOPLE = [
    ["ann.lee@example.com", "ANN.LEE@EXAMPLE.COM", "  Ann.Lee@Example.com\t", "ａｎｎ.lee@example.com",
     "ann.lee＠example.com"],
    ["annlee@example.com"],  # a dot may be somebody else's
    ["ann.lee+news@example.com", "Ann.Lee+News@example.com"],
    ["аnn.lee@example.com"],  # the first letter is Cyrillic
    ["ann.lee@exаmple.com", "ann.lee@xn--exmple-4nf.com"],  # the second a of the domain is Cyrillic
    ["eva@bücher.example", "eva@BÜCHER.example", "eva@bu\u0308cher.example", "Eva@xn--bcher-kva.example"],
    ["eva@bucher.example"],
    ["éva@example.com", "e\u0301va@example.com", "ÉVA@example.com"],
    ["eva@example.com"],
    ["straße@example.com", "STRAßE@example.com"],
    ["strasse@example.com", "STRASSE@example.com"],
    ["οδυσσευς@example.com", "ΟΔΥΣΣΕΥΣ@example.com", "οδυσσευσ@example.com"],
    ["ﬁona@example.com", "fiona@example.com"],
]  # fmt: skip
NOBODY = ["ann", "ann@", "@example.com", "a b@example.com", "ann@exam\u200bple.com", "ann@localhost", "ann@@x.example"]
PHONES = ["777 123 456", "+420 777-123-456", "00420777123456", "(777) 123456", "+420777123456"]


@pytest.fixture
def boss(db):
    return User.objects.create_superuser("boss")


@pytest.fixture
def api(boss):
    secret = tokens.issue(user=boss, scopes=["admin"], now=NOW)[1]

    def call(method, path, body=None):
        return getattr(Client(), method)(
            f"/api/v1/{path}", body, content_type="application/json", headers={"Authorization": f"Bearer {secret}"}
        )

    return call


@pytest.fixture
def track(boss):
    key = tokens.issue(user=boss, scopes=["track"], now=NOW)[1]

    def call(body):
        headers = {"Authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}
        answer = Client().post("/v1/identify", json.dumps(body), content_type="application/json", headers=headers)
        assert answer.status_code == 200, answer.content

    return call


@pytest.fixture
def admin_page(boss):
    client = Client()
    client.force_login(boss)

    def call(**told):
        page = client.get("/admin/contacts/contact/add/")
        form = page.context["adminform"].form
        data = {name: "" if (value := form[name].value()) is None else value for name in form.fields}
        return client.post("/admin/contacts/contact/add/", data | {"attributes": "{}"} | told)

    return call


@pytest.fixture
def doors(api, track, admin_page):
    """Each door by its name: takes one writing of an address in."""

    def import_a_file(text):
        one = new_import("p.csv", ContentFile(f'email\n"{text}"\n'.encode(), name="p.csv"))
        one.state = "waiting"
        one.save()
        assert run_import(one.pk, NOW).state == "finished"

    return {
        "sync": lambda text: syncing.upsert([{"email": text}], source="test", now=NOW),
        "rest": lambda text: api("post", "contacts/", {"email": text}),
        "import": import_a_file,
        "identify": lambda text: (track({"anonymousId": "a", "traits": {"email": text}}), tick(datetime.now(UTC))),
        "admin": lambda text: admin_page(email=text),
    }


@pytest.mark.parametrize("door", ["sync", "rest", "import", "identify", "admin"])
def test_every_door_knows_each_person_by_every_writing_and_keeps_them_apart(doors, door):
    for texts in PEOPLE:
        for text in texts:
            doors[door](text)
            Identity.objects.filter(kind="anonymous_id").delete()  # each call is another visitor
    expected = {normalise("email", texts[0]) for texts in PEOPLE}
    assert len(expected) == len(PEOPLE)
    assert sorted(Identity.objects.filter(kind="email").values_list("value", flat=True)) == sorted(expected)
    assert set(Contact.objects.living().exclude(email="").values_list("email", flat=True)) == expected


@pytest.mark.parametrize("door", ["sync", "rest", "import", "identify", "admin"])
def test_no_door_makes_a_person_of_what_is_no_address(doors, door):
    for text in NOBODY:
        doors[door](text)
    assert not Identity.objects.filter(kind="email").exists()
    assert not Contact.objects.exclude(email="").exists()
    assert not Incoming.objects.exclude(error="").exists()


def test_whoever_looks_for_a_person_finds_them_by_every_writing(api):
    rows = [{"email": texts[0]} for texts in PEOPLE]
    people = [result["id"] for result in syncing.upsert(rows, source="test", now=NOW)]
    for person, texts in zip(people, PEOPLE, strict=True):
        for text in texts:
            assert find_contact(text).pk == person, text
            rule = {"field": "email", "op": "eq", "value": text}
            assert [one.pk for one in preview(rule, NOW)] == [person], text
            assert [one.pk for one in by_name(Contact.objects.all(), text)] == [person], text
            answer = api("get", "contacts/", {"email": text}).json()
            assert [row["id"] for row in answer["results"]] == [person], text
            [result] = syncing.upsert([{"email": text}], source="test", now=NOW)
            assert (result["id"], result["status"]) == (person, "unchanged"), text


def test_an_address_is_suppressed_in_whatever_writing(db):
    for texts in PEOPLE:
        kept = set()
        for text in texts:
            one = Suppression(address=text, reason="manual")
            one.clean()
            kept.add(one.address)
        assert kept == {normalise("email", texts[0])}
    for text in NOBODY:
        with pytest.raises(ValidationError):
            Suppression(address=text, reason="manual").clean()


def test_a_telephone_has_one_form_whatever_door_it_came_by(doors, api, track, admin_page):
    for number, text in enumerate(PHONES):
        syncing.upsert([{"email": f"s{number}@x.example", "phone": text}], source="test", now=NOW)
        api("post", "contacts/", {"email": f"r{number}@x.example", "phone": text})
        track({"userId": f"u{number}", "traits": {"email": f"t{number}@x.example", "phone": text}})
        admin_page(email=f"a{number}@x.example", phone=text)
    tick(datetime.now(UTC))
    assert Contact.objects.count() == 4 * len(PHONES)
    assert set(Contact.objects.values_list("phone", flat=True)) == {"+420777123456"}
    assert find_contact("777 123 456").phone == "+420777123456"


def test_a_telephone_of_another_country_is_read_by_its_country(track):
    track({"userId": "u1", "traits": {"phone": "22 123 45 67", "country": "PL"}})
    track({"userId": "u2", "traits": {"phone": "call me", "company": {"domain": "BÜCHER.example"}}})
    tick(datetime.now(UTC))
    pole, other = (Contact.objects.get(identities__value=user) for user in ("u1", "u2"))
    assert pole.phone == "+48221234567"
    assert (other.phone, other.attributes["phone_as_told"]) == ("", "call me")
    assert other.company.domain == "xn--bcher-kva.example"
