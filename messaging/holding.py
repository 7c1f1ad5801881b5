"""Sales holds marketing for a person: no marketing message leaves until a moment, or until it is released."""

from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from contacts.models import Contact
from contacts.sql import load
from contacts.stream import put
from messaging.models import Hold
from messaging.models.holds import LONGEST_HOLD

SQL = load(__file__)


@transaction.atomic
def hold(*, contact: Contact, by: Any, until: datetime, now: datetime, reason: str = "", source: str = "sales") -> Hold:
    """Holds marketing for a contact until a moment, 30 days from now at most; of several holds the longest counts.

    Whether the user may is for the caller to ask. Raises ValueError with a sentence for a moment that is not possible.
    """
    if until <= now:
        raise ValueError(_("This moment is past."))
    if until > now + LONGEST_HOLD:
        raise ValueError(_("Marketing can be held for 30 days at a time."))
    held = Hold.objects.create(contact=contact, by=by, reason=reason.strip(), held_at=now, until=until)
    told = {"hold": held.pk, "by": by.get_username(), "until": until.isoformat()}
    put(kind="marketing.held", source=source, channel="sales", now=now, contact_id=contact.pk, properties=told)
    return held


@transaction.atomic
def release(*, contact: Contact, by: Any, now: datetime, source: str = "sales") -> int:
    """Ends all holds of a contact at once; what waited for their end is asked again now. How many ended."""
    ended = Hold.objects.holding(now).filter(contact=contact).update(released_at=now, released_by=by)
    if ended:
        SQL["ask_held_again"].run(contact=contact.pk, now=now)
        told = {"by": by.get_username()}
        put(kind="marketing.released", source=source, channel="sales", now=now, contact_id=contact.pk, properties=told)
    return ended


def hold_of(contact: Contact, now: datetime) -> Hold | None:
    """The hold that keeps marketing from a contact for longest, with who set it."""
    return Hold.objects.holding(now).filter(contact=contact).select_related("by").order_by("-until", "pk").first()


def longest(now: datetime) -> datetime:
    """Until when marketing can be held at most."""
    return now + LONGEST_HOLD
