"""Custom fields: what they hold is of their type, whoever writes it; what is not is kept aside, and nobody is lost."""

from datetime import timedelta

import pytest

from contacts import fields, segments, stream
from contacts.fields import DoesNotFit, FieldError, InUse
from contacts.ingest import ingest
from contacts.models import Contact, Field, Segment, Touchpoint, Trait, UnfitValue
from contacts.rulefields import Vocabulary
from contacts.rules import matching

pytestmark = pytest.mark.django_db


def told(now, user, at=None, **traits):
    stream.put(kind="contact.identified", source="web", now=at or now, user_id=user, traits=traits)
    ingest(now, 0, 0)
    return Contact.objects.get(identities__kind="user_id", identities__value=user)


TYPES = [
    # type, what is told, what is stored
    ("text", "gold", "gold"),
    ("text", 12, "12"),
    ("text", True, "true"),
    ("number", 12, 12),
    ("number", "12.50", 12.5),
    ("boolean", "true", True),
    ("boolean", False, False),
    ("date", "2026-11-10", "2026-11-10"),
    ("date", "2026-11-10T09:00:00Z", "2026-11-10"),
    ("datetime", "2026-11-10T09:00:00+02:00", "2026-11-10T07:00:00+00:00"),
    ("datetime", "2026-11-10", "2026-11-09T23:00:00+00:00"),
    ("choice", "S", "S"),
    ("list", ["a", 1, True], ["a", 1, True]),
]
UNFIT = [
    ("text", {"a": 1}), ("text", ["a"]), ("number", "a dozen"), ("number", True), ("number", [1]), ("boolean", "yes"),
    ("boolean", 1), ("date", "2026-02-30"), ("date", 20261110), ("datetime", "soon"), ("choice", "XL"),
    ("choice", 3), ("list", "a"), ("list", [{"a": 1}]), ("list", [None]),
]  # fmt: skip


def make(type_, now, key="f"):
    return fields.create(key=key, type_=type_, choices=["S", "L"] if type_ == "choice" else [], now=now)[0]


@pytest.mark.parametrize(("type_", "value", "stored"), TYPES, ids=str)
def test_what_is_told_is_stored_in_the_form_of_its_type(now, type_, value, stored):
    make(type_, now)
    contact = told(now, "ann", f=value)
    assert contact.attributes == {"f": stored} and type(contact.attributes["f"]) is type(stored)
    assert not UnfitValue.objects.exists()


@pytest.mark.parametrize(("type_", "value"), UNFIT, ids=str)
def test_what_does_not_fit_is_kept_aside_and_nothing_else_suffers(now, type_, value):
    make(type_, now)
    contact = told(now, "ann", f=value, first_name="Ann", other=value)
    assert (contact.first_name, contact.attributes) == ("Ann", {"other": value})
    aside = UnfitValue.objects.get()
    assert (aside.contact, aside.field.key, aside.value, aside.told_at) == (contact, "f", value, now)


def test_what_did_not_fit_leaves_the_good_value_and_goes_when_a_good_one_comes(now):
    make("number", now)
    told(now, "ann", f=3)
    contact = told(now, "ann", at=now + timedelta(minutes=1), f="many")
    assert contact.attributes == {"f": 3} and UnfitValue.objects.get().value == "many"
    contact = told(now, "ann", at=now + timedelta(minutes=2), f="4")
    assert contact.attributes == {"f": 4} and not UnfitValue.objects.exists()


@pytest.mark.parametrize("nothing", ["", None])
def test_nothing_clears_a_field_of_any_type(now, nothing):
    make("number", now)
    told(now, "ann", f=3)
    contact = told(now, "ann", at=now + timedelta(minutes=1), f=nothing)
    assert contact.attributes == {} and not UnfitValue.objects.exists()
    assert Touchpoint.objects.filter(kind="contact.updated").last().properties == {"fields": ["f"], "former": {"f": 3}}


def test_a_value_told_again_in_another_form_changes_nothing(now):
    make("number", now)
    told(now, "ann", f=3)
    before = Touchpoint.objects.filter(kind="contact.updated").count()
    told(now, "ann", at=now + timedelta(minutes=1), f="3")
    assert Touchpoint.objects.filter(kind="contact.updated").count() == before


# Definitions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "type_", "choices", "part"),
    [
        ("email", "text", [], "key"), ("user_id", "text", [], "key"), ("1st", "text", [], "key"),
        ("a.b", "text", [], "key"), ("", "text", [], "key"), ("x" * 65, "text", [], "key"),
        ("plan", "colour", [], "type"), ("plan", "choice", [], "choices"), ("plan", "text", ["a"], "choices"),
        ("plan", "choice", ["a", "a "], "choices"), ("plan", "choice", [{"key": ""}], "choices"),
        ("plan", "choice", [1], "choices"), ("plan", "choice", [{"key": "a", "colour": "red"}], "choices"),
    ],
)  # fmt: skip
def test_what_can_be_no_field_is_refused_with_the_name_of_its_part(now, key, type_, choices, part):
    with pytest.raises(FieldError) as error:
        fields.create(key=key, type_=type_, choices=choices, now=now)
    assert set(error.value.errors) == {part} and error.value.errors[part].endswith(".")
    assert not Field.objects.exists()


