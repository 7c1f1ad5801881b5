"""Definitions as people write them: YAML in which times and dates stay text, and which reads well when we write it."""

import math
import re
from typing import Any

import yaml
from django.utils.translation import gettext as _

# Deeper or longer than any person writes; it also ends what contains itself, or names itself again and again.
DEEPEST = 40
MOST_VALUES = 500_000


class Unreadable(ValueError):
    """The text is no YAML, or says what cannot be kept; `line` is where, from 1, or 0 where that is not known."""

    def __init__(self, message: str, line: int):
        super().__init__(message)
        self.line = line


class Reader(yaml.SafeLoader):
    """YAML as people mean it: `10:00` is text and not 600 seconds, `no` is not false, dates stay as written."""


Reader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":int", ":float", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern, _firsts in [
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    ("float", r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
]:
    Reader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_firsts))


class Writer(yaml.SafeDumper):
    """Long texts as blocks, lists indented, nothing folded: a file that people edit and diff."""

    def increase_indent(self, flow=False, indentless=False):
        return super().increase_indent(flow, False)

    def represent_mapping(self, tag, mapping, flow_style=None):
        node = super().represent_mapping(tag, sorted(mapping.items(), key=lambda item: _place(item[0])), flow_style)
        node.flow_style = _is_short([part for pair in node.value for part in pair])
        return node

    def represent_sequence(self, tag, sequence, flow_style=None):
        node = super().represent_sequence(tag, sequence, flow_style)
        node.flow_style = _is_short(node.value)
        return node


# PostgreSQL's jsonb forgets the order of keys; people read a thing's name before its details.
_ORDER = [
    "key", "team", "stage", "name", "names", "kind", "type", "topic", "class", "language", "trigger", "reentry",
    "policy", "goal", "exit", "holdout", "rule", "when", "all", "any", "not", "field", "did", "score", "op", "value",
    "send", "wait", "wait_until", "wait_for", "ask", "split", "set", "handoff", "timeout", "cadence", "rrule", "enter",
    "subject", "preheader", "body", "then", "else", "steps", "streams", "items",
]  # fmt: skip
_LAST = ["translations", "rules"]


def _place(key: str) -> tuple[int, str]:
    if key in _LAST:
        return len(_ORDER) + 1, key
    return (_ORDER.index(key), "") if key in _ORDER else (len(_ORDER), key)


def _is_short(nodes: list[yaml.Node]) -> bool:
    """True for what reads well on one line: only plain values, or one more level of them, and not many."""
    texts = [
        part.value
        for node in nodes
        for part in (node.value if isinstance(node, yaml.SequenceNode) and node.flow_style else [node])
    ]
    return all(isinstance(text, str) and "\n" not in text for text in texts) and sum(map(len, texts)) < 70


def _write_text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


def _write_number(dumper: yaml.SafeDumper, value: float) -> yaml.Node:
    return dumper.represent_int(int(value)) if value.is_integer() else dumper.represent_float(value)


Writer.add_representer(str, _write_text)
Writer.add_representer(float, _write_number)


def read(text: str) -> Any:
    """What a text says; None for an empty one. Raises Unreadable."""
    try:
        value = yaml.load(text, Loader=Reader)  # noqa: S506 - a SafeLoader
    except RecursionError:
        raise Unreadable(_("It is nested too deeply."), 0) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise Unreadable(str(getattr(error, "problem", None) or error), mark.line + 1 if mark else 0) from None
    except (ValueError, LookupError, AttributeError, TypeError, OverflowError):
        # So PyYAML fails on a value that is not of the type that its tag names.
        raise Unreadable(_("A value is not of the type that it is marked as."), 0) from None
    if message := unkeepable(value):
        raise Unreadable(message, 0)
    return value


def unkeepable(value: Any) -> str:
    """Why a value cannot be kept as jsonb, as a sentence; empty where it can."""
    left = [(value, 1)]
    for _count in range(MOST_VALUES):
        if not left:
            return ""
        one, depth = left.pop()
        if depth > DEEPEST:
            return _("It is nested too deeply.")
        if isinstance(one, dict):
            for key in one:
                if not isinstance(key, str):
                    return _("The key %(key)s must be text; write it in quotes.") % {"key": str(key)[:40]}
            left += [(part, depth + 1) for pair in one.items() for part in pair]
        elif isinstance(one, list):
            left += [(part, depth + 1) for part in one]
        elif isinstance(one, str):
            if "\0" in one:
                return _("A text holds a NUL character.")
            if any("\ud800" <= letter <= "\udfff" for letter in one):
                return _("A text holds half a character (a lone surrogate).")
        elif isinstance(one, float) and not math.isfinite(one) or isinstance(one, int) and not -(2**63) <= one < 2**63:
            return _("A number is too large.")
        elif one is not None and not isinstance(one, bool | int | float):
            return _("Only texts, numbers, true, false, null, lists and mappings can be kept.")
    return _("It says too much.")


def write(value: Any) -> str:
    """A value as text that `read` understands, the same to the byte for the same value; nothing for None."""
    if value is None:
        return ""
    return yaml.dump(value, Dumper=Writer, sort_keys=False, allow_unicode=True, width=110)
