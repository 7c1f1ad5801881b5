"""The inbox becomes people and touchpoints."""

from datetime import UTC, datetime, timedelta

import pytest

from contacts.identity import normalise
from contacts.ingest import ingest
from contacts.models import Company, Contact, Identity, Incoming, Merge, Receipt, Touchpoint
from contacts.stream import Step, put, run_step

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 10, 9, 0, tzinfo=UTC)
STEP = Step("ingest", ingest)


def say(kind="page.viewed", *, at=NOW, **words):
    return put(kind=kind, source="test", channel="web", now=at, **words)


def take_in(now=NOW):
    from contacts.models import StepCursor

    count = run_step(STEP, now)
    assert StepCursor.objects.get(step="ingest").error == ""
    return count


def whose(kind, value) -> Contact:
    return Identity.objects.get(kind=kind, value=value).contact


def history(contact) -> list[str]:
    return list(Touchpoint.objects.filter(contact=contact).order_by("id").values_list("kind", flat=True))


def test_an_anonymous_hit_makes_a_visitor():
    say(anonymous_id="a1", properties={"path": "/"})
    assert take_in() == 1
    visitor = whose("anonymous_id", "a1")
    assert (visitor.stage, visitor.identified_at, visitor.created_at, visitor.last_seen_at) == (
        "visitor",
        None,
        NOW,
        NOW,
    )
    assert visitor.source == "test"
    assert history(visitor) == ["contact.created", "page.viewed"]
    assert Touchpoint.objects.get(kind="page.viewed").properties == {"path": "/"}
    assert not Incoming.objects.exists()


def test_a_second_hit_finds_the_same_visitor_in_the_same_and_in_a_later_batch():
    say(anonymous_id="a1")
    say(anonymous_id="a1")
    take_in()
    say(anonymous_id="a1")
    take_in()
    assert history(Contact.objects.get()) == ["contact.created", *["page.viewed"] * 3]


def test_a_visitor_who_is_named_keeps_the_history():
    say(anonymous_id="a1")
    take_in()
    visitor = whose("anonymous_id", "a1")
    say("contact.identified", anonymous_id="a1", user_id="u1", email="ann@x.example", at=NOW + timedelta(hours=1))
    take_in(NOW + timedelta(hours=1))
    ann = Contact.objects.get()
    assert ann == visitor
    assert (ann.email, ann.identified_at) == ("ann@x.example", NOW + timedelta(hours=1))
    assert history(ann) == ["contact.created", "page.viewed", "contact.identified", "contact.updated"]
    assert {(one.kind, one.value) for one in ann.identities.all()} == {
        ("anonymous_id", "a1"), ("user_id", "u1"), ("email", "ann@x.example")
    }  # fmt: skip


def test_a_visitor_who_turns_out_to_be_somebody_known_brings_the_whole_history_along():
    say(user_id="u1", at=NOW - timedelta(days=9))
    take_in()
    known = whose("user_id", "u1")
    say(anonymous_id="a1")
    say(anonymous_id="a1")
    take_in()
    visitor = whose("anonymous_id", "a1")
    say("form.submitted", anonymous_id="a1", user_id="u1")
    say(anonymous_id="a1")
    take_in()
    visitor.refresh_from_db()
    assert visitor.merged_into == known
    assert whose("anonymous_id", "a1") == known
    assert not Touchpoint.objects.filter(contact=visitor).exists()
    assert history(known) == [
        "contact.created", "contact.identified", "page.viewed", "contact.created", "page.viewed", "page.viewed",
        "contact.merged", "form.submitted", "page.viewed",
    ]  # fmt: skip
    assert Touchpoint.objects.get(kind="contact.merged").properties == {"from": visitor.pk}
    assert Merge.objects.get().before["contact"]["id"] == visitor.pk


def test_nameless_hits_before_the_name_in_the_same_batch_are_the_named_one():
    say(user_id="u1")
    take_in()
    say(anonymous_id="a1")
    say(anonymous_id="a1", user_id="u1")
    take_in()
    assert Contact.objects.count() == 1
    assert whose("anonymous_id", "a1") == whose("user_id", "u1")


