"""REST contacts: reading, writing, idempotency, strictness."""

import json
from base64 import urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256
from threading import Event, Thread

import pytest
from django.contrib.auth.models import Permission, User
from django.db import InterfaceError, InternalError, OperationalError, connection, connections
from django.test import Client
from django.utils import timezone
from psycopg.errors import ReadOnlySqlTransaction

from contacts import idempotency, syncing, tokens
from contacts.consent import record_consent
from contacts.erasure import digest, erased_among
from contacts.ingest import ingest
from contacts.models import (
    ApiToken,
    Consent,
    Contact,
    ErasedHandle,
    IdempotencyKey,
    Identity,
    Incoming,
    Membership,
    Segment,
    Touchpoint,
)
from contacts.stream import put
from journey_crm.tick import tick

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("topics")]
URL = "/api/v1/contacts/"


@pytest.fixture
def api(client, admin, bearer):
    """`api("get", "/api/v1/…", {…})` as the administrator."""
    headers = bearer(admin, "admin")

    def call(method, url, data=None, **more):
        return getattr(client, method)(
            url, data, headers={**headers, **more}, **({} if method == "get" else {"content_type": "application/json"})
        )

    return call


@pytest.fixture
def ann(db) -> Contact:
    row = {
        "user_id": "u1", "email": "ann@x.example", "first_name": "Ann", "phone": "+420601123456", "country": "CZ",
        "company": "Acme", "attributes": {"plan": "trial"}, "updated_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    [result] = syncing.upsert([row], source="test", now=timezone.now())
    return Contact.objects.get(pk=result["id"])


def fields(answer):
    assert answer["Content-Type"] == "application/problem+json"
    return [one["field"] for one in answer.json()["errors"]]


def test_a_contact_is_made_read_changed_and_erased(api):
    made = api("post", URL, {"email": "Ann@X.example", "first_name": "Ann", "attributes": {"plan": "pro"}})
    assert made.status_code == 201
    address = made["Location"]
    read = api("get", address)
    assert (read.json()["email"], read.json()["attributes"]) == ("ann@x.example", {"plan": "pro"})
    changed = api("patch", address, {"first_name": "Anna", "attributes": {"plan": None, "seats": 2}})
    assert (changed.json()["first_name"], changed.json()["attributes"]) == ("Anna", {"seats": 2})
    told = {"fields": ["first_name", "plan", "seats"], "former": {"plan": "pro"}}
    assert Incoming.objects.get(kind="contact.updated").properties == told
    assert api("delete", address).status_code == 204
    assert api("get", address).status_code == 404


def test_a_contact_that_is_there_already_is_a_conflict_that_names_it(api, ann):
    answer = api("post", URL, {"email": "ann@x.example", "first_name": "Bob"})
    assert answer.status_code == 409
    assert str(ann.pk) in answer.json()["title"]
    ann.refresh_from_db()
    assert ann.first_name == "Ann"


@pytest.mark.parametrize("method", ["put", "patch"])
def test_what_was_read_and_is_written_back_changes_nothing(api, ann, method):
    # An old number, from before numbers were brought into one form.
    Contact.objects.filter(pk=ann.pk).update(phone="601 123 456")
    before = Contact.objects.filter(pk=ann.pk).values().get()
    read = api("get", f"{URL}{ann.pk}/")
    Incoming.objects.all().delete()
    written = api(method, f"{URL}{ann.pk}/", read.json())
    assert written.status_code == 200, written.content
    assert written.json() == read.json()
    assert written["ETag"] == read["ETag"]
    assert Contact.objects.filter(pk=ann.pk).values().get() == before
    assert not Incoming.objects.exists()


def test_null_clears_and_what_is_omitted_stays(api, ann):
    answer = api("patch", f"{URL}{ann.pk}/", {"phone": None, "company": None})
    assert (answer.json()["phone"], answer.json()["company"], answer.json()["first_name"]) == ("", None, "Ann")


def test_unknown_fields_and_wrong_values_are_named(api, ann):
    address = f"{URL}{ann.pk}/"
    assert fields(api("patch", address, {"surname": "N"})) == ["surname"]
    assert fields(api("patch", address, {"country": "Czechia"})) == ["country"]
    assert fields(api("patch", address, {"attributes": ["no"]})) == ["attributes"]
    assert fields(api("post", URL, {"first_name": "Nobody"})) == ["email"]
    for body in ("{", "[]", '"text"', '{"first_name": "\\u0000"}', "nul"):
        assert api("patch", address, body).status_code == 400, body


def test_an_address_of_somebody_else_is_refused(api, ann):
    [other] = syncing.upsert([{"email": "bob@x.example"}], source="test", now=timezone.now())
    answer = api("patch", f"{URL}{other['id']}/", {"email": "ann@x.example", "first_name": "Bob"})
    assert fields(answer) == ["email"]
    assert str(ann.pk) in answer.json()["detail"]
    assert Contact.objects.get(pk=other["id"]).first_name == ""


def test_consent_is_not_raised_by_a_patch(api, ann):
    answer = api("patch", f"{URL}{ann.pk}/", {"first_name": "Anna", "consents": {"news": "granted"}})
    assert fields(answer) == ["consents.news"]
    ann.refresh_from_db()
    assert ann.first_name == "Ann"


def test_if_match_protects_from_a_change_in_between(api, ann):
    address = f"{URL}{ann.pk}/"
    tag = api("get", address)["ETag"]
    assert api("get", address, **{"If-None-Match": tag}).status_code == 304
    assert api("patch", address, {"first_name": "Anna"}, **{"If-Match": tag}).status_code == 200
    late = api("patch", address, {"first_name": "Annie"}, **{"If-Match": tag})
    assert late.status_code == 412
    assert api("delete", address, **{"If-Match": tag}).status_code == 412
    ann.refresh_from_db()
    assert ann.first_name == "Anna"


def test_lists_page_by_cursor_and_lose_nothing(api):
    rows = [{"user_id": f"u{n}", "first_name": f"N{n}"} for n in range(25)]
    syncing.upsert(rows, source="test", now=timezone.now())
    for ordering in ("id", "-id", "updated_at", "-updated_at"):
        found, url = [], f"{URL}?limit=10&ordering={ordering}"
        while url:
            page = api("get", url).json()
            found += [row["id"] for row in page["results"]]
            url = page["next"]
        assert len(found) == len(set(found)) == 25
        assert found == sorted(found, reverse=ordering.startswith("-"))


def test_filters_find_whom_they_say(api, ann):
    syncing.upsert(
        [{"user_id": "u2", "email": "bob@x.example", "first_name": "Bób"}], source="test", now=timezone.now()
    )
    segment = Segment.objects.create(key="trial", name="Trial")
    Membership.objects.create(segment=segment, contact=ann, entered_at=timezone.now())
    Contact.objects.filter(pk=ann.pk).update(stage="lead")
    soon = (timezone.now() + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for query, count in [
        ("", 2), ("email=%20ANN@x.example", 1), ("user_id=u2", 1), ("stage=lead", 1), ("stage=lead&stage=visitor", 2),
        ("segment=trial", 1), ("owner=nobody", 0), ("updated_after=2020-01-01T00:00:00Z", 2),
        (f"updated_after={soon}", 0),
        ("score_gte=10", 0), ("q=bób", 1), ("q=x.example", 2), ("q=ann%20x.example", 1), ("q=nobody", 0),
    ]:  # fmt: skip
        answer = api("get", f"{URL}?{query}")
        assert answer.status_code == 200, (query, answer.content)
        assert len(answer.json()["results"]) == count, query


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("colour=red", "colour"), ("limit=501", "limit"), ("limit=0", "limit"), ("limit=x", "limit"),
        ("ordering=email", "ordering"), ("cursor=abc", "cursor"), ("stage=king", "stage"), ("email=x", "email"),
        ("updated_after=soon", "updated_after"), ("score_gte=many", "score_gte"), ("_connector=OR", "_connector"),
        ("email__contains=a", "email__contains"),
    ],
)  # fmt: skip
def test_a_query_parameter_that_is_not_right_is_named(api, query, field):
    answer = api("get", f"{URL}?{query}")
    assert answer.status_code == 400
    assert fields(answer) == [field]


