"""Nurture tracks: at each cast of a stream, every member gets the first item that is for her and still new to her.

The cadence is computed once for each stream, as wall times; what instant a wall time is, the database tells for each
time zone. Items are asked set by set, one statement for all members of all streams that are due.
"""

from datetime import datetime
from typing import Any

import structlog
from django.conf import settings

from campaigns.cadence import bound, calendar_for, walls_after
from campaigns.conditions import case, is_meant, piece
from campaigns.models import Node
from contacts.rulefields import Vocabulary
from contacts.rules import RuleError
from contacts.sql import Fragment, join, load
from messaging.models import Template

SQL = load(__file__)
log = structlog.get_logger(__name__)
DUE, NEXT_CASTS = Fragment(SQL["due"].sql), Fragment(SQL["next_casts"].sql)

# An item that was held back for one of these reasons is new at the next cast; for any other it is passed over.
CAPPED = ["capped", "expired", "paused"]


def cast(now: datetime, names: Vocabulary) -> int:
    """Casts every stream that is due; how many members were cast or took their place."""
    due = {"kinds": ["stream"], "now": now, "held": []}
    SQL["carry_on"].run(fragments={"due": DUE}, **due)
    nodes = _due_streams(now)
    settled = _settle(nodes, now)
    if transitions := _transitions(nodes, now, names):
        SQL["change_stream"].run(fragments={"due": DUE, "target": transitions}, **due)
        nodes = _due_streams(now)
        settled += _settle(nodes, now)
    offer, items, held = _offers(nodes, now, names)
    members = SQL["cast"].value(
        fragments={"due": DUE, "next_casts": NEXT_CASTS, "offer": offer},
        **items,
        zone=settings.TIME_ZONE,
        nodes=[node.pk for node in nodes],
        **_walls(nodes, now),
        **(due | {"held": held}),
    )
    return settled + int(members)


def _due_streams(now: datetime) -> list[Node]:
    ids = [node_id for (node_id,) in SQL["due_nodes"].rows(kinds=["stream"], now=now)]
    return list(Node.objects.filter(pk__in=ids).select_related("version__journey").order_by("pk"))


def _settle(nodes: list[Node], now: datetime) -> int:
    return SQL["settle"].run(
        fragments={"due": DUE, "next_casts": NEXT_CASTS},
        kinds=["stream"],
        held=[],
        now=now,
        zone=settings.TIME_ZONE,
        **_walls(nodes, now),
    )


def _walls(nodes: list[Node], now: datetime) -> dict[str, list[Any]]:
    """The wall times among which the next cast of each stream is, wherever in the world a member lives.

    For a stream that heeds holidays once for each country of its members who are due; else for the country ''.
    """
    rows: list[tuple[int, str, datetime]] = []
    heeding = [node.pk for node in nodes if node.config["cadence"].get("skip_holidays")]
    countries: dict[int, list[str]] = {}
    if heeding:
        for node_id, country in SQL["countries_of_due"].rows(heeding=heeding, now=now):
            countries.setdefault(node_id, []).append(country)
    for node in nodes:
        cadence = node.config["cadence"]
        calendars = {country: calendar_for(cadence, country) for country in countries.get(node.pk, [""])}
        walls = {calendar: walls_after(cadence, now, calendar) for calendar in set(calendars.values())}
        rows += [(node.pk, country, wall) for country, calendar in calendars.items() for wall in walls[calendar]]
    streams, places, times = ([row[column] for row in rows] for column in range(3))
    return {"heeding": heeding, "streams": streams, "countries": places, "walls": times}


