"""`python -m scripts.rules_doc`: writes docs/rules.md from the tables of tests/contacts/rules_spec.py."""

import sys
from pathlib import Path
from textwrap import fill

from tests.contacts.rules_spec import REFUSED, SPECS, Spec, rows

DOC = Path(__file__).parent.parent / "docs" / "rules.md"

HEAD = """# Rules: who is meant

<!-- Made by `python -m scripts.rules_doc` from tests/contacts/rules_spec.py; edit there. -->

A rule is data (JSON or YAML). It is compiled in one function (`contacts.rules.to_q`) to a database query, and held
by random tests against a twin in plain Python (`tests/contacts/twin.py`), which is right when the two differ.

Every table here is a test: its rules are asked of the database, of the twin, of a segment's preview, of the REST
API and of the explanation, and each names exactly these people. Moments such as `-14d` count from 10 November 2026,
10:00 in Prague, which is also the workspace's zone.

## The shape of a rule
`all`, `any` (lists with at least one rule) and `not`, nested at most 12 deep, with at most 200 questions in one
rule. Spans are `30m 12h 14d 2w` or ISO 8601 without months and years. Moments are a day, an instant, `now`, `-14d`
or `+30d`.

| type | operators |
|---|---|
| text, choice | `eq ne in not_in contains starts_with is_set is_empty has_been_for` |
| number | `eq ne in not_in gt gte lt lte is_set is_empty has_been_for` |
| yes or no | `eq ne is_set is_empty has_been_for` |
| date | `eq ne in not_in gt gte lt lte before after within_last is_set is_empty has_been_for` |
| date and time | `gt gte lt lte before after within_last is_set is_empty` |
| list | `contains in not_in is_set is_empty` |

`contacts.rulefields.catalogue` tells all of it as JSON, in the reader's language: fields with their types, choices
and operators, kinds of touchpoints and their properties, segments, topics, scores.
"""

FOOT = """
## What is refused
A refusal names the path of what is wrong, and says it in a sentence: `all[1].where[0].op: There is no operator
'like'; …`. A misspelt key is refused too, for it would widen an audience. Patterns (regular expressions) cannot be
asked at all.

{refused}

## Why
`contacts.rules.explain` answers for one contact each question with true or false, the question as a sentence, and
the evidence, as data and as a sentence: the value and since when, the newest touchpoints with their dates, the
orders, the parts of a score, the answer that a consent rests on.

## Custom fields and indexes
- A custom field has a type: text, number, yes or no, date, date and time, choice, list. REST, import and the admin
  refuse a value that is none of it. From `identify`, where nobody waits for an answer, it is read where it can be
  (`"12"` is a number), and otherwise put aside beside the contact: counted at the field, shown on the contact's
  page, neither used nor lost. The good value that was there stays. An empty text clears.
- Another type, or fewer choices, is first said: how many values fit, and how many would be put aside. It is refused
  until somebody says *convert*; what was put aside comes back when it fits again.
- What clients tell beyond the fields is kept as *unregistered traits*. They are counted by one pass over everybody,
  at most once an hour and only where people changed, and can be made fields.
- A field that any rule asks about gets an index within a minute (`manage.py index_fields`: now), on the very
  expression that the rule compiles to, and loses it when nobody asks any more. Date and time fields have none, for
  how they are read depends on the zones' rules. `contains` and `starts_with` of texts read everybody.

## Segments
A segment is dynamic (a rule), static (no rule), or both: people put in or kept out by hand stay so until the date
given.
- The tick asks only contacts with new touchpoints, and tells each change as `segment.entered` or `segment.left`. A
  segment that asks about another comes after it in the same pass.
- A rule with time in it is asked again of each person when the clock may turn their answer, as far as that can be
  computed, and else of everybody every 15 minutes; a changed rule once, at the next tick.
- A circle of segments is refused when it is saved, with its names. A segment in use cannot be deleted; its users
  are named.
- A rule that can no longer be read (its field is gone) keeps its members until somebody mends it.
- Companies have no touchpoints: who edits one calls `contacts.segments.ask_again_readers_of("company.")`.
- A preview that takes longer than its time ends with a sentence, on every door.
"""


def page() -> str:
    """The whole document."""
    refused = table(REFUSED, code={"rule", "path"})
    return HEAD + "".join(_part(spec) for spec in SPECS) + FOOT.replace("{refused}", refused)


def _part(spec: Spec) -> str:
    shown = [f"\n## {spec.title}\n{fill(spec.text, 118, break_long_words=False)}\n"]
    if spec.fields:
        told = ", ".join(
            f"`{key}` ({type_ if isinstance(type_, str) else 'choice: ' + ', '.join(type_)})"
            for key, type_ in spec.fields.items()
        )
        shown.append(f"Custom fields: {told}.\n")
    if len(rows(spec.people)[0]) > 1:
        shown.append(table(spec.people) + "\n")
    shown += [f"{name.capitalize()}:\n\n{table(more)}\n" for name, more in spec.more.items()]
    shown.append(table(spec.cases, code={"rule"}, head={"who": "means"}, empty="nobody") + "\n")
    return "\n".join(shown)


def table(rows_of: str, code: set[str] = frozenset(), head: dict[str, str] | None = None, empty: str = "") -> str:
    """A table of a spec as one of Markdown."""
    found = rows(rows_of)
    names = list(found[0])
    lines = ["| " + " | ".join((head or {}).get(name, name) for name in names) + " |", "|" + "---|" * len(names)]
    for row in found:
        cells = [f"`{row[name]}`" if name in code else row[name] or empty for name in names]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    DOC.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{DOC} written.\n")
