"""A rule while somebody builds it: a tree of groups and questions, changed by named operations on plain data.

Each part has an address: the places to take from the root, such as `[1, 0]`. A `not` around a part belongs to it and
takes no place. Parts may be unfinished; what a rule must be to be asked is `contacts.rules.parse`'s to say.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from contacts.rules import MOST_LEAVES
from contacts.rulevalues import RuleError

# Deeper groups are kept and shown, but changed as text: on a screen nobody reads them any more.
DEEPEST_DRAWN = 3
MODES = {"all": (False, "all"), "any": (False, "any"), "none": (True, "any"), "not_all": (True, "all")}

Address = list[int]


@dataclass(frozen=True)
class Changed:
    """What an operation made of a rule: the new rule, a sentence to say, and which part to go to."""

    rule: Any
    message: str
    focus: Address
    is_open: bool = False  # whether the part still waits to be filled in


# Reading -------------------------------------------------------------------------------------------------------------


def unwrap(part: Any) -> tuple[int, Any]:
    """How many `not` stand around a part, and the part itself."""
    nots = 0
    while isinstance(part, dict) and list(part) == ["not"]:
        part, nots = part["not"], nots + 1
    return nots, part


def parts_of(part: Any) -> list[Any] | None:
    """What a group holds (the list itself); None for a question and for what is neither."""
    _nots, inner = unwrap(part)
    if isinstance(inner, dict) and len(inner) == 1:
        parts = inner.get("all", inner.get("any"))
        return parts if isinstance(parts, list) else None
    return None


def mode_of(group: Any) -> str:
    """How a group joins its parts: all, any, none or not_all."""
    nots, inner = unwrap(group)
    return {found: name for name, found in MODES.items()}[nots == 1, "all" if "all" in inner else "any"]


def is_locked(part: Any, depth: int) -> bool:
    """Whether a part at a depth (the root is at 1) is beyond what is drawn, and so is changed as text only."""
    return unwrap(part)[0] > 1 or (parts_of(part) is not None and depth > DEEPEST_DRAWN)


def rooted(rule: Any) -> Any:
    """The rule as a group, so that it can be drawn: a single question becomes the only one of its group."""
    if rule is None or rule == {}:
        return {"all": []}
    return {"all": [rule]} if parts_of(rule) is None or unwrap(rule)[0] > 1 else rule


def trimmed(root: Any) -> Any:
    """The rule that a drawn root means: None where nothing is asked, and a single question without its group."""
    parts = parts_of(root)
    if not parts:
        return None
    is_single = len(parts) == 1 and mode_of(root) == "all" and parts_of(parts[0]) is None and parts[0] != {}
    return parts[0] if is_single else root


def at(root: Any, address: Address) -> Any:
    """The part at an address. Raises RuleError."""
    part = root
    for depth, place in enumerate(address, 1):
        parts = None if is_locked(part, depth) else parts_of(part)
        if parts is None or not 0 <= place < len(parts):
            raise RuleError("at", _("This condition is not there any more."))
        part = parts[place]
    return part


def walk(part: Any, address: Address | None = None) -> Iterator[tuple[Address, Any]]:
    """Each part with its address, outermost first."""
    address = address or []
    yield address, part
    for place, one in enumerate(parts_of(part) or []):
        yield from walk(one, [*address, place])


def path_of(root: Any, address: Address) -> str:
    """Where a part stands in the rule as `contacts.rules` says it, such as `all[1].not`: up to the question itself."""
    path, part = "", root
    for place in [*address, None]:
        nots, inner = unwrap(part)
        for _one in range(nots):
            path = f"{path}.not" if path else "not"
        if place is not None:
            key = "all" if "all" in inner else "any"
            path = f"{path}.{key}[{place}]" if path else f"{key}[{place}]"
            part = inner[key][place]
    return path


def _find(root: Any, wanted: Any) -> Address:
    return next((address for address, part in walk(root) if part is wanted), [])


def _height(part: Any) -> int:
    """How many groups stand in each other, this one included."""
    parts = parts_of(part)
    return 0 if parts is None else 1 + max(map(_height, parts), default=0)


# Changing ------------------------------------------------------------------------------------------------------------


def change(rule: Any, op: Any) -> Changed:
    """The rule after an operation: a mapping of `op`, `at` (the part's address) and what the operation needs.

    add (leaf or is_group), set (leaf, is_negated), mode (mode), join, negate, delete, duplicate, up, down, in, out,
    move (to: a group's address, index: before which of its parts). Raises RuleError, its path a key of the operation.
    """
    if not isinstance(op, dict):
        raise RuleError("op", _("An operation is a mapping of op, at and what it needs."))
    do = _OPERATIONS.get(op["op"]) if isinstance(op.get("op"), str) else None
    if do is None:
        raise RuleError("op", _("There is no operation %(op)s.") % {"op": repr(op.get("op"))[:80]})
    # Written and read again, so that no two parts are the same object; a part is known by being itself.
    root = json.loads(json.dumps(rooted(rule)))
    changed = do(root, _address(op, "at"), op)
    if sum(parts_of(part) is None for _address_of, part in walk(root)) > MOST_LEAVES:
        raise RuleError("", _("A rule has at most %(most)d conditions.") % {"most": MOST_LEAVES})
    return changed


def _address(op: dict, name: str) -> Address:
    found = op.get(name)
    if not isinstance(found, list) or not all(type(place) is int for place in found):
        raise RuleError(name, _("An address is a list of whole numbers."))
    return found


def _done(root: Any, part: Any, message: str, is_open: bool = False) -> Changed:
    return Changed(trimmed(root), message, _find(root, part), is_open)


def _parent(root: Any, address: Address) -> tuple[list[Any], int]:
    """The list in which a part stands, and its place there."""
    at(root, address)
    if not address:
        raise RuleError("at", _("The outermost group stays where it is."))
    return parts_of(at(root, address[:-1])) or [], address[-1]


def _group(root: Any, address: Address, name: str) -> list[Any]:
    group = at(root, address)
    parts = None if is_locked(group, len(address) + 1) else parts_of(group)
    if parts is None:
        raise RuleError(name, _("Only a group takes in conditions."))
    return parts


def _check_depth(root: Any, part: Any, was: int) -> None:
    deepest = len(_find(root, part)) + _height(part)
    if deepest > max(DEEPEST_DRAWN, was):
        raise RuleError("at", _("Groups stand at most %(most)d deep here.") % {"most": DEEPEST_DRAWN})


def _prune(root: Any) -> None:
    """Takes out groups that hold nothing any more, which mean nothing."""
    for _address_of, group in walk(root):
        parts = parts_of(group) or []
        empty = [part for part in parts if parts_of(part) == []]
        if empty:
            parts[:] = [part for part in parts if parts_of(part) != []]
            _prune(root)
            break


def _add(root: Any, address: Address, op: dict) -> Changed:
    parts = _group(root, address, "at")
    leaf = op.get("leaf", {})
    if not isinstance(leaf, dict):
        raise RuleError("leaf", _("A condition is a mapping."))
    new: Any = {"any": [leaf]} if op.get("is_group") is True else leaf
    parts.append(new)
    _check_depth(root, new, 0)
    message = _("A group was added.") if new is not leaf else _("A condition was added.")
    return _done(root, leaf, message, is_open=True)


def _set(root: Any, address: Address, op: dict) -> Changed:
    parts, place = _parent(root, address)
    leaf = op.get("leaf")
    if not isinstance(leaf, dict) or parts_of(parts[place]) is not None or is_locked(parts[place], len(address) + 1):
        raise RuleError("leaf", _("A condition is a mapping."))
    is_negated = op.get("is_negated", unwrap(parts[place])[0] == 1)
    parts[place] = {"not": leaf} if is_negated else leaf
    return _done(root, parts[place], "", is_open=True)


def _set_mode(root: Any, address: Address, op: dict) -> Changed:
    mode = op.get("mode")
    if not isinstance(mode, str) or mode not in MODES:
        raise RuleError("mode", _("A group joins by all, any, none or not_all."))
    parts = _group(root, address, "at")
    is_negated, key = MODES[mode]
    group: Any = {"not": {key: parts}} if is_negated else {key: parts}
    if not address:
        return Changed(trimmed(group), _said(mode), [])
    parent, place = _parent(root, address)
    parent[place] = group
    return _done(root, group, _said(mode))


def _said(mode: str) -> str:
    return {
        "all": _("All must be true."),
        "any": _("At least one must be true."),
        "none": _("None may be true."),
        "not_all": _("Not all may be true."),
    }[mode]


_OTHER = {"all": "any", "any": "all", "none": "not_all", "not_all": "none"}


def _join(root: Any, address: Address, op: dict) -> Changed:
    _group(root, address, "at")
    return _set_mode(root, address, {"mode": _OTHER[mode_of(at(root, address))]})


def _negate(root: Any, address: Address, op: dict) -> Changed:
    parts, place = _parent(root, address)
    nots, inner = unwrap(parts[place])
    if nots > 1:
        raise RuleError("at", _("This is changed as text."))
    parts[place] = inner if nots else {"not": inner}
    message = _("The condition must be true.") if nots else _("The condition must not be true.")
    return _done(root, parts[place], message)


def _delete(root: Any, address: Address, op: dict) -> Changed:
    parts, place = _parent(root, address)
    is_group = parts_of(parts.pop(place)) is not None
    # To the one that took its place, else to the one before, else to the group.
    survivor = parts[min(place, len(parts) - 1)] if parts else at(root, address[:-1])
    _prune(root)
    return _done(root, survivor, _("The group was deleted.") if is_group else _("The condition was deleted."))


def _duplicate(root: Any, address: Address, op: dict) -> Changed:
    parts, place = _parent(root, address)
    copy = json.loads(json.dumps(parts[place]))
    parts.insert(place + 1, copy)
    return _done(root, copy, _("A copy stands below."))


def _move_to(root: Any, address: Address, target: list[Any], index: int, message: str) -> Changed:
    parts, place = _parent(root, address)
    part = parts[place]
    was = len(address) + _height(part)
    if any(parts_of(one) is target for _address_of, one in walk(part)):
        raise RuleError("to", _("A group cannot stand in itself."))
    if target is parts and index > place:
        index -= 1
    del parts[place]
    target.insert(index, part)
    _check_depth(root, part, was)
    _prune(root)
    return _done(root, part, message)


def _move(root: Any, address: Address, op: dict) -> Changed:
    target = _group(root, _address(op, "to"), "to")
    index = op.get("index", len(target))
    if type(index) is not int or not 0 <= index <= len(target):
        raise RuleError("index", _("There is no such place in the group."))
    return _move_to(root, address, target, index, _("Moved."))


def _up(root: Any, address: Address, op: dict) -> Changed:
    parts, place = _parent(root, address)
    if place:
        return _move_to(root, address, parts, place - 1, _("Moved up."))
    if len(address) == 1:
        raise RuleError("at", _("It is the first already."))
    parent, before = _parent(root, address[:-1])
    return _move_to(root, address, parent, before, _("Moved up, out of the group."))


def _down(root: Any, address: Address, op: dict) -> Changed:
    parts, place = _parent(root, address)
    if place < len(parts) - 1:
        return _move_to(root, address, parts, place + 2, _("Moved down."))
    if len(address) == 1:
        raise RuleError("at", _("It is the last already."))
    parent, before = _parent(root, address[:-1])
    return _move_to(root, address, parent, before + 1, _("Moved down, out of the group."))


def _in(root: Any, address: Address, op: dict) -> Changed:
    """Into the group above it, else into the one below, else into a new group of its own."""
    parts, place = _parent(root, address)
    for other, is_end in ((place - 1, True), (place + 1, False)):
        if 0 <= other < len(parts) and not is_locked(parts[other], len(address) + 1):
            target = parts_of(parts[other])
            if target is not None:
                return _move_to(root, address, target, len(target) if is_end else 0, _("Moved into the group."))
    part = parts[place]
    was = len(address) + _height(part)
    parts[place] = {"any": [part]}
    _check_depth(root, part, was)
    return _done(root, part, _("It stands in a new group."))


def _out(root: Any, address: Address, op: dict) -> Changed:
    _parent(root, address)
    if len(address) == 1:
        raise RuleError("at", _("It stands in the outermost group already."))
    parent, before = _parent(root, address[:-1])
    return _move_to(root, address, parent, before + 1, _("Moved out of the group."))


_OPERATIONS: dict[str, Any] = {
    "add": _add, "set": _set, "mode": _set_mode, "join": _join, "negate": _negate, "delete": _delete,
    "duplicate": _duplicate, "move": _move, "up": _up, "down": _down, "in": _in, "out": _out,
}  # fmt: skip
