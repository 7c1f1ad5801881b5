"""Routing and the reasons to reject as code."""

from collections.abc import Iterator
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Prefetch
from django.utils.translation import gettext

from contacts.definitions import DefinitionError, Section, check_keys, checked_rule, text, without_defaults
from contacts.durations import format_duration, parse_duration
from leads.models import RejectReason, Rep, Team
from leads.working import SHORTEST_SLA, HoursError, check_holidays, parse_hours


def _read_routing() -> dict[str, dict[str, Any]]:
    return {
        team.key: without_defaults(
            {
                "team": team.key,
                "name": team.name,
                "position": team.position,
                "when": team.rule,
                "reps": [_read_rep(rep) for rep in team.places.all()],
                "hours": team.hours,
                "holidays": team.holidays,
                "sla": team.sla and format_duration(team.sla),
            },
            name="",
            position=0,
            when=None,
            reps=[],
            hours="",
            holidays=[],
            sla=None,
        )
        for team in Team.objects.order_by("key").prefetch_related(
            Prefetch("places", Rep.objects.select_related("user").order_by("user__username"))
        )
    }


def _read_rep(rep: Rep) -> str | dict[str, Any]:
    """Just the name of who takes all of the team, by its hours, as many as there are."""
    name = rep.user.get_username()
    more = without_defaults(
        {"when": rep.rule, "capacity": rep.capacity, "hours": rep.hours}, when=None, capacity=None, hours=""
    )
    return {"user": name, **more} if more else name


def _write_routing(data: dict[str, Any]) -> None:
    check_keys(data, required=["team"], optional=["name", "position", "when", "reps", "hours", "holidays", "sla"])
    try:
        sla = parse_duration(data["sla"]) if data.get("sla") else None
    except ValueError as error:
        raise DefinitionError("sla", str(error)) from None
    if sla is not None and sla < SHORTEST_SLA:
        raise DefinitionError("sla", "must be a minute at least.")
    reps = _checked_reps(data.get("reps", []))
    team, _ = Team.objects.update_or_create(
        key=data["team"],
        defaults={
            "name": text(data, "name"),
            "position": _whole(data.get("position", 0), "position", 32_767),
            "rule": _rule(data.get("when"), "when"),
            "hours": _hours(data, ""),
            "holidays": _holidays(data.get("holidays", [])),
            "sla": sla,
        },
    )
    team.places.exclude(user__in=list(reps)).delete()
    for user, values in reps.items():
        Rep.objects.update_or_create(team=team, user=user, defaults=values)


def _checked_reps(items: Any) -> dict[Any, dict[str, Any]]:
    """The places of a team by user, as they are stored."""
    if not isinstance(items, list):
        raise DefinitionError("reps", f"must be a list, not {items!r}.")
    found: dict[Any, dict[str, Any]] = {}
    for index, item in enumerate(items):
        path = f"reps[{index}]"
        data = {"user": item} if isinstance(item, str) else item
        check_keys(data, required=["user"], optional=["when", "capacity", "hours"], path=path)
        user = get_user_model().objects.filter(username=data["user"]).first()
        if user is None:
            raise DefinitionError(path, f"there is no user {data['user']!r}.")
        if user in found:
            raise DefinitionError(path, f"{data['user']!r} is there twice.")
        capacity = data.get("capacity")
        found[user] = {
            "rule": _rule(data.get("when"), f"{path}.when"),
            "capacity": None if capacity is None else _whole(capacity, f"{path}.capacity", 2_147_483_647),
            "hours": _hours(data, f"{path}."),
        }
    return found


def _rule(rule: Any, path: str) -> Any:
    return None if rule is None else checked_rule(rule, path)


def _whole(value: Any, path: str, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise DefinitionError(path, f"must be a whole number from 0 to {most}, not {value!r}.")
    return value


def _hours(data: dict[str, Any], path: str) -> str:
    hours = text(data, "hours")
    try:
        parse_hours(hours)
    except HoursError as error:
        raise DefinitionError(f"{path}hours", str(error)) from None
    return hours


def _holidays(codes: Any) -> list[str]:
    if not isinstance(codes, list) or not all(isinstance(code, str) for code in codes):
        raise DefinitionError("holidays", f"must be a list of codes of countries such as [CZ], not {codes!r}.")
    try:
        return check_holidays(codes)
    except HoursError as error:
        raise DefinitionError("holidays", str(error)) from None


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
    """Which leads go to which team, after the names of the teams; and to which rep."""
    for team in Team.objects.filter(rule__isnull=False).order_by("key"):
        yield gettext("routing to the team “%(name)s”") % {"name": team}, team.rule
    for rep in Rep.objects.filter(rule__isnull=False).select_related("team", "user"):
        yield gettext("routing to “%(name)s”") % {"name": rep}, rep.rule
