"""A field that rules ask about has an index, and the compiled rule uses it; one that nobody asks has none."""

import random
import string

import pytest
from django.db import connection

from contacts import fieldindexes, fields
from contacts.models import Contact, Segment
from contacts.rules import matching

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_left(db):
    """Emptying tables, as other tests do, leaves the indexes of fields that are gone."""
    fieldindexes.settle()


ASKED = [
    # type, values, the rule's operator and value
    ("text", lambda n: f"plan-{n}", "eq", "plan-7"),
    ("text", lambda n: f"plan-{n}", "in", ["plan-7", "plan-8"]),
    ("choice", lambda n: f"{n % 200}", "eq", "7"),
    ("number", lambda n: n, "eq", 7),
    ("number", lambda n: n, "gte", 2_990),
    ("boolean", lambda n: n == 7, "eq", True),
    ("date", lambda n: f"{1900 + n % 200:04}-0{1 + n % 9}-11", "eq", "1907-08-11"),
    ("date", lambda n: f"{1900 + n % 200:04}-0{1 + n % 9}-11", "before", "1901-01-01"),
    ("list", lambda n: [f"a{n}", n], "contains", "a7"),
]


@pytest.mark.parametrize(
    ("type_", "value", "op", "asked"), ASKED, ids=lambda one: one if isinstance(one, str) else None
)
def test_the_compiled_rule_finds_its_people_by_the_index(now, type_, value, op, asked):
    choices = [str(n) for n in range(200)] if type_ == "choice" else []
    one, _fit = fields.create(key="f", type_=type_, choices=choices, now=now)
    Contact.objects.bulk_create(Contact(attributes={"f": value(n), "g": "x" * 50}) for n in range(3_000))
    rule = {"field": "f", "op": op, "value": asked}
    name = fieldindexes.name_of(one)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE contacts_contact")
    assert name not in matching(rule, now).explain()
    meant = set(matching(rule, now).values_list("pk", flat=True))
    assert 0 < len(meant) < 30
    connection.check_constraints()  # else the rows of this transaction would still be in the way
    Segment.objects.create(key="s", name="S", rule=rule)
    assert fieldindexes.settle() == 1
    assert name in matching(rule, now).explain()
    assert set(matching(rule, now).values_list("pk", flat=True)) == meant


def test_an_index_comes_with_the_first_user_and_goes_with_the_last(now):
    one, _fit = fields.create(key="plan", type_="text", now=now)
    assert fieldindexes.settle() == 0
    segment = Segment.objects.create(key="s", name="S", rule={"field": "plan", "op": "eq", "value": "a"})
    assert fieldindexes.settle() == 1 and set(fieldindexes.found()) == {fieldindexes.name_of(one)}
    assert fieldindexes.settle() == 0
    segment.delete()
    assert fieldindexes.settle() == 1 and not fieldindexes.found()


def test_another_type_has_another_index(now):
    one, _fit = fields.create(key="plan", type_="text", now=now)
    Segment.objects.create(key="s", name="S", rule={"field": "plan", "op": "is_set"})
    fieldindexes.settle()
    fields.change(one, type_="number", now=now)
    one.refresh_from_db()
    assert fieldindexes.settle() == 2 and set(fieldindexes.found()) == {fieldindexes.name_of(one)}


@pytest.mark.django_db(transaction=True)
def test_indexes_are_made_while_others_write(now):
    fields.create(key="plan", type_="text", now=now)
    Segment.objects.create(key="s", name="S", rule={"field": "plan", "op": "eq", "value": "a"})
    said = []
    assert fieldindexes.settle(said.append) == 1 and all(one.is_valid for one in fieldindexes.found().values())
    Segment.objects.all().delete()
    assert fieldindexes.settle(said.append) == 1 and len(said) == 2


def test_a_long_text_blocks_neither_the_index_nor_writing_and_is_compared_as_a_whole(now):
    one, _fit = fields.create(key="f", type_="text", now=now)
    long = "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=20_000))
    Contact.objects.create(attributes={"f": long})
    Segment.objects.create(key="s", name="S", rule={"field": "f", "op": "eq", "value": "a"})
    connection.check_constraints()
    assert fieldindexes.settle() == 1 and [index.is_valid for index in fieldindexes.found().values()] == [True]
    other = Contact.objects.create(attributes={"f": long[:-1]})
    for op, value in (("eq", long[:-1]), ("in", [long[:-1], "x"])):
        assert list(matching({"field": "f", "op": op, "value": value}, now)) == [other]
    assert fieldindexes.name_of(one) in fieldindexes.found()


@pytest.mark.django_db(transaction=True)
def test_an_index_that_cannot_be_made_leaves_nothing_and_holds_up_no_other(now, monkeypatch):
    for key in ("a", "b"):
        fields.create(key=key, type_="text", now=now)
        Segment.objects.create(key=key, name=key, rule={"field": key, "op": "eq", "value": "x"})
    long = "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=20_000))
    Contact.objects.create(attributes={"a": long})
    monkeypatch.setattr("contacts.rulevalues.BEGIN", 20_000)
    said = []
    assert fieldindexes.settle(said.append) == 1
    assert [index.is_valid for index in fieldindexes.found().values()] == [True]
    assert any(line.startswith("! ") for line in said)
    Segment.objects.all().delete()
    fieldindexes.settle()
