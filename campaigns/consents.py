"""Consent lost: a journey ends for whom every message that may still come is refused."""

from collections.abc import Iterator, Mapping
from typing import Any

from campaigns.conditions import piece
from campaigns.models import Node, NodeExit
from contacts.sql import Fragment, load
from messaging.models import Template

SQL = load(__file__)

# Over `p`: is this person's address closed to us, by a bounce, a complaint or by hand?
SUPPRESSED = Fragment(
    """EXISTS (SELECT FROM contacts_contact c JOIN messaging_suppression s ON s.address = lower(btrim(c.email))
                WHERE c.id = p.contact_id AND c.email <> '' AND s.reason <> 'unsubscribed' OFFSET 0)"""
)
# What nobody can refuse: no channel of anybody's consent is called so.
_NEVER_REFUSED = ""


def lost(people: Fragment) -> list[tuple[int, Fragment, Any]]:
    """Who of `p` refused, since the enrolment, all that may still come: a condition for each version concerned."""
    versions = [pk for (pk,) in SQL["refusing_versions"].rows(fragments={"people": people})]
    remaining = _remaining(versions) if versions else []
    if not remaining:
        return []
    nodes, topics, channels = (list(column) for column in zip(*remaining, strict=True))
    has_lost = piece(
        """(SELECT count(*) > 0 AND bool_and(s.refused_at IS NOT NULL) AND max(s.refused_at) > p.enrolled_at
            FROM unnest({nodes}::bigint[], {topics}::text[], {channels}::text[]) AS r(node_id, topic, channel)
            CROSS JOIN LATERAL (
                SELECT max(s.changed_at) AS refused_at FROM contacts_consent s
                WHERE s.contact_id = p.contact_id AND s.channel = r.channel AND s.state = 'denied'
                  AND s.topic IN ('', r.topic)) s
            WHERE r.node_id = p.node_id)""",
        nodes=nodes,
        topics=topics,
        channels=channels,
    )
    return [(version, has_lost, Fragment("'consent_lost'")) for version in versions]


def _remaining(versions: list[int]) -> list[tuple[int, str, str]]:
    """What may still be sent from each node on: the node, the topic and the channel."""
    nodes = dict(Node.objects.filter(version_id__in=versions).values_list("pk", "config"))
    onward: dict[int, list[int]] = {}
    for node, target in NodeExit.objects.filter(node_id__in=nodes, target__isnull=False).values_list("node", "target"):
        onward.setdefault(node, []).append(target)
    sends = {node: set(_templates_in(config)) for node, config in nodes.items()}
    rows = Template.objects.filter(key__in=set().union(*sends.values())).select_related("topic")
    asked = {
        row.key: (row.topic.key if row.topic else "", row.channel)
        if row.message_class != "transactional"
        else ("", _NEVER_REFUSED)
        for row in rows
    }
    found = set()
    for node in nodes:
        for place in _reach(node, onward):
            found |= {(node, *asked[key]) for key in sends[place] if key in asked}
    return sorted(found)


def _reach(start: int, onward: Mapping[int, list[int]]) -> set[int]:
    found: set[int] = set()
    ahead = [start]
    while ahead:
        node = ahead.pop()
        if node not in found:
            found.add(node)
            ahead += onward.get(node, [])
    return found


def _templates_in(config: Any) -> Iterator[str]:
    """The templates that a step names, however deep: its own, or those of its items."""
    if isinstance(config, Mapping):
        for name, value in config.items():
            if name in ("template", "send") and isinstance(value, str):
                yield value
            else:
                yield from _templates_in(value)
    elif isinstance(config, list):
        for one in config:
            yield from _templates_in(one)
