"""People, touchpoints and steps for the tests of scores, stages and leads."""

from datetime import UTC, datetime, timedelta

from contacts.models import Contact, Identity, Touchpoint
from contacts.stream import Step, run_step
from leads import moves
from leads.handoff import handoff
from scoring.models import ScoreModel, ScoreRule
from scoring.points import score
from scoring.stages import stage

STEPS = [Step("moves", moves.settle), Step("score", score), Step("stage", stage), Step("handoff", handoff)]
NOW = datetime(2026, 11, 10, 9, 0, tzinfo=UTC)


def visitor() -> Contact:
    return Contact.objects.create(created_at=NOW)


def known(email: str = "jana@example.com", **more) -> Contact:
    contact = Contact.objects.create(email=email, created_at=NOW, **more)
    Identity.objects.create(contact=contact, kind="email", value=email, created_at=NOW)
    return contact


def did(contact: Contact, kind: str, at: datetime = NOW, *, received: datetime | None = None, **more) -> Touchpoint:
    """One thing that happened, as ingest would write it."""
    return Touchpoint.objects.create(
        contact=contact, kind=kind, occurred_at=at, received_at=received or max(at, NOW), **more
    )


def model(key: str = "engagement", qualify_at: float | None = None, **more) -> ScoreModel:
    return ScoreModel.objects.create(key=key, qualify_at=qualify_at, **more)


def rule(
    of: ScoreModel, when: str | dict, points: float, days: float | None = None, cap: float | None = None, key: str = ""
) -> ScoreRule:
    when = {"did": when} if isinstance(when, str) else when
    return ScoreRule.objects.create(
        model=of,
        key=key or f"rule-{of.rules.count()}",
        when=when,
        points=points,
        half_life=None if days is None else timedelta(days=days),
        cap_per_day=cap,
    )


def tick(now: datetime = NOW) -> dict[str, int]:
    """Score, stage and hand-off once; a step that fails fails the test."""
    from contacts.models import StepCursor

    done = {step.name: run_step(step, now) for step in STEPS}
    errors = [cursor.error for cursor in StepCursor.objects.exclude(error="")]
    assert not errors, errors[0]
    return done


def told(contact: Contact, kind: str) -> list[dict]:
    """What the stream says of a contact, in order."""
    return list(
        Touchpoint.objects.filter(contact=contact, kind=kind).order_by("id").values_list("properties", flat=True)
    )