def test_single_resources_take_no_stray_parameters(api, ann):
    assert fields(api("get", f"{URL}{ann.pk}/?expand=1")) == ["expand"]
    assert api("get", f"{URL}99999999999999999/").status_code == 404
    assert api("get", f"{URL}me/").status_code == 404


def test_bulk_takes_lists_and_lines(api, client, admin, bearer):
    answer = api("post", f"{URL}bulk/", json.dumps([{"email": "a@x.example"}, {"email": "b"}]))
    assert [row["status"] for row in answer.json()] == ["created", "rejected"]
    assert answer.json()[1]["errors"][0]["field"] == "email"
    lines = b'{"email": "a@x.example"}\n\n{broken\n{"email": "c@x.example"}\n'
    headers = bearer(admin, "sync")
    answer = client.post(f"{URL}bulk/", lines, content_type="application/x-ndjson", headers=headers)
    assert [row["status"] for row in answer.json()] == ["unchanged", "rejected", "created"]
    assert api("post", f"{URL}bulk/", json.dumps({"email": "a@x.example"})).status_code == 400
    assert api("post", f"{URL}bulk/", json.dumps([{}] * 10_001)).status_code == 400


def test_raising_consent_in_bulk_needs_the_flag_and_the_scope(client, admin, bearer):
    body = json.dumps([{"email": "a@x.example", "consents": {"news": "granted"}}])
    for scope, flag, status, count in [("sync", "0", 200, 0), ("sync", "1", 403, 0), ("admin", "1", 200, 1)]:
        answer = client.post(
            f"{URL}bulk/?allow_consent_raise={flag}",
            body,
            content_type="application/json",
            headers=bearer(admin, scope),
        )
        assert (answer.status_code, Consent.objects.count()) == (status, count)


