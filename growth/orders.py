"""Orders as shops tell them: stored once by their number, told to the stream once for each thing that happened."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from contacts import syncing
from contacts.models import Contact, Incoming
from growth.models import Order, OrderLine, Product

MOST_ROWS = 10_000
_KNOWN = {
    "id", "number", "contact", "user_id", "email", "state", "total", "currency", "placed_at", "created_at", "lines",
}  # fmt: skip
_STATES = dict(Order.STATES)

Result = dict[str, Any]


class Wrong(ValueError):
    """What is wrong with one field of an order."""

    def __init__(self, name: str, message: str):
        super().__init__(message)
        self.error = {"field": name, "message": message}


@transaction.atomic
def record_orders(rows: Sequence[Any], *, source: str, now: datetime) -> list[Result]:
    """Makes or changes orders by their number; one result a row: {index, id, status, errors}.

    A row has number, placed_at, total (else the sum of its lines), and contact (an id), user_id or email; a buyer whom
    we do not know becomes a contact. Of several rows with one number the last counts. What happened goes to the inbox
    as order.placed, order.paid, order.cancelled or order.refunded, each once.
    """
    results: list[Result] = [{"index": index, "id": None, "status": "", "errors": []} for index in range(len(rows))]
    read: dict[str, dict[str, Any]] = {}
    last: dict[str, int] = {}
    products = dict(Product.objects.filter(key__in=_product_keys(rows)).values_list("key", "pk"))
    for index, row in enumerate(rows):
        try:
            order = _read(row, products, now)
            read[order["number"]], last[order["number"]] = order, index
        except Wrong as wrong:
            results[index]["status"], results[index]["errors"] = "rejected", [wrong.error]
    for number, error in _find_buyers(read, source, now).items():
        index = last.pop(number)
        results[index]["status"], results[index]["errors"] = "rejected", [error]
        del read[number]
    _write(read, {number: results[index] for number, index in last.items()}, source, now)
    for index, row in enumerate(rows):
        if not results[index]["status"]:
            # An earlier row of the same number: the last one stands for both.
            same = results[last[row["number"]]] if row["number"] in last else None
            results[index] |= {"id": same["id"], "status": "unchanged"} if same else {"status": "rejected"}
    return results


# Reading -------------------------------------------------------------------------------------------------------------


def _product_keys(rows: Sequence[Any]) -> set[str]:
    keys: set[str] = set()
    for row in rows:
        lines = row.get("lines") if isinstance(row, Mapping) else None
        for line in lines if isinstance(lines, list) else ():
            if isinstance(line, Mapping) and isinstance(line.get("product"), str) and "\0" not in line["product"]:
                keys.add(line["product"])
    return keys


def _read(row: Any, products: Mapping[str, int], now: datetime) -> dict[str, Any]:
    if not isinstance(row, Mapping):
        raise Wrong("", _("A row must be an object."))
    if unknown := sorted(set(row) - _KNOWN):
        raise Wrong(unknown[0], _("There is no such field."))
    number = row.get("number")
    if not isinstance(number, str) or not 1 <= len(number) <= 200 or "\0" in number:
        raise Wrong("number", _("The shop's own number of the order is needed."))
    state = row.get("state", "placed")
    if not isinstance(state, str) or state not in _STATES:
        raise Wrong("state", _("This must be one of: %(names)s.") % {"names": ", ".join(_STATES)})
    currency = row.get("currency", "EUR")
    if not isinstance(currency, str) or len(currency) != 3 or not currency.isascii() or not currency.isalpha():
        raise Wrong("currency", _("This must be an ISO code of three letters such as EUR."))
    lines = _lines(row.get("lines"), products)
    if row.get("total") is None:
        if not lines:
            raise Wrong("total", _("The total is needed where there are no lines."))
        total = _amount("total", str(sum(line["quantity"] * line["price"] for line in lines.values())), 12)
    else:
        total = _amount("total", row["total"], 12)
    return {
        "number": number, "state": state, "currency": currency.upper(), "total": total,
        "placed_at": _moment(row.get("placed_at"), now), "lines": lines, "has_lines": row.get("lines") is not None,
        "who": {name: row[name] for name in ("contact", "user_id", "email") if row.get(name) is not None},
    }  # fmt: skip


def _lines(lines: Any, products: Mapping[str, int]) -> dict[int, dict[str, Any]]:
    """By the product's id; a product that stands on two lines is one line."""
    if lines is None:
        return {}
    if not isinstance(lines, list) or len(lines) > 1000:
        raise Wrong("lines", _("This must be a list of lines."))
    found: dict[int, dict[str, Any]] = {}
    for index, line in enumerate(lines):
        where = f"lines[{index}]"
        if not isinstance(line, Mapping) or not {"product", "quantity", "price"}.issuperset(line):
            raise Wrong(where, _("A line has product, quantity and price."))
        if not isinstance(line.get("product"), str) or line["product"] not in products:
            raise Wrong(f"{where}.product", _("There is no product “%(key)s”.") % {"key": line.get("product")})
        quantity = _amount(f"{where}.quantity", line.get("quantity", 1), 9, places=3)
        if not quantity:
            raise Wrong(f"{where}.quantity", _("This must be more than nothing."))
        price = _amount(f"{where}.price", line.get("price"), 10)
        pk = products[line["product"]]
        if pk in found:
            quantity = _amount(f"{where}.quantity", str(quantity + found[pk]["quantity"]), 9, places=3)
        found[pk] = {"key": line["product"], "quantity": quantity, "price": price}
    return found


