"""The advance step: moves everybody who is due, one statement for each kind of step, never one person at a time.

A token stands in `Due`; a move deletes it, writes the path (`Visit`) and inserts the next one. Each open enrolment has
exactly one token, so tokens alone tell who is under way.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog
from django.conf import settings

from campaigns import leaving, nurture, offering, onboarding, tracks
from campaigns.conditions import at_nodes, case, has_come, has_reached, is_meant, values_asked
from campaigns.models import Node
from contacts.rulefields import Vocabulary
from contacts.segments import AT_ONCE
from contacts.sql import Fragment, load
from contacts.stream import head, is_last
from messaging.channels import kinds

SQL = load(__file__)
log = structlog.get_logger(__name__)

# A tick moves nobody more often than this, once in each round; what is left goes on in the next tick. (A tick that
# catches up with a long absence moves people once more for each window before the last.)
ROUNDS = 50
# So many at once are a crowd: their statements join whole tables, where for few people an index is quicker.
CROWD = 1_000
DUE, ARRIVE = Fragment(SQL["due"].sql), Fragment(SQL["arrive"].sql)
# What may keep a message back today and not tomorrow: worth another try where a step says `on_skip: wait`.
PASSING = [
    "capped", "expired", "paused", "quiet_hours", "no_consent", "no_address", "invalid_address", "render_error",
    "no_brand", "gave_up",
]  # fmt: skip
# The news that a message has ended.
ENDED = kinds("sent", "skipped", "failed")
# Kinds of steps with one way on and nothing to do.
PLAIN = ["entry", "moment", "wait", "wait_until"]
# Kinds of steps that change what goals and exit rules ask about: they are asked again before the next step.
TELLING = {"set", "goal"}
# Kinds of steps whose statement needs no more than the steps' own rows.
BY_STATEMENT = {
    "split": "move_split",
    "handoff": "move_handoff",
    "task": "move_task",
    "start": "move_start",
    "webhook": "move_webhook",
    "jump_to": "move_jump",
}


def advance(now: datetime, after: int, upto: int) -> int:
    """A step of the tick: moves whoever is due, and whoever waits for what came between `after` and `upto`.

    Returns how many moves were made.
    """
    if after < upto:
        SQL["retime_dates"].run(after=after, upto=upto, zone=settings.TIME_ZONE)
    names, moved, asking = Vocabulary(), 0, leaving.asking()
    if "entry" in due_kinds(now):
        onboarding.begin(now)
    onboarding.watch(now)
    # Nobody is moved to another version during a tick.
    some_pass_by = bool(SQL["anybody_behind"].value())
    # In a tick that catches up, whoever waits sees each window's news; all else moves in the last one.
    for turn in range(ROUNDS if is_last(after, upto) else 1):
        # On leaving a step, goals and exits are asked again: what the step before changed may have decided.
        if (asking or not turn) and (kinds := due_kinds(now)):
            due_people = Fragment(SQL["due_people"].sql, {"kinds": kinds, "now": now})
            leaving.leave_by_rule(now, due_people, names, asking, is_news=False)
            if not turn:
                onboarding.progress(now, due_people, names)
        SQL["begin_round"].rows()
        in_round = _pass_by(now) if some_pass_by else 0
        in_round += _wait_for(now, names, after, upto)
        if after < upto:
            _size_up(["sending"], now, touched=upto - after)
            in_round += _sending(now, names, after, upto)
        for kind in due_kinds(now):
            in_round += _pass_by(now) if some_pass_by else 0
            _size_up(PLAIN if kind in PLAIN else [kind], now)
            before = head() if asking and kind in TELLING else None
            in_round += MOVES[kind](now, names)
            if before is not None:
                told = Fragment(leaving.SQL["touched"].sql, {"after": before, "upto": head()})
                leaving.leave_by_rule(now, told, names, asking, is_news=False)
        moved += in_round
        if not in_round:
            break
        after = upto
    return moved


def due_kinds(now: datetime) -> list[str]:
    """The kinds of steps at which somebody is due."""
    found = {kind for (kind,) in SQL["due_kinds"].rows(kinds=list(MOVES), now=now)}
    return [kind for kind in MOVES if kind in found]


def _size_up(kinds: list[str], now: datetime, touched: int = 0) -> None:
    """Tells the planner, until it is told again, whether few people move or a crowd.

    It sees a list of tokens and takes it for ten rows; a crowd would be compared everybody with everybody.
    """
    SQL["size_up"].rows(kinds=kinds, now=now, touched=touched, crowd=CROWD)


def _move(name: str, kinds: list[str], now: datetime, held: list[int] | None = None, **more: object) -> int:
    moved = SQL[name].value(
        fragments={"due": DUE, "arrive": ARRIVE},
        kinds=kinds,
        held=held or [],
        now=now,
        zone=settings.TIME_ZONE,
        **more,
    )
    return int(moved)


def _pass_by(now: datetime) -> int:
    """Whoever was moved to another version passes by what she did before, one step after the other."""
    passed = 0
    while moved := SQL["pass_by"].value(fragments={"arrive": ARRIVE}, now=now, zone=settings.TIME_ZONE):
        passed += moved
    return passed


def _plain(now: datetime, names: Vocabulary) -> int:
    return _move("move_on", PLAIN, now)


def _by_statement(kind: str) -> Callable[[datetime, Vocabulary], int]:
    def move(now: datetime, names: Vocabulary) -> int:
        return _move(BY_STATEMENT[kind], [kind], now, nodes=_due_nodes(kind, now))

    return move


def _unless_done(kind: str, move: Callable[[datetime, Vocabulary], int]) -> Callable[[datetime, Vocabulary], int]:
    """Of the steps of this kind, those that lead to a milestone are passed by where it is reached already."""

    def moved(now: datetime, names: Vocabulary) -> int:
        skipped = _move("skip_done", [kind], now) if SQL["is_bound"].value(kind=kind, now=now) else 0
        return skipped + move(now, names)

    return moved


def _offer(now: datetime, names: Vocabulary) -> int:
    return offering.offer(now, names, DUE, ARRIVE)


def _due_nodes(kind: str, now: datetime) -> list[int]:
    return [node_id for (node_id,) in SQL["due_nodes"].rows(kinds=[kind], now=now)]


def _conditions(ids: list[int], condition: Callable[[Node], Fragment]) -> tuple[dict[int, Fragment], list[int]]:
    """The condition of each node, and the nodes whose rule cannot be read any more: their people are held."""
    found, held = {}, []
    for node in Node.objects.filter(pk__in=ids).order_by("pk"):
        try:
            found[node.pk] = condition(node)
        except ValueError as error:  # RuleError, or a value that stored definitions cannot mean any more
            held.append(node.pk)
            log.error("step_rule_unreadable", step=node.key, version=node.version_id, error=str(error))
    return found, held


def _send(now: datetime, names: Vocabulary) -> int:
    """Makes the messages; nobody moves yet, so that a round of them alone is the last."""
    nodes = _due_nodes("send", now)
    made = SQL["move_send"].value(
        fragments={"due": DUE}, kinds=["send"], held=[], now=now, zone=settings.TIME_ZONE, nodes=nodes
    )
    onboarding.space(now, nodes=nodes)
    return int(made)


def _sending(now: datetime, names: Vocabulary, after: int = 0, upto: int = 0) -> int:
    """Whoever rests at a send goes on by the news of a window that the message ended, or looks because of the alarm."""
    return _move("move_sending", ["sending"], now, passing=PASSING, ended=ENDED, after=after, upto=upto)


def _set(now: datetime, names: Vocabulary) -> int:
    return _move("move_set", ["set"], now, at_once=AT_ONCE)


def _ask(now: datetime, names: Vocabulary) -> int:
    """Each person takes the first branch whose rule means her, else `else`; what was asked of her is kept."""
    answers: list[tuple[int, Fragment, Any]] = []
    inputs: list[tuple[int, Fragment, Any]] = []
    held = []
    for node in Node.objects.filter(pk__in=_due_nodes("ask", now)).order_by("pk"):
        branches = node.config["branches"]
        try:
            answers += [(node.pk, is_meant(branch["rule"], now, names), branch["label"]) for branch in branches]
        except ValueError as error:  # RuleError, or a value that stored definitions cannot mean any more
            held.append(node.pk)
            log.error("step_rule_unreadable", step=node.key, version=node.version_id, error=str(error))
            continue
        inputs.append((node.pk, Fragment("true"), values_asked([branch["rule"] for branch in branches])))
    moved = SQL["move_ask"].value(
        fragments={
            "due": DUE,
            "arrive": ARRIVE,
            "branch": case("p.node_id", answers, "'else'"),
            "inputs": case("p.node_id", inputs, "NULL::jsonb"),
        },
        kinds=["ask"],
        held=held,
        now=now,
        zone=settings.TIME_ZONE,
    )
    return int(moved)


def _wait_for(now: datetime, names: Vocabulary, after: int, upto: int) -> int:
    """Whoever waits for something: due by arrival or timeout, or touched since the last tick."""
    window: dict[str, Any] = {"kinds": ["wait_for"], "now": now, "after": after, "upto": upto}
    ids = [node_id for (node_id,) in SQL["waiting_nodes"].rows(**window)]
    if not ids:
        return 0
    _size_up(["wait_for"], now, touched=upto - after)

    def waited_for(node: Node) -> Fragment:
        if "milestone" in node.config:
            return has_reached(node.config["milestone"])
        return has_come(node.config["rule"], now, names, node.config.get("since", "enrolment"))

    conditions, held = _conditions(ids, waited_for)
    moved = SQL["move_wait_for"].value(
        fragments={"due": DUE, "arrive": ARRIVE, "met": at_nodes(conditions)},
        held=held,
        zone=settings.TIME_ZONE,
        **window,
    )
    return int(moved)


def _goal(now: datetime, names: Vocabulary) -> int:
    SQL["mark_goals"].run(fragments={"due": DUE}, kinds=["goal"], held=[], now=now)
    return _move("move_on", ["goal"], now)


def _goal_jump(now: datetime, names: Vocabulary) -> int:
    return _move("move_at_goal", ["goal_jump"], now)


def _exit(now: datetime, names: Vocabulary) -> int:
    return int(SQL["leave_by_step"].value(fragments={"due": DUE}, kinds=["exit"], held=[], now=now))


def _stream(now: datetime, names: Vocabulary) -> int:
    return tracks.cast(now, names)


def _superseded(now: datetime, names: Vocabulary) -> int:
    nurture.ring(now)
    return 0  # nobody moved; who resumes is due, and goes on in the next tick


def _waited(now: datetime, names: Vocabulary) -> int:
    # Moved at the beginning of each round; named here so that the kind counts as due.
    return 0


MOVES: dict[str, Callable[[datetime, Vocabulary], int]] = {
    **dict.fromkeys(PLAIN, _plain),
    **{kind: _by_statement(kind) for kind in BY_STATEMENT},
    "send": _unless_done("send", _send),
    "task": _unless_done("task", _by_statement("task")),
    "offer": _offer,
    "sending": _sending,
    "set": _set,
    "ask": _ask,
    "wait_for": _waited,
    "goal": _goal,
    "superseded": _superseded,
    # A token that a goal took from its step; it stands at the entry.
    "goal_jump": _goal_jump,
    "stream": _stream,
    "exit": _exit,
}
