"""The offer slot: the first offer that may be shown, by priority; its default; the reasons against all others."""

from datetime import datetime, timedelta
from decimal import Decimal
from random import Random

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns.models import Due, Visit
from contacts.models import Contact
from growth.models import Offer, OfferPresentation, Order, OrderLine, Product
from messaging.models import Message, Protection
from tests.campaigns.world import DAY, did, journey, path, people, person, sent, templates, tick, told, where

pytestmark = pytest.mark.django_db


def product(key, price="29.00", **more):
    return Product.objects.get_or_create(key=key, defaults={"name": key, "price": price, **more})[0]


def offer(key, *products, **more):
    made = Offer.objects.create(key=key, name=key.title(), **{"group": "upgrades", **more})
    made.products.set([product(one) for one in products or [key]])
    return made


def bought(contact, key, now, state="paid"):
    order = Order.objects.create(number=f"{contact.pk}-{key}", contact=contact, total=1, placed_at=now, state=state)
    OrderLine.objects.create(order=order, product=product(key), price=1)


def slot(now, **step):
    steps = [{"key": "slot", "offer": "upgrades", **step}]
    templates(*(step[name] for name in ("default",) if name in step))
    return journey(now, kind="cross_sell", reentry={"policy": "after_exit"}, steps=steps)


def inputs(contact=None):
    rows = Visit.objects.exclude(inputs=None).filter(inputs__has_key="reasons").order_by("pk")
    return list((rows.filter(enrolment__contact=contact) if contact else rows).values_list("inputs", flat=True))


def test_the_first_offer_that_may_be_shown_is_sent_with_its_price(now):
    offer("pro", priority=9)
    offer("start", priority=5)
    slot(now, send="upgrade", then=[{"send": "after"}], **{"else": [{"send": "none"}]})
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    assert sent(ann) == ["upgrade", "after"]
    message = Message.objects.get(template__key="upgrade")
    assert message.context == {
        "offer": {"key": "pro", "name": "Pro", "products": ["pro"], "price": 29.0, "currency": "EUR"}
    }
    assert message.is_promotion
    assert path(ann)[0] == ("slot", "then")
    assert inputs() == [{"offer": "pro", "reasons": {}}]
    shown = OfferPresentation.objects.get()
    assert (shown.offer.key, shown.contact, shown.state, shown.slot) == ("pro", ann, "presented", "upgrades")
    assert (shown.price, shown.currency, shown.presented_at) == (Decimal("29.00"), "EUR", now)
    Product.objects.update(price=99)
    shown.refresh_from_db()
    assert shown.price == Decimal("29.00")
    assert told("offer.presented")[0]["offer"] == "pro"


def test_where_there_is_none_the_default_goes_and_the_reasons_are_kept(now):
    offer("pro", audience={"field": "country", "op": "eq", "value": "CZ"})
    offer("start", is_active=False)
    slot(now, send="upgrade", default="tips", then=[], **{"else": [{"send": "none"}]})
    ann = person(country="PL")
    did(ann, "trial.started", now)
    tick(now)
    assert sent(ann) == ["tips", "none"]
    assert inputs() == [{"offer": None, "reasons": {"pro": "not_in_audience", "start": "inactive"}}]
    assert not OfferPresentation.objects.exists()


def test_an_offer_is_a_slot_of_its_own(now):
    offer("pro")
    offer("start")
    journey(now, kind="cross_sell", steps=[{"key": "slot", "offer": "start", "send": "upgrade"}])
    did(person(), "trial.started", now)
    tick(now)
    assert inputs() == [{"offer": "start", "reasons": {}}]


REASONS = {
    "inactive": {"is_active": False},
    "not_yet": {"valid_from": timedelta(days=1)},
    "over": {"valid_until": timedelta(0)},
    "not_in_audience": {"audience": {"field": "country", "op": "eq", "value": "CZ"}},
    "excluded": {"excludes": [{"did": "page.viewed"}, {"did": "trial.started"}]},
    "unreadable": {"audience": {"field": "gone", "op": "is_set"}},
    "no_coupons": {"coupons": 0},
    "holdout": {"holdout": 100},
}


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_keeps_an_offer_back(now, reason):
    said = {k: now + v if isinstance(v, timedelta) else v for k, v in REASONS[reason].items()}
    offer("pro", **said)
    slot(now, send="upgrade")
    did(person(), "trial.started", now)
    tick(now)
    assert inputs() == [{"offer": None, "reasons": {"pro": reason}}]
    # Whoever is held out is kept, so that the effect can be measured.
    rows = list(OfferPresentation.objects.values_list("state", "is_ghost", "presented_at"))
    assert rows == ([("eligible", True, None)] if reason == "holdout" else [])