def _amount(name: str, value: Any, digits: int, places: int = 2) -> Decimal:
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        amount = Decimal(str(value))
        if not amount.is_finite() or amount < 0 or amount >= 10**digits:
            raise ValueError
        amount = amount.quantize(Decimal(1).scaleb(-places))
        if amount >= 10**digits:  # rounded up
            raise ValueError
        return amount
    except (InvalidOperation, ValueError):
        raise Wrong(name, _("This must be a number that is not negative.")) from None


def _moment(value: Any, now: datetime) -> datetime:
    if value is None:
        return now
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(settings.TIME_ZONE))).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        raise Wrong("placed_at", _("This must be an ISO 8601 date and time.")) from None


# Writing -------------------------------------------------------------------------------------------------------------


def _find_buyers(orders: dict[str, dict[str, Any]], source: str, now: datetime) -> dict[str, dict[str, str]]:
    """Puts `contact_id` into each order; the errors of those whose buyer cannot be found or made."""
    errors: dict[str, dict[str, str]] = {}
    told: list[tuple[str, dict[str, Any]]] = []
    by_id = [order["who"].get("contact") for order in orders.values()]
    living = _follow({pk for pk in by_id if type(pk) is int and 0 < pk < 2**63})
    for number, order in orders.items():
        who = order["who"]
        if "contact" in who:
            order["contact_id"] = living.get(who["contact"]) if type(who["contact"]) is int else None
            if order["contact_id"] is None:
                errors[number] = {"field": "contact", "message": _("There is no such contact.")}
        else:
            told.append((number, who))
    found = syncing.upsert([who for _number, who in told], source=source, now=now) if told else []
    for (number, _who), result in zip(told, found, strict=True):
        orders[number]["contact_id"] = result["id"]
        if result["status"] == "rejected":
            errors[number] = result["errors"][0]
    return errors


def _follow(ids: set[int]) -> dict[int, int]:
    """Each id with the living contact it leads to."""
    leads_to: dict[int, int] = {}
    asked = {pk: pk for pk in ids}
    while asked:
        rows = {row[0]: row[1:] for row in Contact.objects.filter(pk__in=set(asked.values())).values_list(
            "pk", "merged_into", "erased_at")}  # fmt: skip
        following = {}
        for pk, current in asked.items():
            into, erased_at = rows.get(current, (None, True))
            if into:
                following[pk] = into
            elif not erased_at:
                leads_to[pk] = current
        asked = following
    return leads_to


def _write(orders: dict[str, dict[str, Any]], results: dict[str, Result], source: str, now: datetime) -> None:
    before = {
        order.number: order
        for order in Order.objects.select_for_update()
        .filter(number__in=list(orders))
        .order_by("number")
        .prefetch_related("lines")
    }
    columns = ("contact_id", "state", "total", "currency", "placed_at")
    rows, lines, events = [], [], []
    for number, told in sorted(orders.items()):
        old = before.get(number)
        if old and not told["has_lines"]:
            told["lines"] = {
                line.product_id: {"quantity": line.quantity, "price": line.price} for line in old.lines.all()
            }
        is_same = old is not None and all(getattr(old, name) == told[name] for name in columns)
        old_lines = {line.product_id: (line.quantity, line.price) for line in old.lines.all()} if old else {}
        new_lines = {pk: (line["quantity"], line["price"]) for pk, line in told["lines"].items()}
        if old is not None and is_same and old_lines == new_lines:
            results[number] |= {"id": old.pk, "status": "unchanged"}
            continue
        results[number]["status"] = "updated" if old else "created"
        rows.append(Order(number=number, created_at=now, **{name: told[name] for name in columns}))
        if old_lines != new_lines:
            lines.append(number)
        if old is None:
            events.append((number, "order.placed", told["placed_at"]))
        if told["state"] != "placed" and (old is None or old.state != told["state"]):
            events.append((number, f"order.{told['state']}", now if old else told["placed_at"]))
    Order.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["number"],
        update_fields=["contact", "state", "total", "currency", "placed_at"],
    )  # fmt: skip
    ids = dict(Order.objects.filter(number__in=list(orders)).values_list("number", "pk"))
    for number, pk in ids.items():
        results[number]["id"] = pk
    OrderLine.objects.filter(order__number__in=lines).delete()
    OrderLine.objects.bulk_create(
        [
            OrderLine(order_id=ids[number], product_id=pk, quantity=line["quantity"], price=line["price"])
            for number in lines
            for pk, line in orders[number]["lines"].items()
        ]
    )
    _tell(events, orders, source, now)


def _tell(events, orders: dict[str, dict[str, Any]], source: str, now: datetime) -> None:
    keys = dict(Product.objects.values_list("pk", "key")) if events else {}
    Incoming.objects.bulk_create(
        [
            Incoming(
                source=source, message_id=f"{kind}:{number}", kind=kind, channel="purchase",
                occurred_at=min(happened, now), received_at=now, contact_id=orders[number]["contact_id"],
                properties={
                    "number": number, "total": float(orders[number]["total"]),
                    "currency": orders[number]["currency"],
                    "products": [keys[pk] for pk in orders[number]["lines"]],
                },
            )
            for number, kind, happened in events
        ]
    )  # fmt: skip
