"""What stands beside the stage of a contact: facts and pages of the apps above, which name themselves here.

A fact is a rule field with choices, such as the nurture state: on the contact's page it is a chip, in REST a field.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models.expressions import Combinable
from django.utils.functional import Promise

from contacts.models import Contact
from contacts.rulefields import RuleField, registered

_shown: list[str] = []
_pages: list["Page"] = []

# A fact that says this says nothing worth a chip.
NOTHING = "none"


@dataclass(frozen=True)
class Page:
    """Something to do with one contact: the address takes its number as `contact`."""

    label: str | Promise
    address: str
    permission: str


def show_beside_stage(key: str) -> None:
    """Registers a rule field to be shown beside the stage; call it from `AppConfig.ready`."""
    if key not in _shown:
        _shown.append(key)


def offer_page(label: str | Promise, address: str, permission: str) -> None:
    """Registers a page that the contact's page leads to; call it from `AppConfig.ready`."""
    page = Page(label, address, permission)
    if page not in _pages:
        _pages.append(page)


def pages_for(user: Any) -> list[Page]:
    """The pages that this user may open."""
    return [page for page in _pages if user.has_perm(page.permission)]


def facts() -> list[RuleField]:
    """The fields that stand beside the stage, in the order of the apps."""
    known = registered()
    return [known[key] for key in _shown if key in known]


def expressions(now: datetime, keys: Iterable[str] | None = None) -> dict[str, Combinable]:
    """Each fact as an expression over Contact, by its key; only those named, if some are."""
    return {one.key: one.expression(now) for one in facts() if keys is None or one.key in keys}


def chips(contact: Contact, now: datetime) -> list[tuple[str, str]]:
    """What to say beside the stage of one contact: (label, value in words), without what says nothing."""
    found = facts()
    if not found:
        return []
    return in_words(dict(Contact.objects.filter(pk=contact.pk).values(**expressions(now)).get()))


def in_words(row: dict[str, Any]) -> list[tuple[str, str]]:
    """The same of what `expressions` said of one contact."""
    return [
        (str(one.label), one.name_of(row[one.key])) for one in facts() if row.get(one.key) not in (None, "", NOTHING)
    ]
