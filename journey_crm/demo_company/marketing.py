"""What Karel of marketing does over the days: announcements, a better onboarding, journeys in every state."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model

from campaigns import publishing
from campaigns.models import Journey
from messaging.models import LintFinding

Act = Callable[[datetime], None]

_KNOWN_PEOPLE = {"stage": "lead", "op": "reached"}


def acts(start: datetime, end: datetime) -> Iterator[tuple[datetime, Act]]:
    """What happens at which moment of the company's days."""

    def morning(share: float) -> datetime:
        """Early on the Monday before so much of the time has passed."""
        day = start + share * (end - start)
        return max((day - timedelta(days=day.weekday())).replace(hour=8, minute=10), start + timedelta(hours=1))

    yield morning(0.6), improve_onboarding
    yield morning(0.86), announce_card_payments
    yield end - timedelta(days=4, hours=3), pause_reviews
    yield end - timedelta(days=1, hours=4), plan_calendar_sync


def announce_card_payments(now: datetime) -> None:
    """News to everybody we know: a tenth goes first, then so many an hour that it takes some stops of the clock."""
    _announce(
        now, "card-payments", "Card payments are here", _ten_on(2, now + timedelta(days=1)),
        {"throttle": "4000/h", "canary": {"share": "10%", "wait": "3h"}},
    )  # fmt: skip


def plan_calendar_sync(now: datetime) -> None:
    """News that is still to come."""
    _announce(
        now, "calendar-sync", "Your calendar in both directions", _ten_on(0, now + timedelta(days=4)),
        {"throttle": "500/h", "canary": {"share": "5%", "wait": "2h"}},
    )  # fmt: skip


def _ten_on(weekday: int, first: datetime) -> str:
    """Ten o'clock on the first such day of the week (0 is Monday) from that day on, by the clock of each person."""
    return f"{first + timedelta(days=(weekday - first.weekday()) % 7):%Y-%m-%d}T10:00"


def _announce(now: datetime, key: str, name: str, at: str, pace: dict[str, Any]) -> None:
    journey = Journey.objects.create(key=key, name=name, kind="broadcast", created_at=now)
    definition = {
        "key": key, "name": name, "kind": "broadcast", "audience": _KNOWN_PEOPLE, "send": key, "at": at,
        "valid_for": "3d", **pace,
    }  # fmt: skip
    _draw(journey, definition, now, "Made.")
    publishing.publish(journey=journey, by=_karel(), now=now)


def improve_onboarding(now: datetime) -> None:
    """Version 2 asks sooner: who waits is moved along, who has no booking yet goes on at once, all others follow."""
    journey = Journey.objects.get(key="welcome")
    definition = publishing.draft_of(journey)
    for step in definition["steps"]:
        if step["key"] == "first-days":
            step["wait"] = "1d"
        if step["key"] == "three-days":
            step |= {"key": "two-more", "wait": "2d"}
        if step["key"] == "has-booking":
            step["timeout"] = "4d"
    _draw(journey, definition, now, "Ask for the first booking three days sooner.")
    wanted = {"three-days": {"do": "move", "to": "two-more"}, "has-booking": {"do": "release"}}
    journey.refresh_from_db()
    # A step of a version that nobody is on has no row, and cannot be chosen for.
    choices = {row.key: wanted[row.key] for row in publishing.impact_of(journey).rows if row.key in wanted}
    publishing.publish(journey=journey, by=_karel(), now=now, everybody="follow", choices=choices)


def pause_reviews(now: datetime) -> None:
    """The page for reviews is being mended."""
    publishing.pause(journey=Journey.objects.get(key="reviews"), by=_karel(), now=now)


def finish(end: datetime) -> None:
    """What is unfinished on the last day: drafts of what is live, a drawing; and one journey was ended."""
    track = Journey.objects.get(key="education")
    definition = publishing.draft_of(track)
    for stream in definition["streams"]:
        if stream["key"] == "decision":
            stream["items"].append({"key": "story-barber", "send": "pro-story"})
    _draw(track, definition, end, "Added the barber's story to decision.")
    welcome = Journey.objects.get(key="welcome")
    definition = publishing.draft_of(welcome)
    definition["steps"] = [step for step in definition["steps"] if step["key"] != "two-more"]
    for step in definition["steps"]:
        if step["key"] == "has-booking":
            step["timeout"] = "3d"
    _draw(welcome, definition, end, "Share the booking page sooner.")
    old = Journey.objects.create(key="spring-trial", name="Spring trial", kind="onboarding", created_at=end)
    _draw(
        old,
        {
            "key": old.key, "name": old.name, "kind": old.kind,
            "trigger": {"touchpoint": "trial.started"}, "reentry": {"policy": "never"},
            "steps": [{"key": "welcome", "send": "welcome"}, {"key": "end", "exit": "done"}],
        },
        end, "Made.",
    )  # fmt: skip
    publishing.publish(journey=old, by=_karel(), now=end)
    publishing.archive(journey=old, by=_karel(), now=end)
    drawing = Journey.objects.create(
        key="payroll", name="Payroll for growing studios", kind="cross_sell", created_at=end
    )
    _draw(
        drawing,
        {
            "key": drawing.key, "name": drawing.name, "kind": drawing.kind,
            "trigger": {"segment_entered": "bigger-companies"}, "reentry": {"policy": "never"},
            "steps": [{"key": "ten", "wait_until": {"local_time": "10:00", "weekdays": "tue-thu"}}],
        },
        end, "Began the drawing.",
    )  # fmt: skip


def mute_finding(now: datetime) -> None:
    """What is right as it is: the word stands in the form whose answers the mail sends."""
    for one in LintFinding.objects.open().filter(rule="glossary").order_by("template__key", "language", "excerpt")[:1]:
        one.mute(by=_karel(), reason="The webinar's own form calls it so.", now=now)


def _draw(journey: Journey, definition: dict[str, Any], now: datetime, message: str) -> None:
    publishing.save_draft(journey=journey, definition=definition, by=_karel(), now=now, message=message)


def _karel() -> Any:
    return get_user_model().objects.get(username="karel")
