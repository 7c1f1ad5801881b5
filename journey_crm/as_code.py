"""`apply` and `export`: all definitions of the house as one YAML file, compared by name and applied all or nothing.

The comparison is made by doing the work and reading everything again: what the file says, what is stored, and what
an export would say cannot drift apart. A plan is the same work, rolled back.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import transaction

import campaigns.definitions
import contacts.definitions
import growth.definitions
import leads.definitions
import messaging.definitions
import scoring.definitions
from contacts import written
from contacts.definitions import DefinitionError, Section
from contacts.stream import wait_for_tick_lock

# In the order in which they name each other.
SECTIONS: list[Section] = [
    *messaging.definitions.SECTIONS[:2],
    *contacts.definitions.SECTIONS,
    *scoring.definitions.SECTIONS,
    *messaging.definitions.SECTIONS[2:],
    *growth.definitions.SECTIONS,
    *leads.definitions.SECTIONS,
    *campaigns.definitions.SECTIONS,
]
BY_NAME = {section.name: section for section in SECTIONS}


@dataclass(frozen=True)
class Change:
    """What became of one object: created, changed (which of its keys), unchanged or published.

    `foreseen` says in a plan what it would do to people.
    """

    section: str
    key: str
    what: str
    details: tuple[str, ...] = ()
    foreseen: tuple[str, ...] = ()

    def __str__(self) -> str:
        details = f": {', '.join(self.details)}" if self.details else ""
        return f"{self.what:<9} {self.section} {self.key}{details}"


class _Planned(Exception):
    """Carries the changes of a plan out of the transaction that is rolled back."""


def read(source: str, name: str = "file") -> dict[str, Any]:
    """A YAML text as sections. Raises DefinitionError, naming the line, for what is not YAML or not known."""
    try:
        document = written.read(source)
    except written.Unreadable as error:
        where = f"{name}, line {error.line}" if error.line else name
        raise DefinitionError(where, f"cannot be read: {str(error).rstrip('.')}.") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise DefinitionError(name, "must be a mapping of sections such as segments and journeys.")
    for key, value in document.items():
        section = BY_NAME.get(key)
        if section is None:
            raise DefinitionError(f"{name}: {key}", f"is not known; known are {', '.join(BY_NAME)}.")
        if not isinstance(value, dict if section.is_single else list):
            raise DefinitionError(f"{name}: {key}", "must be a mapping." if section.is_single else "must be a list.")
    return document


def write(document: dict[str, Any]) -> str:
    """Sections as YAML, the same for the same definitions to the byte."""
    return "".join(written.write({section: part}) for section, part in document.items())


def export(keys: Iterable[str] = ()) -> dict[str, Any]:
    """All definitions, or those with the given keys. Raises DefinitionError for a key that nothing has."""
    wanted = set(keys)
    found: set[str] = set()
    document: dict[str, Any] = {}
    for section in SECTIONS:
        chosen = {key: data for key, data in section.read().items() if not wanted or key in wanted}
        if chosen:
            found |= set(chosen)
            document[section.name] = next(iter(chosen.values())) if section.is_single else list(chosen.values())
    if missing := wanted - found:
        raise DefinitionError("", f"nothing has the key {', '.join(sorted(missing))}.")
    return document


def _key_of(section: Section, data: Any, index: int) -> str:
    if section.is_single:
        return section.name
    key = data.get(section.key) if isinstance(data, dict) else None
    if not isinstance(key, str) or not key:
        raise DefinitionError(f"{section.name}[{index}].{section.key}", "is missing: every object has a stable key.")
    return key


def _prepare_section(section: Section, items: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Makes bare rows of what is named for the first time; what was stored before."""
    before = section.read()
    keys = [_key_of(section, data, index) for index, data in enumerate(items)]
    for index, key in enumerate(keys):
        if key in keys[:index]:
            raise DefinitionError(f"{section.name}[{index}]", f"{key} stands here a second time.")
    if section.prepare:
        section.prepare(items)
    return before


def _apply_section(section: Section, items: list[dict[str, Any]], before: dict[str, dict[str, Any]]) -> list[Change]:
    keys = [_key_of(section, data, index) for index, data in enumerate(items)]
    for key, data in zip(keys, items, strict=True):
        if before.get(key) == data:
            continue
        try:
            section.write(data)
        except DefinitionError as error:
            path = f"{section.name}.{key}.{error.path}" if error.path else f"{section.name}.{key}"
            raise DefinitionError(path, error.message) from None
    after = section.read()
    changes = []
    for key in keys:
        old, new = before.get(key), after[key]
        if old is None:
            changes.append(Change(section.name, key, "created"))
        elif old == new:
            changes.append(Change(section.name, key, "unchanged"))
        else:
            names = tuple(name for name in {**old, **new} if old.get(name) != new.get(name))
            changes.append(Change(section.name, key, "changed", names))
    return changes


def _foreseen(change: Change, before: dict[str, dict[str, Any]], now: datetime) -> Change:
    """A change with what it would do to people, once all that it names is there."""
    foresee = BY_NAME[change.section].foresee
    if foresee is None or change.what not in ("created", "changed"):
        return change
    return replace(change, foreseen=tuple(foresee(before.get(change.key), change.key, now)))


def apply(
    documents: Iterable[dict[str, Any]], *, is_plan: bool = False, is_publish: bool = False, now: datetime, by=None
) -> list[Change]:
    """Stores what the documents define, in one transaction, and says what became of each object.

    With `is_plan` all is rolled back. With `is_publish` each journey named in the documents whose draft differs from
    what is live is published. Raises DefinitionError, with the path, and then nothing is stored.
    """
    merged: dict[str, list] = {}
    for document in documents:
        for name, value in document.items():
            merged.setdefault(name, []).extend([value] if BY_NAME[name].is_single else value)
    changes: list[Change] = []
    try:
        with transaction.atomic():
            if is_publish:
                # A publish waits for the tick: before anything is locked that the tick may want.
                wait_for_tick_lock()
            named = [section for section in SECTIONS if section.name in merged]
            # All bare rows first: a segment may ask for a score, and a score for a segment.
            before = {section.name: _prepare_section(section, merged[section.name]) for section in named}
            for section in named:
                changes += _apply_section(section, merged[section.name], before[section.name])
            if is_publish:
                for data in merged.get("journeys", []):
                    if campaigns.definitions.publish_if_changed(data["key"], by=by, now=now):
                        changes.append(Change("journeys", data["key"], "published"))
            if is_plan:
                changes = [_foreseen(change, before[change.section], now) for change in changes]
                raise _Planned
    except _Planned:
        pass
    return changes
