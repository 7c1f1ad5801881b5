"""What rules may ask about a contact's orders; cancelled and refunded ones do not count."""

from datetime import datetime
from typing import Any

from django.db.models import Avg, Count, DateTimeField, DecimalField, Max, OuterRef, Subquery, Sum, Value
from django.db.models.functions import Coalesce
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from contacts.models import Contact
from contacts.rulefields import RuleField, register_field
from contacts.rulewords import say_instant, say_value
from growth.models import Order

_NUMBER = DecimalField(max_digits=30, decimal_places=6)


def _of_orders(aggregate, output_field) -> Subquery:
    orders = Order.objects.filter(contact=OuterRef("pk"), state__in=["placed", "paid"]).order_by()
    return Subquery(orders.values("contact").annotate(answer=aggregate).values("answer"), output_field=output_field)


def _or_nothing(aggregate):
    return Coalesce(_of_orders(aggregate, _NUMBER), Value(0, output_field=_NUMBER))


_SHOWN = 5


def _rows(contact: Contact, now: datetime) -> dict[str, Any]:
    """The newest orders that the value rests on: as data, and each as a person reads it."""
    orders = list(
        Order.objects.filter(contact=contact, state__in=["placed", "paid"]).order_by("-placed_at", "-pk")[:_SHOWN]
    )
    return {
        "orders": [{"id": one.pk, "placed_at": one.placed_at, "total": float(one.total)} for one in orders],
        "rows": [
            gettext("order %(number)s of %(moment)s, %(total)s %(currency)s")
            % {
                "number": one.number,
                "moment": say_instant(one.placed_at),
                "total": say_value(one.total),
                "currency": one.currency,
            }
            for one in orders
        ],
    }


def register() -> None:
    """Adds the fields; called once, when the apps are ready."""
    for key, type_, expression, label in (
        ("orders.count", "number", lambda now: _or_nothing(Count("pk")), _("Orders: number")),
        ("orders.total", "number", lambda now: _or_nothing(Sum("total")), _("Orders: total")),
        ("orders.average", "number", lambda now: _of_orders(Avg("total"), _NUMBER), _("Orders: average")),
        ("orders.last_at", "datetime", lambda now: _of_orders(Max("placed_at"), DateTimeField()), _("Orders: last")),
    ):
        register_field(RuleField(key, type_, expression, label, group=_("Orders"), rows=_rows))
