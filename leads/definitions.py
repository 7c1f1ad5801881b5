"""Routing and the reasons to reject as code."""

from collections.abc import Iterator
from typing import Any

from django.contrib.auth import get_user_model
from django.utils.translation import gettext

from contacts.definitions import DefinitionError, Section, check_keys, checked_rule, text, without_defaults
from contacts.durations import format_duration, parse_duration
from leads.models import RejectReason, Team


def _read_routing() -> dict[str, dict[str, Any]]:
    return {
        team.key: without_defaults(
            {
                "team": team.key,
                "name": team.name,
                "when": team.rule,
                "reps": sorted(user.get_username() for user in team.reps.all()),
                "hours": team.hours,
                "sla": team.sla and format_duration(team.sla),
            },
            name="",
            when=None,
            reps=[],
            hours="",
            sla=None,
        )
        for team in Team.objects.order_by("key").prefetch_related("reps")
    }


def _write_routing(data: dict[str, Any]) -> None:
    check_keys(data, required=["team"], optional=["name", "when", "reps", "hours", "sla"])
    users = list(get_user_model().objects.filter(username__in=data.get("reps", [])))
    for index, username in enumerate(data.get("reps", [])):
        if username not in {user.get_username() for user in users}:
            raise DefinitionError(f"reps[{index}]", f"there is no user {username!r}.")
    try:
        sla = parse_duration(data["sla"]) if data.get("sla") else None
    except ValueError as error:
        raise DefinitionError("sla", str(error)) from None
    rule = data.get("when")
    team, _ = Team.objects.update_or_create(
        key=data["team"],
        defaults={
            "name": text(data, "name"),
            "rule": None if rule is None else checked_rule(rule, "when"),
            "hours": text(data, "hours"),
            "sla": sla,
        },
    )
    team.reps.set(users)


def _read_reasons() -> dict[str, dict[str, Any]]:
    return {
        reason.key: without_defaults(
            {
                "key": reason.key,
                "name": reason.name,
                "names": reason.names,
                "track": reason.track_key,
                "is_final": reason.is_final,
                "position": reason.position,
            },
            names={},
            track="",
            is_final=False,
            position=0,
        )
        for reason in RejectReason.objects.order_by("position", "key")
    }


def _write_reason(data: dict[str, Any]) -> None:
    check_keys(data, required=["key", "name"], optional=["names", "track", "is_final", "position"])
    if not isinstance(data.get("is_final", False), bool):
        raise DefinitionError("is_final", f"must be true or false, not {data['is_final']!r}.")
    RejectReason.objects.update_or_create(
        key=data["key"],
        defaults={
            "name": text(data, "name"),
            "names": data.get("names", {}),
            "track_key": text(data, "track"),
            "is_final": data.get("is_final", False),
            "position": data.get("position", 0),
        },
    )


SECTIONS = [
    Section("routing", _read_routing, _write_routing, key="team"),
    Section("reject_reasons", _read_reasons, _write_reason),
]


def rules() -> Iterator[tuple[str, Any]]:
    """Which leads go to which team, after the names of the teams."""
    for team in Team.objects.filter(rule__isnull=False).order_by("key"):
        yield gettext("routing to the team “%(name)s”") % {"name": team}, team.rule
