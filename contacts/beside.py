"""What the apps above show on the pages of people: beside a contact, and as filters of the list."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest

from contacts.models import Contact


@dataclass(frozen=True)
class Beside:
    """What one app shows of a contact: some words for the chips in the head, and a part of the page."""

    chips: list[str] = field(default_factory=list)
    html: str = ""


Panel = Callable[[HttpRequest, Contact], Beside | None]

_panels: list[Panel] = []
_filters: list[type] = []


def register_panel(panel: Panel) -> None:
    """Adds what an app shows of a contact; it is None for whom may not see it. Called from `AppConfig.ready`."""
    _panels.append(panel)


def panels(request: HttpRequest, contact: Contact) -> list[Beside]:
    """All that the apps above show this user of a contact."""
    return [shown for panel in _panels if (shown := panel(request, contact)) is not None]


def register_filter(list_filter: type) -> None:
    """Adds a filter (an `admin.SimpleListFilter`) to the list of contacts."""
    _filters.append(list_filter)


def filters() -> list[Any]:
    return list(_filters)
