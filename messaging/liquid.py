"""The sandbox in which texts that people wrote are filled in.

What a template sees is plain: dicts, lists, texts, numbers. It can load nothing, call nothing, and neither its loops
nor its output nor its values can grow without end. A value that is missing and has no `default` is an error, never
a gap.
"""

import functools
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TextIO

from django.utils.translation import gettext as _
from liquid import Environment, RenderContext
from liquid.ast import BlockNode, Node
from liquid.builtin.expressions import FilteredExpression, Path, StringLiteral
from liquid.builtin.expressions.primitive import RangeLiteral
from liquid.exceptions import LiquidError, OutputStreamLimitError, ResourceLimitError
from liquid.expression import Expression
from liquid.output import LimitedStringIO
from liquid.template import BoundTemplate
from liquid.undefined import FalsyStrictUndefined, is_undefined

MOST_OUTPUT = 512 * 1024
MOST_SECONDS = 2.0
MOST_ITEMS = 10_000
_BIGGEST_NUMBER = 10**18
# When the rendering at hand must be over; filters, blocks and look-ups look at it, for a loop may work long without
# writing anything.
_clock = threading.local()

TAGS = {
    "assign", "break", "capture", "case", "comment", "content", "continue", "cycle", "decrement", "doc", "echo", "for",
    "if", "ifchanged", "illegal", "increment", "liquid", "output", "tablerow", "unless", "#",
}  # fmt: skip
FILTERS = {
    "abs", "append", "at_least", "at_most", "capitalize", "ceil", "compact", "concat", "date", "default", "divided_by",
    "downcase", "escape", "escape_once", "first", "floor", "join", "last", "lstrip", "map", "minus", "modulo",
    "newline_to_br", "plus", "prepend", "remove", "remove_first", "replace", "replace_first", "reverse", "round",
    "rstrip", "size", "slice", "sort", "sort_natural", "split", "squish", "strip", "strip_html", "strip_newlines",
    "sum", "times", "truncate", "truncatewords", "uniq", "upcase", "url_encode", "where",
}  # fmt: skip


class RenderError(Exception):
    """The text could not be filled in; the message says why, in a sentence."""


