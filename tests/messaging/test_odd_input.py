"""What no form of ours sends, sent all the same: refused by name or taken for what it means, and nothing breaks."""

import json

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from contacts import tokens as api_tokens
from contacts.models import Contact, Identity
from messaging import tokens
from messaging.models import Signup, SignupForm

pytestmark = pytest.mark.django_db


@pytest.fixture
def anonymous() -> Client:
    return Client(enforce_csrf_checks=True)


def link(kind: str, person) -> str:
    return f"/{kind}/{tokens.current().token(tokens.PERSON, 0, person.pk)}/"


@pytest.mark.parametrize("most", ["0099999999", "0050000000000", "101", "0", "000", "٥"])
def test_a_limit_that_is_none_is_said_on_the_preference_page(anonymous, brand, make_contact, most):
    person = make_contact(email="eva@example.com")
    answer = anonymous.post(link("p", person), {"most": most})
    assert answer.status_code == 400
    assert "from 1 to 100" in answer.content.decode()
    assert Contact.objects.get(pk=person.pk).most_per_week is None


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("List-Unsubscribe=One-Click", "multipart/form-data"),
        ("List-Unsubscribe=One-Click", "multipart/form-data; boundary=" + "x" * 300),
        ("List-Unsubscribe=One-Click", "application/x-www-form-urlencoded; charset=iso-8859-1"),
        ("&".join(["a=1"] * 2000), "application/x-www-form-urlencoded"),
        ("x=" + "a" * 3_000_000, "application/x-www-form-urlencoded"),
    ],
)
def test_a_press_whose_body_nobody_can_read_is_a_press(anonymous, brand, make_contact, body, content_type):
    """RFC 8058: an anonymous POST unsubscribes, always."""
    person = make_contact(email="eva@example.com")
    answer = anonymous.post(link("u", person), body, content_type=content_type)
    assert answer.status_code == 200
    assert person.consents.get(topic="", channel="email").state == "denied"
    assert anonymous.post(link("u", person), body, content_type=content_type).status_code == 200


def test_half_a_character_in_a_sign_up_is_refused_with_its_field(anonymous, brand, newsletter):
    form = SignupForm.objects.create(key="footer", name="Tips", fields=["first_name"])
    form.topics.set([newsletter])
    for name in ("first_name", "email"):
        told = {"email": "ann@x.example", name: "HALF"}
        body = "{" + ", ".join(f'"{key}": "{value}"' for key, value in told.items()) + "}"
        answer = anonymous.post("/f/footer/", body.replace("HALF", "\\ud800@x"), content_type="application/json")
        assert (answer.status_code, list(answer.json()["errors"])) == (400, [name])
    assert not Signup.objects.exists()


def test_the_editor_takes_any_name_of_a_contact(client, admin_user, brand, make_contact):
    make_contact(email="eva@example.com")
    client.force_login(admin_user)
    told = {"subject": "Hi", "body": "Hello", "body_format": "markdown", "language": "en"}
    for contact in ("\0", "eva\0@example.com", "9" * 18, "²", "%"):
        for name in ("draw", "draw_mail"):
            answer = client.post(reverse(f"admin:messaging_template_{name}"), told | {"contact": contact})
            assert answer.status_code == 200, (name, contact)


def test_whoever_may_only_look_sees_the_whole_brand_kit(client, django_user_model, brand):
    brand.colours, brand.tone = {"primary": "#123456"}, {"words_per_sentence": 17, "address": {"cs": "formal"}}
    brand.languages, brand.banned_words = ["en", "cs"], {"": ["cheap"], "cs": ["levn*"]}
    brand.glossary, brand.legal = {"cs": {"e-mail": ["mejl*"]}}, {"en": "A <b>legal</b> text"}
    brand.save()
    looker = django_user_model.objects.create_user("looker", is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_brand"))
    client.force_login(looker)
    shown = client.get("/admin/messaging/brand/1/change/").content.decode()
    for told in (
        "#123456",
        "17",
        "formal",
        "en, cs",
        "cheap",
        "cs: levn*",
        "e-mail: mejl*",
        "A &lt;b&gt;legal&lt;/b&gt;",
    ):
        assert told in shown, told
    assert "None" not in shown
    assert client.post("/admin/messaging/brand/1/change/", {"name": "Mine"}).status_code == 403


@pytest.mark.parametrize("who", [{"anonymousId": "\0"}, {"anonymousId": "anna", "userId": "eva\0"}])
def test_a_visitor_with_an_impossible_id_is_nobody(anonymous, admin_user, make_contact, now, who):
    Identity.objects.create(kind="anonymous_id", value="anna", contact=make_contact(), created_at=now)
    key = api_tokens.issue(user=admin_user, scopes=["track"], name="web", now=timezone.now())[1]
    answer = anonymous.post("/v1/onsite", json.dumps({"writeKey": key} | who), content_type="text/plain")
    assert (answer.status_code, answer.json()) == (200, {"message": None})
