"""Editing a drawing: pure operations on a definition, each answered by the new one, a sentence and the step to show.

`apply(definition, op) -> (definition, message, key)`; what cannot be done raises Refused with a sentence.
Operations: `{do: insert, step, after}` or `{do: insert, step, into: [fork, path]}` · `{do: configure, key, step}` ·
`{do: delete, key}` · `{do: move, key, by: -1 | 1}`.
"""

import copy
from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from campaigns.graph import complete
from campaigns.steps import paths_of, verb_of


class Refused(ValueError):
    """The operation cannot be done; the message says why (HTTP 422)."""


Answer = tuple[dict[str, Any], str, str]


def apply(definition: Mapping[str, Any], op: Mapping[str, Any]) -> Answer:
    """Does one operation on a copy. Raises Refused."""
    operations = {"insert": _insert, "configure": _configure, "delete": _delete, "move": _move}
    operation = operations.get(str(op.get("do")))
    if operation is None:
        raise Refused(_("There is no such operation."))
    return operation(complete(definition), op)


def find(definition: Mapping[str, Any], key: str) -> tuple[list[dict[str, Any]], int] | None:
    """The list in which a step, or a stream, stands, and its place there; None if there is none of this key."""
    for steps in (definition.get("streams"), definition.get("steps")):
        if isinstance(steps, list) and (found := _find_in(steps, key)):
            return found
    return None


def _find_in(steps: list[Any], key: str) -> tuple[list[dict[str, Any]], int] | None:
    for place, step in enumerate(steps):
        if not isinstance(step, dict):
            continue
        if step.get("key") == key:
            return steps, place
        for label in paths_of(step):
            path = step.get(label)
            if isinstance(path, list) and (found := _find_in(path, key)):
                return found
    return None


def _found(definition: Mapping[str, Any], key: Any) -> tuple[list[dict[str, Any]], int]:
    found = find(definition, str(key))
    if found is None:
        raise Refused(_("The step “%(key)s” is not there any more.") % {"key": key})
    return found


def _insert(definition: dict[str, Any], op: Mapping[str, Any]) -> Answer:
    step = copy.deepcopy(dict(op["step"]))
    if not verb_of(step) and "cadence" not in step:
        raise Refused(_("This is no kind of step."))
    if "into" in op:
        fork_key, label = op["into"]
        steps, place = _found(definition, fork_key)
        fork = steps[place]
        if label not in paths_of(fork):
            raise Refused(_("The step “%(key)s” has no such path.") % {"key": fork_key})
        fork[label] = [step, *(fork.get(label) or [])]
    elif op.get("after"):
        steps, place = _found(definition, op["after"])
        steps.insert(place + 1, step)
    else:
        kind = "streams" if "streams" in definition else "steps"
        definition[kind] = [step, *(definition.get(kind) or [])]
    completed = _completed_keeping(definition, step)
    return completed, _("Step “%(key)s” added.") % {"key": step["key"]}, step["key"]


def _completed_keeping(definition: dict[str, Any], step: dict[str, Any]) -> dict[str, Any]:
    """Names the new step; it may be found by its key then."""
    before = _keys(definition)
    completed = complete(definition)
    if not step.get("key"):
        step["key"] = next(key for key in _keys(completed) if key not in before)
    return completed


def _keys(definition: Mapping[str, Any]) -> list[str]:
    keys: list[str] = []

    def walk(steps: Any) -> None:
        for step in steps if isinstance(steps, list) else []:
            if isinstance(step, dict):
                keys.append(step.get("key") or "")
                for label in paths_of(step):
                    walk(step.get(label))

    walk(definition.get("streams"))
    walk(definition.get("steps"))
    return keys


def _configure(definition: dict[str, Any], op: Mapping[str, Any]) -> Answer:
    steps, place = _found(definition, op["key"])
    old, new = steps[place], copy.deepcopy(dict(op["step"]))
    new["key"] = old["key"]
    kept = paths_of(new)
    for label in paths_of(old):
        if label not in kept and old.get(label):
            raise Refused(_("The path “%(path)s” still has steps: move or delete them first.") % {"path": label})
    for label in kept:
        if label not in new and label in old:
            new[label] = old[label]
    steps[place] = new
    return complete(definition), _("Step “%(key)s” changed.") % {"key": old["key"]}, old["key"]


def _delete(definition: dict[str, Any], op: Mapping[str, Any]) -> Answer:
    steps, place = _found(definition, op["key"])
    step = steps[place]
    if any(step.get(label) for label in paths_of(step)):
        raise Refused(_("This fork has steps on its paths: delete them first."))
    steps.pop(place)
    nearest = steps[min(place, len(steps) - 1)]["key"] if steps else ""
    return definition, _("Step “%(key)s” deleted.") % {"key": op["key"]}, nearest


def _move(definition: dict[str, Any], op: Mapping[str, Any]) -> Answer:
    steps, place = _found(definition, op["key"])
    to = place + int(op["by"])
    if not 0 <= to < len(steps):
        raise Refused(_("The step stands at the end of its path already."))
    steps.insert(to, steps.pop(place))
    return definition, _("Step “%(key)s” moved.") % {"key": op["key"]}, str(op["key"])


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, list[str]]:
    """What a publish changes, by the keys of steps: added, removed, changed; and which settings of the journey."""
    before, after = _steps_by_key(old), _steps_by_key(new)
    settings = {key for key in {**old, **new} if key not in ("steps", "streams") and old.get(key) != new.get(key)}
    return {
        "added": [key for key in after if key not in before],
        "removed": [key for key in before if key not in after],
        "changed": [key for key in after if key in before and before[key] != after[key]],
        "settings": sorted(settings),
    }


def _steps_by_key(definition: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def walk(steps: Any) -> None:
        for step in steps if isinstance(steps, list) else []:
            if isinstance(step, dict):
                paths = paths_of(step)
                found[str(step.get("key"))] = {name: value for name, value in step.items() if name not in paths}
                for label in paths:
                    walk(step.get(label))

    walk(definition.get("streams"))
    walk(definition.get("steps"))
    return found