class Missing(FalsyStrictUndefined):
    """A value that is not there: false in a condition, replaced by `default`, an error anywhere else."""

    force_liquid_default = True
    allowed_properties = FalsyStrictUndefined.allowed_properties | {"__contains__", "__hash__"}

    def __contains__(self, item: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 0


def _look_at_the_clock() -> None:
    if time.monotonic() > getattr(_clock, "deadline", float("inf")):
        raise ResourceLimitError("rendering took too long", token=None)


def _guarded(name: str, plain_filter: Callable[..., object]) -> Callable[..., object]:
    """A filter that refuses to make, or to be fed with, what would grow without end."""

    def check(value: object) -> None:
        if is_undefined(value):
            return
        if isinstance(value, str):
            if len(value) > MOST_OUTPUT:
                raise ResourceLimitError(f"the text in filter {name!r} is too long", token=None)
        elif isinstance(value, int | float):
            if abs(value) > _BIGGEST_NUMBER:
                raise ResourceLimitError(f"the number in filter {name!r} is too big", token=None)
        elif isinstance(value, range | list | tuple) and len(value) > MOST_ITEMS:
            raise ResourceLimitError(f"the list in filter {name!r} is too long", token=None)

    @functools.wraps(plain_filter)
    def guarded(*args: object, **kwargs: object) -> object:
        _look_at_the_clock()
        for value in args:
            check(value)
        # The two filters whose result can be far bigger than all that goes in.
        is_list = name == "join" and len(args) == 2 and isinstance(args[0], range | list | tuple)
        if is_list and len(args[0]) * len(str(args[1])) > MOST_OUTPUT:  # type: ignore[arg-type]
            raise ResourceLimitError("the text in filter 'join' is too long", token=None)
        if name == "replace" and len(args) == 3 and not any(is_undefined(arg) for arg in args):
            text, old, new = map(str, args)
            if text.count(old) * len(new) > MOST_OUTPUT:
                raise ResourceLimitError("the text in filter 'replace' is too long", token=None)
        # Liquid's date knows the machine's clock; ours knows only the moment of the message.
        if name == "date" and args and str(args[0]).lower() in ("now", "today"):
            context = kwargs.get("context")
            moment = context.resolve("moment", default="") if context else ""  # type: ignore[attr-defined]
            args = (moment, *args[1:])
        result = plain_filter(*args, **kwargs)
        check(result)
        return result

    if name == "date":
        guarded.with_context = True  # type: ignore[attr-defined]
        inner = plain_filter

        @functools.wraps(inner)
        def without_context(*args: object, **kwargs: object) -> object:
            if not getattr(inner, "with_context", False):
                kwargs.pop("context", None)
            return inner(*args, **kwargs)

        plain_filter = without_context
    return guarded


class _Clocked(LimitedStringIO):
    """Output that ends the rendering when it is too long or took too long."""

    def __init__(self, limit: int, deadline: float) -> None:
        super().__init__(limit)
        self.deadline = deadline

    def write(self, text: str) -> int:
        if time.monotonic() > self.deadline:
            raise OutputStreamLimitError("rendering took too long", token=None)
        return super().write(text)


class Sandbox(Environment):
    """Liquid with what is harmless."""

    loop_iteration_limit = MOST_ITEMS
    local_namespace_limit = 1024 * 1024
    output_stream_limit = MOST_OUTPUT
    block_nesting_limit = 20
    context_depth_limit = 20

    def __init__(self, *, autoescape: bool) -> None:
        super().__init__(undefined=Missing, autoescape=autoescape, strict_filters=True)
        self.tags = {name: tag for name, tag in self.tags.items() if name in TAGS}
        self.filters = {name: _guarded(name, one) for name, one in self.filters.items() if name in FILTERS}


HTML = Sandbox(autoescape=True)
TEXT = Sandbox(autoescape=False)


def plain(value: Any) -> Any:
    """A value as templates may see it: a text without control characters, a number, a list or a dict of such."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if value.isprintable() else "".join(c for c in value if c.isprintable() or c in "\n\r\t")
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(one) for one in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def present(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that are there: an empty text is as missing as none."""
    return {key: value for key, value in values.items() if value is not None and value != ""}


def _sentence(error: Exception) -> str:
    """What went wrong, with the line if it is known."""
    message = str(getattr(error, "message", None) or error)
    if not isinstance(error, LiquidError) or not message:
        # What the Python below said helps nobody who writes mails.
        return _("The text asks for something that can not be done (%(error)s).") % {"error": type(error).__name__}
    try:
        place = error.context()
    except ValueError:
        place = None
    if place:
        return _("Line %(line)d: %(message)s.") % {"line": place[0], "message": message.rstrip(".")}
    return message[:1].upper() + message[1:].rstrip(".") + "."


class Rendering:
    """One filling-in of one template: what its pieces share (assigned values, and how much may still be written)."""

    def __init__(self, template: BoundTemplate, values: Mapping[str, Any]) -> None:
        self._template = template
        self._values = values
        self._context: RenderContext | None = None
        self.left = MOST_OUTPUT
        self.deadline = time.monotonic() + MOST_SECONDS

    @property
    def context(self) -> RenderContext:
        if self._context is None:
            # Liquid would answer `now` and `today` with the machine's clock; here it is the moment of the message.
            moment = str(self._values.get("moment") or "")
            known = {"now": moment, "today": moment[:10], **self._values}
            self._context = _Context(self._template, globals=known)
        return self._context

    def take(self, text: str, times: int = 1) -> None:
        """Counts what was written, in bytes. Raises RenderError where that is too much."""
        self.left -= times * (len(text) if text.isascii() else len(text.encode("utf-8", "replace")))
        if self.left < 0:
            raise RenderError(_("The message is longer than 512 kB."))

    def node(self, node: Node) -> str:
        buffer = _Clocked(self.left, self.deadline)
        _clock.deadline = self.deadline
        try:
            node.render(self.context, buffer)
        except RecursionError:
            raise RenderError(_("The template is nested too deeply.")) from None
        except Exception as error:
            # Whatever a filter stumbled over: the text of this one message, and nothing else, is at fault.
            raise RenderError(_sentence(error)) from error
        return buffer.getvalue()


class _Context(RenderContext):
    """Looks values up, and at the clock: to compare two long texts takes a while, and writes nothing."""

    def get(self, *args: Any, **kwargs: Any) -> object:
        _look_at_the_clock()
        return super().get(*args, **kwargs)


class _Block(BlockNode):
    """What a loop or a condition holds."""

    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        _look_at_the_clock()
        return super().render_to_output(context, buffer)


class _Range(RangeLiteral):
    """`(1..9)`, no longer than a list may be: whether a long one contains a text would be asked for years."""

    __slots__ = ()

    def evaluate(self, context: RenderContext) -> range:
        found = super().evaluate(context)
        if found.stop - found.start > MOST_ITEMS:
            raise ResourceLimitError("the range is too long", token=self.token)
        return found


class _Literal(StringLiteral):
    """A text inside Liquid, escaped like any value: HTML belongs beside Liquid, where it is cleaned."""

    __slots__ = ()

    def evaluate(self, context: RenderContext) -> str:
        return str(self.value)


def _put_guards(template: BoundTemplate) -> None:
    static = RenderContext(template)

    def visit(expression: Expression) -> None:
        if type(expression) is StringLiteral:
            expression.__class__ = _Literal
        elif type(expression) is RangeLiteral:
            expression.__class__ = _Range
        for child in expression.children():
            visit(child)

    def walk(node: Node) -> None:
        if type(node) is BlockNode:
            node.__class__ = _Block
        for expression in node.expressions():
            visit(expression)
        for child in node.children(static, include_partials=False):
            walk(child)

    for node in template.nodes:
        walk(node)


def parse(source: str, *, is_html: bool) -> BoundTemplate:
    """Reads a template. Raises RenderError with the line of the mistake."""
    if len(source) > MOST_OUTPUT:
        raise RenderError(_("The text is longer than 512 kB."))
    try:
        template = (HTML if is_html else TEXT).from_string(source)
        _put_guards(template)
        return template
    except RecursionError:
        raise RenderError(_("The template is nested too deeply.")) from None
    except Exception as error:
        raise RenderError(_unclosed(source) or _sentence(error)) from error


_BLOCK = re.compile(r"\{%-?\s*(end)?(if|unless|for|case|capture|tablerow|ifchanged)\b")


def _unclosed(source: str) -> str:
    """The line of a block that is never closed: Liquid itself notices only at the end of the text, without a line."""
    opened: list[tuple[str, int]] = []
    for match in _BLOCK.finditer(source):
        if not match[1]:
            opened.append((match[2], match.start()))
        elif opened and opened[-1][0] == match[2]:
            opened.pop()
        else:
            return ""
    if not opened:
        return ""
    tag, start = opened[-1]
    told = {"line": source.count("\n", 0, start) + 1, "tag": tag}
    return _("Line %(line)d: {%% %(tag)s %%} is never closed by {%% end%(tag)s %%}.") % told


def render(source: str, values: Mapping[str, Any], *, is_html: bool) -> str:
    """Fills in a template with plain values, all of it by the interpreter. Raises RenderError."""
    template = parse(source, is_html=is_html)
    rendering = Rendering(template, values)
    out: list[str] = []
    for node in template.nodes:
        out.append(rendering.node(node))
        rendering.take(out[-1])
    return "".join(out)


# What a template asks for --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Token:
    """A value that a template prints: its path, its line, and whether it may be missing without harm."""

    path: str
    line: int
    has_default: bool


def tokens(template: BoundTemplate) -> list[Token]:
    """Every value that is printed, with `has_default` where a default or an enclosing condition covers its absence."""
    found: list[Token] = []
    static = RenderContext(template)

    def walk(node: Node, asked: frozenset[str]) -> None:
        expressions = list(node.expressions())
        if hasattr(node, "expression") and isinstance(node.expression, FilteredExpression):
            left = node.expression.left
            if isinstance(left, Path):
                names = [one.name for one in (node.expression.filters or [])]
                path = str(left)
                covered = path in asked or names[:1] == ["default"]
                found.append(Token(path, _line(left, template), covered))
        elif expressions:
            asked |= {str(path) for one in expressions for path in _paths(one)}
        for child in node.children(static, include_partials=False):
            walk(child, asked)

    for node in template.nodes:
        walk(node, frozenset())
    return found


def _paths(expression: Expression) -> Iterator[Path]:
    if isinstance(expression, Path):
        yield expression
    for child in expression.children():
        yield from _paths(child)


def _line(path: Path, template: BoundTemplate) -> int:
    token = path.token
    return token.source.count("\n", 0, max(token.start_index, 0)) + 1


def used(template: BoundTemplate) -> set[tuple[str, ...]]:
    """The paths of the values that a template asks for, as far as they are written out: `{("contact", "email")}`."""
    found = set()
    for variables in template.analyze(include_partials=False).variables.values():
        for variable in variables:
            found.add(tuple(str(segment) for segment in variable.segments))
    return found