def test_a_choice_has_labels_that_rules_and_sentences_know(now):
    fields.create(key="size", type_="choice", choices=["S", {"key": "L", "label": "Large"}], name="Size", now=now)
    asked = Vocabulary().field("size")
    assert asked.choices == ("S", "L") and asked.name_of("L") == "Large"
    assert asked.catalogue()["choices"] == [{"value": "S", "label": "S"}, {"value": "L", "label": "Large"}]


@pytest.fixture
def seats(now):
    for value in (1, "2", "3", "four", None, ""):
        Contact.objects.create(attributes={"seats": value})
    Contact.objects.create(attributes={"seats": 9}, erased_at=now)


def test_a_trait_that_becomes_a_field_says_how_many_values_fit(now, seats):
    found = fields.fit("seats", "number")
    assert (found.people, found.fits, found.changes, found.unfit, found.samples) == (4, 3, 2, 1, ["four"])
    assert found.says() == "3 of 4 values fit. 1 does not and would be put aside."
    one, said = fields.create(key="seats", type_="number", now=now)
    assert said == found
    values = Contact.objects.living().order_by("pk").values_list("attributes__seats", flat=True)
    assert list(values) == [1, 2, 3, None, None, None]
    assert one.unfit_values.get().value == "four"


def test_a_new_type_is_refused_until_somebody_says_convert(now):
    one = make("text", now, "seats")
    ann, ben = (Contact.objects.create(attributes={"seats": value}) for value in ("12", "many"))
    with pytest.raises(DoesNotFit) as error:
        fields.change(one, type_="number", now=now)
    assert (error.value.fit.people, error.value.fit.fits) == (2, 1)
    one.refresh_from_db()
    assert one.type == "text"
    fields.change(one, type_="number", convert=True, now=now)
    ann.refresh_from_db(), ben.refresh_from_db(), one.refresh_from_db()
    assert (one.type, ann.attributes, ben.attributes) == ("number", {"seats": 12}, {})
    assert one.unfit_values.get().value == "many"
    # And back again: what was put aside comes back.
    fields.change(one, type_="text", convert=True, now=now)
    ben.refresh_from_db()
    assert ben.attributes == {"seats": "many"} and not UnfitValue.objects.exists()


def test_a_choice_that_people_have_is_not_taken_away_silently(now):
    one = make("choice", now, "size")
    Contact.objects.create(attributes={"size": "L"})
    with pytest.raises(DoesNotFit):
        fields.change(one, choices=["S"], now=now)
    fields.change(one, choices=["S", "L", "XL"], now=now)
    one.refresh_from_db()
    assert one.choices == ["S", "L", "XL"]


def test_a_field_in_use_stays_and_its_users_are_named(now):
    one = make("text", now, "plan")
    Segment.objects.create(key="trial", name="Trial", rule={"field": "plan", "op": "eq", "value": "trial"})
    with pytest.raises(InUse) as error:
        fields.remove(one, now=now)
    assert error.value.users == ["segment “Trial”"]


def test_a_field_that_goes_leaves_its_values_as_traits(now):
    one = make("number", now, "seats")
    ann = told(now, "ann", seats="many")
    ben = told(now, "ben", seats=3)
    fields.remove(one, now=now)
    ann.refresh_from_db(), ben.refresh_from_db()
    assert (ann.attributes, ben.attributes) == ({"seats": "many"}, {"seats": 3})
    assert not UnfitValue.objects.exists()


def test_a_field_that_comes_back_mends_the_segments_that_ask_it(now):
    rule = {"field": "plan", "op": "eq", "value": "trial"}
    segment = Segment.objects.create(key="trial", name="Trial", rule=rule, sweep_at=None)
    ann = Contact.objects.create(attributes={"plan": "trial"})
    fields.create(key="plan", type_="text", now=now)
    segments.refresh(now, stream.head(), stream.head())
    assert list(segments.members(segment)) == [ann] == list(matching(rule, now))


# Traits --------------------------------------------------------------------------------------------------------------


def test_traits_that_are_no_fields_are_counted_with_their_types_and_samples(now, seats):
    make("text", now, "plan")
    for number in range(3):
        Contact.objects.create(attributes={"plan": "trial", "born": "1990-05-01", "visits": number, "odd": {"a": 1}})
    fields.count_traits(now)
    counted = {one.key: (one.people, one.types, fields.guessed_type(one)) for one in Trait.objects.all()}
    assert counted == {
        "seats": (4, {"number": 3, "text": 1}, "text"),
        "born": (3, {"date": 3}, "date"),
        "visits": (3, {"number": 3}, "number"),
        "odd": (3, {"group": 3}, "text"),
    }
    assert Trait.objects.get(key="visits").samples == [0, 2]
    fields.create(key="seats", type_="number", now=now)
    fields.count_traits(now)
    assert set(Trait.objects.values_list("key", flat=True)) == {"born", "visits", "odd"}


def test_traits_are_counted_hourly_and_only_where_somebody_changed(now):
    Contact.objects.create(attributes={"a": 1}, updated_at=now)
    later = now + timedelta(hours=2)
    assert fields.count_traits_if_due(now)
    assert not fields.count_traits_if_due(now + timedelta(minutes=59))
    assert not fields.count_traits_if_due(later)
    Contact.objects.create(attributes={"a": 1}, updated_at=later)
    assert fields.count_traits_if_due(later) and Trait.objects.get().people == 2
