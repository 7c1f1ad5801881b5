"""Who clicked and opened what: the one query layer behind pages and REST.

A `Scope` says of which messages, from when on. People and programs are told apart, and opens that a privacy proxy
fetched from both. Every number can be asked for its people, and they are as many.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from contacts.sql import Fragment, load
from messaging import machines
from messaging.models import Template

SQL = load(__file__)

# So many links are listed; a mail has some dozens, personal links may be as many as people.
MOST_LINKS = 200
PAGE = 50
WHO = ("human", "privacy", "machine")


@dataclass(frozen=True)
class Scope:
    """Of which messages, and from when on; `of` is a condition over `h` (a hit) and `m` (its message)."""

    of: Fragment
    since: datetime

    @classmethod
    def of_template(cls, template: Template, since: datetime) -> "Scope":
        return cls(Fragment("h.template_id = %(scope_template)s", {"scope_template": template.pk}), since)

    @classmethod
    def of_journey(cls, key: str, since: datetime) -> "Scope":
        condition = "h.journey_key = %(scope_journey)s AND h.journey_key <> ''"
        return cls(Fragment(condition, {"scope_journey": key}), since)

    def ask(self, name: str, **params: Any) -> list[tuple]:
        return SQL[name].rows(fragments={"scope": self.of}, since=self.since, **params)


@dataclass(frozen=True)
class LinkClicks:
    """One link in one language."""

    link: int
    url: str
    language: str
    clicks: int
    people: int
    machine_clicks: int


@dataclass(frozen=True)
class Count:
    """So many clicks or opens, of so many people."""

    times: int = 0
    people: int = 0


@dataclass(frozen=True)
class Report:
    """What people did with messages; `clicks` and `opens` by who: human, privacy, machine."""

    links: list[LinkClicks]
    clicks: dict[str, Count]
    opens: dict[str, Count]
    reasons: list[tuple[str, int, int]] = field(default_factory=list)


def report(scope: Scope) -> Report:
    """Links, clicks and opens of these messages, and why some were taken for a program's."""
    found: dict[bool, dict[str, Count]] = {is_open: dict.fromkeys(WHO, Count()) for is_open in (False, True)}
    for is_open, who, times, people in scope.ask("answers", privacy=list(machines.PRIVACY)):
        found[is_open][who] = Count(times, people)
    return Report(
        links=[LinkClicks(*row) for row in scope.ask("clicks_by_link", limit=MOST_LINKS)],
        clicks=found[False],
        opens=found[True],
        reasons=scope.ask("reasons_of_machines"),
    )


@dataclass(frozen=True)
class Answer:
    """One person behind a number."""

    contact_id: int
    times: int
    last_at: datetime
    user_agent: str
    reason: str

    @property
    def why(self) -> str:
        return machines.sentence(self.reason) if self.reason else ""


@dataclass(frozen=True)
class Answers:
    """A page of the people behind a number; `people` and `times` count all of them."""

    rows: list[Answer]
    people: int = 0
    times: int = 0

    def __iter__(self) -> Iterator[Answer]:
        return iter(self.rows)


def who(
    scope: Scope,
    *,
    is_open: bool,
    by: str = "human",
    link: int | None = None,
    language: str | None = None,
    page: int = 1,
) -> Answers:
    """The people behind a number of a report, the newest first, some at a time."""
    rows = scope.ask(
        "who_answered", is_open=is_open, who=by, link=link, language=language, privacy=list(machines.PRIVACY),
        limit=PAGE, offset=(page - 1) * PAGE,
    )  # fmt: skip
    if not rows:
        return Answers([])
    return Answers([Answer(*row[:5]) for row in rows], int(rows[0][5]), int(rows[0][6]))