def test_the_feed_of_changes_has_no_gap(api, ann):
    tick(timezone.now())
    first = api("get", "/api/v1/changes/?after=0&limit=1").json()
    assert [row["contact"] for row in first["results"]] == [ann.pk]
    seen, after = [], 0
    while True:
        page = api("get", f"/api/v1/changes/?after={after}&limit=1").json()
        seen += [row["id"] for row in page["results"]]
        after = page["last"]
        if not page["has_more"]:
            break
    assert seen == list(Touchpoint.objects.order_by("id").values_list("id", flat=True))
    assert api("get", "/api/v1/changes/?after=0&kinds=page.viewed").json()["results"] == []
    assert fields(api("get", "/api/v1/changes/?after=x")) == ["after"]


def test_who_reads_the_feed_too_late_is_told_so(api, ann):
    now = timezone.now()
    for number in range(4):
        put(kind="page.viewed", source="web", now=now, anonymous_id=f"a{number}")
    tick(now)
    first, second, third = Touchpoint.objects.order_by("id").values_list("id", flat=True)[:3]
    Touchpoint.objects.filter(id__lte=second).delete()
    late = api("get", f"/api/v1/changes/?after={first}")
    assert late.status_code == 410
    assert f"after={third - 1}" in late.json()["title"]
    again = api("get", f"/api/v1/changes/?after={third - 1}&limit=1").json()
    assert [row["id"] for row in again["results"]] == [third]
    assert api("get", "/api/v1/changes/?after=0").status_code == 200


def test_the_timeline_tells_the_newest_first(api, ann):
    tick(timezone.now())
    rows = api("get", f"{URL}{ann.pk}/timeline/?kinds=contact.created,page.viewed").json()["results"]
    assert [row["kind"] for row in rows] == ["contact.created"]


