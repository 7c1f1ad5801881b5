"""The screens of custom fields, of traits, and a contact's page with an input for each of its fields."""

from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone

from contacts import fields
from contacts.models import Contact, Field, Segment, Touchpoint, Trait, UnfitValue

pytestmark = pytest.mark.django_db


@pytest.fixture
def boss(client):
    client.force_login(User.objects.create_superuser("boss"))
    return client


def make(key, type_, **more):
    return fields.create(key=key, type_=type_, now=timezone.now(), **more)[0]


def test_a_field_is_made_with_choices_and_labels(boss):
    data = {"name": "Size", "key": "size", "type": "choice", "choices": "S\nL = Large\n"}
    assert boss.post(reverse("admin:contacts_field_add"), data).status_code == 302
    one = Field.objects.get()
    assert (one.name, one.type, one.choices) == ("Size", "choice", ["S", {"key": "L", "label": "Large"}])
    page = boss.get(reverse("admin:contacts_field_change", args=[one.pk]))
    assert "L = Large" in page.content.decode()


def test_what_is_no_field_is_refused_beside_its_input(boss):
    page = boss.post(reverse("admin:contacts_field_add"), {"name": "", "key": "email", "type": "text", "choices": ""})
    assert page.status_code == 200 and page.context["adminform"].form.errors["key"]
    page = boss.post(reverse("admin:contacts_field_add"), {"name": "", "key": "x", "type": "choice", "choices": ""})
    assert page.status_code == 200 and page.context["adminform"].form.errors["choices"]


def test_another_type_is_refused_until_its_box_is_ticked(boss):
    one = make("seats", "text")
    ann = Contact.objects.create(attributes={"seats": "12"})
    Contact.objects.create(attributes={"seats": "many"})
    address, data = reverse("admin:contacts_field_change", args=[one.pk]), {"name": "", "type": "number", "choices": ""}
    page = boss.post(address, data)
    assert "1 of 2 values fit." in page.context["adminform"].form.errors["type"][0]
    assert boss.post(address, data | {"convert": "on"}).status_code == 302
    ann.refresh_from_db()
    assert ann.attributes == {"seats": 12}
    assert "many" in boss.get(address).content.decode()
    assert "1" in boss.get(reverse("admin:contacts_field_changelist")).content.decode()


def test_a_field_in_use_is_not_deleted_and_its_users_are_named(boss):
    one = make("plan", "text")
    Segment.objects.create(key="s", name="Trial people", rule={"field": "plan", "op": "is_set"})
    address = reverse("admin:contacts_field_delete", args=[one.pk])
    assert "Trial people" in boss.get(address).content.decode()
    assert boss.post(address, {"post": "yes"}).status_code == 403 or Field.objects.exists()
    assert Field.objects.exists()
    Segment.objects.all().delete()
    assert boss.post(address, {"post": "yes"}).status_code == 302 and not Field.objects.exists()


def test_a_trait_is_listed_and_made_a_field(boss):
    Contact.objects.create(attributes={"visits": 3})
    Contact.objects.create(attributes={"visits": "4"})
    assert boss.post(reverse("admin:contacts_trait_count")).status_code == 302
    page = boss.get(reverse("admin:contacts_trait_changelist")).content.decode()
    assert "visits" in page and "?key=visits&amp;type=number" in page
    offer = boss.get(reverse("admin:contacts_field_add") + "?key=visits&type=number")
    assert "2 of 2 values fit." in offer.content.decode()
    data = {"name": "Visits", "key": "visits", "type": "number", "choices": ""}
    assert boss.post(reverse("admin:contacts_field_add"), data).status_code == 302
    assert set(Contact.objects.values_list("attributes__visits", flat=True)) == {3, 4} and not Trait.objects.exists()


# The contact's page --------------------------------------------------------------------------------------------------


@pytest.fixture
def ann():
    make("plan", "text", name="Plan")
    make("seats", "number")
    make("active", "boolean")
    make("born", "date")
    make("renewal", "datetime")
    make("size", "choice", choices=["S", {"key": "L", "label": "Large"}])
    make("tags", "list")
    return Contact.objects.create(
        email="ann@example.com",
        attributes={
            "plan": "trial", "seats": 12, "active": True, "born": "1990-05-01", "size": "L", "tags": ["a", 1],
            "renewal": "2026-11-10T09:00:00.500000+00:00", "other": {"kept": 1},
        },
    )  # fmt: skip


def form_of(boss, contact):
    """What the page's form would send if nobody touched it."""
    form = boss.get(reverse("admin:contacts_contact_change", args=[contact.pk])).context["adminform"].form
    data = {}
    for box in form:
        drawn = getattr(box.field.widget, "widget", box.field.widget)
        shown = drawn.get_context(box.html_name, box.value(), {})["widget"]
        for one in shown.get("subwidgets", [shown]):
            value = one["value"]
            data[one["name"]] = value[0] if isinstance(value, list) and value else value or ""
    return data


def test_a_page_saved_untouched_changes_nothing(boss, ann):
    before = dict(ann.attributes)
    answer = boss.post(reverse("admin:contacts_contact_change", args=[ann.pk]), form_of(boss, ann))
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    ann.refresh_from_db()
    assert ann.attributes == before


def test_each_field_is_changed_by_its_own_input(boss, ann):
    data = form_of(boss, ann) | {
        "own_plan": "pro", "own_seats": "50", "own_active": "false", "own_born": "2000-01-31", "own_size": "S",
        "own_renewal_0": "2027-01-01", "own_renewal_1": "12:00", "own_tags": "a\nb\n1",
    }  # fmt: skip
    answer = boss.post(reverse("admin:contacts_contact_change", args=[ann.pk]), data)
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    ann.refresh_from_db()
    assert ann.attributes == {
        "plan": "pro", "seats": 50, "active": False, "born": "2000-01-31", "size": "S", "tags": ["a", "b", 1],
        "renewal": datetime(2027, 1, 1, 11, tzinfo=UTC).isoformat(), "other": {"kept": 1},
    }  # fmt: skip


def test_an_emptied_input_clears_its_field_and_a_wrong_one_is_refused_beside_it(boss, ann):
    address, data = reverse("admin:contacts_contact_change", args=[ann.pk]), form_of(boss, ann)
    page = boss.post(address, data | {"own_seats": "many"})
    assert page.status_code == 200 and page.context["adminform"].form.errors["own_seats"]
    assert boss.post(address, data | {"own_plan": "", "own_seats": "", "own_tags": ""}).status_code == 302
    ann.refresh_from_db()
    assert not {"plan", "seats", "tags"} & set(ann.attributes)


def test_what_did_not_fit_is_shown_beside_the_input_and_goes_with_a_good_value(boss, ann):
    seats = Field.objects.get(key="seats")
    UnfitValue.objects.create(contact=ann, field=seats, value="dozens", told_at=timezone.now())
    assert "dozens" in boss.get(reverse("admin:contacts_contact_change", args=[ann.pk])).content.decode()
    boss.post(reverse("admin:contacts_contact_change", args=[ann.pk]), form_of(boss, ann) | {"own_seats": "24"})
    assert not UnfitValue.objects.exists() and not Touchpoint.objects.exists()
