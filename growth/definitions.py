"""Products and offers as code."""

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext

from contacts.definitions import (
    DefinitionError,
    Section,
    check_keys,
    checked_rule,
    percent,
    text,
    without_defaults,
)
from contacts.durations import format_duration, parse_duration
from growth.models import Offer, Product


def _read_products() -> dict[str, dict[str, Any]]:
    return {
        product.key: without_defaults(
            {
                "key": product.key,
                "name": product.name,
                "category": product.category,
                "price": None if product.price is None else str(product.price),
                "currency": product.currency,
                "url": product.url,
                "active": product.is_active,
            },
            category="",
            price=None,
            currency="EUR",
            url="",
            active=True,
        )
        for product in Product.objects.order_by("key")
    }


def _write_product(data: dict[str, Any]) -> None:
    check_keys(data, required=["key", "name"], optional=["category", "price", "currency", "url", "active"])
    try:
        price = None if data.get("price") is None else Decimal(str(data["price"]))
    except InvalidOperation:
        raise DefinitionError("price", f"must be a number, not {data['price']!r}.") from None
    Product.objects.update_or_create(
        key=data["key"],
        defaults={
            "name": text(data, "name"),
            "category": text(data, "category"),
            "price": price,
            "currency": text(data, "currency", "EUR"),
            "url": text(data, "url"),
            "is_active": bool(data.get("active", True)),
        },
    )


def _read_offers() -> dict[str, dict[str, Any]]:
    return {
        offer.key: without_defaults(
            {
                "key": offer.key,
                "name": offer.name,
                "products": sorted(product.key for product in offer.products.all()),
                "audience": offer.audience,
                "excludes": offer.excludes,
                "group": offer.group,
                "coupons": offer.coupons,
                "priority": offer.priority,
                "cooldown": offer.cooldown and format_duration(offer.cooldown),
                "holdout": f"{offer.holdout}%",
                "valid_from": offer.valid_from and offer.valid_from.isoformat(),
                "valid_until": offer.valid_until and offer.valid_until.isoformat(),
                "active": offer.is_active,
            },
            name="",
            audience=None,
            excludes=[],
            group="",
            coupons=None,
            priority=5,
            cooldown=None,
            holdout="0%",
            valid_from=None,
            valid_until=None,
            active=True,
        )
        for offer in Offer.objects.order_by("key").prefetch_related("products")
    }


def _moment(data: dict[str, Any], key: str):
    if data.get(key) is None:
        return None
    try:
        moment = parse_datetime(str(data[key]))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise DefinitionError(
            key, f"must be a moment with its zone, such as 2027-03-28T09:00+02:00, not {data[key]!r}."
        )
    return moment


def _whole(data: dict[str, Any], key: str, default: int | None) -> int | None:
    value = data.get(key, default)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise DefinitionError(key, f"must be a whole number, not {value!r}.")
    return value


def _write_offer(data: dict[str, Any]) -> None:
    check_keys(
        data,
        required=["key", "products"],
        optional=[
            "name", "audience", "excludes", "group", "coupons", "priority", "cooldown", "holdout",
            "valid_from", "valid_until", "active",
        ],
    )  # fmt: skip
    products = list(Product.objects.filter(key__in=data["products"]))
    for index, key in enumerate(data["products"]):
        if key not in {product.key for product in products}:
            raise DefinitionError(f"products[{index}]", f"there is no product {key!r}.")
    try:
        cooldown = parse_duration(data["cooldown"]) if data.get("cooldown") else None
    except ValueError as error:
        raise DefinitionError("cooldown", str(error)) from None
    audience = data.get("audience")
    offer, _ = Offer.objects.update_or_create(
        key=data["key"],
        defaults={
            "name": text(data, "name"),
            "audience": None if audience is None else checked_rule(audience, "audience"),
            "excludes": [
                checked_rule(rule, f"excludes[{index}]") for index, rule in enumerate(data.get("excludes", []))
            ],
            "group": text(data, "group"),
            "coupons": _whole(data, "coupons", None),
            "priority": _whole(data, "priority", 5) or 0,
            "cooldown": cooldown,
            "holdout": percent(data.get("holdout", 0), "holdout"),
            "valid_from": _moment(data, "valid_from"),
            "valid_until": _moment(data, "valid_until"),
            "is_active": bool(data.get("active", True)),
        },
    )
    offer.products.set(products)


SECTIONS = [
    Section("products", _read_products, _write_product),
    Section("offers", _read_offers, _write_offer),
]


def rules() -> Iterator[tuple[str, Any]]:
    """Whom offers are for and not for, after the names of the offers."""
    for offer in Offer.objects.order_by("key"):
        name = gettext("offer “%(name)s”") % {"name": offer}
        for rule in ([] if offer.audience is None else [offer.audience]) + offer.excludes:
            yield name, rule
