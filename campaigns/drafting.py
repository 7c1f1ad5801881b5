"""Drafts: snapshots of a journey being drawn, with a pointer to the current one, so that undoing survives everything.

Any draft, and any version that was ever published, can become the new draft again; a copy of a journey begins as one.
"""

import copy
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from campaigns import graph
from campaigns.checking import problems
from campaigns.findings import LONGEST_NAME
from campaigns.models import Draft, Journey, JourneyVersion

# When a broadcast goes out: a copy must not go out by itself.
SCHEDULE = ("at", "valid_until")


class Taken(ValueError):
    """Another journey has this key."""


class Stale(Exception):
    """Somebody else changed the draft since it was read (HTTP 409). `newest` is the draft as it is now."""

    def __init__(self, newest: Draft | None):
        self.newest = newest
        super().__init__(
            _("Somebody changed this journey meanwhile: %(what)s. Look at it and try again.")
            % {"what": newest.message or _("a new draft") if newest else _("a new draft")}
        )


def current_draft(journey: Journey) -> Draft | None:
    """The draft that the journey's pointer names; None before the first save."""
    return journey.drafts.filter(revision=journey.revision).first()


def draft_of(journey: Journey) -> dict[str, Any]:
    """The current draft's definition; empty before the first save."""
    draft = current_draft(journey)
    return draft.definition if draft else {}


@transaction.atomic
def save_draft(
    *,
    journey: Journey,
    definition: Mapping[str, Any],
    by: Any,
    now: datetime,
    message: str = "",
    revision: int | None = None,
) -> Draft:
    """Keeps a snapshot of the drawing, with a key for every step, and makes it the current one.

    `revision` is the one the editor saw: raises Stale if it is not the current one any more. What was undone is lost.
    """
    # What cannot even be judged is not kept: nobody could open its page.
    problems(graph.complete(definition))
    journey = locked(journey, revision)
    newest = journey.drafts.aggregate(newest=Max("revision"))["newest"] or 0
    journey.drafts.filter(revision__gt=journey.revision).delete()
    # Numbers are never used again, so that a stale editor cannot mistake another draft for his.
    draft = Draft.objects.create(
        journey_id=journey.pk,
        revision=newest + 1,
        definition=graph.complete(definition),
        message=message,
        made_at=now,
        made_by=by,
    )
    name = definition.get("name") or journey.key
    if isinstance(name, str) and len(name) <= LONGEST_NAME:  # another is a problem of the draft, and the old one stays
        journey.name = name
    _point(journey, draft)
    return draft


@transaction.atomic
def undo(*, journey: Journey, revision: int | None = None) -> Draft | None:
    """Goes back to the draft before; None where there is none. Raises Stale as `save_draft` does."""
    journey = locked(journey, revision)
    draft = journey.drafts.filter(revision__lt=journey.revision).order_by("-revision").first()
    return _point(journey, draft) if draft else None


@transaction.atomic
def redo(*, journey: Journey, revision: int | None = None) -> Draft | None:
    """Goes forward to the draft that was undone last; None where there is none."""
    journey = locked(journey, revision)
    draft = journey.drafts.filter(revision__gt=journey.revision).order_by("revision").first()
    return _point(journey, draft) if draft else None


def locked(journey: Journey, revision: int | None = None) -> Journey:
    """The journey as it is now, held until the end of the transaction. Raises Stale."""
    # The tick's rows point here, and may be written meanwhile; a lock of the key would make it wait for us.
    fresh = Journey.objects.select_for_update(no_key=True).get(pk=journey.pk)
    if revision is not None and revision != fresh.revision:
        raise Stale(current_draft(fresh))
    return fresh


def _point(journey: Journey, draft: Draft) -> Draft:
    journey.revision = draft.revision
    journey.save(update_fields=["revision", "name"])
    return draft


def restore(
    *,
    journey: Journey,
    by: Any,
    now: datetime,
    draft: Draft | None = None,
    version: JourneyVersion | None = None,
    revision: int | None = None,
) -> Draft:
    """Makes an older draft, or what was once published, the newest draft. Raises Stale as `save_draft` does."""
    if draft is not None:
        definition, message = draft.definition, _("Draft %(number)d restored.") % {"number": draft.revision}
    elif version is not None:
        definition, message = version.definition, _("Version %(number)d restored.") % {"number": version.number}
    else:
        raise TypeError("restore() needs a draft or a version.")
    return save_draft(journey=journey, definition=definition, by=by, now=now, message=message, revision=revision)


@transaction.atomic
def clone(*, journey: Journey, by: Any, now: datetime, key: str = "", name: str = "") -> Journey:
    """A copy of a journey's drawing as a draft of its own: nothing of it runs, is planned, or counts with the old one.

    Raises Taken for a key that another journey has; without one a free key is found.
    """
    definition = copy.deepcopy(draft_of(journey))
    key = key or _free_key(journey.key)
    if Journey.objects.filter(key=key).exists():
        raise Taken(_("There is a journey with this key already."))
    name = name or str(_("Copy of %(journey)s") % {"journey": journey})[:LONGEST_NAME]
    made = Journey.objects.create(key=key, name=name, kind=journey.kind, tier=journey.tier)
    for planned in SCHEDULE:
        definition.pop(planned, None)
    message = _("Copied from “%(journey)s”.") % {"journey": journey}
    save_draft(journey=made, definition=definition | {"key": key, "name": name}, by=by, now=now, message=message)
    made.refresh_from_db()
    return made


def _free_key(key: str) -> str:
    taken, number = set(Journey.objects.values_list("key", flat=True)), 2
    wish = f"{key[:50]}-copy"
    found = wish
    while found in taken:
        found, number = f"{wish}-{number}", number + 1
    return found
