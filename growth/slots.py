"""Offer slots: which offers a person may be shown, and for each other one the first reason why not.

A slot is an offer's key, or a group of which a person is shown one. The order of the reasons is that of the statement;
of what may be shown, the highest priority comes first, then the key.
"""

from datetime import datetime, timedelta
from typing import Any

import structlog
from django.core.exceptions import EmptyResultSet
from django.utils.translation import gettext_lazy as _

from contacts.models import Contact
from contacts.rulefields import Vocabulary
from contacts.rules import RuleError, parse, to_q
from contacts.sql import Fragment, fragment, join, load
from growth.models import Offer

SQL = load(__file__)
log = structlog.get_logger(__name__)

# Between two offers of a group to one person, unless the offer says how long; and how often one person is shown one.
COOLDOWN, MOST = timedelta(days=30), 3
REASONS = {
    "inactive": _("It is switched off."),
    "not_yet": _("It is not valid yet."),
    "over": _("It is no longer valid."),
    "unreadable": _("One of its rules asks for something that is not there any more."),
    "owned": _("The person has one of the products."),
    "not_in_audience": _("It is not for this person."),
    "excluded": _("A rule keeps it from this person."),
    "cooldown": _("The person was shown it, or another of its group, a short while ago."),
    "shown_enough": _("The person was shown it often enough."),
    "no_coupons": _("There are no coupons left."),
    "onboarding_protection": _("The person is new to something and left in peace."),
    "holdout": _("The person is in the holdout group of the offer, so that the effect can be measured."),
}


def slots() -> frozenset[str]:
    """What a step may name: the keys of offers, and their groups."""
    rows = Offer.objects.values_list("key", "group")
    return frozenset(name for row in rows for name in row if name)


def judged(names_of_slots: list[str], now: datetime, names: Vocabulary) -> Fragment:
    """The offers of these slots for the people of `p` (enrolment_id, contact_id, is_ghost, slot), as a query.

    It answers enrolment_id, is_ghost, offer_id, offer_key, priority, stock and reason (NULL: may be shown).
    """
    means: list[Fragment] = []
    excludes: list[Fragment] = []
    unreadable: list[int] = []
    wanted = set(names_of_slots)
    for offer in Offer.objects.order_by("pk"):
        if not {offer.key, offer.group} & wanted:
            continue
        try:
            theirs = Fragment("true") if offer.audience is None else _is_meant(offer.audience, now, names)
            others = [_is_meant(rule, now, names) for rule in offer.excludes]
        except RuleError as error:
            unreadable.append(offer.pk)
            log.error("offer_unreadable", offer=offer.key, error=str(error))
            continue
        means.append(_when(offer.pk, theirs))
        if others:
            excludes.append(_when(offer.pk, join(" OR ", others)))
    sql = SQL["judge_offers"].sql.replace("{means}", _case(means)).replace("{excludes}", _case(excludes))
    params: dict[str, Any] = {"now": now, "unreadable": unreadable, "cooldown": COOLDOWN, "most": MOST}
    return Fragment(sql, join("", [*means, *excludes]).params | params)


def _is_meant(rule: Any, now: datetime, names: Vocabulary) -> Fragment:
    try:
        meant = fragment(Contact.objects.filter(to_q(parse(rule, names), now)).order_by().values("pk"))
    except EmptyResultSet:
        return Fragment("false")
    return Fragment(
        f"EXISTS (SELECT FROM ({meant.sql}) meant(id) WHERE meant.id = p.contact_id OFFSET 0)", meant.params
    )


def _when(offer: int, holds: Fragment) -> Fragment:
    return Fragment(f"WHEN o.id = {int(offer)} THEN ({holds.sql})", holds.params)


def _case(answers: list[Fragment]) -> str:
    return f"(CASE {' '.join(one.sql for one in answers)} ELSE false END)" if answers else "false"
