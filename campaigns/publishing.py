"""From draft to live: publishing a frozen version, going back to one, pausing and ending.

Whoever is inside when a new version goes live finishes the version that they began, unless the publish says otherwise
(see `campaigns.impact`). Members of a nurture track are the exception: a track has no end, so they go on in the stream
of the same key (see `campaigns.tracks`).
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Exists, Max, OuterRef, Q
from django.utils.translation import gettext as _

from campaigns import graph, moving_people, onboarding, sendouts
from campaigns.checking import known, problems
from campaigns.drafting import (
    Stale,
    Taken,
    clone,
    current_draft,
    draft_of,
    locked,
    redo,
    restore,
    save_draft,
    undo,
)
from campaigns.impact import Sheet, impact
from campaigns.models import DatesAsked, Enrolment, Journey, JourneyVersion, Node, NodeExit
from campaigns.requests import request_matching
from campaigns.triggers import dates_of
from contacts.sql import load
from contacts.stream import wait_for_tick_lock
from messaging import outbox

__all__ = [
    "Stale", "Taken", "Unpublishable", "WrongState", "archive", "asking", "clone", "current_draft", "draft_of",
    "impact_of", "is_changed", "known", "pause", "people_inside", "problems", "publish", "redo", "restore", "resume",
    "rollback", "save_draft", "undo", "users_of_field", "users_of_segment", "users_of_template",
]  # fmt: skip

SQL = load(__file__)


class Unpublishable(ValueError):
    """The draft has errors; `problems` names them all."""

    def __init__(self, problems: list[graph.Problem]):
        self.problems = problems
        super().__init__("\n".join(f"{problem.path}: {problem.message}" for problem in problems))


class WrongState(ValueError):
    """The journey is not in a state in which this can be done."""


# Uses -----------------------------------------------------------------------------------------------------------------


def users_of_segment(key: str) -> list[str]:
    """The journeys that name a segment: it cannot be deleted under them."""
    return _users_of(key, ("in_segment", "segment_entered", "segment_left"))


def users_of_template(key: str) -> list[str]:
    """The journeys that send a template."""
    return _users_of(key, ("send", "default", "nudge"))


def asking() -> Iterator[tuple[str, Any]]:
    """What live journeys ask, with their names."""
    for version in JourneyVersion.objects.filter(journey__state__in=["live", "paused", "closing"]).select_related(
        "journey"
    ):
        if version.pk == version.journey.version_id:
            yield _("Journey “%(name)s”") % {"name": version.journey}, version.definition


def users_of_field(key: str) -> list[str]:
    """The journeys that ask about a field of contacts, or write it."""
    return _users_of(key, ("field", "field_changed"))


def _users_of(key: str, words: tuple[str, ...]) -> list[str]:
    """Journeys with the key under one of the words: in their draft, in what is live, or where somebody still is."""

    def names_it(part: Any) -> bool:
        if isinstance(part, dict):
            return any(part.get(word) == key for word in words) or any(names_it(value) for value in part.values())
        return isinstance(part, list) and any(names_it(one) for one in part)

    under_way = Exists(Enrolment.objects.filter(version=OuterRef("pk"), state="open"))
    return [
        _("journey “%(name)s”") % {"name": journey}
        for journey in Journey.objects.exclude(state="archived")
        if names_it(draft_of(journey))
        or any(
            names_it(version.definition) for version in journey.versions.filter(Q(pk=journey.version_id) | under_way)
        )
    ]


# Going live ----------------------------------------------------------------------------------------------------------


Choices = Mapping[str, Mapping[str, Any]]


def impact_of(
    journey: Journey,
    definition: Mapping[str, Any] | None = None,
    *,
    everybody: str = "finish",
    choices: Choices | None = None,
) -> Sheet:
    """What publishing the current draft, or another definition, would mean. Raises Unpublishable and WrongState."""
    if definition is None:
        draft = current_draft(journey)
        if draft is None:
            raise WrongState(_("There is no draft to publish."))
        definition = draft.definition
    _refuse_wrong(journey, definition)
    return impact(journey, definition, everybody=everybody, choices=choices)


def _refuse_wrong(journey: Journey, definition: Mapping[str, Any]) -> None:
    found = problems(definition)
    for name, value in (("key", journey.key), ("kind", journey.kind)):
        if definition.get(name) != value:
            found.append(graph.Problem(name, "", _("The journey is called “%(value)s” here.") % {"value": value}))
    if journey.kind == "broadcast" and not found and (again := sendouts.refusal(journey, definition)):
        found.append(graph.Problem("at", "", again))
    if errors := [problem for problem in found if problem.level != "warning"]:
        raise Unpublishable(errors)


@transaction.atomic
def publish(
    *,
    journey: Journey,
    by: Any,
    now: datetime,
    enrol_matching: bool = False,
    everybody: str = "finish",
    choices: Choices | None = None,
) -> JourneyVersion:
    """Freezes the current draft as the version that runs from now on; one that says nothing new stays the same version.

    `everybody` inside finishes, or follows; `choices` says otherwise for single steps (see `campaigns.impact`).
    `enrol_matching` asks the next tick to let in whoever is in a trigger's segment already. Raises Unpublishable with
    all errors, and WrongState for an archived journey or one without a draft.
    """
    # Nobody moves while the people inside are counted and moved. Before our own lock, as the tick takes them.
    wait_for_tick_lock()
    journey = locked(journey)
    draft = current_draft(journey)
    if draft is None:
        raise WrongState(_("There is no draft to publish."))
    if journey.state in ("closing", "archived"):
        raise WrongState(_("The journey is archived; copy it to use it again."))
    sheet = impact_of(journey, draft.definition, everybody=everybody, choices=choices)
    if sheet.problems:
        raise Unpublishable(sheet.problems)
    version = journey.version
    if version is None or version.definition != draft.definition:
        last = journey.versions.aggregate(last=Max("number"))["last"] or 0
        version = JourneyVersion.objects.create(
            journey_id=journey.pk, number=last + 1, definition=draft.definition, published_at=now, published_by=by
        )
        _lay_down(version)
    if not dates_of(version.definition):
        # Should a later version have dates again, those count that come after it is published.
        DatesAsked.objects.filter(journey=journey).delete()
    journey.version = version
    journey.tier = graph.tier_of(draft.definition)
    if journey.state == "draft":
        journey.state = "live"
    journey.save(update_fields=["version", "tier", "state"])
    if journey.kind == "broadcast":
        sendouts.plan(journey, version, now)
    if sheet.inside:
        done = moving_people.move(journey, sheet, version, now)
        onboarding.watch_moved(version)
        _keep_sheet(version, sheet.plain(done) | {"at": now.isoformat(), "by": str(by) if by else ""})
    if enrol_matching:
        request_matching(journey=journey, by=by, now=now)
    return version


def _keep_sheet(version: JourneyVersion, sheet: dict[str, Any]) -> None:
    """What was said and done stays with the version; where it was published again, all of it, the newest first."""
    if version.sheet is not None:
        sheet["before"] = version.sheet
    version.sheet = sheet
    version.save(update_fields=["sheet"])


@transaction.atomic
def rollback(
    *,
    journey: Journey,
    number: int,
    by: Any,
    now: datetime,
    everybody: str = "finish",
    choices: Choices | None = None,
) -> JourneyVersion:
    """Publishes what a version says once more, as the newest one, with a sheet like any other. Raises as `publish`."""
    wait_for_tick_lock()
    version = journey.versions.filter(number=number).first()
    if version is None:
        raise WrongState(_("There is no version %(number)d.") % {"number": number})
    restore(journey=journey, version=version, by=by, now=now)
    return publish(journey=journey, by=by, now=now, everybody=everybody, choices=choices)


def _lay_down(version: JourneyVersion) -> None:
    """The definition as rows, so that sets of people can be moved by joins."""
    specs = graph.nodes(version.definition)
    rows = {
        spec.key: Node(version=version, key=spec.key, kind=spec.kind, config=spec.config, position=place)
        for place, spec in enumerate(specs)
    }
    Node.objects.bulk_create(rows.values())
    NodeExit.objects.bulk_create(
        NodeExit(node=rows[spec.key], label=label, target=rows[target] if target is not None else None)
        for spec in specs
        for label, target in spec.edges.items()
    )


def is_changed(journey: Journey) -> bool:
    """Whether the draft says anything else than what is live."""
    draft = current_draft(journey)
    return draft is not None and (journey.version is None or journey.version.definition != draft.definition)


def people_inside(journey: Journey) -> int:
    """How many enrolments are under way, over all versions."""
    return Enrolment.objects.filter(journey_id=journey.pk, state="open").count()


@transaction.atomic
def pause(*, journey: Journey, by: Any, now: datetime, reason: dict[str, Any] | None = None) -> None:
    """Freezes everybody where they stand, and holds back what is not sent yet. Raises WrongState.

    `reason` is what the fuse saw, where it is the fuse that pauses.
    """
    # A tick under way may be making messages: those must be held too. Before our own lock, as the tick takes them.
    wait_for_tick_lock()
    journey = locked(journey)
    if journey.state != "live":
        raise WrongState(_("Only a live journey can be paused."))
    outbox.hold(journey_key=journey.key, is_held=True)
    journey.state, journey.paused_at, journey.paused_by, journey.pause_reason = "paused", now, by, reason
    journey.save(update_fields=["state", "paused_at", "paused_by", "pause_reason"])


@transaction.atomic
def resume(*, journey: Journey, by: Any, now: datetime) -> None:
    """Lets everybody go on; what became due meanwhile is due now. Raises WrongState.

    What the fuse paused only a person lets go on; the fuse then looks at what comes from now on.
    """
    wait_for_tick_lock()
    journey = locked(journey)
    if journey.state != "paused":
        raise WrongState(_("Only a paused journey can be resumed."))
    if journey.pause_reason and by is None:
        raise WrongState(_("The fuse paused this journey: a person must look at it and let it go on."))
    _let_go(journey, now)
    journey.state, journey.paused_at, journey.paused_by = "live", None, None
    journey.pause_reason, journey.armed_at = None, now
    journey.save(update_fields=["state", "paused_at", "paused_by", "pause_reason", "armed_at"])


def _let_go(journey: Journey, now: datetime) -> None:
    outbox.hold(journey_key=journey.key, is_held=False)
    SQL["ask_waiting_again"].run(journey=journey.pk, now=now)


@transaction.atomic
def archive(*, journey: Journey, by: Any, now: datetime, people: str = "exit") -> None:
    """Ends the journey for good: nobody gets in. Whoever is inside leaves with the next tick, or may `finish` first.

    While they do, the journey is closing; then it is archived. Raises WrongState for a track, which nobody finishes.
    """
    wait_for_tick_lock()
    journey = locked(journey)
    if journey.state == "archived":
        return
    if people == "finish" and people_inside(journey):
        if journey.version is not None and "streams" in journey.version.definition:
            raise WrongState(_("A track has no end: its members can only leave at once."))
        if journey.state == "paused":
            _let_go(journey, now)
        journey.state, journey.paused_at, journey.paused_by, journey.pause_reason = "closing", None, None, None
    else:
        journey.state = "archived"
    journey.save(update_fields=["state", "paused_at", "paused_by", "pause_reason"])
