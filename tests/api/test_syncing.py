"""Bulk upsert: one result a row, nothing damaged, harmless to repeat."""

import json
import random
import string
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection, connections
from hypothesis import HealthCheck, given, settings, strategies

from contacts import identity, syncing
from contacts.consent import record_consent
from contacts.models import Company, Consent, ConsentChange, Contact, Field, Identity, Incoming
from contacts.records import KNOWN

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("topics")]
NOW = datetime(2026, 11, 10, 9, tzinfo=UTC)


def upsert(*rows, now=NOW, **more):
    return syncing.upsert(rows, source="test", now=now, **more)


def statuses(results):
    return [result["status"] for result in results]


def errors(result):
    return {error["field"]: error["message"] for error in result["errors"]}


def rows_written():
    """Row versions that this transaction has written to the tables a sync may touch."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_xact_user_tables"
            " WHERE relname LIKE 'contacts_%'"
        )
        return cursor.fetchone()[0]


def people(count):
    return [
        {
            "user_id": f"u{number}", "email": f"Person{number}@shop.example", "first_name": "Jan",
            "last_name": f"N{number}",
            "country": "cz", "timezone": "Europe/Prague", "company": {"name": "Acme", "domain": "acme.example"},
            "attributes": {"plan": "trial", "seats": number}, "updated_at": "2026-11-01T10:00:00Z",
        }
        for number in range(count)
    ]  # fmt: skip


def test_5000_rows_are_made_once_and_the_second_time_all_unchanged():
    first = upsert(*people(5000))
    assert set(statuses(first)) == {"created"}
    assert Contact.objects.count() == 5000
    assert Identity.objects.count() == 10_000
    assert Incoming.objects.filter(kind="contact.created").count() == 5000
    before = rows_written()
    second = upsert(*people(5000), now=NOW + timedelta(hours=1))
    assert set(statuses(second)) == {"unchanged"}
    assert [row["id"] for row in second] == [row["id"] for row in first]
    assert rows_written() == before
    assert Company.objects.get().domain == "acme.example"
    person = Contact.objects.get(email="person7@shop.example")
    assert (person.zone, person.country, person.attributes["seats"]) == ("Europe/Prague", "CZ", 7)


def test_bad_rows_are_told_why_and_the_rest_is_stored():
    rows = people(10)
    rows[1]["email"] = "not an address"
    rows[3]["country"] = "Czechia"
    rows[5]["surname"] = "N"
    rows[7] = ["a list"]
    rows[9] = {"first_name": "Nobody"}
    results = upsert(*rows)
    assert [row["index"] for row in results if row["status"] == "rejected"] == [1, 3, 5, 7, 9]
    assert [row["errors"][0]["field"] for row in results if row["errors"]] == [
        "email",
        "country",
        "surname",
        "",
        "email",
    ]
    assert Contact.objects.count() == 5


def test_what_is_omitted_stays_and_null_clears():
    upsert({"email": "a@x.example", "first_name": "Ann", "last_name": "Bee", "attributes": {"plan": "pro", "seats": 3}})
    [result] = upsert({"email": "a@x.example", "last_name": None, "attributes": {"plan": None, "colour": "red"}})
    assert result["status"] == "updated"
    person = Contact.objects.get()
    assert (person.first_name, person.last_name, person.attributes) == ("Ann", "", {"seats": 3, "colour": "red"})
    told = {"fields": ["last_name", "colour", "plan"], "former": {"plan": "pro"}}
    assert Incoming.objects.get(kind="contact.updated").properties == told


def test_a_stale_record_overwrites_nothing():
    upsert({"email": "a@x.example", "first_name": "New", "updated_at": "2026-11-05T00:00:00Z"})
    [result] = upsert({"email": "a@x.example", "first_name": "Old", "updated_at": "2026-11-04T00:00:00Z"})
    assert (result["status"], list(errors(result))) == ("unchanged", ["updated_at"])
    assert Contact.objects.get().first_name == "New"


def test_the_newest_telling_counts_even_where_it_changed_nothing():
    for day, name in [(1, "Ann"), (5, "Ann"), (3, "Bob")]:
        upsert({"email": "a@x.example", "first_name": name, "updated_at": f"2026-11-0{day}T00:00:00Z"})
    assert Contact.objects.get().first_name == "Ann"


def test_a_time_in_the_future_is_refused():
    [result] = upsert({"email": "a@x.example", "updated_at": "2099-01-01T00:00:00Z"})
    assert list(errors(result)) == ["updated_at"]


def test_one_person_twice_in_a_batch_is_one_person_and_the_last_word_wins():
    results = upsert(
        {"user_id": "u1", "email": "a@x.example", "first_name": "One", "job_title": "Boss"},
        {"email": "A@x.example ", "first_name": "Two"},
        {"user_id": "u1", "first_name": "Three"},
    )
    assert statuses(results) == ["created", "updated", "updated"]
    assert len({row["id"] for row in results}) == 1
    person = Contact.objects.get()
    assert (person.first_name, person.job_title) == ("Three", "Boss")
    again = [{"user_id": "u1", "first_name": "Three"}, {"email": "a@x.example", "first_name": "Three"}]
    assert statuses(upsert(*again)) == ["unchanged", "unchanged"]


def test_two_rows_that_name_one_contact_by_different_handles_come_one_after_the_other():
    upsert({"user_id": "u1", "email": "a@x.example"})
    results = upsert({"user_id": "u1", "first_name": "One"}, {"email": "a@x.example", "last_name": "Two"})
    assert statuses(results) == ["updated", "updated"]
    person = Contact.objects.get()
    assert (person.first_name, person.last_name) == ("One", "Two")


def test_a_user_id_joins_whoever_has_the_address():
    [made] = upsert({"email": "a@x.example"})
    [joined] = upsert({"user_id": "u1", "email": "a@x.example"})
    assert (joined["status"], joined["id"]) == ("updated", made["id"])
    assert set(Identity.objects.values_list("kind", "value")) == {("user_id", "u1"), ("email", "a@x.example")}


def test_two_people_never_become_one_by_a_sync():
    upsert({"user_id": "u1", "email": "a@x.example"}, {"user_id": "u2", "email": "b@x.example"})
    results = upsert({"user_id": "u1", "email": "b@x.example"}, {"user_id": "u3", "email": "a@x.example"})
    assert statuses(results) == ["rejected", "rejected"]
    assert [list(errors(row)) for row in results] == [["email"], ["email"]]
    both = upsert({"user_id": "u8", "email": "c@x.example"}, {"user_id": "u9", "email": "c@x.example"})
    assert statuses(both) == ["created", "rejected"]


def test_a_second_address_keeps_leading_to_its_person_and_the_main_one_stays():
    upsert({"user_id": "u1", "email": "old@x.example"})
    upsert({"user_id": "u1", "email": "new@x.example"})
    [result] = upsert({"email": "old@x.example", "first_name": "Ann"})
    assert result["status"] == "updated"
    person = Contact.objects.get()
    assert (person.email, person.first_name) == ("new@x.example", "Ann")


def test_a_cleared_address_may_become_somebody_elses():
    upsert({"user_id": "u1", "email": "a@x.example"})
    upsert({"user_id": "u1", "email": None})
    [result] = upsert({"user_id": "u2", "email": "a@x.example"})
    assert result["status"] == "created"


def test_custom_fields_hold_what_their_type_says_and_unknown_ones_are_taken():
    Field.objects.create(key="seats", type="number")
    Field.objects.create(key="renewal_on", type="date")
    Field.objects.create(key="plan", type="choice", choices=["trial", "pro"])
    wrong = [{"seats": "many"}, {"seats": True}, {"renewal_on": "soon"}, {"plan": "gold"}]
    results = upsert(*[{"user_id": f"u{n}", "attributes": one} for n, one in enumerate(wrong)])
    assert [list(errors(row)) for row in results] == [[f"attributes.{next(iter(one))}"] for one in wrong]
    right = {"seats": 3.5, "renewal_on": "2027-03-28", "plan": "pro", "shoe": {"size": 42}}
    upsert({"user_id": "u", "attributes": right})
    assert Contact.objects.get().attributes == right


def test_an_unknown_owner_or_company_is_named():
    User.objects.create_user("ann")
    results = upsert(
        {"user_id": "a", "owner": "ann"}, {"user_id": "b", "owner": "nobody"}, {"user_id": "c", "company": {"id": 99}}
    )
    assert [list(errors(row)) for row in results] == [[], ["owner"], ["company.id"]]
    assert Contact.objects.get().owner.username == "ann"


def test_companies_are_found_by_domain_and_by_name():
    upsert(
        {"user_id": "a", "company": "Acme"}, {"user_id": "b", "company": "ACME"},
        {"user_id": "c", "company": "https://www.beta.example/about"},
        {"user_id": "d", "company": {"domain": "Beta.example"}},
    )  # fmt: skip
    assert Company.objects.count() == 2
    assert upsert({"user_id": "a", "company": None})[0]["status"] == "updated"


def test_a_sync_never_raises_consent():
    person = Contact.objects.get(pk=upsert({"email": "a@x.example"})[0]["id"])
    record_consent(contact=person, topic="news", channel="email", state="denied", source="link", now=NOW)
    [result] = upsert({"email": "a@x.example", "consents": {"news": "granted", "tips": "granted"}})
    assert set(errors(result)) == {"consents.news", "consents.tips"}
    assert Consent.objects.get().state == "denied"


def test_a_sync_may_lower_consent_and_the_ledger_says_so():
    person = Contact.objects.get(pk=upsert({"email": "a@x.example"})[0]["id"])
    record_consent(contact=person, topic="news", channel="email", state="granted", source="form", now=NOW)
    row = {"email": "a@x.example", "consents": [{"topic": "news", "channel": "email", "state": "denied"}]}
    assert statuses(upsert(row)) == ["updated"]
    assert statuses(upsert(row)) == ["unchanged"]
    assert list(ConsentChange.objects.order_by("pk").values_list("state", "source")) == [
        ("granted", "form"), ("denied", "test"),
    ]  # fmt: skip


def test_consent_is_raised_where_the_caller_may_with_proof():
    row = {"email": "a@x.example", "consents": {"news": "granted"}}
    upsert(row, may_raise_consent=True, actor="ann")
    assert Consent.objects.get().state == "granted"
    assert ConsentChange.objects.get().actor == "ann"
    assert Incoming.objects.filter(kind="consent.changed").count() == 1


@pytest.mark.django_db(transaction=True)
def test_eight_overlapping_batches_at_once_lock_nobody_out():
    def work(offset):
        rows = people(300)
        rows = rows[offset * 20 :] + rows[: offset * 20]
        try:
            return upsert(*[row | {"job_title": f"J{offset}"} for row in rows])
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(work, range(8)))
    assert Contact.objects.count() == 300
    assert Identity.objects.count() == 600
    assert sum(statuses(answer).count("created") for answer in answers) == 300
    assert not any("rejected" in statuses(answer) for answer in answers)


@pytest.mark.parametrize("number", [10**20 + 1, 1e21])
def test_a_number_of_any_size_is_stored_and_read(client, admin, bearer, number):
    [result] = upsert({"email": "big@x.example", "attributes": {"n": number}})
    answer = client.get(f"/api/v1/contacts/{result['id']}/", headers=bearer(admin, "read"))
    assert json.loads(answer.content)["attributes"]["n"] == int(number)


_ANY = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats(allow_nan=False,
        allow_infinity=False)
    | strategies.text(strategies.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
    | strategies.sampled_from(["a@x.example", "email", "granted", "cs", "root"]),
    lambda part: strategies.lists(part, max_size=3)
    | strategies.dictionaries(strategies.sampled_from(["id", "name", "domain", "topic", "channel", "state", "x"]), part,
        max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(strategies.lists(strategies.dictionaries(strategies.sampled_from(sorted(KNOWN)), _ANY, max_size=4) | _ANY,
    max_size=4))  # fmt: skip
def test_no_row_of_json_costs_the_others_their_turn(db, rows):
    good = {"email": "good@x.example"}
    results = upsert(*rows, good)
    assert [one["status"] != "" for one in results] == [True] * (len(rows) + 1)
    assert results[-1]["status"] in {"created", "updated", "unchanged"}


def test_a_state_of_consent_that_is_a_list_is_an_error_of_its_row(db):
    results = upsert({"email": "a@x.example", "consents": {"news": ["granted"]}}, {"email": "b@x.example"})
    assert [one["status"] for one in results] == ["rejected", "created"]
    assert results[0]["errors"][0]["field"] == "consents.news"


@settings(max_examples=200, deadline=None)
@given(strategies.from_regex(r"\+4(20|21|8)[1-9][0-9]{8}", fullmatch=True))
def test_a_number_that_is_in_its_written_form_at_a_glance_really_is(number):
    assert identity.is_normal("phone", number)
    assert identity._phone(number, "CZ") == number


# What one row must not do to the others ------------------------------------------------------------------------------


def test_a_row_without_a_time_is_not_lost_between_stale_ones():
    upsert({"email": "a@x.example", "first_name": "New", "updated_at": "2026-11-05T00:00:00Z"})
    results = upsert(
        {"email": "a@x.example", "first_name": "OLD", "updated_at": "2026-11-04T00:00:00Z"},
        {"email": "a@x.example", "first_name": "no stamp"},
        {"email": "a@x.example", "first_name": "OLDER", "updated_at": "2026-11-03T00:00:00Z"},
    )
    assert statuses(results) == ["unchanged", "updated", "unchanged"]
    assert [list(errors(result)) for result in results] == [["updated_at"], [], ["updated_at"]]
    assert Contact.objects.get().first_name == "no stamp"


def test_rows_with_and_without_a_time_make_one_new_person():
    results = upsert(
        {"email": "a@x.example", "first_name": "A", "updated_at": "2026-11-04T00:00:00Z"},
        {"email": "a@x.example", "user_id": "u1", "last_name": "B"},
        {"user_id": "u1", "last_name": "C"},
    )
    person = Contact.objects.get()
    assert statuses(results) == ["created", "updated", "updated"]
    assert {result["id"] for result in results} == {person.pk}
    assert (person.first_name, person.last_name) == ("A", "C")


def test_of_two_rows_of_one_batch_the_older_overwrites_nothing():
    results = upsert(
        {"email": "a@x.example", "first_name": "New", "updated_at": "2026-11-05T00:00:00Z"},
        {"email": "a@x.example", "first_name": "Old", "updated_at": "2026-11-04T00:00:00Z"},
    )
    assert statuses(results) == ["created", "unchanged"] and list(errors(results[1])) == ["updated_at"]
    assert Contact.objects.get().first_name == "New"


def test_rows_that_lead_to_a_contact_whom_the_user_may_not_see_are_rejected(rep, admin):
    [victim] = upsert({"email": "vic@x.example", "user_id": "v", "first_name": "Vic"})
    rows = [
        {"email": "vic@x.example", "first_name": "HACKED", "consents": {"news": "denied"}},
        {"id": victim["id"], "last_name": "HACKED"},
        {"user_id": "v", "email": "new@x.example"},
        {"email": "fresh@x.example"},
    ]
    results = upsert(*rows, by=rep)
    assert statuses(results) == ["rejected", "rejected", "rejected", "created"]
    assert [list(errors(result)) for result in results] == [["email"], ["id"], ["user_id"], []]
    assert all(result["id"] is None and str(victim["id"]) not in str(result["errors"]) for result in results[:3])
    assert Contact.objects.get(pk=victim["id"]).name == "Vic" and not Consent.objects.exists()
    Contact.objects.filter(email="fresh@x.example").delete()
    assert "rejected" not in statuses(upsert(rows[0], rows[3], by=admin))


def test_a_bulk_request_and_a_stream_keep_to_what_their_user_may_see(client, rep, bearer):
    rep.user_permissions.add(*Permission.objects.filter(codename__in=["add_contact", "change_contact"]))
    upsert({"email": "vic@x.example", "first_name": "Vic"})
    row = json.dumps({"email": "vic@x.example", "first_name": "HACKED"})
    for body, kind in ((f"[{row}]", "application/json"), (row, "application/x-ndjson")):
        answer = client.generic("POST", "/api/v1/contacts/bulk/", body, content_type=kind, headers=bearer(rep, "sync"))
        assert [one["status"] for one in json.loads(b"".join(answer))] == ["rejected"], answer.content
    assert Contact.objects.get().first_name == "Vic"


def test_what_the_database_cannot_store_is_one_rejected_row():
    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX narrow ON contacts_contact ((attributes->>'note'))")
    rows = people(20)
    rows[7]["attributes"] = {"note": "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=20_000))}
    results = upsert(*rows)
    assert [result["index"] for result in results if result["status"] == "rejected"] == [7]
    assert results[7]["id"] is None and "cannot store" in results[7]["errors"][0]["message"]
    assert Contact.objects.count() == 19
