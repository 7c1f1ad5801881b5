"""`python -m scripts.routing_doc`: writes docs/routing.md, with the tables of tests/leads/working_spec.py."""

import sys
from pathlib import Path
from textwrap import fill

from scripts.rules_doc import table
from tests.campaigns.times_spec import Table
from tests.leads.working_spec import TABLES

DOC = Path(__file__).parent.parent / "docs" / "routing.md"

HEAD = """# Routing: who gets a lead, and by when it is answered

<!-- Made by `python -m scripts.routing_doc` from its own text and tests/leads/working_spec.py; edit there. -->

Whoever becomes qualified, or is handed over by a journey, is a lead at the next tick. A lead has a team; in the team it
is *assigned* to a rep, and has a time by which it must be accepted. Assigned is not claimed: the lead stays open, the
rep sees it first, and a colleague may still claim it. Two who claim at once: one wins, the other sees who.

## Which team
1. The team that the journey named.
2. Else, of the teams whose rule holds for the person, the first by *position*, then by key.
3. Else the first team without a rule.
4. Else none: the lead waits, is open to every rep, and teams are asked again every hour.

## Which rep
Of the team's reps, those are asked who

- may work on leads, and whose log-in is active,
- take it: the rule of their place holds, or it has none. **A person's own rep** (the contact's owner) takes it whatever
  the rule says, and comes before all others,
- are there: not away today, and at work on the day on which the team is next at work. So a lead of the night goes to
  somebody who works the next morning, and not to somebody who is on holiday until Monday,
- have room: fewer unfinished leads in hand than their capacity. In hand are those that wait for the rep, are claimed or
  are accepted, in all teams. By hand a rep may claim more.

Of these, who is at work now comes before who only comes later that day; then whoever got none for the longest time
(**least recently assigned**), over all the person's teams; then the earlier user. The leads of one tick are dealt in
this way one after the other, the oldest first: each takes a turn and a place.

A rule that can no longer be asked, because of a field that somebody deleted, holds for nobody; that is logged, and
*Test a lead* says so. Hours that cannot be read are refused when they are entered.

## Leads that nobody has
Under **All leads**, *nobody's*, with the reason: no team takes it · the team has nobody who works on leads · no
rule of the team's reps holds · everybody whose it could be is away · everybody is at capacity. Each is asked about
again every minute, and goes to whoever is free again. Meanwhile every rep may claim it.

## When nobody answers
`sla` is **working time** of the rep who has the lead: 4h are four hours within the hours of the rep's place, else of
the team's, less holidays and days away; 8h are a day of eight hours, and 1d are twenty-four hours, three such days.
The clock of a lead that nobody has runs by the team's hours. It ends with the acceptance.

A lead that is not accepted in time, claimed or not, goes to the next rep with a clock of its own; not to somebody who
has let it lapse, until all who are there have had it. Where there is nobody else, it stays, and `lead.overdue` is told
once; whoever claims it then has a clock of his own. Also given to others is what a rep has not accepted when a day away
begins, or when the log-in is deactivated. Accepted leads stay: whoever *can hand leads over to others* does that under
**All leads**, for many at once; the filter *with who is away or gone* finds them. A rep without that permission gives
what he has in hand, and open leads, to the reps of his teams, in the workspace. Both are the same move: whoever gets a
lead that is not accepted has a clock of his own, and nobody is given a lead who is away.

A claimed lead that is released is nobody's again, with the team's whole time to answer, and goes to another rep at the
next tick. Routing does not give it back to whoever released it: where there is nobody else, it stays nobody's, and any
rep may claim it.

The stream hears `lead.assigned` (`to`), `lead.reassigned` (`from`, `to`, and as `reason` `overdue`, `absent`, `left` or
`handed_over`) and `lead.overdue`. None of them makes a lead hot again.

## Try it
**Sales teams › Test a lead** answers for a contact, or for a country, a language and so on that you type: which team
takes it, and why each other does not; which rep, and why not each other; and by when. Nothing is written.
`manage.py explain CONTACT --team inside-sales` answers the same of one team, and so does
`GET /api/v1/contacts/{id}/explain/?team=inside-sales`.

## As code
```yaml complete
routing:
  - team: field-sales
    position: 1                                 # of teams whose rules hold, the first takes the lead; default 0
    when: {field: country, op: in, value: [CZ, PL]}
    reps:
      - petr                                    # all of the team, as many as there are
      - user: ania
        when: {field: language, op: eq, value: pl}
        capacity: 20                            # so many unfinished leads in hand at most
        hours: "mon-wed 08:00-14:00 Europe/Warsaw"
    hours: "mon-thu 09:00-12:00,13:00-17:00; fri 09:00-15:00 Europe/Prague"
    holidays: [CZ, PL]                          # on holidays of any of these countries nobody works
    sla: 4h                                     # of working time
```
Absences are not code: they are entered under **Absences**.

# Working time, by the clock

Every table here is a test: each row is computed and answered as it stands. Beyond the tables, random calendars are
compared with a count of the minutes on the wall.
"""


def page() -> str:
    """The whole document."""
    return HEAD + "".join(map(_part, TABLES))


def _part(part: Table) -> str:
    text = fill(part.text, 118, break_long_words=False, break_on_hyphens=False)
    shown = table(part.rows, code=set(part.code)).replace("``", "")
    return f"\n## {part.title}\n{text}\n\n{shown}\n"


if __name__ == "__main__":
    DOC.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{DOC} written.\n")
