"""Orders: stored once by their number, told once for each thing that happened."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from contacts.erasure import erase
from contacts.models import Contact, Incoming, Touchpoint
from contacts.rules import matching
from growth.models import Order, OrderLine, Product
from growth.orders import _KNOWN, record_orders
from journey_crm.tick import tick

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 10, 9, tzinfo=UTC)


@pytest.fixture(autouse=True)
def products(db):
    return [Product.objects.create(key=key, name=key, price=10) for key in ("pro", "team")]


def record(*rows, now=NOW):
    return record_orders(rows, source="shop", now=now)


def order(number="O-1", **more):
    return {
        "number": number, "email": "ann@x.example", "placed_at": "2026-11-09T10:00:00Z",
        "lines": [{"product": "pro", "quantity": 2, "price": "10.50"}],
    } | more  # fmt: skip


def test_an_order_is_made_once_with_its_buyer_and_told_once():
    [first] = record(order())
    [again] = record(order())
    assert (first["status"], again["status"], again["id"]) == ("created", "unchanged", first["id"])
    stored = Order.objects.get()
    assert (stored.total, stored.contact.email) == (Decimal("21.00"), "ann@x.example")
    told = Incoming.objects.get(kind="order.placed")
    assert told.properties == {"number": "O-1", "total": 21.0, "currency": "EUR", "products": ["pro"]}
    tick(NOW)
    assert Touchpoint.objects.filter(kind="order.placed", contact=stored.contact).count() == 1


def test_a_changed_order_is_changed_and_a_cancelled_one_told():
    record(order())
    [changed] = record(order(state="cancelled", lines=[{"product": "team", "quantity": 1, "price": 5}], total=5))
    assert changed["status"] == "updated"
    assert OrderLine.objects.get().product.key == "team"
    assert list(Incoming.objects.filter(kind__startswith="order.").order_by("pk").values_list("kind", flat=True)) == [
        "order.placed", "order.cancelled",
    ]  # fmt: skip


def test_what_is_not_told_of_the_lines_stays():
    record(order())
    [result] = record({"number": "O-1", "email": "ann@x.example", "total": 21, "placed_at": "2026-11-09T10:00:00Z"})
    assert result["status"] == "unchanged"
    assert OrderLine.objects.count() == 1


def test_bad_rows_are_told_why_and_the_rest_is_stored():
    results = record(
        order("O-1"), order("O-2", lines=[{"product": "none", "price": 1}]), order("O-3", total=-1),
        order("O-4", placed_at="soon"), order("O-5", colour="red"), order(""), "text",
        {"number": "O-6", "total": 1}, {"number": "O-7", "total": 1, "contact": 999}, order("O-8", email="no"),
        order("O-9", state="lost"), order("O-10", total="NaN"),
    )  # fmt: skip
    assert [row["errors"][0]["field"] for row in results if row["errors"]] == [
        "lines[0].product", "total", "placed_at", "colour", "number", "", "email", "contact", "email", "state", "total",
    ]  # fmt: skip
    assert Order.objects.count() == 1


def test_of_two_rows_with_one_number_the_last_counts():
    results = record(order(total=1), order(total=2))
    assert [row["status"] for row in results] == ["unchanged", "created"]
    assert Order.objects.get().total == 2


def test_rules_ask_about_orders():
    record(order("O-1"), order("O-2", total=100), order("O-3", total=1000, state="cancelled"))
    Contact.objects.create(email="bob@x.example")
    for rule, count in [
        ({"field": "orders.count", "op": "eq", "value": 2}, 1),
        ({"field": "orders.count", "op": "eq", "value": 0}, 1),
        ({"field": "orders.total", "op": "gte", "value": 121}, 1),
        ({"field": "orders.average", "op": "lt", "value": 61}, 1),
        ({"field": "orders.last_at", "op": "within_last", "value": "7d"}, 1),
        ({"field": "orders.last_at", "op": "is_empty"}, 1),
    ]:
        assert matching(rule, NOW).count() == count, rule


def test_an_order_outlives_its_erased_buyer_as_a_number():
    record(order())
    buyer = Contact.objects.get()
    erase(buyer, by=None, now=NOW + timedelta(days=1))
    assert Order.objects.get().contact.email == ""


def test_orders_by_rest(client, django_user_model):
    from contacts import tokens

    admin = django_user_model.objects.create_superuser("root")
    _token, secret = tokens.issue(user=admin, scopes=["sync"], now=NOW)
    headers = {"Authorization": f"Bearer {secret}"}
    made = client.post("/api/v1/orders/", order(), content_type="application/json", headers=headers)
    assert (made.status_code, made.json()["total"], made.json()["lines"][0]["product"]) == (201, "21.00", "pro")
    bulk = client.post(
        "/api/v1/orders/bulk/", [order(), order("O-2")], content_type="application/json", headers=headers
    )
    assert [row["status"] for row in bulk.json()] == ["unchanged", "created"]
    page = client.get("/api/v1/orders/?ordering=-placed_at&state=placed", headers=headers).json()
    assert len(page["results"]) == 2
    assert client.get("/api/v1/products/pro/", headers=headers).json()["name"] == "pro"
    assert client.get("/api/v1/offers/", headers=headers).json()["results"] == []
    bad = client.post("/api/v1/orders/", order(colour="red"), content_type="application/json", headers=headers)
    assert bad.json()["errors"][0]["field"] == "colour"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"state": ["paid"]}, "state"),
        ({"state": {}}, "state"),
        ({"contact": [1]}, "contact"),
        ({"lines": [{"product": ["pro"], "price": 1}]}, "lines[0].product"),
        ({"lines": [{"product": {}, "price": 1}]}, "lines[0].product"),
        ({"lines": [{"product": "p\0", "price": 1}]}, "lines[0].product"),
        ({"lines": [{"product": "pro", "price": "9999999999", "quantity": "999999999"}]}, "total"),
        ({"lines": [{"product": "pro", "price": 1, "quantity": "999999999"}] * 2}, "lines[1].quantity"),
        ({"total": "999999999999.999"}, "total"),
    ],
)
def test_one_bad_row_is_named_and_the_others_are_taken(wrong, field):
    bad, good = record(order("O-1", **wrong), order("O-2"))
    assert (bad["status"], bad["errors"][0]["field"], good["status"]) == ("rejected", field, "created")


_JSON = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats()
    | strategies.text(strategies.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
    | strategies.sampled_from(["pro", "paid", "CZK", "1.5", "ann@x.example", "2026-11-09"]),
    lambda part: strategies.lists(part, max_size=3)
    | strategies.dictionaries(strategies.sampled_from(["product", "quantity", "price"]), part, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(strategies.lists(strategies.dictionaries(strategies.sampled_from(sorted(_KNOWN)), _JSON), max_size=4))
def test_no_row_of_json_costs_the_others_their_turn(rows):
    results = record(*(order(f"O-{place}") | row for place, row in enumerate(rows)), order("good"))
    assert all(one["status"] for one in results)
    assert results[-1]["status"] in {"created", "updated", "unchanged"}
