"""The broadcast step of the tick: audiences are taken when their moment comes; what is under way is watched.

The audience is taken once, in one statement, when the first local moment anywhere is reached. Who comes later is not
in it; who leaves it afterwards gets the mail all the same unless a gate says no; a new address is written to.
"""

from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.core.exceptions import EmptyResultSet

from campaigns import broadcasts, publishing
from campaigns.enrolling import holdout_of
from campaigns.models import Journey, Node, Sendout
from campaigns.sendouts import plan_next
from contacts.rules import RuleError, matching
from contacts.sql import Fragment, fragment, load

SQL = load(__file__)
log = structlog.get_logger(__name__)

# After a pause or an outage, what a paced broadcast would have sent in this time leaves at once; the rest at its pace.
BURST = timedelta(minutes=5)
# The fuse of a canary: more bounces than this, or so many complaints (and at least three).
MOST_BOUNCES, MOST_COMPLAINTS, FEWEST_COMPLAINTS = 0.08, 0.003, 3


def broadcast(now: datetime, after: int, upto: int) -> int:
    """A step of the tick: begins what has come, watches what is under way; how many people were enrolled.

    Of the stream it asks only whether there is bad news.
    """
    if not Sendout.objects.filter(state__in=["scheduled", *Sendout.UNDER_WAY]).exists():
        return 0
    done = SQL["stop_occasions"].run(now=now)
    while occasions := _due(now):
        for occasion in occasions:
            done += _begin(occasion, now)
    SQL["respace"].run(now=now, burst=BURST)
    if SQL["bad_news"].value(after=after, upto=upto):
        for occasion in _watched():
            _watch(occasion, now)
    SQL["end_canaries"].run(now=now)
    SQL["finish_occasions"].run(now=now)
    return done


def _due(now: datetime) -> list[Sendout]:
    """What should begin, and was not found to be impossible in this tick."""
    return list(
        Sendout.objects.filter(state="scheduled", problem="", starts_at__lte=now, journey__state="live")
        .select_related("journey", "version")
        .order_by("starts_at", "pk")
    )


def _watched() -> list[Sendout]:
    """What began with a few, and has neither ended nor paused itself."""
    under_way = Sendout.objects.filter(state__in=Sendout.UNDER_WAY, problem="", canary_until__isnull=False)
    return list(under_way.filter(journey__state__in=["live", "closing"]).select_related("journey", "version"))


def _begin(occasion: Sendout, now: datetime) -> int:
    journey, definition = occasion.journey, occasion.version.definition
    enrolled = 0
    if now >= occasion.late_at:
        occasion.state, occasion.problem, occasion.finished_at = "missed", "late", now
        log.warning("broadcast_missed", journey=journey.key, occasion=occasion.key)
    else:
        try:
            enrolled = _take_audience(occasion, now)
        except RuleError as error:
            occasion.state, occasion.problem, occasion.finished_at = "missed", "audience", now
            log.error("audience_unreadable", journey=journey.key, occasion=occasion.key, error=str(error))
    occasion.save()
    if broadcasts.is_recurring(definition):
        plan_next(journey, occasion.version, datetime.fromisoformat(occasion.wall))
    return enrolled


def _take_audience(occasion: Sendout, now: datetime) -> int:
    journey, definition = occasion.journey, occasion.version.definition
    share, wait = broadcasts.canary_of(definition)
    pace = broadcasts.per_hour(definition["throttle"]) if "throttle" in definition else 0
    try:
        audience = fragment(matching(definition["audience"], now).order_by().values("pk"))
    except EmptyResultSet:
        audience = Fragment("NULL")
    [(occasion.audience, occasion.unknown_zones)] = SQL["take_audience"].rows(
        fragments={"audience": audience},
        now=now,
        journey=journey.pk,
        journey_key=journey.key,
        version=occasion.version_id,
        number=occasion.version.number,
        node=Node.objects.get(version_id=occasion.version_id, key=broadcasts.MOMENT).pk,
        occasion=occasion.pk,
        key=occasion.key,
        wall=occasion.wall,
        of_all=occasion.zone,
        zone=settings.TIME_ZONE,
        holdout=holdout_of(definition),
        salt=_salt(occasion),
        share=share or 100,
        wait=wait,
        gap=timedelta(hours=1) / pace if pace else timedelta(),
    )
    occasion.snapshot_at, occasion.state = now, "canary" if share else "sending"
    occasion.canary_until = max(now, occasion.starts_at) + wait if share else None
    return occasion.audience or 0


def _salt(occasion: Sendout) -> str:
    return f"canary:{occasion.journey.key}:{occasion.key}"


def _watch(occasion: Sendout, now: datetime) -> None:
    """Looks at the first few; where too many bounced or complained, the broadcast pauses itself and says so.

    Measured by all of them whom nothing held back, also those still to come: bad luck with the first is no alarm.
    """
    share, _wait = broadcasts.canary_of(occasion.version.definition)
    people, bounced, complained = SQL["canary_outcome"].rows(occasion=occasion.pk, salt=_salt(occasion), share=share)[0]
    if bounced > MOST_BOUNCES * people:
        occasion.problem = "bounces"
    elif complained >= FEWEST_COMPLAINTS and complained >= MOST_COMPLAINTS * people:
        occasion.problem = "complaints"
    else:
        return
    occasion.state = "sending"
    occasion.save(update_fields=["problem", "state"])
    log.warning(
        "broadcast_paused_itself",
        journey=occasion.journey.key,
        people=people,
        bounced=bounced,
        complained=complained,
    )
    journey = Journey.objects.get(pk=occasion.journey_id)
    if journey.state == "closing":
        # It begins nothing any more and cannot be paused: what is left of it ends now.
        publishing.archive(journey=journey, by=None, now=now)
    else:
        publishing.pause(journey=journey, by=None, now=now)
