"""Who is in nurture: on one track at a time, until they come back to sales.

A contact is under way in one nurture track at most. Of several, the one of the lowest tier goes first, else the newest;
the others are superseded: they stay open, their tokens stand still, what they had not sent yet is withdrawn. When the
first ends, the next one resumes with its next cast.

The nurture state beside the stage: none → in nurture → re-engaged, when a score comes over its line again.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Case, Exists, OuterRef, Subquery, TextField, Value, When
from django.db.models.lookups import IsNull
from django.utils.translation import gettext_lazy as _

from campaigns.models import Enrolment, Journey
from contacts.rulefields import RuleField
from contacts.sql import Fragment, load
from messaging import outbox

SQL = load(__file__)
RANKED, UNDECIDED, STANDING_STILL = (Fragment(SQL[name].sql) for name in ("ranked", "undecided", "standing_still"))

# What may change whose turn it is, beside people coming and going in this very step.
TURNING = {"journey.left", "contact.merged", "contact.unmerged"}
# Whoever stands still is looked at again after this, should nobody have noticed that it is her turn.
ALARM = timedelta(days=1)

STATES = {"none": _("None"), "in_nurture": _("In nurture"), "re_engaged": _("Re-engaged")}


def take_turns(now: datetime, people: Fragment) -> None:
    """Decides anew on which of their tracks these contacts (a SELECT of ids) are under way."""
    ranked = Fragment(RANKED.sql.replace("{people}", people.sql), people.params)
    behind = SQL["supersede_tracks"].rows(fragments={"ranked": ranked}, now=now, alarm=ALARM)
    if behind:
        outbox.cancel(now=now, reason="superseded", enrolments=[enrolment_id for (enrolment_id,) in behind])
    SQL["resume_tracks"].run(fragments={"ranked": ranked}, now=now)


def take_turns_after(now: datetime, after: int, upto: int) -> None:
    """Decides of whom a window touched, and of whoever just came to a second track, by an event or not."""
    take_turns(now, Fragment(UNDECIDED.sql, {"after": after, "upto": upto}))


def ring(now: datetime) -> None:
    """Looks again at those who stand still and whose alarm rings, and sets it anew."""
    take_turns(now, Fragment(STANDING_STILL.sql, {"now": now}))
    SQL["set_alarms"].run(now=now, alarm=ALARM)


def mark_re_engaged(now: datetime, after: int, upto: int, kinds: set[str]) -> None:
    """Notes and tells which members of tracks came over the line of a score, or became qualified, in a window."""
    if kinds & {"score.crossed", "stage.changed"}:
        SQL["mark_re_engaged"].run(now=now, after=after, upto=upto)


@dataclass(frozen=True)
class Standing:
    """The members of a stream: when the next of them are cast, how many have nothing left, how many stand still."""

    next_at: datetime | None
    exhausted: int
    superseded: int


def standings_of(journey: Journey) -> dict[str, Standing]:
    """How the streams of a track stand, by their keys, over all versions."""
    return {key: Standing(*row) for key, *row in SQL["read_streams"].rows(journey=journey.pk)}


def nurture_state(now: datetime) -> Case:
    """Where a contact stands beside the stage, as an expression over Contact. The newest track says who re-engaged."""
    tracks = Enrolment.objects.filter(contact=OuterRef("pk"), is_marketing_track=True)
    re_engaged_at = Subquery(tracks.order_by("-enrolled_at", "-pk").values("re_engaged_at")[:1])
    return Case(
        When(IsNull(re_engaged_at, False), then=Value("re_engaged")),
        When(Exists(tracks.filter(state="open")), then=Value("in_nurture")),
        default=Value("none"),
        output_field=TextField(),
    )


FIELD = RuleField(
    "nurture_state", "text", nurture_state, _("Nurture"), choices=tuple(STATES), choice_names=STATES,
    group=_("Stage and time"),
)  # fmt: skip
