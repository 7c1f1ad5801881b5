"""The linter's round over all live messages: what it finds is kept until it is gone.

Safe to run at any time and twice: a finding is one row however often it is seen.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import structlog
from django.db import connection, transaction
from django.db.models import Count, QuerySet
from django.utils.timezone import localtime

from contacts.models import Heartbeat
from messaging import deadlinks, drift, liquid, markup
from messaging.linter import Problem
from messaging.linting import Asked, ask, problems_of
from messaging.models import LintFinding, Reading, Template
from messaging.uses import live_templates
from messaging.versions import NoBrand, compiled, content_of

log = structlog.get_logger(__name__)

# When the round was made last: a row among the heartbeats, and no process.
ROUND = "linted"
_LOCK = 7_265_012
# In the small hours; should they have been missed, whenever a day is over.
HOURS = range(2, 6)
EVERY, AT_LATEST = timedelta(hours=12), timedelta(hours=26)
# How many templates are in memory at once.
CHUNK = 50


@dataclass(frozen=True)
class Round:
    """What a round looked at and what is open after it."""

    templates: int
    errors: int
    warnings: int


def live() -> QuerySet[Template]:
    """The templates that may still be sent."""
    return Template.objects.filter(key__in=live_templates()).select_related("topic").order_by("pk")


def lint_if_due(now: datetime) -> Round | None:
    """Makes the round at night, once; None where it is not due."""
    last = last_round()
    if last is not None:
        age = now - last
        if age < EVERY or (age < AT_LATEST and localtime(now).hour not in HOURS):
            return None
    return lint(now)


def last_round() -> datetime | None:
    """When the round was made last."""
    return Heartbeat.objects.filter(name=ROUND).values_list("beat_at", flat=True).first()


def lint(now: datetime, *, asks_links: bool = True) -> Round | None:
    """Looks at every live message, and asks its links unless told not to; None where somebody else is at it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
        if not cursor.fetchone()[0]:
            return None
    try:
        return _lint(now, asks_links)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


def _lint(now: datetime, asks_links: bool) -> Round:
    templates = live()
    asked = ask()
    if asks_links:
        deadlinks.look({url for one in templates.iterator(CHUNK) for url in _links(one, asked)}, now)
        deadlinks.forget(now)
        asked = ask()
    users, seen = live_templates(), []
    rest = templates.iterator(CHUNK)
    while some := list(islice(rest, CHUNK)):
        _keep({one: problems_of(one, asked) for one in some}, now)
        _read(some, asked, users, now)
        seen += [one.pk for one in some]
    # What is sent no more harms nobody.
    LintFinding.objects.filter(resolved_at=None).exclude(template__in=seen).update(resolved_at=now)
    Reading.objects.exclude(template__in=seen).delete()
    Heartbeat.objects.update_or_create(name=ROUND, defaults={"beat_at": now})
    counts = open_counts()
    log.info("messages_linted", templates=len(seen), errors=counts["error"], warnings=counts["warning"])
    return Round(len(seen), counts["error"], counts["warning"])


def _read(some: Sequence[Template], asked: Asked, users: Mapping[str, Sequence[str]], now: datetime) -> None:
    rows = []
    for one in some:
        try:
            read = drift.read(content_of(one, asked.brand))
        except NoBrand:
            read = {}
        rows.append(Reading(template=one, read_at=now, users=list(users.get(one.key, [])), **read))
    Reading.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["template"],
        update_fields=["read_at", "users", "colours", "fonts", "tone"],
    )  # fmt: skip


def _links(template: Template, asked: Asked) -> Iterator[str]:
    """The addresses that stand in a template and are the same for everybody."""
    try:
        content = content_of(template, asked.brand)
        for language in content["variants"]:
            yield from compiled(content, language).letter.links
    except (NoBrand, markup.MarkupError, liquid.RenderError, ValueError):
        return  # the linter says so itself


def _name(one: Any) -> tuple[str, ...]:
    return one.language, one.rule, one.field, one.said, one.excerpt


@transaction.atomic
def _keep(found: Mapping[Template, Sequence[Problem]], now: datetime) -> None:
    """Adds what is new, notes what is still there, and closes what is gone. What was muted stays muted."""
    had: dict[int, dict[tuple[str, ...], LintFinding]] = {template.pk: {} for template in found}
    for one in LintFinding.objects.filter(template__in=found):
        had[one.template_id][_name(one)] = one
    changed, new = [], []
    for template, problems in found.items():
        named = {_name(one): one for one in problems}
        for name, problem in named.items():
            if name not in had[template.pk]:
                new.append(
                    LintFinding(
                        template=template,
                        language=problem.language,
                        rule=problem.rule,
                        severity=problem.severity,
                        field=problem.field,
                        excerpt=problem.excerpt,
                        said=problem.said,
                        values=dict(problem.values),
                        since=now,
                        seen_at=now,
                    )  # fmt: skip
                )
                continue
            row = had[template.pk].pop(name)
            if row.resolved_at is not None:
                row.since, row.resolved_at = now, None
            row.severity, row.values, row.seen_at = problem.severity, dict(problem.values), now
            changed.append(row)
        for row in had[template.pk].values():
            if row.resolved_at is None:
                row.resolved_at = now
                changed.append(row)
    LintFinding.objects.bulk_create(new)
    LintFinding.objects.bulk_update(changed, ["since", "resolved_at", "severity", "values", "seen_at"])


def open_counts() -> Counter[str]:
    """How many findings are open, by severity."""
    rows = LintFinding.objects.open().order_by().values_list("severity").annotate(count=Count("pk"))
    return Counter(dict(rows))