def test_a_merged_contacts_id_leads_to_whom_they_became(api, ann):
    [other] = syncing.upsert([{"email": "ann2@x.example"}], source="test", now=timezone.now())
    assert api("post", f"{URL}{ann.pk}/merge/", {"other": other["id"]}).json()["id"] == ann.pk
    assert api("get", f"{URL}{other['id']}/").json()["id"] == ann.pk


# Erasure -------------------------------------------------------------------------------------------------------------


def test_erasure_leaves_nothing_of_the_person(api, ann):
    record_consent(contact=ann, topic="news", channel="email", state="granted", source="form", now=timezone.now())
    tick(timezone.now())
    assert Touchpoint.objects.filter(contact=ann).exists()
    assert api("delete", f"{URL}{ann.pk}/").status_code == 204
    for relation in Contact._meta.related_objects:
        assert not relation.related_model._base_manager.filter(**{relation.field.name: ann}).exists(), relation
    assert not Identity.objects.filter(value="ann@x.example").exists()
    assert "nn" not in json.dumps(Contact.objects.filter(pk=ann.pk).values().get(), default=str).replace("null", "")
    assert ErasedHandle.objects.count() == 3, "the address, the user id, the number"


def test_who_was_erased_is_not_brought_back_to_marketing(api, ann):
    api("delete", f"{URL}{ann.pk}/")
    [result] = syncing.upsert([{"email": "ann@x.example"}], source="test", now=timezone.now())
    assert result["status"] == "created"
    assert set(Consent.objects.values_list("topic", "channel", "state")) == {
        ("", "email", "denied"),
        ("", "sms", "denied"),
    }


def test_a_changed_secret_key_forgets_nobody_erased(api, ann, settings):
    api("delete", f"{URL}{ann.pk}/")
    settings.SECRET_KEY = "another" * 10
    assert erased_among({"ann@x.example", "bob@x.example"}) == {"ann@x.example"}


@pytest.mark.parametrize("names", [("SECRET_KEY", str), ("SECRET_KEY_FALLBACKS", lambda key: [key])])
def test_who_was_erased_under_a_secret_key_is_still_known(db, settings, names):
    setattr(settings, names[0], names[1]("old" * 30))
    ErasedHandle.objects.create(digest=digest(b"old" * 30, "ann@x.example"), erased_at=timezone.now())
    assert erased_among({"ann@x.example", "bob@x.example"}) == {"ann@x.example"}


def test_who_was_erased_and_identifies_again_is_not_brought_back_to_marketing(api, ann, settings):
    api("delete", f"{URL}{ann.pk}/")
    ErasedHandle.objects.create(digest=digest(b"old" * 30, "eve@x.example"), erased_at=timezone.now())
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another" * 10, ["old" * 30]
    now = timezone.now()
    for address in ("ann@x.example", "eve@x.example", "bob@x.example"):
        put(kind="contact.identified", source="test", channel="web", now=now, email=address, traits={"email": address})
    ingest(now, 0, 0)
    denied = Consent.objects.filter(state="denied", topic="", channel="email")
    assert set(denied.values_list("contact__email", flat=True)) == {"ann@x.example", "eve@x.example"}
    assert Contact.objects.filter(email="bob@x.example").exists()


# Tokens --------------------------------------------------------------------------------------------------------------


def test_a_token_is_stored_hashed_and_its_use_is_noted(client, admin):
    token, secret = tokens.issue(user=admin, scopes=["read"], now=timezone.now())
    assert secret not in json.dumps(ApiToken.objects.values().get(), default=str)
    assert client.get(URL, headers={"Authorization": f"Bearer {secret}"}).status_code == 200
    token.refresh_from_db()
    assert token.used_at is not None


@pytest.mark.parametrize("change", [{"revoked_at": timezone.now()}, {"expires_at": timezone.now()}])
def test_a_dead_token_opens_nothing(client, admin, change):
    _token, secret = tokens.issue(user=admin, scopes=["admin"], now=timezone.now())
    ApiToken.objects.update(**change)
    answer = client.get(URL, headers={"Authorization": f"Bearer {secret}"})
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")


