"""What journeys say: the templates that their steps send, and what the linter has against those."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from campaigns import graph
from campaigns.models import JourneyVersion
from messaging.linting import ask, problems_of
from messaging.models import Template

# The words of a definition behind which a template's key stands.
WORDS = ("send", "default", "nudge")
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
    told = ask()
    found = []
    for one in named:
        if template := templates.get(one.template):
            for problem in problems_of(template, told):
                level = "later" if problem.severity == "error" else "warning"
                values = {
                    "template": template, "language": problem.language, "sentence": problem.sentence,
                    "rule": problem.rule,
                }  # fmt: skip
                said = _("“%(template)s” (%(language)s): %(sentence)s [%(rule)s]") % values
                found.append(graph.Problem(one.path, one.step_key, said, level))
    return found


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
