"""Why, or why not, of one contact: one answer for the command, the API and whoever else asks.

Each app adds the kinds of things that it can explain: a segment here, scores, messages and journeys above.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.utils.translation import gettext as _

from contacts import rules
from contacts.models import Contact, Segment

# contact, key, now → the answer as plain values; raises ObjectDoesNotExist where nothing has the key.
Explanation = Callable[[Contact, str, datetime], dict[str, Any]]


@dataclass(frozen=True)
class _Kind:
    explain: Explanation
    permission: str


_kinds: dict[str, _Kind] = {}


class NothingThere(LookupError):
    """No segment, score, message or journey has that key."""


def register_explanation(name: str, explain: Explanation, permission: str) -> None:
    """Adds a kind of thing to explain, and what a user needs to ask; apps above call it from `AppConfig.ready`."""
    _kinds[name] = _Kind(explain, permission)


def kinds() -> list[str]:
    """What can be explained."""
    return list(_kinds)


def permission_for(kind: str) -> str:
    """What a user needs to ask about this kind of thing."""
    return _kinds[kind].permission


def explain(kind: str, key: str, contact: Contact, now: datetime) -> dict[str, Any]:
    """Why this contact is, has or gets it, or not, with the evidence. Raises NothingThere, KeyError for the kind."""
    try:
        answer = _kinds[kind].explain(contact, key, now)
    except ObjectDoesNotExist:
        raise NothingThere(_("There is no %(kind)s with the key “%(key)s”.") % {"kind": kind, "key": key}) from None
    return {"contact": contact.pk, "name": str(contact.name), **answer}


def explain_segment(contact: Contact, key: str, now: datetime) -> dict[str, Any]:
    """Is the contact in the segment, since when, by whose hand, and what each condition says at this moment.

    `problem` says why the segment cannot be asked any more; its members then stay as they are.
    """
    segment = Segment.objects.get(key=key)
    membership = segment.memberships.filter(contact=contact).first()
    override = segment.overrides.filter(contact=contact).select_related("made_by").first()
    is_held = override and (override.expires_at is None or override.expires_at > now)
    answers, means, problem = [], None, ""
    if segment.rule is not None:
        try:
            rule = rules.parse(segment.rule)
            answers = rules.explain(rule, contact, now)
            means = rules.verdict(rule, answers)
        except rules.RuleError as error:
            problem = str(error)
    return {
        "segment": segment.key,
        "is_member": membership is not None,
        "since": membership and membership.entered_at,
        "by_hand": said_by_hand(override) if override and is_held else None,
        "rule_means": means,
        "problem": problem,
        "conditions": [
            {"path": one.path, "condition": one.leaf, "is_true": one.is_true, "evidence": one.evidence}
            for one in answers
        ],
    }


def said_by_hand(override: Any) -> dict[str, Any]:
    """What somebody said by hand about one contact: in or out, until when, who, when."""
    return {
        "is_member": override.is_member,
        "until": override.expires_at,
        "by": override.made_by and override.made_by.get_username(),
        "at": override.made_at,
    }


register_explanation("segment", explain_segment, "contacts.view_segment")
