"""The impact sheet: what a publish means for the people inside, step by step, before anybody presses the button.

Counted over all versions that somebody is on. For each step one thing is to be done with whoever stands there:
`finish` the version that they began · `move` to a step of the new one · `exit` · `release` (the step ends now, and
they go on in the new version) · `carry_on`: members of a track take their place in the new version at the next cast.

The rule of what must be said: without a word everybody finishes. If everybody is to `follow`, people go to the step of
the same key; for a step that is gone, and at which somebody stands, it must be said what to do, or nothing is
published.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns import graph
from campaigns.findings import Problem
from campaigns.models import Journey, JourneyVersion, Node, NodeExit
from contacts.sql import load

SQL = load(__file__)

EVERYBODY = ["finish", "follow"]
DOES = ["finish", "move", "exit", "release"]
# Nobody rests at these: there is nothing that could end now.
_NOT_RELEASED = {"entry", "ask", "split", "stream", "exit", "jump_to"}


@dataclass(frozen=True)
class Count:
    """So many people, and so many who are held out and walk the same way."""

    people: int = 0
    ghosts: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(self.people + other.people, self.ghosts + other.ghosts)

    def __sub__(self, other: "Count") -> "Count":
        return Count(self.people - other.people, self.ghosts - other.ghosts)

    def __bool__(self) -> bool:
        return bool(self.people or self.ghosts)

    @property
    def all(self) -> int:
        return self.people + self.ghosts

    def plain(self) -> dict[str, int]:
        return {"people": self.people, "ghosts": self.ghosts}


NOBODY = Count()


@dataclass(frozen=True)
class OldNode:
    """A step of a version that somebody is on."""

    pk: int
    version: int
    key: str
    kind: str
    config: dict[str, Any]
    edges: dict[str, int | None]


@dataclass(frozen=True)
class Row:
    """One step by its key: who is before it, at it and past it, and what becomes of those at it.

    `change` is same, changed or removed. `to` is the key of the step of the new version where they go on; None with
    `release` or `move` is the end of the journey. `suggestion` is where they would go on if the step ended.
    """

    key: str
    kind: str
    change: str
    versions: tuple[int, ...]
    before: Count
    here: Count
    past: Count
    do: str
    to: str | None
    suggestion: str | None
    may: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        return {
            "step": self.key,
            "kind": self.kind,
            "change": self.change,
            "versions": list(self.versions),
            "before": self.before.plain(),
            "here": self.here.plain(),
            "past": self.past.plain(),
            "do": self.do,
            "to": self.to,
        }


@dataclass
class Sheet:
    """All rows of one publish; `problems` are choices that cannot be made, or must be."""

    everybody: str
    rows: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    nodes: list[OldNode] = field(default_factory=list)

    @property
    def inside(self) -> Count:
        return sum((row.here for row in self.rows), NOBODY)

    def row(self, key: str) -> Row:
        """The row of a step. Raises KeyError."""
        return {row.key: row for row in self.rows}[key]

    def plain(self, done: Mapping[str, Count] | None = None) -> dict[str, Any]:
        """As JSON; with what was `done` to those who stood at each step."""
        steps = [row.plain() | ({"done": done.get(row.key, NOBODY).plain()} if done else {}) for row in self.rows]
        return {"everybody": self.everybody, "inside": self.inside.plain(), "steps": steps}


def impact(
    journey: Journey,
    definition: Mapping[str, Any],
    *,
    everybody: str = "finish",
    choices: Mapping[str, Mapping[str, Any]] | None = None,
) -> Sheet:
    """The sheet for publishing a sound definition; `choices` says, by the key of a step, what to `do`, and where `to`.

    People who are on a version that says the same already are not asked about.
    """
    choices = choices or {}
    specs = {spec.key: spec for spec in graph.nodes(definition)}
    standing, passed = _counted(journey)
    nodes = _old_nodes(journey, definition)
    sheet = Sheet(everybody, nodes=nodes)
    if everybody not in EVERYBODY:
        sheet.problems.append(Problem("everybody", "", _("People inside “finish”, or “follow”.")))
    by_id = {node.pk: node for node in nodes}
    ahead = {node.pk: _ahead(node.pk, by_id) for node in nodes if node.pk in standing}
    by_key: dict[str, list[OldNode]] = {}
    for node in nodes:
        by_key.setdefault(node.key, []).append(node)
    for key, same in by_key.items():
        spec, ids = specs.get(key), {node.pk for node in same}
        here = sum((standing.get(pk, NOBODY) for pk in ids), NOBODY)
        before, past = NOBODY, NOBODY
        for pk, there in standing.items():
            if pk in ids or pk not in by_id:
                continue
            gone = passed.get((pk, key), NOBODY)
            past += gone
            if ids & ahead[pk]:
                before += there - gone
        where = next((node for node in same if node.pk in standing), same[0])
        suggestion = onward(where, by_id, specs)
        may = _may(where.kind, specs)
        do, to = _decide(sheet, key, where, here, specs, choices.get(key), may, suggestion)
        sheet.rows.append(
            Row(
                key=key,
                kind=where.kind,
                change="removed" if spec is None else "changed" if _differs(same, spec) else "same",
                versions=tuple(sorted({node.version for node in same})),
                before=before,
                here=here,
                past=past,
                do=do,
                to=to,
                suggestion=suggestion,
                may=may,
            )
        )
    for key in choices:
        if key not in by_key:
            sheet.problems.append(
                Problem(f"choices.{key}", key, _("Nobody is on a version that has a step “%(key)s”.") % {"key": key})
            )
    return sheet


def _differs(nodes: list[OldNode], spec: graph.NodeSpec) -> bool:
    return any((node.kind, node.config) != (spec.kind, spec.config) for node in nodes)


def _may(kind: str, specs: Mapping[str, graph.NodeSpec]) -> tuple[str, ...]:
    if kind == "stream" and any(spec.kind == "stream" for spec in specs.values()):
        return ("carry_on", "move", "exit")
    if any(spec.kind == "moment" for spec in specs.values()):
        # An occasion of a broadcast is one thing: all of its audience get what was meant when it was taken.
        return ("finish",)
    return ("finish", "move", "exit", *(() if kind in _NOT_RELEASED else ("release",)))


def _decide(
    sheet: Sheet,
    key: str,
    node: OldNode,
    here: Count,
    specs: Mapping[str, graph.NodeSpec],
    choice: Mapping[str, Any] | None,
    may: tuple[str, ...],
    suggestion: str | None,
) -> tuple[str, str | None]:
    """What is done with whoever stands at a step, and where they go."""

    def wrong(path: str, message: str) -> tuple[str, str | None]:
        sheet.problems.append(Problem(f"choices.{key}{path}", key, message))
        return may[0], None

    do = choice.get("do") if choice else None
    if do is not None and do not in may:
        return wrong(".do", _("Here you may choose: %(known)s.") % {"known": ", ".join(may)})
    if do == "move":
        to = choice.get("to") if choice else None
        if not isinstance(to, str) or not to or to not in specs:
            return wrong(".to", _("The new version has no step “%(key)s”.") % {"key": to or ""})
        return "move", to
    if do == "release":
        return "release", suggestion
    if do in ("exit", "finish"):
        return do, None
    if may[0] == "carry_on":
        streams = [spec.key for spec in specs.values() if spec.kind == "stream"]
        return "carry_on", key if key in streams else streams[0]
    if sheet.everybody != "follow" or may == ("finish",):
        return "finish", None
    if key in specs:
        return "move", key
    if here:
        return wrong(
            "",
            ngettext(
                "%(count)d person stands at this step, which is gone: say what becomes of them.",
                "%(count)d people stand at this step, which is gone: say what becomes of them.",
                here.all,
            )
            % {"count": here.all},
        )
    return "finish", None


def onward(node: OldNode, old: Mapping[int, OldNode], specs: Mapping[str, graph.NodeSpec]) -> str | None:
    """Where somebody goes on in the new version once a step ends for her: the first step behind it that is still there.

    A step that has several ways out ends as by its timeout. None is the end of the journey.
    """
    if node.key in specs:
        return _way_out(specs[node.key].edges)
    seen: set[int] = set()
    at: OldNode | None = node
    while at is not None and at.pk not in seen:
        seen.add(at.pk)
        following = _way_out({label: target for label, target in at.edges.items() if label != "jump"})
        at = old.get(following) if following is not None else None
        if at is not None and at.key in specs:
            return at.key
    return None


def _way_out(edges: Mapping[str, Any]) -> Any:
    for label in ("next", "else", *edges):
        if label in edges:
            return edges[label]
    return None


def _ahead(start: int, nodes: Mapping[int, OldNode]) -> set[int]:
    found: set[int] = set()
    ends = [start]
    while ends:
        for target in nodes[ends.pop()].edges.values():
            if target is not None and target not in found:
                found.add(target)
                ends.append(target)
    return found


def _counted(journey: Journey) -> tuple[dict[int, Count], dict[tuple[int, str], Count]]:
    """How many stand at each node; and how many of those left a step of some key before."""
    standing = standing_now(journey)
    passed: dict[tuple[int, str], Count] = {}
    for node_id, key, is_ghost, count in SQL["passed"].rows(journey=journey.pk):
        passed[node_id, key] = passed.get((node_id, key), NOBODY) + _of(is_ghost, count)
    return standing, passed


def standing_now(journey: Journey) -> dict[int, Count]:
    """How many stand at each node, of all versions."""
    standing: dict[int, Count] = {}
    for node_id, is_ghost, count in SQL["standing"].rows(journey=journey.pk):
        standing[node_id] = standing.get(node_id, NOBODY) + _of(is_ghost, count)
    return standing


def _of(is_ghost: bool, count: int) -> Count:
    return Count(0, count) if is_ghost else Count(count, 0)


def _old_nodes(journey: Journey, definition: Mapping[str, Any]) -> list[OldNode]:
    """The nodes of every version that somebody is on and that would not stay the live one; the newest version first."""
    live = journey.version
    inside = {pk for (pk,) in SQL["versions_inside"].rows(journey=journey.pk)}
    if live is not None and live.definition == definition:
        inside.discard(live.pk)
    versions = JourneyVersion.objects.filter(pk__in=inside)
    edges: dict[int, dict[str, int | None]] = {}
    for exit in NodeExit.objects.filter(node__version__in=versions):
        edges.setdefault(exit.node_id, {})[exit.label] = exit.target_id
    rows = Node.objects.filter(version__in=versions).select_related("version").order_by("-version__number", "position")
    return [OldNode(row.pk, row.version.number, row.key, row.kind, row.config, edges.get(row.pk, {})) for row in rows]
