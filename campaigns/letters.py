"""What journeys say: the templates that their steps send, and what the linter has against those."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns import graph
from campaigns.models import JourneyVersion
from messaging.linter import Problem
from messaging.linting import ask, problems_of
from messaging.models import Template

# The words of a definition behind which a template's key stands.
WORDS = ("send", "default", "nudge")
# So many warnings of one template are told.
MOST_WARNINGS = 3
# The states of a journey in which it may still send.
LIVE = ("live", "paused", "closing")


@dataclass(frozen=True)
class Use:
    """A template named in a definition: at which path, and in which step."""

    path: str
    step_key: str
    template: str


def uses(definition: Any) -> Iterator[Use]:
    """Every template that a definition may send, in its order. A key that is no template's is left to other checks."""
    if isinstance(definition, dict):
        yield from _walk(graph.complete(definition), "", "")


def _walk(part: Any, path: str, step_key: str) -> Iterator[Use]:
    if isinstance(part, dict):
        # The definition's own key is no step's.
        step_key = str(part.get("key", step_key)) if path else ""
        for name, value in part.items():
            here = f"{path}.{name}" if path else str(name)
            if name in WORDS and isinstance(value, str):
                yield Use(here, step_key, value)
            else:
                yield from _walk(value, here, step_key)
    elif isinstance(part, list):
        for place, one in enumerate(part):
            yield from _walk(one, f"{path}[{place}]", step_key)


def problems(definition: Any) -> list[graph.Problem]:
    """What the linter has against what a definition sends: its errors hinder going live, its warnings are shown.

    Each names the step, the template, the language and the rule.
    """
    named = list(uses(definition))
    templates = Template.objects.select_related("topic").in_bulk({one.template for one in named}, field_name="key")
    if not templates:
        return []
    asked = ask()
    return [
        problem
        for one in named
        if one.template in templates
        for problem in _said_of(one, templates[one.template], problems_of(templates[one.template], asked))
    ]


def _said_of(use: Use, template: Template, found: Sequence[Problem]) -> Iterator[graph.Problem]:
    """All errors, and the first of the warnings: a journey's page is no place for all of them."""
    warnings = 0
    for one in found:
        warnings += one.severity != "error"
        if warnings <= MOST_WARNINGS:
            values = {"template": template, "language": one.language, "sentence": one.sentence, "rule": one.rule}
            said = _("“%(template)s” (%(language)s): %(sentence)s [%(rule)s]") % values
            yield graph.Problem(use.path, use.step_key, said, "later" if one.severity == "error" else "warning")
    if (more := warnings - MOST_WARNINGS) > 0:
        said = ngettext(
            "“%(template)s”: %(count)d more warning; the page of consistency has it.",
            "“%(template)s”: %(count)d more warnings; the page of consistency has them.",
            more,
        )
        yield graph.Problem(use.path, use.step_key, said % {"template": template, "count": more}, "warning")


def live() -> Iterator[tuple[str, str]]:
    """The templates that live journeys and broadcasts may still send, by key, with the name of the journey."""
    versions = JourneyVersion.objects.filter(journey__state__in=LIVE).select_related("journey")
    versions = versions.prefetch_related("journey__sendouts")
    for version in versions.order_by("journey__name", "pk"):
        if version.pk == version.journey.version_id and not _is_over(version):
            for key in dict.fromkeys(one.template for one in uses(version.definition)):
                yield key, str(version.journey)


def _is_over(version: JourneyVersion) -> bool:
    """A broadcast all of whose occasions are past says nothing any more."""
    return version.journey.kind == "broadcast" and not any(
        one.state in ("scheduled", "canary", "sending") for one in version.journey.sendouts.all()
    )
