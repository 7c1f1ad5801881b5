"""What is wrong with a definition: problems with their paths, found against what is known. Pure: no database."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _

from contacts.durations import parse_duration
from contacts.rulefields import Vocabulary
from contacts.rules import RuleError, parse

# Lists and headings must hold it.
LONGEST_NAME = 200
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def is_key(value: Any) -> bool:
    """Letters, digits, - and _, at most 64."""
    return isinstance(value, str) and bool(_KEY.fullmatch(value))


@dataclass(frozen=True)
class Problem:
    """What is wrong with a definition, and where: `path` such as `steps[2].send`, the step's key if it has one.

    An `error` is wrong in a draft too; what comes `later` may stand in a draft but not go live; a `warning` may.
    """

    path: str
    step_key: str
    message: str
    level: str = "error"


@dataclass(frozen=True)
class Known:
    """The keys of what a definition may name. None means: not asked, every key passes."""

    templates: frozenset[str] | None = None
    fields: Mapping[str, str] | None = None
    segments: frozenset[str] | None = None
    journeys: frozenset[str] | None = None
    topics: frozenset[str] | None = None
    # Of the templates, those that nobody gets twice.
    once: frozenset[str] = frozenset()
    # Offers, and the groups of which a person is shown one.
    slots: frozenset[str] | None = None
    # The journeys that a journey starts without a wait before it, by keys.
    starts_of: Callable[[str], Iterable[str]] | None = None


@dataclass
class Findings:
    """Problems found so far, with what is known, and the milestones of the definition."""

    known: Known
    milestones: frozenset[str] = frozenset()
    problems: list[Problem] = field(default_factory=list)
    names: Vocabulary = field(default_factory=Vocabulary)

    def say(self, path: str, message: str, step_key: str = "", level: str = "error") -> None:
        self.problems.append(Problem(path, step_key, message, level))

    def later(self, path: str, what: str, step_key: str = "") -> None:
        """Refuses at publish what the contract names and the engine does not do yet."""
        self.say(path, _("%(what)s: this comes with a later release.") % {"what": what}, step_key, "later")

    def only(self, data: Mapping[str, Any], allowed: Iterable[str], path: str, step_key: str = "") -> None:
        """Refuses every key that is not allowed here."""
        allowed = list(allowed)
        for key in data:
            if key not in allowed:
                self.say(
                    f"{path}.{key}" if path else str(key),
                    _("“%(key)s” is not known here; known are: %(known)s.") % {"key": key, "known": ", ".join(allowed)},
                    step_key,
                )

    def rule(self, data: Any, path: str, step_key: str = "") -> None:
        try:
            parse(data, self.names)
        except RuleError as error:
            self.say(f"{path}.{error.path}" if error.path else path, error.message, step_key)

    def span(self, value: Any, path: str, step_key: str = "") -> None:
        try:
            parse_duration(value)
        except (ValueError, OverflowError) as error:
            self.say(path, str(error), step_key)

    def template(self, value: Any, path: str, step_key: str = "") -> None:
        if not isinstance(value, str) or not value:
            self.say(path, _("Name the template to send."), step_key)
        elif self.known.templates is not None and value not in self.known.templates:
            self.say(path, _("There is no template “%(key)s”.") % {"key": value}, step_key)

    def key(self, value: Any, path: str, step_key: str = "") -> None:
        if not is_key(value):
            self.say(path, _("A key is letters, digits, - and _, at most 64."), step_key)

    def journey(self, value: Any, path: str, step_key: str = "") -> None:
        if not isinstance(value, str):
            self.text(value, path, step_key)
        elif self.known.journeys is not None and value not in self.known.journeys:
            self.say(path, _("There is no journey “%(key)s”.") % {"key": value}, step_key)

    def milestone(self, value: Any, path: str, step_key: str = "") -> None:
        if not isinstance(value, str) or value not in self.milestones:
            self.say(path, _("There is no milestone “%(key)s” in this journey.") % {"key": value}, step_key)

    def name(self, data: Mapping[str, Any], path: str, step_key: str = "") -> None:
        """What people call it: may be left out."""
        name = data.get("name", "")
        if not isinstance(name, str) or len(name) > LONGEST_NAME:
            self.say(path, _("A name is a text of at most %(most)d characters.") % {"most": LONGEST_NAME}, step_key)

    def text(self, value: Any, path: str, step_key: str = "") -> None:
        if not isinstance(value, str) or not value.strip():
            self.say(path, _("Write a text here."), step_key)
