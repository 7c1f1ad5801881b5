"""People with a past, by the thousand: who did what when, and who became a customer."""

import random
from collections.abc import Callable
from datetime import datetime, timedelta

from contacts.models import Contact, Touchpoint
from scoring.models import StageChange
from tests.scoring.world import NOW

BEGIN = NOW - timedelta(days=500)


def people(count: int, at: datetime = BEGIN, **more) -> list[Contact]:
    """Known people, since `at`."""
    made = [
        Contact(email=f"p{number}@example.com", created_at=at, stage="known", highest_stage="known", **more)
        for number in range(count)
    ]
    return Contact.objects.bulk_create(made)


def won(contact: Contact, at: datetime) -> StageChange:
    """A person who became a customer, not yet saved."""
    return StageChange(contact=contact, from_stage="known", to_stage="customer", reason="order.placed", changed_at=at)


def act(contact: Contact, kind: str, at: datetime, received: datetime | None = None) -> Touchpoint:
    """One thing that a person did, not yet saved."""
    return Touchpoint(contact=contact, kind=kind, channel="web", occurred_at=at, received_at=received or at)


def made_history(
    count: int,
    chance: Callable[[int, random.Random], tuple[list[tuple[str, float]], float]],
    *,
    window: int = 90,
    windows: int = 1,
    seed: int = 1,
) -> None:
    """`count` people for each of the last `windows` windows (days), who did things in the 10 days before it began.

    `chance(number, lots)` answers what a person did (kind, days before) and how likely they become a customer in it.
    """  # fmt: skip
    lots = random.Random(seed)
    touchpoints, changes = [], []
    for back in range(1, windows + 1):
        at = NOW - timedelta(days=window * back)
        some = [
            Contact(email=f"w{back}-{n}@example.com", created_at=at - timedelta(days=20), stage="known")
            for n in range(count)
        ]
        for number, contact in enumerate(Contact.objects.bulk_create(some)):
            done, likely = chance(number, lots)
            touchpoints += [act(contact, kind, at - timedelta(days=days)) for kind, days in done]
            if lots.random() < likely:
                changes.append(won(contact, at + timedelta(days=lots.uniform(1, window - 1))))
            elif back > 1:
                # Later windows do not ask of them again.
                changes.append(
                    StageChange(
                        contact=contact, from_stage="known", to_stage="disqualified", reason="test",
                        changed_at=at + timedelta(days=window),
                    )
                )  # fmt: skip
    Touchpoint.objects.bulk_create(touchpoints)
    StageChange.objects.bulk_create(changes)