def test_two_people_on_one_device_stay_two_and_the_last_named_gets_what_follows():
    for batchwise in (False, True):
        device, ann, bob = (f"{name}{batchwise}" for name in ("device", "ann", "bob"))
        for words in (
            {"anonymous_id": device, "properties": {"who": "ann"}},
            {"anonymous_id": device, "user_id": ann, "properties": {"who": "ann"}},
            {"anonymous_id": device, "properties": {"who": "ann"}},
            {"anonymous_id": device, "user_id": bob, "properties": {"who": "bob"}},
            {"anonymous_id": device, "properties": {"who": "bob"}},
            {"anonymous_id": device, "user_id": ann, "properties": {"who": "ann"}},
            {"anonymous_id": device, "properties": {"who": "ann"}},
        ):
            say(**words)
            if not batchwise:
                take_in()
        take_in()
        for name, person in (("ann", ann), ("bob", bob)):
            mine = whose("user_id", person).touchpoints.filter(kind="page.viewed")
            assert {one.properties["who"] for one in mine} == {name}
        assert whose("user_id", ann) != whose("user_id", bob)
        assert whose("anonymous_id", device) == whose("user_id", ann)
    assert not Merge.objects.exists()


def test_an_address_without_a_user_is_adopted_by_the_first_user_who_brings_it():
    say("form.submitted", email="ann@x.example")
    take_in()
    reader = whose("email", "ann@x.example")
    say(user_id="u1", email="ann@x.example")
    take_in()
    assert whose("user_id", "u1") == reader
    assert Contact.objects.count() == 1


def test_an_address_without_a_user_and_its_user_who_exists_become_the_older_of_both():
    say("form.submitted", email="ann@x.example")
    take_in()
    say(user_id="u1")
    take_in()
    reader, user = whose("email", "ann@x.example"), whose("user_id", "u1")
    say(user_id="u1", email="ann@x.example", at=NOW + timedelta(days=1))
    take_in()
    assert whose("user_id", "u1") == whose("email", "ann@x.example") == reader
    user.refresh_from_db()
    assert user.merged_into == reader


@pytest.mark.parametrize("in_one_batch", [True, False])
def test_the_address_of_another_user_is_not_stolen(in_one_batch):
    say(user_id="u1", email="ann@x.example")
    if not in_one_batch:
        take_in()
    say(user_id="u2", email="ann@x.example")
    say("page.viewed", email="ann@x.example", properties={"by": "mail"})
    take_in()
    ann, other = whose("user_id", "u1"), whose("user_id", "u2")
    assert ann != other
    assert whose("email", "ann@x.example") == ann
    assert (ann.email, other.email) == ("ann@x.example", "")
    assert other.touchpoints.get(kind="page.viewed").properties == {"kept_apart": "email"}
    assert ann.touchpoints.get(properties={"by": "mail"})


def test_an_alias_brings_the_anonymous_past_to_the_user():
    say(anonymous_id="a1")
    take_in()
    say("contact.aliased", user_id="u1", properties={"previous_id": "a1"})
    take_in()
    assert whose("user_id", "u1") == whose("anonymous_id", "a1")
    assert Contact.objects.count() == 1


def test_an_alias_of_an_id_that_comes_later_counts():
    say("contact.aliased", user_id="u1", properties={"previous_id": "a1"})
    take_in()
    say(anonymous_id="a1")
    take_in()
    assert history(whose("user_id", "u1"))[-1] == "page.viewed"


def test_a_new_name_of_a_user_leads_to_the_same_person_and_two_users_are_never_merged_by_an_alias():
    say(user_id="old")
    say(user_id="other")
    take_in()
    say("contact.aliased", user_id="new", properties={"previous_id": "old"})
    say("contact.aliased", user_id="newer", properties={"previous_id": "new"})
    say("contact.aliased", user_id="newest", properties={"previous_id": "newer"})
    say("contact.aliased", user_id="other", properties={"previous_id": "old"})
    take_in()
    assert whose("user_id", "newest") == whose("user_id", "newer") == whose("user_id", "new") == whose("user_id", "old")
    assert whose("user_id", "other") != whose("user_id", "old")


def test_a_chain_of_ids_in_one_batch_ends_at_one_person():
    say(anonymous_id="a1")
    say(anonymous_id="a2")
    say(email="ann@x.example")
    take_in()
    assert Contact.objects.count() == 3
    say(anonymous_id="a1", email="ann@x.example")
    say(anonymous_id="a2", user_id="u1")
    say(user_id="u1", email="ann@x.example")
    say("contact.aliased", user_id="u1", properties={"previous_id": "a3"})
    say(anonymous_id="a3")
    take_in()
    people = Contact.objects.living()
    assert len(people) == 1
    assert people[0].identities.count() == 5
    assert Contact.objects.exclude(pk=people[0].pk).filter(merged_into=people[0]).count() == 2
    assert not Touchpoint.objects.exclude(contact=people[0]).exists()


def test_a_row_about_somebody_merged_away_leads_to_the_survivor():
    say(user_id="u1")
    say(anonymous_id="a1")
    take_in()
    visitor = whose("anonymous_id", "a1")
    say(anonymous_id="a1", user_id="u1")
    take_in()
    say("email.clicked", contact_id=visitor.pk)
    take_in()
    assert history(whose("user_id", "u1"))[-1] == "email.clicked"


