"""The tick: every step in its order, at one moment of time."""

from datetime import datetime, timedelta

from campaigns import experiments, fuse
from campaigns.broadcasting import broadcast
from campaigns.engine import advance
from campaigns.enrolling import enrol
from contacts import segments, webhooks
from contacts.companies import join_by_domain
from contacts.ingest import ingest
from contacts.merging import heal
from contacts.stream import Busy, Step, run_step
from leads.handoff import handoff
from leads.routing import reroute
from leads.tasks import ask
from messaging import brake
from messaging.gates import arbitrate
from messaging.hits import tell_hits
from messaging.signups import sign_up
from scoring.points import score
from scoring.stages import stage

# Each app brings its steps; the order is that of architecture §1.
STEPS: list[Step] = [
    Step("hits", tell_hits),
    Step("ingest", ingest),
    Step("sign_up", sign_up),
    Step("heal", heal),
    Step("companies", join_by_domain),
    Step("score", score),
    Step("stage", stage),
    Step("handoff", handoff),
    Step("reroute", reroute),
    Step("tasks", ask),
    Step("segment", segments.refresh),
    Step("fuse", fuse.watch),
    Step("experiments", experiments.decide),
    Step("enrol", enrol),
    Step("broadcast", broadcast),
    Step("advance", advance),
    Step("brake", brake.watch),
    Step("arbitrate", arbitrate),
    Step("webhooks", webhooks.tell),
]


def tick(now: datetime) -> dict[str, int]:
    """Runs all steps once at the moment `now`; what each of them did. Two at once are harmless: one finds it busy."""
    done: dict[str, int] = {}
    try:
        for step in STEPS:
            done[step.name] = run_step(step, now)
    except Busy:
        done["busy"] = 1
    return done


def walk(start: datetime, until: datetime, every: timedelta):
    """Ticks from `start` to `until`, both included, on a virtual clock; yields each moment with what was done."""
    moment = start
    while moment <= until:
        yield moment, tick(moment)
        moment += every
