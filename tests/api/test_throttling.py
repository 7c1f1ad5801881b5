"""How much a client may do: counted by its token, whatever it says of its address, and right in any crowd."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client
from django.utils import timezone

from contacts import throttling, tokens
from contacts.models import Allowance, ApiToken, Contact, Incoming

pytestmark = pytest.mark.django_db
URL = "/api/v1/contacts/"
NOW = timezone.now()


@pytest.fixture(autouse=True)
def nothing_drawn():
    throttling._shares.clear()


@pytest.fixture
def token(admin):
    return tokens.issue(user=admin, scopes=["sync"], now=NOW, requests_per_minute=6, rows_per_minute=100)


def bearer_of(secret):
    return {"Authorization": f"Bearer {secret}"}


def in_a_crowd(work, count):
    def one(number):
        try:
            return work(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(count)))


def test_a_token_that_did_too_much_is_told_when_to_come_again(client, token):
    answers = [client.get(URL, headers=bearer_of(token[1])) for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 6 + [429]
    assert [answer["RateLimit-Remaining"] for answer in answers[:6]] == ["5", "4", "3", "2", "1", "0"]
    assert answers[0]["RateLimit-Limit"] == "6" and int(answers[5]["RateLimit-Reset"]) <= 60
    assert 1 <= int(answers[6]["Retry-After"]) <= 10
    assert answers[6]["Content-Type"] == "application/problem+json"
    other = tokens.issue(user=token[0].user, scopes=["read"], now=NOW)[1]
    assert client.get(URL, headers=bearer_of(other)).status_code == 200


def test_a_refused_request_with_an_idempotency_key_may_come_again(client, token):
    Allowance.objects.create(key=f"token:{token[0].pk}:requests", full_at=timezone.now() + timedelta(minutes=1))
    headers = {**bearer_of(token[1]), "Idempotency-Key": "k"}
    body = {"email": "a@x.example"}
    refused = client.post(URL, body, content_type="application/json", headers=headers)
    assert (refused.status_code, refused["Content-Type"]) == (429, "application/problem+json")
    assert int(refused["Retry-After"]) >= 1
    Allowance.objects.all().delete()
    assert client.post(URL, body, content_type="application/json", headers=headers).status_code == 201


def test_rows_are_counted_too_and_one_large_list_may_pass_when_the_bucket_is_full(client, token):
    def send(count):
        rows = [{"email": f"p{n}@x.example"} for n in range(count)]
        return client.post(
            f"{URL}bulk/", rows, content_type="application/json", headers=bearer_of(token[1])
        ).status_code

    assert [send(60), send(60), send(40)] == [200, 429, 200]
    Allowance.objects.filter(key__endswith=":rows").delete()
    assert [send(150), send(1)] == [200, 429]


def test_a_bucket_fills_up_steadily():
    now = NOW
    minute = timedelta(minutes=1)

    def drawn(now):
        return throttling.draw("x", 1, most=60, within=minute, now=now)[1]

    assert [drawn(now) for _ in range(61)] == [True] * 60 + [False]
    now += timedelta(seconds=10)
    assert [drawn(now) for _ in range(11)] == [True] * 10 + [False]
    assert throttling.forget(now=now) == 0
    assert throttling.forget(now=now + minute) == 1


@pytest.mark.django_db(transaction=True)
def test_a_hundred_requests_at_once_are_no_more_than_allowed(admin):
    token, secret = tokens.issue(user=admin, scopes=["read"], now=timezone.now(), requests_per_minute=50)
    headers = {"Authorization": f"Bearer {secret}"}

    def ask(number):
        # Each as if from another worker, which holds no share yet, and from another address.
        throttling._shares.clear()
        return Client().get(URL, headers={**headers, "X-Forwarded-For": f"10.0.0.{number}"}).status_code

    begun = timezone.now()
    answers = in_a_crowd(ask, 100)
    # What came back while they asked is theirs.
    more = (timezone.now() - begun).total_seconds() * 50 / 60
    assert set(answers) == {200, 429}
    assert 45 <= answers.count(200) <= 50 + more + 5


def test_a_worker_takes_a_share_and_asks_the_database_seldom(token, django_assert_num_queries):
    token[0].requests_per_minute = 1_000
    with django_assert_num_queries(10):
        for _ in range(100):
            throttling.take(token[0], "requests", 1, now=NOW)
    assert throttling.take(token[0], "requests", 1, now=NOW).left == 899


def test_tracking_is_counted_by_its_write_key(client, admin):
    key, secret = tokens.issue(user=admin, scopes=["track"], now=NOW)
    assert throttling.limit_of(key, "requests") > throttling.limit_of(ApiToken(scopes=["read"]), "requests")
    ApiToken.objects.filter(pk=key.pk).update(requests_per_minute=2)
    body = {"writeKey": secret, "userId": "u", "event": "Seen"}
    answers = [client.post("/v1/track", body, content_type="application/json") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[2]["Retry-After"]) >= 1
    assert Incoming.objects.count() == 2


# Logging in ----------------------------------------------------------------------------------------------------------


def log_in(client, password, name="eva", **headers):
    return client.post("/admin/login/", {"username": name, "password": password}, headers=headers)


def test_a_thousand_wrong_passwords_lock_the_name_whatever_address_they_come_from(client):
    User.objects.create_user("eva", password="right", is_staff=True)  # noqa: S106
    for number in range(40):
        answer = log_in(client, f"wrong {number}", **{"X-Forwarded-For": f"10.{number}.1.1"})
    assert "Too many wrong passwords" in answer.content.decode()
    assert "Too many wrong passwords" in log_in(client, "right", "EVA ").content.decode()
    Allowance.objects.update(full_at=timezone.now() + timedelta(minutes=8))
    assert log_in(client, "right").status_code == 302


def test_a_name_that_nobody_has_is_locked_in_the_same_words(client):
    for number in range(11):
        answer = log_in(client, f"wrong {number}", "nobody")
    assert "Too many wrong passwords" in answer.content.decode()


def test_the_right_password_forgives_the_wrong_ones(client):
    User.objects.create_user("eva", password="right", is_staff=True)  # noqa: S106
    for _ in range(3):
        for number in range(6):
            log_in(client, f"wrong {number}")
        assert log_in(client, "right").status_code == 302
        client.logout()
    assert not Allowance.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_hundred_passwords_at_once_are_no_more_tries_than_allowed(monkeypatch):
    User.objects.create_user("eva", password="right", is_staff=True)  # noqa: S106
    tried = []
    monkeypatch.setattr(User, "check_password", lambda self, password: tried.append(password))
    in_a_crowd(lambda number: log_in(Client(), f"wrong {number}"), 60)
    assert 10 <= len(tried) <= 11


def test_contacts_are_not_touched_by_who_is_throttled(client, token):
    ApiToken.objects.update(rows_per_minute=1)
    for number in range(3):
        rows = [{"email": f"p{number}@x.example"}]
        client.post(f"{URL}bulk/", rows, content_type="application/json", headers=bearer_of(token[1]))
    assert Contact.objects.count() == 1
