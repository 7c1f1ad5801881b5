"""Why somebody is on a journey, or is not; where they stand, which way they came, and what comes next."""

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from campaigns.candidates import why_not_more, why_outside
from campaigns.models import Due, Enrolment, Journey, Node, Visit
from campaigns.triggers import causes, grace_of, triggers_of
from contacts.durations import format_duration, parse_duration
from contacts.models import Contact, Segment, Touchpoint
from contacts.rulefields import Vocabulary
from contacts.rules import explain
from messaging.models import Message


def explain_journey(contact: Contact, journey: Journey, now: datetime) -> dict[str, Any]:
    """The contact's state on the journey as plain values: `state` is one of open, finished, exited, never.

    With `enrolment`, `entered_because`, `path` and `next` where there is one; with `why_not` (sentences) and `triggers`
    (each with the answers of its segment's rule) where nothing lets the person in, or in again.
    """
    answer: dict[str, Any] = {"journey": journey.key, "journey_state": journey.state, "contact": contact.pk}
    enrolment = (
        Enrolment.objects.filter(contact=contact, journey=journey)
        .select_related("version", "superseded_by__journey")
        .order_by("-enrolled_at", "-pk")
        .first()
    )
    if enrolment is None:
        return answer | {"state": "never", **_outside(contact, journey, None, now)}
    answer |= {
        "state": enrolment.state,
        "enrolment": enrolment.pk,
        "version": enrolment.version.number,
        "since": enrolment.enrolled_at,
        "is_held_out": enrolment.is_ghost,
        "goal_at": enrolment.goal_at,
        "entered_because": _cause(enrolment),
        "path": _path(enrolment),
    }
    if enrolment.superseded_by and enrolment.state == "open":
        gave_way = {"by": enrolment.superseded_by.journey.key, "since": enrolment.superseded_at}
        answer |= {"superseded": gave_way}
    if enrolment.state == "open":
        return answer | {"next": _next(enrolment, now)}
    left = {"ended_at": enrolment.ended_at, "reason": enrolment.exit_reason}
    return answer | {"left": left, **_outside(contact, journey, enrolment, now)}


def _outside(contact: Contact, journey: Journey, last: Enrolment | None, now: datetime) -> dict[str, Any]:
    return {"why_not": _why_not(contact, journey, last, now), "triggers": _triggers(contact, journey, now)}


def _triggers(contact: Contact, journey: Journey, now: datetime) -> list[dict[str, Any]]:
    if journey.version and journey.kind == "broadcast":
        audience = journey.version.definition["audience"]
        return [{"trigger": {"audience": audience}, "rule": [asdict(one) for one in explain(audience, contact, now)]}]
    answers = []
    for _place, trigger in triggers_of(journey.version.definition) if journey.version else []:
        answer: dict[str, Any] = {"trigger": trigger}
        key = trigger.get("segment_entered") if isinstance(trigger, dict) else None
        segment = Segment.objects.filter(key=key).first()
        if segment and segment.rule:
            answer["rule"] = [asdict(one) for one in explain(segment.rule, contact, now)]
            answer["is_member"] = segment.memberships.filter(contact=contact).exists()
        answers.append(answer)
    return answers


def _cause(enrolment: Enrolment) -> dict[str, Any] | None:
    number = enrolment.touchpoint_id
    if number is None:
        return None
    row = Touchpoint.objects.filter(pk=number).values("id", "kind", "occurred_at", "properties").first()
    return dict(row) if row else None


def _path(enrolment: Enrolment) -> list[dict[str, Any]]:
    visits = Visit.objects.filter(enrolment=enrolment).order_by("pk")
    keys = dict(Node.objects.filter(pk__in=visits.values("node_id")).values_list("pk", "key"))
    messages = {
        message.key: message
        for message in Message.objects.filter(enrolment_id=enrolment.pk).select_related("template").order_by("pk")
    }
    path = []
    for visit in visits:
        key = keys.get(visit.node_id, "")
        if not key:
            continue
        step: dict[str, Any] = {
            "step": key,
            "entered_at": visit.entered_at,
            "left_at": visit.left_at,
            "outcome": visit.outcome,
        }
        if visit.inputs is not None:
            step["inputs"] = visit.inputs
        item = visit.outcome.removeprefix("item:")
        wanted = (
            f"enrolment:{enrolment.pk}:{key}:{visit.visit}"
            if item == visit.outcome
            else f"item:{enrolment.journey.key}:{item}:{enrolment.contact_id}"
        )
        if message := messages.get(wanted):
            step["message"] = {"key": message.key, "state": message.state, "reason": message.reason}
        path.append(step)
    return path