def test_what_is_said_about_somebody_erased_is_dropped_and_its_receipt_kept():
    gone = Contact.objects.create(erased_at=NOW)
    say(contact_id=gone.pk, message_id="m1")
    take_in()
    assert not Touchpoint.objects.exists()
    assert not Incoming.objects.exists()
    assert Receipt.objects.filter(source="test", message_id="m1").exists()


def test_a_repeat_of_a_message_is_taken_in_once_within_a_batch_and_after_it():
    for _ in range(3):
        say(anonymous_id="a1", message_id="m1")
    put(kind="page.viewed", source="another", now=NOW, anonymous_id="a1", message_id="m1")
    take_in()
    say(anonymous_id="a1", message_id="m1")
    take_in()
    assert Touchpoint.objects.filter(kind="page.viewed").count() == 2


def test_a_late_event_keeps_its_date_and_a_future_one_is_brought_back_to_now():
    put(kind="page.viewed", source="test", now=NOW, occurred_at=NOW - timedelta(days=90), anonymous_id="a1")
    put(kind="page.viewed", source="test", now=NOW, occurred_at=NOW + timedelta(days=90), anonymous_id="a1")
    take_in()
    late, future = Touchpoint.objects.filter(kind="page.viewed").order_by("id")
    assert (late.occurred_at, late.received_at) == (NOW - timedelta(days=90), NOW)
    assert future.occurred_at == NOW
    assert Touchpoint.objects.get(kind="contact.created").occurred_at == NOW - timedelta(days=90)


def test_an_older_person_keeps_the_ids_when_the_visitor_knows_more_devices():
    say(anonymous_id="phone")
    take_in()
    say("contact.aliased", user_id="u1", properties={"previous_id": "phone"})
    say(anonymous_id="laptop", user_id="u1")
    say(anonymous_id="laptop")
    say(anonymous_id="phone")
    take_in()
    ann = Contact.objects.get()
    assert history(ann).count("page.viewed") == 4


# Traits --------------------------------------------------------------------------------------------------------------


def test_traits_fill_columns_and_custom_fields_and_tell_which_changed():
    say(
        "contact.identified", user_id="u1", email="ann@x.example",
        traits={
            "firstName": "Ann", "last_name": " Lee ", "locale": "cs-CZ", "country": "cz", "title": "CTO",
            "timezone": "Europe/Prague", "phone": "+420777123456", "plan": "trial", "seats": 3,
            "tags": ["a", {"b": None}],
        },
    )  # fmt: skip
    take_in()
    ann = Contact.objects.get()
    assert (ann.first_name, ann.last_name, ann.language, ann.country, ann.job_title, ann.phone) == (
        "Ann", "Lee", "cs", "CZ", "CTO", "+420777123456"
    )  # fmt: skip
    assert (ann.timezone, ann.zone) == ("Europe/Prague", "Europe/Prague")
    assert ann.attributes == {"plan": "trial", "seats": 3, "tags": ["a", {"b": None}]}
    told = Touchpoint.objects.get(kind="contact.updated")
    assert set(told.properties["fields"]) == {
        "email", "first_name", "last_name", "language", "country", "job_title", "phone", "timezone", "plan", "seats",
        "tags",
    }  # fmt: skip


def test_the_newest_word_wins_by_when_it_was_said_and_null_clears():
    say("contact.identified", user_id="u1", traits={"plan": "pro", "first_name": "Ann"}, at=NOW)
    say("contact.identified", user_id="u1", traits={"plan": "trial", "city": "Brno"}, at=NOW - timedelta(hours=2))
    take_in()
    assert Contact.objects.get().attributes == {"plan": "pro", "city": "Brno"}
    say("contact.identified", user_id="u1", traits={"plan": "old", "zip": "60200"}, at=NOW - timedelta(hours=1))
    take_in()
    assert Contact.objects.get().attributes == {"plan": "pro", "city": "Brno", "zip": "60200"}
    later = NOW + timedelta(hours=1)
    say("contact.identified", user_id="u1", traits={"plan": None, "first_name": None, "none": None}, at=later)
    take_in(later)
    ann = Contact.objects.get()
    assert (ann.attributes, ann.first_name) == ({"city": "Brno", "zip": "60200"}, "")


def test_a_salutation_is_a_column_for_it_begins_letters():
    say("contact.identified", user_id="u1", traits={"salutation": "Dobrý den, paní Nováková"})
    take_in()
    ann = Contact.objects.get()
    assert (ann.salutation, ann.attributes) == ("Dobrý den, paní Nováková", {})