def test_who_has_a_product_is_not_offered_it_and_a_refunded_order_does_not_count(now):
    offer("pro")
    slot(now)
    ann, ben = person(), person()
    bought(ann, "pro", now)
    bought(ben, "pro", now, state="refunded")
    for contact in (ann, ben):
        did(contact, "trial.started", now)
    tick(now)
    assert inputs(ann) == [{"offer": None, "reasons": {"pro": "owned"}}]
    assert inputs(ben) == [{"offer": "pro", "reasons": {}}]


def test_after_one_offer_its_group_rests_and_nobody_is_shown_one_more_than_three_times(now):
    offer("pro", cooldown=10 * DAY)
    offer("start", priority=1)
    slot(now)
    ann = person()
    for days in (0, 5, 10, 20, 30):
        did(ann, "trial.started", now + days * DAY)
        tick(now + days * DAY)
    assert [(one["offer"], one["reasons"].get("pro")) for one in inputs()] == [
        ("pro", None), (None, "cooldown"), ("pro", None), ("pro", None), (None, "shown_enough"),
    ]  # fmt: skip
    assert inputs()[4]["reasons"] == {"pro": "shown_enough", "start": "cooldown"}


def test_who_is_new_to_something_is_shown_none(now):
    offer("pro")
    slot(now)
    ann = person()
    Protection.objects.create(contact=ann, source="enrolment:1", until=now + DAY)
    did(ann, "trial.started", now)
    tick(now)
    assert inputs() == [{"offer": None, "reasons": {"pro": "onboarding_protection"}}]


def test_the_last_coupons_go_to_so_many_and_the_others_get_the_next_offer(now):
    offer("pro", coupons=10, priority=9)
    offer("start")
    slot(now, send="upgrade")
    for contact in people(25):
        did(contact, "trial.started", now)
    tick(now)
    shown = list(OfferPresentation.objects.values_list("offer__key", flat=True))
    assert (shown.count("pro"), shown.count("start")) == (10, 15)
    reasons = [one["reasons"] for one in inputs()]
    assert reasons.count({"pro": "no_coupons"}) == 15
    assert not Due.objects.filter(node_kind="offer").exists()


def test_one_person_on_two_occasions_is_shown_one_offer(now):
    offer("pro")
    journey(
        now,
        kind="cross_sell",
        reentry={"policy": "per_key", "key": "products"},
        steps=[{"key": "slot", "offer": "pro"}],
    )
    did(person(), "trial.started", now, products=["a", "b"])
    tick(now)
    assert [one["offer"] for one in inputs()] == ["pro", None]
    assert inputs()[1]["reasons"] == {"pro": "cooldown"}


def test_whoever_is_held_out_of_the_journey_takes_no_coupon(now):
    offer("pro", coupons=1)
    steps = [{"key": "slot", "offer": "upgrades", "send": "upgrade"}]
    journey(now, kind="cross_sell", holdout="90%", steps=steps)
    for contact in people(40):
        did(contact, "trial.started", now)
    tick(now)
    rows = list(OfferPresentation.objects.values_list("is_ghost", "state"))
    assert rows.count((False, "presented")) == 1
    assert rows.count((True, "eligible")) > 20
    assert set(Message.objects.filter(is_ghost=True).values_list("state", flat=True)) == {"skipped"}
    assert len(told("offer.presented")) == 1


def test_the_number_of_statements_does_not_grow_with_people(now):
    offer("pro", excludes=[{"did": "offer.refused", "within": "90d"}])
    slot(now, send="upgrade")
    crowd = people(42)

    def queries(some, moment):
        for contact in some:
            did(contact, "trial.started", moment)
        with CaptureQueriesContext(connection) as asked:
            tick(moment)
        return len(asked)

    queries(crowd[:2], now)
    assert queries(crowd[2:4], now + DAY) == queries(crowd[4:], now + 2 * DAY)


# The twin ------------------------------------------------------------------------------------------------------------