def test_a_token_never_does_more_than_its_user(client, rep, bearer, ann):
    headers = bearer(rep, "admin")
    assert client.get(URL, headers=headers).json()["results"] == []
    assert client.get(f"{URL}{ann.pk}/", headers=headers).status_code == 404
    assert client.get("/api/v1/changes/", headers=headers).json()["results"] == []
    rep.user_permissions.add(*Permission.objects.filter(codename="view_contact"))
    assert len(client.get(URL, headers=headers).json()["results"]) == 1
    body = {"first_name": "Eve"}
    patched = client.patch(f"{URL}{ann.pk}/", body, content_type="application/json", headers=headers)
    assert patched.status_code == 403


# Idempotency ---------------------------------------------------------------------------------------------------------


def test_the_same_key_gives_the_first_answer_again(api):
    first = api("post", URL, {"email": "a@x.example"}, **{"Idempotency-Key": "k1"})
    again = api("post", URL, {"email": "a@x.example"}, **{"Idempotency-Key": "k1"})
    assert (again.status_code, again.content) == (201, first.content)
    assert again["Idempotent-Replayed"] == "true"
    assert api("post", URL, {"email": "b@x.example"}, **{"Idempotency-Key": "k1"}).status_code == 422
    assert Contact.objects.count() == 1


def test_an_error_is_given_again_too(api):
    first = api("post", URL, {"email": "a"}, **{"Idempotency-Key": "k1"})
    again = api("post", URL, {"email": "a"}, **{"Idempotency-Key": "k1"})
    assert (first.status_code, again.status_code) == (400, 400)
    assert again.json() == first.json()


def test_another_token_has_keys_of_its_own(client, admin, bearer):
    for _ in range(2):
        answer = client.post(
            URL, {"email": "a@x.example"}, content_type="application/json",
            headers={**bearer(admin, "sync"), "Idempotency-Key": "k1"},
        )  # fmt: skip
    assert answer.status_code == 409
    assert "contact" in answer.json()["title"]


def test_a_request_that_died_is_taken_over_and_one_under_way_is_not(api, admin):
    api("post", URL, {"email": "a@x.example"}, **{"Idempotency-Key": "k1"})
    IdempotencyKey.objects.update(status=None, body=None)
    Contact.objects.all().delete()
    with ThreadPoolExecutor(1) as pool:  # another session is at it
        held = idempotency.held(IdempotencyKey.objects.get().token, "k1")
        assert pool.submit(held.__enter__).result()
        assert api("post", URL, {"email": "a@x.example"}, **{"Idempotency-Key": "k1"}).status_code == 409
        pool.submit(connections.close_all).result()
    assert api("post", URL, {"email": "a@x.example"}, **{"Idempotency-Key": "k1"}).status_code == 201


@pytest.mark.django_db(transaction=True)
def test_twenty_equal_posts_at_once_make_one_contact(admin, bearer):
    headers = {**bearer(admin, "sync"), "Idempotency-Key": "k1"}

    def post(_number):
        try:
            return Client().post(URL, {"email": "a@x.example"}, content_type="application/json", headers=headers)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(post, range(20)))
    assert Contact.objects.count() == 1
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.content for answer in answers if answer.status_code == 201}) == 1


def test_a_key_of_one_token_is_none_of_anothers_and_its_answer_is_kept_for_a_day(api, client, bearer, admin):
    first = api("post", URL, {"email": "a@x.example"}, **{"Idempotency-Key": "k2"})
    other = client.post(
        URL, {"email": "b@x.example"}, content_type="application/json",
        headers={**bearer(admin, "sync"), "Idempotency-Key": "k2"},
    )  # fmt: skip
    assert (first.status_code, other.status_code) == (201, 201)
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=23, minutes=59))
    again = api("post", URL, {"email": "a@x.example"}, **{"Idempotency-Key": "k2"})
    assert again.content == first.content, "an answer is kept for a day"


