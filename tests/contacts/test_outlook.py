"""While a rule is being written: how many people it means, who for example, and what each condition does."""

import json
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User

from contacts import outlook as outlooks
from contacts import segments
from contacts.models import Contact, Touchpoint
from contacts.outlook import outlook

pytestmark = pytest.mark.django_db

CZECH = {"field": "country", "op": "eq", "value": "CZ"}
READS_CZECH = {"field": "language", "op": "eq", "value": "cs"}


@pytest.fixture
def marketer():
    user = User.objects.create(username="marketer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_contact"))
    return user


@pytest.fixture
def crowd(now):
    people = [
        Contact.objects.create(
            first_name=f"P{number}", country="CZ" if number % 2 else "PL", language="cs" if number % 3 else "pl"
        )
        for number in range(12)
    ]
    Contact.objects.create(country="CZ", language="cs", erased_at=now)
    return people


def test_it_counts_shows_five_and_says_what_each_condition_does(marketer, crowd, now):
    rule = {"all": [CZECH, {"not": READS_CZECH}]}
    seen = outlook(rule, marketer, now)
    assert (seen["count"], seen["is_estimate"], seen["problem"]) == (2, False, "")
    assert seen["people"] == [{"id": one.pk, "name": one.name} for one in (crowd[9], crowd[3])]
    assert [(one["path"], one["without"]) for one in seen["effects"]] == [("all[0]", 4), ("all[1].not", 6)]
    assert json.loads(json.dumps(seen)) == seen


def test_each_effect_is_what_the_rule_without_it_would_count(marketer, crowd, now):
    Touchpoint.objects.create(contact=crowd[0], kind="page.viewed", occurred_at=now, received_at=now)
    viewed = {"did": "page.viewed", "within": "14d"}
    rule = {"any": [{"all": [CZECH, READS_CZECH]}, viewed]}
    without = {one["path"]: one["without"] for one in outlook(rule, marketer, now)["effects"]}
    for path, rest in {
        "any[0].all[0]": {"any": [READS_CZECH, viewed]},
        "any[0].all[1]": {"any": [CZECH, viewed]},
        "any[1]": {"all": [CZECH, READS_CZECH]},
    }.items():
        assert without.pop(path) == segments.preview(rest, now).count()
    assert without == {}
    assert outlook(CZECH, marketer, now)["effects"] == [{"path": "", "without": 12, "is_estimate": False}]


def test_a_rule_that_cannot_be_read_says_where_and_counts_nobody(marketer, crowd, now):
    seen = outlook({"all": [CZECH, {"field": "nothing", "op": "eq", "value": 1}]}, marketer, now)
    assert (seen["count"], seen["people"], seen["path"]) == (None, [], "all[1].field")
    assert "nothing" in seen["problem"]
    assert outlook(None, marketer, now)["count"] == 0


def test_nobody_learns_about_people_whom_she_may_not_see(crowd, now):
    stranger = User.objects.create(username="stranger")
    seen = outlook(CZECH, stranger, now)
    assert (seen["count"], seen["people"]) == (0, [])
    assert seen["effects"] == [{"path": "", "without": 0, "is_estimate": False}]


def test_more_people_than_it_counts_exactly_are_about_so_many(marketer, crowd, now, monkeypatch):
    monkeypatch.setattr(outlooks, "EXACT_UP_TO", 3)
    monkeypatch.setattr(outlooks, "SAMPLE", 5)
    monkeypatch.setitem(outlooks.SQL, "estimate_contacts", _Says(12))
    seen = outlook(CZECH, marketer, now)
    assert seen["is_estimate"] and seen["effects"][0]["is_estimate"]
    few = outlook({"field": "first_name", "op": "eq", "value": "P1"}, marketer, now)
    assert (few["count"], few["is_estimate"]) == (1, False), "few people are counted however many there are"


def test_what_takes_too_long_is_ended_and_said(marketer, crowd, now, monkeypatch):
    monkeypatch.setattr(outlooks, "TIME_LIMIT", timedelta(milliseconds=1))
    Contact.objects.bulk_create(Contact(first_name=str(number)) for number in range(5_000))
    slow = {"bucket": "0-49", "salt": "x"}
    seen = outlook({"all": [slow | {"salt": str(number)} for number in range(30)]}, marketer, now)
    assert (seen["count"], seen["people"]) == (None, [])
    assert seen["problem"]
    assert Contact.objects.count() == 5_013, "the transaction goes on, without a limit"


class _Says:
    def __init__(self, value):
        self._value = value

    def value(self):
        return self._value