def test_the_same_traits_again_change_nothing():
    for hour in range(3):
        say("contact.identified", user_id="u1", traits={"plan": "pro"}, at=NOW + timedelta(hours=hour))
        take_in(NOW + timedelta(hours=hour))
    ann = Contact.objects.get()
    assert Touchpoint.objects.filter(kind="contact.updated").count() == 1
    assert (ann.updated_at, ann.synced_at) == (NOW, NOW + timedelta(hours=2))


def test_a_whole_name_is_parted_and_an_unknown_zone_is_none():
    say(user_id="u1", traits={"name": "Jan Amos Komenský", "timezone": "Mars/Olympus", "first_name": {"a": 1}})
    take_in()
    jan = Contact.objects.get()
    assert (jan.first_name, jan.last_name) == ("Jan", "Amos Komenský")
    assert (jan.timezone, jan.zone) == ("Mars/Olympus", "")


def test_companies_are_joined_by_domain_else_by_name():
    acme = {"name": "Acme", "website": "https://www.ACME.example/about", "employees": 50, "industry": "Anvils"}
    say(user_id="u2", traits={"company": {"name": "Acme Ltd", "domain": "acme.example"}})
    say(user_id="u1", traits={"company": acme})
    say(user_id="u3", traits={"company": "Globex"})
    take_in()
    say(user_id="u4", traits={"company": {"name": "globex", "employees": "12"}})
    say(user_id="u5", traits={"company": {}})
    take_in()
    assert whose("user_id", "u1").company == whose("user_id", "u2").company
    assert whose("user_id", "u3").company == whose("user_id", "u4").company
    assert whose("user_id", "u5").company is None
    companies = Company.objects.order_by("pk").values_list("domain", "employees", "industry")
    assert list(companies) == [("acme.example", 50, "Anvils"), (None, 12, "")]


def test_traits_never_touch_consent():
    say(user_id="u1", traits={"consent": {"newsletter": True}, "subscribed": True})
    take_in()
    assert not Contact.objects.get().consents.exists()


# Poison --------------------------------------------------------------------------------------------------------------


def incompressible(length: int) -> str:
    from random import Random

    return "".join(Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=length))


def test_a_row_that_can_not_be_taken_in_is_put_aside_and_harms_nobody():
    for number in range(40):
        say(anonymous_id=f"a{number % 7}", properties={"n": number})
    bad = say(anonymous_id=incompressible(9000))
    for number in range(40, 80):
        say(anonymous_id=f"a{number % 7}", properties={"n": number})
    take_in()
    numbers = [one.properties["n"] for one in Touchpoint.objects.filter(kind="page.viewed").order_by("id")]
    assert numbers == list(range(80))
    left = Incoming.objects.get()
    assert left.pk == bad.pk
    assert "index row" in left.error
    assert take_in() == 0


def test_a_row_that_names_nobody_or_nobody_we_know_is_put_aside_and_may_come_again():
    say(message_id="m1")
    say(contact_id=987654321, message_id="m2")
    say(anonymous_id="a1")
    take_in()
    assert Touchpoint.objects.filter(kind="page.viewed").count() == 1
    assert [one.error for one in Incoming.objects.order_by("id")] == [
        "It names nobody: no contact, user id, e-mail or anonymous id.",
        "There is no contact 987654321.",
    ]
    assert not Receipt.objects.exists()


def test_a_person_named_by_id_gets_new_handles_and_keeps_the_own_user_id():
    say(user_id="u1")
    take_in()
    ann = whose("user_id", "u1")
    say("form.submitted", contact_id=ann.pk, email="ann@x.example", anonymous_id="a1", user_id="u2")
    say(email="ann@x.example")
    say(anonymous_id="a1")
    take_in()
    assert Contact.objects.get() == ann
    assert not Identity.objects.filter(value="u2").exists()
    assert history(ann).count("page.viewed") == 3


def test_a_named_visitor_who_gives_an_address_is_known_and_is_claimed_by_no_other():
    visitor = Contact.objects.create(created_at=NOW)
    say("form.submitted", contact_id=visitor.pk, email="ann@x.example", anonymous_id="a1")
    say(anonymous_id="a1", user_id="bob")
    take_in()
    assert whose("email", "ann@x.example") == visitor
    assert whose("user_id", "bob") != visitor
    assert whose("anonymous_id", "a1") == whose("user_id", "bob")


def test_people_never_collide_by_the_writing_of_their_address():
    for address in ("Ann@X.example", " ann@x.example", "ann+news@x.example", "a.nn@x.example", "ann@BÜCHER.example",
                    "ann@xn--bcher-kva.example"):  # fmt: skip
        say(email=normalise("email", address))
    take_in()
    assert Contact.objects.count() == 4