def judge(one: Offer, contact: Contact, now: datetime) -> str | None:
    """The first reason against an offer for a person, as plain Python reads the rules; None where it may be shown."""
    stock = None if one.coupons is None else one.coupons - one.presentations.exclude(state="eligible").count()
    mine = list(contact.presentations.select_related("offer"))
    owned = OrderLine.objects.filter(
        order__contact=contact, order__state__in=["placed", "paid"], product__in=one.products.all()
    )
    since = now - (one.cooldown or timedelta(days=30))
    events = set(contact.touchpoints.filter(occurred_at__lte=now).values_list("kind", flat=True))
    related = [shown for shown in mine if shown.offer == one or (one.group and shown.offer.group == one.group)]
    checks = [
        ("inactive", not one.is_active),
        ("not_yet", one.valid_from is not None and one.valid_from > now),
        ("over", one.valid_until is not None and one.valid_until <= now),
        ("owned", owned.exists()),
        ("not_in_audience", one.audience is not None and contact.country != one.audience["value"]),
        ("excluded", any(rule["did"] in events for rule in one.excludes)),
        ("cooldown", any(shown.created_at > since for shown in related)),
        ("shown_enough", sum(shown.offer == one for shown in mine) >= 3),
        ("no_coupons", stock is not None and stock <= 0),
        ("onboarding_protection", contact.protections.filter(until__gt=now).exists()),
        ("holdout", one.holdout > 0 and bucket(f"offer:{one.key}", contact.pk) < one.holdout),
    ]
    return next((reason for reason, holds in checks if holds), None)


def bucket(salt: str, contact: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT bucket_of(%s, %s)", [salt, contact])
        return cursor.fetchone()[0]


@pytest.mark.parametrize("seed", range(6))
def test_growth_judges_as_its_plain_twin_does(now, seed):
    dice = Random(seed)
    for number in range(5):
        offer(
            f"o{number}",
            *dice.sample(["a", "b", "c"], dice.choice([1, 2])),
            priority=dice.randint(1, 3),
            is_active=dice.random() < 0.9,
            valid_from=dice.choice([None, now - DAY, now + DAY]) if dice.random() < 0.4 else None,
            valid_until=dice.choice([None, now - DAY, now + DAY]) if dice.random() < 0.4 else None,
            audience=dice.choice([None, {"field": "country", "op": "eq", "value": "CZ"}]),
            excludes=[{"did": "offer.refused"}] if dice.random() < 0.3 else [],
            coupons=dice.choice([None, None, 0, 2]),
            cooldown=dice.choice([None, 5 * DAY]),
            holdout=dice.choice([0, 0, 50]),
            group=dice.choice(["upgrades", "upgrades", "other"]),
        )
    every = list(Offer.objects.all())
    crowd = [person(country=dice.choice(["CZ", "PL"])) for _ in range(20)]
    for contact in crowd:
        if dice.random() < 0.2:
            bought(contact, dice.choice(["a", "b", "c"]), now, state=dice.choice(["placed", "paid", "cancelled"]))
        if dice.random() < 0.2:
            did(contact, "offer.refused", now - DAY)
        if dice.random() < 0.1:
            Protection.objects.create(contact=contact, source=f"x{contact.pk}", until=now + dice.choice([-1, 1]) * DAY)
        for number in range(dice.choice([0, 0, 1, 3])):
            shown = dice.choice(every)
            at = now - dice.choice([2, 10, 40]) * DAY
            state = "presented" if dice.random() < 0.7 else "eligible"
            OfferPresentation.objects.create(
                key=f"old:{contact.pk}:{number}", offer=shown, contact=contact, state=state, created_at=at,
                presented_at=at if state == "presented" else None,
            )  # fmt: skip
    offers = [one for one in every if one.group == "upgrades"]
    # Coupons change with each person served: those with any are asked one person at a time by another test.
    for one in offers:
        if one.coupons:
            Offer.objects.filter(pk=one.pk).update(coupons=100)
            one.coupons = 100
    expected = {contact.pk: {one.key: judge(one, contact, now) for one in offers} for contact in crowd}
    slot(now)
    for contact in crowd:
        did(contact, "trial.started", now)
    tick(now)
    for contact in crowd:
        answers = expected[contact.pk]
        reasons = {key: reason for key, reason in answers.items() if reason}
        free = sorted((one for one in offers if answers[one.key] is None), key=lambda one: (-one.priority, one.key))
        assert inputs(contact) == [{"offer": free[0].key if free else None, "reasons": reasons}]
    assert where(crowd[0]) is None
