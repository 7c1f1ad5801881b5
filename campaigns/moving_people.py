"""Moving the people inside to a new version as its impact sheet says, and counting that this is what happened.

Runs under the tick's lock, in the transaction of the publish: sets of people, one statement for all steps.
"""

from datetime import datetime
from typing import Any

from django.conf import settings

from campaigns import leaving
from campaigns.conditions import piece
from campaigns.impact import NOBODY, Count, OldNode, Row, Sheet, standing_now
from campaigns.models import Due, Journey, JourneyVersion, Node, NodeExit
from contacts.sql import Fragment, load
from messaging import outbox
from messaging.models import Message

SQL = load(__file__)

# Steps that end when a time has come: whoever moves from one to another of its kind has waited since she began.
WAITS = {"wait", "wait_until", "wait_for"}


class Unforeseen(RuntimeError):
    """What happened is not what the sheet said: a mistake of ours, and nothing is published."""


def move(journey: Journey, sheet: Sheet, version: JourneyVersion, now: datetime) -> dict[str, Count]:
    """Does to everybody what the sheet says; how many that was at each step. Raises Unforeseen."""
    at: dict[str, list[OldNode]] = {}
    for node in sheet.nodes:
        at.setdefault(node.key, []).append(node)
    rows = [row for row in sheet.rows if row.here]
    done = {row.key: NOBODY for row in rows}
    for row in rows:
        if row.do == "exit":
            done[row.key] = _take_out([node.pk for node in at[row.key]], now)
    movers = [(row, node) for row in rows if row.do in ("move", "release") for node in at[row.key]]
    if movers:
        keys = {node.pk: node.key for _row, node in movers}
        for from_id, is_ghost, count in _move(movers, version, now):
            done[keys[from_id]] += Count(0, count) if is_ghost else Count(count, 0)
    standing = standing_now(journey)
    for row in rows:
        if row.do in ("finish", "carry_on"):
            done[row.key] = sum((standing.get(node.pk, NOBODY) for node in at[row.key]), NOBODY)
    SQL["forget_behind"].run()
    foreseen = {row.key: row.here for row in rows}
    if done != foreseen:
        raise Unforeseen(f"The sheet of {version} says {foreseen}, and {done} happened.")
    return done


def _take_out(nodes: list[int], now: datetime) -> Count:
    def end(is_ghost: bool) -> int:
        people = Fragment(SQL["people_at"].sql, {"nodes": nodes, "is_ghost": is_ghost})
        reason = piece(
            "CASE WHEN p.enrolment_id IN (SELECT d.enrolment_id FROM campaigns_due d"
            " WHERE d.node_id = ANY({ids}::bigint[]) AND d.is_ghost = {is_ghost}) THEN 'published' END",
            ids=nodes,
            is_ghost=is_ghost,
        )
        return leaving.end(now, people, reason)

    return Count(end(False), end(True))


def _move(movers: list[tuple[Row, OldNode]], version: JourneyVersion, now: datetime) -> list[tuple[Any, ...]]:
    new = {node.key: node for node in Node.objects.filter(version=version)}
    plan: dict[str, Any] = {"froms": [], "tos": [], "outcomes": [], "kept": [], "retimed": []}
    along: dict[str, Any] = {"froms": [], "from_keys": [], "to_keys": []}
    for row, node in movers:
        to = new[row.to] if row.to is not None else None
        is_kept = row.do == "move" and to is not None and _is_kept(node, to)
        plan["froms"].append(node.pk)
        plan["tos"].append(to.pk if to else None)
        plan["outcomes"].append(f"{'moved' if row.do == 'move' else 'released'}:{version.number}")
        plan["kept"].append(is_kept)
        plan["retimed"].append(node.kind in WAITS and to is not None and node.config != to.config)
        if node.kind == "send" and not is_kept:
            _withdraw(node, now)
        elif node.kind == "send" and to is not None and to.key != node.key:
            along["froms"].append(node.pk)
            along["from_keys"].append(node.key)
            along["to_keys"].append(to.key)
    if along["froms"]:
        SQL["take_intents_along"].run(**along)
    stands, aheads = _ahead(version, {pk for pk in plan["tos"] if pk is not None})
    return SQL["move_people"].rows(
        **plan, stands=stands, aheads=aheads, version=version.pk, now=now, zone=settings.TIME_ZONE
    )


def _withdraw(node: OldNode, now: datetime) -> None:
    """Whoever is taken off a step before its message left does not get it: it was that step's."""
    people = Due.objects.filter(node_id=node.pk).values("enrolment_id")
    outbox.cancel(now=now, reason="exited", messages=Message.objects.filter(node_key=node.key, enrolment_id__in=people))


def _is_kept(old: OldNode, new: Node) -> bool:
    """Whether being at the new step is going on with the old one, from when that began."""
    if old.kind != new.kind or old.kind in ("entry", "stream"):
        return old.kind == new.kind == "entry"
    if old.kind == "send":
        return old.key == new.key or old.config["template"] == new.config["template"]
    return old.key == new.key or old.kind in WAITS


def _ahead(version: JourneyVersion, starts: set[int]) -> tuple[list[int], list[int]]:
    """Each of these nodes with every node that is still to come from there in this round: a jump begins the next."""
    edges: dict[int, list[int]] = {}
    for node_id, target_id in (
        NodeExit.objects.filter(node__version=version, target__isnull=False)
        .exclude(label="jump")
        .values_list("node_id", "target_id")
    ):
        edges.setdefault(node_id, []).append(target_id)
    stands, aheads = [], []
    for start in sorted(starts):
        found, ends = {start}, [start]
        while ends:
            for target in edges.get(ends.pop(), []):
                if target not in found:
                    found.add(target)
                    ends.append(target)
        stands += [start] * len(found)
        aheads += sorted(found)
    return stands, aheads