def _next(enrolment: Enrolment, now: datetime) -> dict[str, Any] | None:
    token = Due.objects.filter(enrolment=enrolment).first()
    node = Node.objects.filter(pk=token.node_id).first() if token else None
    if token is None or node is None:
        return None
    return {
        "step": node.key,
        "kind": node.kind,
        "at": token.due_at,
        "is_due": token.due_at <= now,
        "waits": node.config,
    }


def _not_in_audience(journey: Journey, last: Enrolment | None) -> str:
    if last is not None:
        return _("Each occasion of a broadcast reaches a person once.")
    taken = journey.sendouts.exclude(snapshot_at=None).first()
    if taken is None or taken.snapshot_at is None:
        return _("Its audience has not been taken yet.")
    moment = date_format(localtime(taken.snapshot_at), "SHORT_DATETIME_FORMAT")
    return _("The contact was not in the audience when it was taken, on %(moment)s.") % {"moment": moment}


def _why_not(contact: Contact, journey: Journey, last: Enrolment | None, now: datetime) -> list[str]:
    """What keeps the person out, as sentences; the first is the strongest."""
    reasons = []
    if contact.merged_into_id or contact.erased_at:
        reasons.append(_("The contact was merged into another one, or erased."))
    if journey.state != "live":
        reasons.append(_("The journey is not live: it is %(state)s.") % {"state": journey.get_state_display()})
    if journey.version is None:
        return reasons
    if journey.kind == "broadcast":
        return [*reasons, _not_in_audience(journey, last)]
    definition = journey.version.definition
    reasons += why_outside(contact, journey)
    if last is not None:
        reasons += why_not_more(contact, journey, definition.get("reentry") or {}, now)
        reasons += _no_reentry(definition.get("reentry") or {"policy": "never"}, last, now)
    mine = Touchpoint.objects.filter(contact=contact)
    found = False
    for cause in causes(journey.key, definition, now, Vocabulary()):
        kind = cause.kind
        newest = mine.filter(cause.wanted, is_machine=False).order_by("-pk").first()
        if newest is None or kind == "journey.requested":
            found = found or newest is not None
            continue
        found = True
        if newest.received_at - newest.occurred_at > grace_of(definition):
            reasons.append(
                _("“%(kind)s” was told more than %(grace)s after it happened, so it started nothing.")
                % {"kind": kind, "grace": format_duration(grace_of(definition))}
            )
        elif newest.received_at < journey.version.published_at:
            reasons.append(
                _("“%(kind)s” happened before the journey went live; only what comes after lets people in.")
                % {"kind": kind}
            )
    if not found:
        names = [_in_words(trigger) for _path, trigger in triggers_of(definition)]
        reasons.append(_("Nothing that lets people in has happened: %(triggers)s.") % {"triggers": "; ".join(names)})
    return reasons


def _no_reentry(reentry: dict[str, Any], last: Enrolment, now: datetime) -> list[str]:
    if reentry["policy"] == "never":
        return [_("Nobody gets in a second time.")]
    if reentry["policy"] == "per_key":
        return [_("Each “%(key)s” lets the person in once.") % {"key": reentry["key"]}]
    cooldown = parse_duration(reentry["cooldown"]) if "cooldown" in reentry else timedelta()
    if last.ended_at and last.ended_at + cooldown > now:
        return [_("Getting in again is possible after %(when)s.") % {"when": last.ended_at + cooldown}]
    return [_("Getting in again needs the trigger to happen anew.")]


def _in_words(trigger: Any) -> str:
    if not isinstance(trigger, dict):
        return str(trigger)
    return ", ".join(f"{kind} {said}" for kind, said in trigger.items())
