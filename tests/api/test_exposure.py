"""What the API answers is what somebody decided to answer: each field of each answer stands in a list that is read.

A new field fails here until it stands in `answered-fields.txt`; `ANSWERED_FIELDS=write` writes the list anew, for the
reviewer of the difference.
"""

import os
from pathlib import Path

import pytest
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator

from contacts import tokens, webhooks
from contacts.consent import record_consent
from contacts.models import ApiToken, Contact, Webhook
from tests.api.test_routes import routes

pytestmark = pytest.mark.django_db

# From where somebody gave consent: part of the proof, and of what the person may have of themselves; nowhere else.
ADDRESS = "203.0.113.77"
LIST = Path(__file__).parent / "answered-fields.txt"


@pytest.fixture(scope="module")
def schema():
    return SchemaGenerator().get_schema(request=None, public=True)


def components(schema) -> dict[str, list[str]]:
    """The names of the fields of everything that is answered, by the answer's name; what is only sent is left out."""
    named = schema["components"]["schemas"]
    found: dict[str, list[str]] = {}

    def walk(part):
        if isinstance(part, list):
            for one in part:
                walk(one)
        elif isinstance(part, dict):
            name = str(part.get("$ref", "")).rpartition("/")[2]
            if name and name not in found:
                fields = named[name].get("properties", {})
                found[name] = sorted(key for key, one in fields.items() if not one.get("writeOnly"))
                walk({key: one for key, one in fields.items() if not one.get("writeOnly")})
            for key, one in part.items():
                if key != "$ref":
                    walk(one)

    for calls in schema["paths"].values():
        for call in calls.values():
            if isinstance(call, dict):
                walk(call.get("responses", {}))
    return found


def test_every_field_that_is_answered_is_one_that_may_be(schema):
    found = "".join(f"{name}: {' '.join(fields)}\n" for name, fields in sorted(components(schema).items()) if fields)
    if os.environ.get("ANSWERED_FIELDS") == "write":
        LIST.write_text(found)
    assert found.splitlines() == LIST.read_text().splitlines()


def test_no_answer_names_an_internal_field_and_two_alone_hold_a_secret(schema):
    answered = components(schema)
    internal = {"digest", "password", "merged_into", "synced_at", "request_digest", "ip_address", "ip", "prefix",
                "claimed_by", "lease_until", "previous_secret", "is_superuser", "user_permissions"}  # fmt: skip
    # The proof of one person's consents says from which address each was given: that is what a proof is for.
    proof = {"Proof": {"ip"}}
    assert {name: internal & set(fields) for name, fields in answered.items() if internal & set(fields)} == proof
    assert sorted(name for name, fields in answered.items() if "secret" in fields) == ["NewSecret", "NewWebhook"]


@pytest.fixture
def secrets(admin, now) -> list[str]:
    """What must be in no answer to a GET."""
    token, secret = tokens.issue(user=admin, scopes=["read"], now=timezone.now())
    hook = Webhook.objects.create(name="CRM", url="https://crm.example/", secret=webhooks.make_secret())
    old = hook.secret
    webhooks.rotate(hook, now=timezone.now())
    webhooks.send_test(hook, now=timezone.now())
    contact = Contact.objects.create(email="ann@shop.example")
    record_consent(
        contact=contact,
        topic="news",
        channel="email",
        state="granted",
        source="form",
        ip_address=ADDRESS,
        now=now,
    )
    digests = list(ApiToken.objects.values_list("digest", flat=True))
    return [secret, token.prefix, old, hook.secret, ADDRESS, admin.password, *digests]


def test_no_list_and_no_single_answer_holds_a_secret_or_the_address_of_a_consent(client, admin, bearer, secrets):
    headers = bearer(admin, "admin")
    rows = {"contacts": Contact.objects.get().pk, "webhooks": Webhook.objects.get().pk}
    asked = 0
    for address, methods in routes():
        if "GET" not in methods or not address.startswith("/api/v1/"):
            continue
        number = rows.get(address.split("/")[3], 1)
        path = address.replace("{pk}", str(number)).replace("{key}", "none")
        for answer in (client.get(path, headers=headers), client.get(f"{path}?limit=500", headers=headers)):
            asked += answer.status_code == 200
            text = b"".join(answer).decode() if answer.streaming else answer.content.decode()
            told = {one for one in secrets if one in text}
            assert told <= ({ADDRESS} if address.endswith(("/proof/", "/person/")) else set()), path
    assert asked > 25


def test_no_page_is_longer_than_500(client, admin, bearer):
    headers = bearer(admin, "admin")
    for address, methods in routes():
        if "GET" in methods and address.startswith("/api/v1/") and "{" not in address:
            for limit in ("501", "0", "-1", "1e3", "x", "9" * 30):
                answer = client.get(f"{address}?limit={limit}", headers=headers)
                assert answer.status_code == 400, (address, limit)
