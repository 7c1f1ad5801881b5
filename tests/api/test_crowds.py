"""Many clients at once, and the tick in between: nobody sees an error, and the newest word stands."""

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command
from django.db import connections
from django.test import Client
from django.utils import timezone

from contacts import throttling
from contacts.models import Contact, Field, Identity, Membership, Segment, StepCursor, Touchpoint
from contacts.stream import put
from journey_crm.tick import tick

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/api/v1/contacts/"
# Clients, batches of each, rows of each. In full: SYNC_CROWD=8x50x1000.
CLIENTS, BATCHES, ROWS = map(int, os.environ.get("SYNC_CROWD", "8x6x300").split("x"))
BEGIN = datetime(2020, 1, 1, tzinfo=UTC)


def batch(client: int, number: int, newest: dict[int, int]) -> list[dict]:
    """Overlapping people, upwards or downwards, every tenth of them twice; each row with a stamp that no other has."""
    chance = random.Random(client * 1_000 + number)
    people = list(range(ROWS // 3 * (client % 3), ROWS // 3 * (client % 3) + ROWS * 9 // 10))
    people += chance.sample(people, ROWS // 10)
    people.sort(reverse=client % 2 == 1)
    rows = []
    for place, person in enumerate(people):
        stamp = (chance.randrange(10_000_000) * CLIENTS + client) * BATCHES + number
        stamp = stamp * 10_000 + place
        newest[person] = max(newest.get(person, 0), stamp)
        # Found by either handle: half of the time by the user id alone.
        handles = {"user_id": f"u{person}"} if place % 2 else {"user_id": f"u{person}", "email": f"p{person}@x.example"}
        told = (BEGIN + timedelta(microseconds=stamp)).isoformat()
        attributes = {"plan": "pro" if stamp % 2 else "trial"}
        rows.append({**handles, "job_title": str(stamp), "attributes": attributes, "updated_at": told})
    return rows


def test_clients_in_opposite_orders_and_the_tick_get_in_nobodys_way(admin, bearer):
    Field.objects.create(key="plan", type="text")
    Segment.objects.create(key="pro", name="Pro", rule={"field": "plan", "op": "eq", "value": "pro"})
    headers, is_over, newest = bearer(admin, "sync"), threading.Event(), {}
    batches = [[batch(client, number, newest) for number in range(BATCHES)] for client in range(CLIENTS)]

    def refresh():
        try:
            while not is_over.wait(0.05):
                tick(timezone.now())
        finally:
            connections.close_all()

    def work(client):
        try:
            answers = []
            for rows in batches[client]:
                answer = Client().post(f"{URL}bulk/", rows, content_type="application/json", headers=headers)
                answers.append((answer.status_code, answer.json()))
            return answers
        finally:
            connections.close_all()

    throttling._shares.clear()
    ticker = threading.Thread(target=refresh)
    ticker.start()
    try:
        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = [answer for some in pool.map(work, range(CLIENTS)) for answer in some]
    finally:
        is_over.set()
        ticker.join()
    assert {status for status, _results in answers} == {200}
    results = [result for _status, some in answers for result in some]
    assert {result["status"] for result in results} == {"created", "updated", "unchanged"}
    assert {error["field"] for result in results for error in result["errors"]} == {"updated_at"}

    stored = dict(Identity.objects.filter(kind="user_id").values_list("value", "contact__job_title"))
    assert stored == {f"u{person}": str(stamp) for person, stamp in newest.items()}
    assert Contact.objects.count() == len(newest)
    assert Identity.objects.filter(kind="email").count() == Contact.objects.exclude(email="").count()
    tick(timezone.now())
    assert not StepCursor.objects.exclude(error="").exists()
    pro = {person for person, stamp in newest.items() if stamp % 2}
    assert Membership.objects.count() == len(pro)
    call_command("check_invariants")


def test_the_feed_has_no_gap_and_no_disorder_while_eight_write(admin, bearer):
    headers, is_over, seen = bearer(admin, "read"), threading.Event(), []

    def write(number):
        try:
            for index in range(40):
                put(kind="page.viewed", source="web", now=timezone.now(), anonymous_id=f"{number}-{index % 7}")
        finally:
            connections.close_all()

    def refresh():
        try:
            while not is_over.wait(0.02):
                tick(timezone.now())
        finally:
            connections.close_all()

    def read():
        after = seen[-1] if seen else 0
        page = Client().get(f"/api/v1/changes/?after={after}&limit=50", headers=headers).json()
        seen.extend(row["id"] for row in page["results"])
        return page["has_more"]

    def follow():
        try:
            while not is_over.wait(0.01):
                read()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=refresh), threading.Thread(target=follow)]
    for one in threads:
        one.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(8)))
    finally:
        is_over.set()
        for one in threads:
            one.join()
    tick(timezone.now())
    while read():
        pass
    assert seen == list(Touchpoint.objects.order_by("id").values_list("id", flat=True))
    assert Touchpoint.objects.filter(kind="page.viewed").count() == 320
