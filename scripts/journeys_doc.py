"""`python -m scripts.journeys_doc`: writes docs/journeys.md from the tables of tests/campaigns/*_spec.py."""

import sys
from pathlib import Path
from textwrap import fill

from scripts.rules_doc import table
from tests.campaigns.journeys_spec import AGAIN, SPECS, TWELVE, Spec, rows
from tests.campaigns.times_spec import TABLES, Table

DOC = Path(__file__).parent.parent / "docs" / "journeys.md"

HEAD = """# Journeys: who goes where, and when

<!-- Made by `python -m scripts.journeys_doc` from tests/campaigns/*_spec.py; edit there. -->

How a journey is written: [journeys-as-code.md](journeys-as-code.md). This page says what it then does, to the minute.

Every table here is a test: each row is asked of the engine, and answered as it stands. Beyond the tables, random
journeys with random people, events and ticks are walked twice, by the engine (which moves everybody who is due by one
statement for each kind of step) and by a walker for one person in plain Python (`tests/campaigns/walker.py`). Both must
tell the same history, also where ticks come late, twice, after a pause, or break in between.

## The tick
Once a second, in this order:

1. What came in is taken in.
2. Goals and exit rules are asked of whoever something happened to. A goal goes before an exit rule; both act at once,
   also inside a wait and in a pause, and withdraw what was not sent yet.
3. Triggers let people in.
4. Whoever is due moves, step by step, until she rests: at a `send` until its message has left or will not, at a
   wait until its time or its event. Before that, goals and exit rules are asked of whoever is due, and again after a
   step that sets something or reaches a goal.

A tick that comes late does what was due at its own moment, not backwards: a wait of an hour behind a step that was an
hour late ends an hour later. A tick that comes twice does nothing the second time. What broke is undone as a whole
and done by the next tick. A paused journey stands still; what came about meanwhile counts when it goes on.
"""

# Above the tables of who enters and leaves: how to read them.
WHO = """
# Who enters, who leaves

Each table has a journey, what befalls one person, and what comes of it. Moments count from when it begins, a Tuesday
at 10:00 by her clock; the tick runs at each moment that is named. `1d late 3d order.placed` happened on day 1, and we
heard of it on day 3; a column that is called like a part of the journey takes its place.
"""
# Columns that are code: parts of a definition, and what happens.
CODE = {"trigger", "reentry", "goal", "goals", "steps", "exit", "grace", "happens", "it fires", "it fires again"}

LAST = """
## Each trigger with each rule of re-entry
It fires, she leaves, it fires again: how often she entered. The same comes of it where a new version was published in
between.

{again}

Each rule of re-entry where it fires twice, where she left and came back, and where twenty ask at the same time: how
often she entered, and how many of these enrolments are open.

{twelve}
"""


def page() -> str:
    """The whole document."""
    return (
        HEAD
        + "".join(map(_part, TABLES))
        + WHO
        + "".join(map(_case, SPECS))
        + LAST.format(again=table(AGAIN, code=CODE), twelve=table(TWELVE, code=CODE))
    )


def _part(part: Table) -> str:
    return f"\n## {part.title}\n{_filled(part.text)}\n\n{table(part.rows, code=set(part.code))}\n"


def _case(spec: Spec) -> str:
    shown = f"```yaml\n{spec.definition.strip()}\n```"
    # A goal that stands among what comes of it is a moment.
    code = CODE - ({"goal"} if list(rows(spec.cases)[0])[0] != "goal" else set())
    return f"\n## {spec.title}\n{_filled(spec.text)}\n\n{shown}\n\n{table(spec.cases, code=code)}\n"


def _filled(text: str) -> str:
    return fill(text, 118, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    DOC.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{DOC} written.\n")
