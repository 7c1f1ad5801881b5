"""Journeys as code: the file holds each journey's draft; `--publish` makes it live."""

from datetime import datetime
from typing import Any

from django.utils.timezone import now as wall_clock

from campaigns import graph, publishing
from campaigns.models import Journey
from contacts.definitions import DefinitionError, Section

_KINDS = [name for name, _ in Journey.KINDS]


def _read_journeys() -> dict[str, dict[str, Any]]:
    journeys = Journey.objects.filter(revision__gt=0).exclude(state__in=["closing", "archived"]).order_by("key")
    return {journey.key: publishing.draft_of(journey) for journey in journeys}


def _prepare_journeys(items: list[dict[str, Any]]) -> None:
    for data in items:
        if data.get("kind") not in _KINDS:
            raise DefinitionError(f"journeys.{data['key']}.kind", f"must be one of {', '.join(_KINDS)}.")
        name = data["name"] if data.get("name") and isinstance(data["name"], str) else data["key"]
        if not graph.is_key(data["key"]):
            raise DefinitionError(f"journeys.{data['key'][:64]}.key", "is letters, digits, - and _, at most 64.")
        journey, _ = Journey.objects.get_or_create(key=data["key"], defaults={"kind": data["kind"], "name": name})
        if journey.kind != data["kind"]:
            raise DefinitionError(
                f"journeys.{data['key']}.kind", f"is {journey.kind} and cannot become {data['kind']}; use another key."
            )
        if journey.state in ("closing", "archived"):
            raise DefinitionError(f"journeys.{data['key']}", "is archived; use another key.")


def _write_journey(data: dict[str, Any]) -> None:
    definition = graph.complete(data)
    errors = [problem for problem in publishing.problems(definition) if problem.level == "error"]
    if errors:
        raise DefinitionError(errors[0].path, errors[0].message)
    journey = Journey.objects.get(key=data["key"])
    if journey.revision and publishing.draft_of(journey) == definition:
        return
    publishing.save_draft(
        journey=journey, definition=definition, by=None, now=wall_clock(), message="Applied from a file."
    )


def publish_if_changed(key: str, *, by, now: datetime) -> bool:
    """Publishes a journey unless its draft is what is live already."""
    journey = Journey.objects.select_related("version").get(key=key)
    if journey.version and journey.version.definition == publishing.draft_of(journey):
        return False
    try:
        publishing.publish(journey=journey, by=by, now=now)
    except publishing.Unpublishable as wrong:
        raise DefinitionError(f"journeys.{key}.{wrong.problems[0].path}", wrong.problems[0].message) from None
    except publishing.WrongState as wrong:
        raise DefinitionError(f"journeys.{key}", str(wrong)) from None
    return True


SECTIONS = [Section("journeys", _read_journeys, _write_journey, _prepare_journeys)]
