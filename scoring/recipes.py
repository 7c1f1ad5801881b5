"""Scores to begin with, for whoever makes the first one."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True)
class Recipe:
    """An example: what it is called, the fields of the score, and its rules."""

    name: str | Promise = ""
    score: dict[str, Any] = field(default_factory=dict)
    rules: list[dict[str, Any]] = field(default_factory=list)


def _rule(key: str, name: str | Promise, when: dict[str, Any], points: float, **more: Any) -> dict[str, Any]:
    return {"key": key, "name": name, "when": when, "points": points, **more}


_PRICES = {"did": "page.viewed", "where": [{"field": "url", "op": "contains", "value": "/pricing"}]}

RECIPES = {
    "": Recipe(),
    "engagement": Recipe(
        _("What they do"),
        {"key": "engagement", "name": _("Engagement"), "kind": "engagement", "qualify_at": 50},
        [
            _rule("pricing", _("Looked at prices"), _PRICES, 10, half_life=timedelta(days=14), cap_per_day=20),
            _rule("click", _("Clicked in a mail"), {"did": "email.clicked"}, 8, half_life=timedelta(days=21)),
            _rule("complaint", _("Complained of a mail"), {"did": "email.complained"}, -40),
        ],
    ),
    "fit": Recipe(
        _("Who they are"),
        {"key": "fit", "name": _("Fit"), "kind": "fit"},
        [
            _rule("size", _("Company of 20 and more"), {"field": "company.employees", "op": "gte", "value": 20}, 20),
            _rule("reachable", _("Has a phone number"), {"field": "phone", "op": "is_set"}, 5),
        ],
    ),
}


def recipe_of(request: HttpRequest) -> list[dict[str, Any]]:
    """The rules of the recipe that an address names; none without."""
    return RECIPES.get(request.GET.get("recipe", ""), RECIPES[""]).rules