# What we cannot do ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [OperationalError("the connection is closed"), InterfaceError("the connection is lost"), "read-only"]
)
@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}], ids=["", "with a key"])
@pytest.mark.parametrize("method", ["get", "post", "patch"])
def test_a_database_that_is_away_is_a_503_that_says_when_to_come_again(api, ann, monkeypatch, error, headers, method):
    if error == "read-only":
        error = InternalError("cannot execute INSERT in a read-only transaction")
        error.__cause__ = ReadOnlySqlTransaction()

    def away(*args, **more):
        raise error

    monkeypatch.setattr("contacts.tokens.find" if headers else "contacts.contact_api.Contacts.get_object", away)
    monkeypatch.setattr("contacts.syncing.upsert", away)
    body = None if method == "get" else {"email": "b@x.example"}
    answer = api(method, URL if method == "post" else f"{URL}{ann.pk}/", body, **headers)
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert answer["Content-Type"] == "application/problem+json"


def test_a_whole_number_that_is_too_large_is_named(api, ann):
    address, large = f"{URL}{ann.pk}/", 2**64
    for number in (-(2**63), 2**64 - 1, 1.5e300):
        assert api("patch", address, {"attributes": {"n": number}}).status_code == 200, number
    for number in (large, -(2**63) - 1, 10**300):
        body = json.dumps({"attributes": {"a": {"n": [1, number]}}})
        assert fields(api("patch", address, body)) == ["attributes.a.n[1]"], number
    assert api("patch", address, {"attributes": {"n": "1" * 30}}).status_code == 200, (
        "a text may be as long as it likes"
    )
    rows = json.dumps([{"email": "b@x.example"}, {"email": "c@x.example", "attributes": {"n": large}}])
    results = api("post", f"{URL}bulk/", rows).json()
    assert [one["status"] for one in results] == ["created", "rejected"]
    assert results[1]["errors"][0]["field"] == "attributes.n"


def test_the_weakest_token_that_may_write_writes_back_what_it_read_and_changes_nothing(client, bearer, ann):
    clerk = User.objects.create_user("clerk")
    clerk.user_permissions.add(*Permission.objects.filter(codename__in=["view_contact", "change_contact"]))
    headers = bearer(clerk, "sync")
    record_consent(contact=ann, topic="news", channel="email", state="denied", source="link", now=timezone.now())
    before = Contact.objects.filter(pk=ann.pk).values().get(), list(Consent.objects.values())
    read = client.get(f"{URL}{ann.pk}/", headers=headers).json()
    Incoming.objects.all().delete()
    for method in ("put", "patch"):
        answer = getattr(client, method)(f"{URL}{ann.pk}/", read, content_type="application/json", headers=headers)
        assert (answer.status_code, answer.json()) == (200, read)
    assert (Contact.objects.filter(pk=ann.pk).values().get(), list(Consent.objects.values())) == before
    assert not Incoming.objects.exists()


def test_a_token_dies_with_its_user(client, admin, bearer, write_key):
    headers = bearer(admin, "admin")
    User.objects.filter(pk=admin.pk).update(is_active=False)
    assert client.get(URL, headers=headers).status_code == 401
    call = {"writeKey": write_key, "userId": "u", "event": "Seen"}
    assert client.post("/v1/track", call, content_type="application/json").status_code == 401


# Hostile and unlucky clients -----------------------------------------------------------------------------------------

CURSORS = [
    ["id", "abc"], ["id", "1\0"], ["id", True], ["id", 2**70], ["id", 1.5], ["id", None], ["id", [1]], ["id", {}],
    ["-updated_at", "2020-01-01T00:00:00Z", "x"], ["-updated_at", 5, 5], ["-updated_at", "2020-01-01T00:00:00", 3],
    ["-updated_at", "9999-99-99", 1], ["-updated_at", "0001-01-01T00:00:00+14:00", 1], ["id"], [], {}, 5,
]  # fmt: skip


