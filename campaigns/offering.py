"""The offer slot of a journey: growth says who may be shown what; one statement shows it to everybody who is due."""

from datetime import datetime
from typing import Any

from django.conf import settings

from campaigns import onboarding
from contacts.rulefields import Vocabulary
from contacts.sql import Fragment, load
from growth import slots

SQL = load(__file__)


def offer(now: datetime, names: Vocabulary, due: Fragment, arrive: Fragment) -> int:
    """Shows an offer to whoever is due at a slot; how many went on. `due` and `arrive` are the engine's pieces."""
    step: dict[str, Any] = {"kinds": ["offer"], "now": now}
    nodes = [node_id for (node_id,) in SQL["due_nodes"].rows(**step)]
    wanted = [slot for (slot,) in SQL["slots_due"].rows(nodes=nodes)]
    moved = SQL["move_offer"].value(
        fragments={"judged": slots.judged(wanted, now, names), "due": due, "arrive": arrive},
        held=[],
        zone=settings.TIME_ZONE,
        **step,
    )
    onboarding.space(now, nodes=nodes)
    return int(moved)
