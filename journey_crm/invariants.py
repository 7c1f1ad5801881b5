"""What must always be true of the data, as counts of what breaks it. `manage.py check_invariants` prints them."""

from datetime import datetime

from django.db.models import Max

from contacts.models import StepCursor
from contacts.sql import load
from scoring.points import count_wrong_scores

SQL = load(__file__)

MEANINGS = {
    "I1": "nothing due and unclaimed for more than two sweeps",
    "I2": "nothing in sending past its lease",
    "I3": "every open enrolment has one token with a moment to wake",
    "I4": "no two sent messages for one reason",
    "I5": "no claim after the address's suppression",
    "I6": "each score equals the sum of its ledger",
    "I7": "finished broadcast: audience = sum of states",
    "I8": "nothing points at a merged or erased contact",
    "I9": "intents = sent + sum of reasons",
    "I10": "at most one open enrolment per contact, journey and key",
    "I11": "coupons reserved and used are within stock",
}


def last_tick() -> datetime | None:
    """The moment of the newest tick: invariants about being late are asked as of then, for clocks may be virtual."""
    return StepCursor.objects.aggregate(last=Max("ran_at"))["last"]


def check(now: datetime) -> dict[str, int]:
    """How many rows break each invariant as of `now`; all 0 in a sound database."""
    # A sum over nothing is NULL, and one over counts a decimal.
    counts = {f"I{n}": int(SQL[f"invariant_i{n}"].value(now=now) or 0) for n in (1, 2, 3, 4, 5, 7, 8, 9, 10)}
    counts["I6"] = count_wrong_scores()
    # Slots show no offer beyond its stock; nothing is reserved or used before the offer engine exists.
    counts["I11"] = 0
    return {name: counts[name] for name in MEANINGS}
