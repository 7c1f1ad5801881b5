"""A lead that is won becomes an order: once, by its number, and what the shop told stays the truth."""

from datetime import timedelta
from decimal import Decimal

import pytest

from contacts.models import Touchpoint
from contacts.stream import Step, run_step
from growth.models import Order
from growth.orders import record_orders
from growth.sales import take_orders
from leads import desk, moves
from leads.desk import GRACE
from tests.leads.test_desk import lead_of, person
from tests.scoring.world import NOW, known, tick, told

pytestmark = pytest.mark.django_db

LATER = NOW + GRACE


@pytest.fixture
def ann():
    return person("ann")


def won(ann, email="jana@example.com", now=NOW, **words):
    lead = desk.accept(lead=lead_of(known(email)), by=ann, now=now)
    return desk.convert(lead=lead, by=ann, now=now, **words)


def orders(now=LATER) -> int:
    run_step(Step("moves", moves.settle), now)
    return run_step(Step("orders", take_orders), now)


def test_a_won_lead_becomes_an_order_once(ann):
    lead = won(ann, value=Decimal("1250.50"), currency="CZK", order_number="2027-17")
    assert orders(NOW) == 0  # it may still be undone
    assert orders() == 1
    assert orders(LATER + timedelta(minutes=1)) == 0
    order = Order.objects.get()
    assert (order.number, order.contact, order.total, order.currency, order.state, order.placed_at) == (
        "2027-17", lead.contact, Decimal("1250.50"), "CZK", "placed", NOW,
    )  # fmt: skip
    assert told(lead.contact, "order.placed") == [
        {"number": "2027-17", "total": 1250.5, "currency": "CZK", "products": [], "lead": lead.pk}
    ]
    assert (lead.order_number, lead.value) == ("2027-17", Decimal("1250.50"))
    tick(LATER)
    lead.contact.refresh_from_db()
    assert lead.contact.stage == "customer"


def test_an_order_without_a_number_gets_one_of_ours_and_a_deal_without_an_order_is_none(ann):
    named = won(ann, value=Decimal(100), order_total=Decimal(80))
    won(ann, "b@example.com", value=Decimal(50))
    assert orders() == 1
    assert (Order.objects.get().number, Order.objects.get().total) == (f"lead-{named.pk}", Decimal(80))
    assert named.order_number == f"lead-{named.pk}"


def test_what_the_shop_told_before_or_tells_afterwards_is_one_order(ann):
    lead = won(ann, value=Decimal(100), order_number="A-1")
    row = {"number": "A-1", "contact": lead.contact_id, "total": "99.00", "state": "paid"}
    record_orders([row], source="rest:shop", now=NOW)
    assert orders() == 0
    assert (Order.objects.get().total, Order.objects.get().state) == (Decimal("99.00"), "paid")
    other = won(ann, "b@example.com", value=Decimal(100), order_number="A-2")
    assert orders() == 1
    (result,) = record_orders([row | {"number": "A-2", "contact": other.contact_id}], source="rest:shop", now=LATER)
    assert result["status"] == "updated"
    assert Order.objects.get(number="A-2").total == Decimal("99.00")
    assert Touchpoint.objects.filter(kind="order.placed").count() == 1


def test_two_leads_with_one_number_are_one_order(ann):
    first = won(ann, value=Decimal(10), order_number="A-1")
    won(ann, "b@example.com", value=Decimal(20), order_number="A-1")
    assert orders() == 1
    assert Order.objects.get().contact == first.contact


def test_a_win_that_was_undone_is_no_order(ann):
    lead = won(ann, value=Decimal(10), order_number="A-1")
    moves.undo(lead=lead, by=ann, now=NOW)
    assert orders() == 0
    assert not Order.objects.exists()
