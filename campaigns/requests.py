"""Letting people in by hand, by the API, or because they match already: requests to the tick, put into the inbox.

Only the tick writes enrolments; whoever wants somebody in puts `journey.requested`, and the enrol step decides by the
journey's re-entry rule like for any other trigger.
"""

from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import transaction

from campaigns.models import Journey
from campaigns.triggers import state_of, triggers_of
from contacts.models import Contact, ContactQuerySet
from contacts.rulefields import Vocabulary
from contacts.rules import parse, to_q
from contacts.sql import fragment, load

SQL = load(__file__)


@transaction.atomic
def enrol_contacts(*, journey: Journey, contacts: ContactQuerySet, by: Any, now: datetime, entry_key: str = "") -> int:
    """Asks the next tick to let these contacts in; how many were asked for.

    `entry_key` is the occasion of a journey that lets people in per key, such as an order's number.
    """
    try:
        people = fragment(contacts.living().order_by().values("pk"))
    except EmptyResultSet:
        return 0
    return SQL["request_enrolments"].run(
        fragments={"people": people},
        journey=journey.key,
        entry_key=entry_key,
        actor=str(by) if by else "",
        now=now,
    )


def matching_now(journey: Journey, definition: dict[str, Any], now: datetime) -> ContactQuerySet:
    """Whom a trigger names already, and who was never on this journey: in the segment, at the stage, with the value, or
    with the day still ahead though the journey would have begun before it. The entry filter is asked, too.
    """
    names, wanted = Vocabulary(), []
    for _path, trigger in triggers_of(definition):
        try:
            if (state := state_of(trigger)) is not None:
                more = [trigger[name] for name in ("who", "when") if trigger.get(name) is not None]
                wanted.append(to_q(parse({"all": [state, *more]}, names), now))
        except (ValueError, KeyError, TypeError):  # RuleError among them: a draft that is wrong names nobody
            continue
    if not wanted:
        return Contact.objects.none()
    matches = Contact.objects.filter(reduce(or_, wanted)).order_by().values("pk")
    return Contact.objects.living().filter(pk__in=matches).exclude(enrolments__journey_id=journey.pk)


def request_matching(*, journey: Journey, by: Any, now: datetime) -> int:
    """Asks for everybody who matches already; how many they are."""
    definition = journey.version.definition if journey.version else {}
    return enrol_contacts(
        journey=journey,
        contacts=Contact.objects.filter(pk__in=matching_now(journey, definition, now).values("pk")),
        by=by,
        now=now,
    )
