"""Whatever somebody writes where JSON is asked for is answered with a sentence, never with an error of ours."""

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone

from contacts import tokens
from contacts.models import Company, Contact, Segment

pytestmark = pytest.mark.django_db

DEEP = "[" * 3000 + "]" * 3000
WRONG = {
    "half a surrogate pair": '{"field": "country", "op": "eq", "value": "\\ud800"}',
    "half a pair in a key": '{"\\ud800": 1}',
    "deep groups": '{"not":' * 3000 + "{}" + "}" * 3000,
    "deep lists": DEEP,
    "a deep value": f'{{"field": "country", "op": "in", "value": {DEEP}}}',
    "a list": "[]",
    "a text": '"x"',
    "an empty text": '""',
    "a number": "0",
    "no number": "NaN",
    "a NUL": '{"field": "country", "op": "eq", "value": "\\u0000"}',
}


@pytest.fixture
def boss(client):
    client.force_login(User.objects.create_superuser("boss"))
    return client


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_rule_that_cannot_be_one_is_refused_and_may_be_tried_without_harm(boss, wrong):
    segment = Segment.objects.create(key="s", name="S", rule={"field": "country", "op": "eq", "value": "CZ"})
    assert boss.post(reverse("admin:contacts_segment_preview"), {"rule": wrong}).status_code in {200, 422}
    data = {"name": "S", "rule": wrong, "overrides-TOTAL_FORMS": "0", "overrides-INITIAL_FORMS": "0"}
    answer = boss.post(reverse("admin:contacts_segment_change", args=[segment.pk]), data)
    assert answer.status_code == 200 and answer.context["adminform"].form.errors["rule"]
    segment.refresh_from_db()
    assert segment.rule == {"field": "country", "op": "eq", "value": "CZ"}
    _token, secret = tokens.issue(user=User.objects.get(), scopes=["admin"], now=timezone.now())
    asked = boss.post(
        "/api/v1/segments/s/preview/", f'{{"rule": {wrong}}}', content_type="application/json",
        headers={"Authorization": f"Bearer {secret}"},
    )  # fmt: skip
    assert asked.status_code == 400


@pytest.mark.parametrize("wrong", ['{"a": "\\ud800"}', DEEP], ids=["half a surrogate pair", "deep"])
def test_custom_fields_that_cannot_be_stored_are_refused(boss, wrong):
    contact = Contact.objects.create(email="ann@x.example")
    company = Company.objects.create(name="Acme")
    for name, pk, data in (
        ("contact", contact.pk, {"email": contact.email}),
        ("company", company.pk, {"name": company.name}),
    ):
        answer = boss.post(reverse(f"admin:contacts_{name}_change", args=[pk]), data | {"attributes": wrong})
        assert answer.status_code == 200 and answer.context["adminform"].form.errors["attributes"]
