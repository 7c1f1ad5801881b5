"""What is wrong with a definition here and now: its form, what it names, and what it says."""

from typing import Any

from campaigns import graph, letters, shape
from campaigns.models import Journey
from contacts.models import Field, Segment
from growth.slots import slots
from messaging.models import Template, Topic


def known() -> graph.Known:
    """The keys that definitions may name, as of now."""
    return graph.Known(
        templates=frozenset(Template.objects.values_list("key", flat=True)),
        fields=dict(Field.objects.values_list("key", "type")),
        segments=frozenset(Segment.objects.values_list("key", flat=True)),
        journeys=frozenset(Journey.objects.values_list("key", flat=True)),
        topics=frozenset(Topic.objects.values_list("key", flat=True)),
        once=frozenset(
            Template.objects.filter(message_class="marketing", is_repeatable=False).values_list("key", flat=True)
        ),
        slots=slots(),
        starts_of=_starts_of,
    )


def _starts_of(key: str) -> list[str]:
    """The journeys that this one starts without a wait: as it is live, else as it is drawn."""
    journey = Journey.objects.exclude(state="archived").select_related("version").filter(key=key).first()
    if journey is None:
        return []
    definition: Any = journey.version.definition if journey.version else None
    if definition is None:
        drawn = journey.drafts.filter(revision=journey.revision)
        definition = drawn.values_list("definition", flat=True).first()
        if any(problem.level != "warning" for problem in graph.check(definition)):
            return []
    return shape.started_at_once({node.key: node for node in graph.nodes(definition)})


def problems(definition: Any) -> list[graph.Problem]:
    """What is wrong with a definition here and now: its form, what it names, and what it says."""
    return [*graph.check(definition, known()), *letters.problems(definition)]