def _transitions(nodes: list[Node], now: datetime, names: Vocabulary) -> Fragment | None:
    """Into which other stream a member goes, over `p`; None where there is no such stream.

    The last stream whose rule means her. Back she goes only from a stream that has a rule and means her no more, and
    never into one that led her on when it had nothing left: so nobody is led to and fro.
    """
    answers: list[tuple[int, Fragment, Any]] = []
    streams = Node.objects.filter(
        version__in={node.version_id for node in nodes}, kind="stream", config__has_key="enter"
    )
    by_version: dict[int, list[tuple[Node, Fragment]]] = {}
    for stream in streams.order_by("-position"):
        try:
            meant = is_meant(stream.config["enter"], now, names)
        except RuleError as error:
            log.error("stream_rule_unreadable", stream=stream.key, error=str(error))
            continue
        by_version.setdefault(stream.version_id, []).append((stream, meant))
    for node in nodes:
        others = by_version.get(node.version_id, [])
        own = next((meant for stream, meant in others if stream.pk == node.pk), None)
        for stream, meant in others:
            if stream.position > node.position:
                answers.append((node.pk, join(" AND ", [meant, *_not_led_on(stream)]), stream.pk))
            elif stream.position < node.position and own is not None:
                holds = [piece("NOT ({own})", own=own), meant, *_not_led_on(stream)]
                answers.append((node.pk, join(" AND ", holds), stream.pk))
    return case("p.node_id", answers, "NULL::bigint") if answers else None


def _not_led_on(stream: Node) -> list[Fragment]:
    if "stream" not in stream.config.get("exhausted", {}):
        return []
    sql = """NOT EXISTS (
        SELECT FROM campaigns_visit v JOIN campaigns_node n ON n.id = v.node_id
        WHERE v.enrolment_id = p.enrolment_id AND n.key = {key} AND starts_with(v.outcome, 'exhausted:') OFFSET 0)"""
    return [piece(sql, key=stream.key)]


def _offers(nodes: list[Node], now: datetime, names: Vocabulary) -> tuple[Fragment, dict[str, list[Any]], list[int]]:
    """What a member of `p` is offered, as the item's place in the lists that follow; and the streams to hold."""
    keys = {item["send"] for node in nodes for item in node.config.get("items", [])}
    templates = dict(Template.objects.filter(key__in=keys).values_list("key", "pk"))
    answers: list[tuple[int, Fragment, Any]] = []
    lists: dict[str, list[Any]] = {"places": [], "items": [], "templates": []}
    held = []
    for node in nodes:
        try:
            for item in node.config.get("items", []):
                if item.get("active", True) and item["send"] in templates:
                    template_id, place = templates[item["send"]], len(lists["places"])
                    answers.append((node.pk, _is_offered(node, item, template_id, now, names), place))
                    lists["places"].append(place)
                    lists["items"].append(item["key"])
                    lists["templates"].append(template_id)
        except ValueError as error:  # a rule that cannot be read (RuleError), or a day that is none
            held.append(node.pk)
            log.error("item_unreadable", stream=node.key, error=str(error))
    return case("p.node_id", answers, "NULL::int"), lists, held


def _is_offered(node: Node, item: dict[str, Any], template_id: int, now: datetime, names: Vocabulary) -> Fragment:
    # New to her, from whatever source; and not tried before in vain.
    conditions = [
        piece(
            """NOT EXISTS (
                SELECT FROM messaging_message m WHERE m.contact_id = p.contact_id AND m.template_id = {template} AND (
                    m.state IN ('pending', 'ready', 'sending', 'sent', 'uncertain')
                    OR (m.key = {prefix} || p.contact_id AND (
                        m.state = 'failed' OR (m.state = 'skipped' AND m.reason <> ALL({capped}::text[])))))
                OFFSET 0)""",
            template=template_id,
            prefix=f"item:{node.version.journey.key}:{item['key']}:",
            capped=CAPPED,
        )
    ]
    for name, sql in (("valid_from", ">= {bound}"), ("valid_to", "< {bound}")):
        if name in item:
            local = bound(item[name], is_end=name == "valid_to")
            conditions.append(piece("({now} AT TIME ZONE p.zone) " + sql + "::timestamp", now=now, bound=local))
    rules = [("{meant}", item.get("when")), ("NOT ({meant})", item.get("consumed_when"))]
    if item.get("topic"):
        # Who does not want the topic is not kept waiting: the gates would hold it back a cast later.
        rules.append(("{meant}", {"consent": item["topic"]}))
    conditions += [piece(sql, meant=is_meant(rule, now, names)) for sql, rule in rules if rule is not None]
    return join(" AND ", conditions)
