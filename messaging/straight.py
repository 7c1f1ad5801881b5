"""Everyday Liquid as straight Python: values, default texts, simple conditions and loops.

There are two ways to fill in a template, and the sandboxed interpreter of `liquid` is the judge of both. This one knows
few things and does them many times as fast; whatever else a template holds, or turns out to hold when a value comes (a
list where a text was expected, nothing where something must be), it leaves to the interpreter, which then also words
the error. That both write the same is asked by `tests/messaging/test_straight.py` of templates made at random.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from liquid import RenderContext
from liquid.ast import BlockNode, Node
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import BooleanExpression, FilteredExpression, LoopExpression, Path, PositionalArgument
from liquid.builtin.expressions.logical import (
    EqExpression,
    GeExpression,
    GtExpression,
    LeExpression,
    LogicalAndExpression,
    LogicalNotExpression,
    LogicalOrExpression,
    LtExpression,
    NeExpression,
)
from liquid.builtin.expressions.primitive import (
    FalseLiteral,
    FloatLiteral,
    IntegerLiteral,
    Nil,
    StringLiteral,
    TrueLiteral,
)
from liquid.builtin.output import OutputNode
from liquid.builtin.tags.for_tag import ForNode
from liquid.builtin.tags.if_tag import IfNode
from liquid.builtin.tags.unless_tag import UnlessNode
from liquid.expression import Expression
from liquid.template import BoundTemplate

from messaging.liquid import Rendering

# More than this, of text, of rounds of a loop or of a number, and the interpreter with its limits takes over.
_MOST_TEXT, _MOST_ROUNDS, _MOST_NUMBER = 64 * 1024, 100, 10**18
_MOST_LOOPS = 2
# Names that are no values of ours but things of Liquid's own, and segments that it reads in a way of its own.
_LIQUIDS_OWN = {"forloop", "tablerowloop", "now", "today"}
_SPECIAL = {"size", "first", "last"}
# What no template can take from us by an `assign` of its own: the way out and the links that count.
OURS = ("links", "tracked")

Values = Mapping[str, Any]
Fill = Callable[[Values, Rendering], str]
_Step = Callable[[Values, list[str]], None]
_Value = Callable[[Values], Any]


class _TooHard(Exception):
    """Not for the straight way: the interpreter does it."""


class _Missing:
    """Stands for a value that is not there."""


_missing = _Missing()


@dataclass(frozen=True)
class Piece:
    """A stretch of a template: text that never changes, or something to be filled in."""

    static: str | None
    fill: Fill | None = None
    # Where it is nothing but a value: its name, such as ("contact", "email").
    path: tuple[str, ...] | None = None
    # Pieces with the same one come out the same in one mail; empty where that is not sure.
    sameness: str = ""


def pieces(template: BoundTemplate) -> list[Piece]:
    """A template cut where something is filled in."""
    keeps_state = any(_keeps_state(node) for node in _all_nodes(template))
    found: list[Piece] = []
    for node in template.nodes:
        if type(node) is ContentNode:
            found.append(Piece(node.text))
            continue
        path = _plain_path(node)
        # Whoever assigns names may also assign those that we would look up: then all of it is the interpreter's.
        may_be_straight = not keeps_state or (path is not None and path[0] in OURS)
        step = _step(node, template.env.autoescape, frozenset(), 0) if may_be_straight else None
        if step is None:
            found.append(Piece(None, _by_interpreter(node)))
        else:
            found.append(Piece(None, _straight(step, node), path, _sameness(node)))
    return found


def fill(parts: list[Piece], template: BoundTemplate, values: Values) -> Iterator[str]:
    """The filled-in pieces in their order. Raises RenderError."""
    rendering = Rendering(template, values)
    for piece in parts:
        text = piece.static if piece.fill is None else piece.fill(values, rendering)
        rendering.take(text or "")
        yield text or ""


def _by_interpreter(node: Node) -> Fill:
    return lambda values, rendering: rendering.node(node)


def _straight(step: _Step, node: Node) -> Fill:
    if type(node) is OutputNode:
        return _straight_value(step, node)

    def fill_in(values: Values, rendering: Rendering) -> str:
        out: list[str] = []
        try:
            step(values, out)
        except _TooHard:
            return rendering.node(node)
        text = out[0] if len(out) == 1 else "".join(out)
        return text if len(text) <= min(_MOST_TEXT, rendering.left) else rendering.node(node)

    return fill_in


def _straight_value(step: _Step, node: Node) -> Fill:
    """As above for a single value, of which most fills are."""

    def fill_in(values: Values, rendering: Rendering) -> str:
        out: list[str] = []
        try:
            step(values, out)
        except _TooHard:
            return rendering.node(node)
        return out[0] if len(out[0]) <= rendering.left else rendering.node(node)

    return fill_in


def _all_nodes(template: BoundTemplate) -> Iterator[Node]:
    static = RenderContext(template)
    waiting = list(template.nodes)
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(node.children(static, include_partials=False))


def _keeps_state(node: Node) -> bool:
    """Does it leave behind what changes another node: a name, or the place where a loop stopped?"""
    return any(True for _name in node.template_scope()) or any(
        isinstance(one, LoopExpression) and one.offset is not None for one in node.expressions()
    )


def _plain_path(node: Node) -> tuple[str, ...] | None:
    """The path of `{{ a.b }}`."""
    if type(node) is not OutputNode or type(node.expression) is not FilteredExpression or node.expression.filters:
        return None
    left = node.expression.left
    if type(left) is Path and all(isinstance(segment, str) for segment in left.path):
        return tuple(map(str, left.path))
    return None


def _sameness(node: Node) -> str:
    if type(node) is not OutputNode or type(node.expression) is not FilteredExpression:
        return ""
    told = [
        (one.name, [repr(getattr(arg.value, "value", arg)) for arg in one.args])
        for one in node.expression.filters or []
    ]
    return repr((getattr(node.expression.left, "path", ""), told))


# What can be done straight: each answers None where it can not --------------------------------------------------------

ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;"})


def _step(node: Node, is_html: bool, loops: frozenset[str], depth: int) -> _Step | None:
    kind = type(node)
    if kind is ContentNode:
        text = node.text  # type: ignore[attr-defined]
        return lambda values, out: out.append(text)
    if kind is OutputNode:
        return _output(node, is_html, loops)  # type: ignore[arg-type]
    if kind is IfNode or kind is UnlessNode:
        return _choice(node, is_html, loops, depth)  # type: ignore[arg-type]
    if kind is ForNode:
        return _loop(node, is_html, loops, depth)  # type: ignore[arg-type]
    return None


def _block(block: BlockNode, is_html: bool, loops: frozenset[str], depth: int) -> _Step | None:
    found = [_step(node, is_html, loops, depth) for node in block.nodes]
    steps = [one for one in found if one is not None]
    if len(steps) < len(found):
        return None
    is_blank = block.blank

    def run(values: Values, out: list[str]) -> None:
        # Of a block that holds nothing but blanks, nothing is written.
        for one in steps:
            one(values, [] if is_blank else out)

    return run


def _output(node: OutputNode, is_html: bool, loops: frozenset[str]) -> _Step | None:
    if type(node.expression) is not FilteredExpression:
        return None
    value_of = _path(node.expression.left, loops)
    if value_of is None:
        return None
    filters = node.expression.filters or []
    otherwise: str | None = None
    if filters:
        arguments = getattr(filters[0], "args", [])
        if len(filters) > 1 or filters[0].name != "default" or len(arguments) != 1:
            return None
        argument = arguments[0]
        if type(argument) is not PositionalArgument or not isinstance(argument.value, StringLiteral):
            return None
        text = str(argument.value.value)
        if len(text) > _MOST_TEXT:
            return None
        otherwise = text.translate(ESCAPES) if is_html else text

    def write(values: Values, out: list[str]) -> None:
        value = value_of(values)
        kind = type(value)
        if kind is str:
            if not value and otherwise is not None:
                out.append(otherwise)
            elif len(value) > _MOST_TEXT:
                raise _TooHard
            else:
                out.append(value if not is_html or value.isalnum() else value.translate(ESCAPES))
        elif kind is int and -_MOST_NUMBER < value < _MOST_NUMBER:
            out.append(str(value))
        elif otherwise is not None and (value is None or value is _missing):
            out.append(otherwise)
        else:
            raise _TooHard

    return write


def _path(expression: Expression, loops: frozenset[str]) -> _Value | None:
    """Looks a value up; `_missing` where there is none."""
    if type(expression) is not Path or not all(isinstance(segment, str) for segment in expression.path):
        return None
    root, *segments = map(str, expression.path)
    if (root in _LIQUIDS_OWN and root not in loops) or _SPECIAL & set(segments):
        return None

    if len(segments) == 1:
        (only,) = segments

        def look_up_one(values: Values) -> Any:
            value = values.get(root)
            if type(value) is dict:
                return value.get(only, _missing)
            if isinstance(value, Mapping):
                raise _TooHard
            return _missing

        return look_up_one

    def look_up(values: Values) -> Any:
        value = values.get(root, _missing)
        for segment in segments:
            if type(value) is dict:
                value = value.get(segment, _missing)
            elif isinstance(value, Mapping):
                raise _TooHard
            else:
                return _missing
        return value

    return look_up


def _operand(expression: Expression, loops: frozenset[str]) -> _Value | None:
    if isinstance(expression, StringLiteral):
        text = str(expression.value)
        return lambda values: text
    if type(expression) in (IntegerLiteral, FloatLiteral, TrueLiteral, FalseLiteral, Nil):
        value = getattr(expression, "value", None)
        return lambda values: value
    return _path(expression, loops)


def _condition(expression: Expression, loops: frozenset[str]) -> Callable[[Values], bool] | None:
    kind = type(expression)
    if kind is BooleanExpression:
        return _condition(expression.expression, loops)  # type: ignore[attr-defined]
    if kind is LogicalNotExpression:
        right = _condition(expression.right, loops)  # type: ignore[attr-defined]
        return None if right is None else lambda values: not right(values)
    if kind is LogicalAndExpression or kind is LogicalOrExpression:
        first = _condition(expression.left, loops)  # type: ignore[attr-defined]
        second = _condition(expression.right, loops)  # type: ignore[attr-defined]
        if first is None or second is None:
            return None
        if kind is LogicalAndExpression:
            return lambda values: first(values) and second(values)
        return lambda values: first(values) or second(values)
    if kind in _COMPARISONS:
        one = _operand(expression.left, loops)  # type: ignore[attr-defined]
        other = _operand(expression.right, loops)  # type: ignore[attr-defined]
        if one is None or other is None:
            return None
        compare = _COMPARISONS[kind]
        return lambda values: compare(one(values), other(values))
    value_of = _operand(expression, loops)
    if value_of is None:
        return None

    def is_true(values: Values) -> bool:
        value = value_of(values)
        return not (value is None or value is False or value is _missing)

    return is_true


def _equal(one: Any, other: Any) -> bool:
    if one is _missing or one is None:
        return other is None or other is _missing
    if other is _missing or other is None:
        return False
    if type(one) is bool or type(other) is bool:
        return type(one) is type(other) and one == other
    return one == other


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    numbers = (int, float)

    def ask(one: Any, other: Any) -> bool:
        if (type(one) is str and type(other) is str) or (type(one) in numbers and type(other) in numbers):
            return compare(one, other)
        raise _TooHard

    return ask


_COMPARISONS: dict[type, Callable[[Any, Any], bool]] = {
    EqExpression: _equal,
    NeExpression: lambda one, other: not _equal(one, other),
    LtExpression: _ordered(lambda one, other: one < other),
    LeExpression: _ordered(lambda one, other: one <= other),
    GtExpression: _ordered(lambda one, other: one > other),
    GeExpression: _ordered(lambda one, other: one >= other),
}


def _choice(node: IfNode | UnlessNode, is_html: bool, loops: frozenset[str], depth: int) -> _Step | None:
    asked = [(node.condition, node.consequence), *((one.expression, one.block) for one in node.alternatives)]
    found = [(_condition(condition, loops), _block(block, is_html, loops, depth)) for condition, block in asked]
    ways = [(condition, block) for condition, block in found if condition is not None and block is not None]
    otherwise = _block(node.default, is_html, loops, depth) if node.default else None
    if len(ways) < len(found) or (node.default and otherwise is None):
        return None
    if type(node) is UnlessNode:
        unwanted = ways[0][0]
        ways[0] = (lambda values: not unwanted(values), ways[0][1])

    def choose(values: Values, out: list[str]) -> None:
        for condition, block in ways:
            if condition(values):
                return block(values, out)
        if otherwise is not None:
            otherwise(values, out)
        return None

    return choose


def _loop(node: ForNode, is_html: bool, loops: frozenset[str], depth: int) -> _Step | None:
    told = node.expression
    if depth >= _MOST_LOOPS or told.limit is not None or told.offset is not None or told.reversed:
        return None
    name = str(told.identifier)
    if name in _LIQUIDS_OWN:
        return None
    value_of = _path(told.iterable, loops)
    block = _block(node.block, is_html, loops | {name}, depth + 1)
    otherwise = _block(node.default, is_html, loops, depth) if node.default else None
    if value_of is None or block is None or (node.default and otherwise is None):
        return None

    def go_round(values: Values, out: list[str]) -> None:
        items = value_of(values)
        if type(items) is not list or len(items) > _MOST_ROUNDS:
            raise _TooHard
        if not items and otherwise is not None:
            otherwise(values, out)
        size, seen = 0, len(out)
        for item in items:
            block({**values, name: item}, out)
            size += sum(map(len, out[seen:]))
            seen = len(out)
            if size > _MOST_TEXT:
                raise _TooHard

    return go_round