@pytest.mark.parametrize("made", CURSORS, ids=str)
def test_a_cursor_made_by_hand_is_refused_by_every_list(client, admin, bearer, made):
    cursor = urlsafe_b64encode(json.dumps(made).encode()).decode().rstrip("=")
    name = made[0] if isinstance(made, list) and made else "id"
    for path in (
        "contacts",
        "companies",
        "consents",
        "touchpoints",
        "segments",
        "orders",
        "leads",
        "messages",
        "fields",
    ):
        for ordering in {name, "id"}:
            answer = client.get(f"/api/v1/{path}/?cursor={cursor}&ordering={ordering}", headers=bearer(admin, "admin"))
            assert answer.status_code == 400, (path, answer.content)


def test_a_company_of_a_domain_that_is_there_is_refused_by_its_field(client, admin, bearer):
    headers = bearer(admin, "admin")

    def post(domain):
        return client.post(
            "/api/v1/companies/", {"name": "A", "domain": domain}, content_type="application/json", headers=headers
        )

    first = post("acme.example")
    assert first.status_code == 201
    answer = post("https://WWW.Acme.example/x")
    assert (answer.status_code, [one["field"] for one in answer.json()["errors"]]) == (400, ["domain"])
    again = client.put(
        f"/api/v1/companies/{first.json()['id']}/", first.json(), content_type="application/json", headers=headers
    )
    assert (again.status_code, again.json()) == (200, first.json())


def test_a_stale_write_is_refused_and_what_was_read_last_is_not_stale(client, admin, bearer):
    headers = bearer(admin, "admin")
    [result] = syncing.upsert([{"email": "ann@x.example", "first_name": "Ann"}], source="test", now=timezone.now())
    path = f"/api/v1/contacts/{result['id']}/"

    def send(method, body):
        return client.generic(method, path, json.dumps(body), content_type="application/json", headers=headers)

    read = client.get(path, headers=headers).json()
    assert (send("PUT", read).status_code, send("PUT", read).json()) == (200, read)
    changed = send("PUT", {**read, "first_name": "Anne"})
    assert (changed.status_code, changed.json()["first_name"]) == (200, "Anne")
    for method in ("PUT", "PATCH"):
        for moment in (read["updated_at"], "2020-01-01T00:00:00Z"):
            stale = send(method, {"first_name": "Old", "updated_at": moment})
            assert stale.status_code == 409 and "updated_at" in stale.json()["title"]
    newer = send("PATCH", {"first_name": "New", "updated_at": timezone.now().isoformat()})
    assert (newer.status_code, newer.json()["first_name"]) == (200, "New")


@pytest.mark.django_db(transaction=True)
def test_a_key_is_free_again_as_soon_as_its_process_has_died(client, admin, bearer):
    token, secret = tokens.issue(user=admin, scopes=["sync"], now=timezone.now())
    body = json.dumps([{"email": "ann@x.example"}])

    def send():
        return client.generic(
            "POST", "/api/v1/contacts/bulk/", body, content_type="application/json",
            headers={"Authorization": f"Bearer {secret}", "Idempotency-Key": "k"},
        )  # fmt: skip

    digest = sha256(b"\n".join([b"/api/v1/contacts/bulk/", b"", body.encode()])).hexdigest()
    started = Thread(target=_claim_and_hold, args=(token, digest, begun := Event(), dies := Event()))
    started.start()
    begun.wait(10)
    assert send().status_code == 409
    dies.set()
    started.join()
    answer = send()
    assert (answer.status_code, [one["status"] for one in answer.json()]) == (200, ["created"])
    again = send()
    assert (again.headers.get("Idempotent-Replayed"), again.json()) == ("true", answer.json())


def _claim_and_hold(token, digest, begun, dies):
    try:
        held = idempotency.held(token, "k")
        assert held.__enter__()
        IdempotencyKey.objects.create(token=token, key="k", request_digest=digest, created_at=timezone.now())
        begun.set()
        dies.wait(10)
    finally:
        connection.close()
