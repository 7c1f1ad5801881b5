"""Who enters a journey, who leaves it and what is reached, as tables. Only data stands here, for tests and the manual.

`test_journeys_spec.py` plays every row. A spec has a definition (YAML) and cases; a column that is called like a key of
the definition replaces that key in its row. `happens` is what befalls one person, Ann, part by part:

    0d trial.started; 2d order.placed {total: 40}; 3d plan=pro; tick 5d

Each part begins with its time, counted from Tuesday, 2026-11-10 10:00 in Prague (the workspace's zone). The tick runs at
every time that is named, once all that happens then has happened.

    1d kind.verbed {properties}       a touchpoint; `1d late 3d order.placed` happened on day 1 and was told on day 3
    1d plan=pro · 1d stage=customer   a field or the stage changed; `zone=…` moves her to another time zone
    1d enter vip · 1d leave vip       she entered or left the segment
    1d deny news · 1d deny all        she refused the topic “news”, or all mail; `allow` takes it back
    1d suppress                       her address bounced
    1d publish                        the same definition is published again, as the next version
    1d pause · 1d resume · 1d ask     the journey is paused, goes on; she is put in by hand
    tick 5d · ticks 1d to 3d by 1h    the tick runs; `nothing until 5d` is an outage: no tick before that time

What comes of it: `enters` is how often she entered (or at which times), `left` why she left at last (empty: she is
under way), `stands` at which step she is, `gets` the templates sent, `goal` when the goal was reached.
"""

from dataclasses import dataclass

from tests.contacts.rules_spec import rows

__all__ = ["SPECS", "Spec", "rows"]


@dataclass(frozen=True)
class Spec:
    """A part of the manual: a journey, what happens, and what comes of it."""

    title: str
    text: str
    definition: str
    cases: str


_REST = """
trigger: {touchpoint: trial.started}
steps: [{key: rest, wait: 2d}]
"""

SPECS = [
    Spec(
        "What brings people in",
        "A state lets people in when it comes about, not while it lasts; an event lets them in once. A segment, a stage"
        " and a value that were there before the journey went live bring nobody in (publishing asks whether they"
        " shall).",
        "steps: [{key: rest, wait: 2d}]",
        """
        trigger                                                                             | happens                                                    | enters
        {segment_entered: vip}                                                              | 0d enter vip                                               | 1
        {segment_entered: vip}                                                              | 0d enter other                                             | 0
        {segment_entered: vip}                                                              | 0d enter vip; 1d trial.started; tick 2d                    | 1
        {segment_left: vip}                                                                 | 0d enter vip                                               | 0
        {segment_left: vip}                                                                 | 0d enter vip; 1d leave vip                                 | 1
        {touchpoint: order.placed, where: [{field: total, op: gte, value: 50}]}             | 0d order.placed {total: 60}                                | 1
        {touchpoint: order.placed, where: [{field: total, op: gte, value: 50}]}             | 0d order.placed {total: 40}                                | 0
        {stage_changed: customer}                                                           | 0d stage=customer                                          | 1
        {stage_changed: {from: lead, to: customer}}                                         | 0d stage=customer                                          | 0
        {stage_changed: {from: lead, to: customer}}                                         | 0d stage=lead; 1d stage=customer                           | 1
        {score_crossed: engagement}                                                         | 0d score.crossed {score: engagement, direction: up}        | 1
        {score_crossed: engagement}                                                         | 0d score.crossed {score: engagement, direction: down}      | 0
        {score_crossed: {score: engagement, direction: down}}                               | 0d score.crossed {score: engagement, direction: down}      | 1
        {field_changed: plan}                                                               | 0d plan=pro                                                | 1
        {field_changed: plan}                                                               | 0d country=CZ                                              | 0
        {field_changed: {field: plan, to: pro}}                                             | 0d plan=start                                              | 0
        {field_changed: {field: plan, to: pro}}                                             | 0d plan=start; 1d plan=pro                                 | 1
        {field_changed: {field: plan, from: trial, to: pro}}                                | 0d plan=trial; 1d plan=pro                                 | 1
        {field_changed: {field: plan, from: trial, to: pro}}                                | 0d plan=start; 1d plan=pro                                 | 0
        {field_changed: {field: plan, from: trial}}                                         | 0d plan=trial; 1d plan=start                               | 1
        {field_changed: {field: plan, from: null}}                                          | 0d plan=trial                                              | 1
        {field_changed: {field: plan, from: trial, to: null}}                               | 0d plan=trial; 1d plan=                                    | 1
        [{segment_entered: vip}, {touchpoint: trial.started}]                               | 0d trial.started                                           | 1
        [{segment_entered: vip}, {touchpoint: trial.started}]                               | 0d trial.started; 0d enter vip                             | 1
        manual                                                                              | 0d trial.started                                           | 0
        manual                                                                              | 0d ask                                                     | 1
        """,
    ),
    Spec(
        "Dates",
        "A date is a wall time of each person, or one instant where it has an offset; a day of a field may be so far"
        " before or after. Each date fires once, however often the tick runs: doubled, late, or after an outage, then"
        " within the journey's grace (24 hours unless it says otherwise). Another value of the field is another date."
        " Who moves to another zone gets no date twice.",
        "steps: [{key: rest, wait: 1h}]\nreentry: {policy: after_exit}",
        """
        trigger                                                                                   | happens                                                                              | enters
        {date: {at: "2026-11-11T09:00"}, who: {field: country, op: ne, value: PL}}                | ticks 22h to 26h by 10m                                                              | 23h
        {date: {at: "2026-11-11T09:00"}, who: {field: country, op: ne, value: PL}}                | 0h zone=America/New_York; ticks 22h to 32h by 10m                                    | 29h
        {date: {at: "2026-11-11T09:00"}, who: {field: country, op: ne, value: PL}}                | 0h zone=Asia/Tokyo; ticks 10h to 32h by 10m                                          | 15h
        {date: {at: "2026-11-11T09:00"}, who: {field: country, op: ne, value: PL}}                | 0h zone=Asia/Tokyo; ticks 10h to 20h by 1h; 21h zone=America/New_York; ticks 21h to 40h by 1h | 15h
        {date: {at: "2026-11-11T09:00"}, who: {field: country, op: ne, value: PL}}                | 0h zone=America/New_York; ticks 1h to 20h by 1h; 21h zone=Asia/Tokyo; ticks 21h to 40h by 1h | 21h
        {date: {at: "2026-11-11T09:00+01:00"}, who: {field: country, op: ne, value: PL}}          | 0h zone=Asia/Tokyo; ticks 10h to 32h by 10m                                          | 23h
        {date: {at: "2026-11-11T09:00"}, who: {field: country, op: eq, value: PL}}                | ticks 22h to 26h by 10m                                                              | 0
        {date: {at: "2026-11-11T09:00"}, who: {field: country, op: eq, value: PL}}                | ticks 22h to 24h by 10m; 25h country=PL; ticks 25h to 30h by 1h                      | 0
        {date: {at: "2026-11-11T09:00"}, who: {field: country, op: ne, value: PL}}                | tick 0h; nothing until 40h; tick 40h; tick 40h                                       | 40h
        {date: {at: "2026-11-11T09:00"}, who: {field: country, op: ne, value: PL}}                | tick 0h; nothing until 48h                                                           | 0
        {date: {at: "2026-11-10T09:00"}, who: {field: country, op: ne, value: PL}}                | ticks 0h to 30h by 1h                                                                | 0
        {date: {rrule: "FREQ=DAILY", at: "09:00"}, who: {field: country, op: ne, value: PL}}      | ticks 0h to 72h by 1h                                                                | 23h 47h 71h
        {date: {rrule: "FREQ=MONTHLY;BYDAY=1MO", at: "09:00"}, who: {field: country, op: ne, value: PL}} | ticks 0d to 60d by 12h                                                        | 27d 55d
        {date: {rrule: "FREQ=WEEKLY;BYDAY=WE", at: "10:00"}, who: {field: country, op: ne, value: PL}} | tick 0d; nothing until 30h; tick 30h; nothing until 9d                           | 30h
        {date: {field: renewal_on, offset: -30d, at: "09:00"}}                                    | 0h renewal_on=2026-12-11; ticks 0h to 48h by 1h                                      | 23h
        {date: {field: renewal_on, offset: 2d, at: "09:00"}}                                      | 0h renewal_on=2026-11-09; ticks 0h to 48h by 1h                                      | 23h
        {date: {field: renewal_on, at: "09:00"}}                                                  | 0h renewal_on=2026-11-11; ticks 0h to 48h by 1h                                      | 23h
        {date: {field: renewal_on, offset: -30d, at: "09:00"}}                                    | 0h renewal_on=2026-12-11; ticks 0h to 30h by 1h; 31h renewal_on=2026-12-13; ticks 31h to 80h by 1h | 23h 71h
        {date: {field: renewal_on, offset: -30d, at: "09:00"}}                                    | 0h renewal_on=2026-12-11; ticks 0h to 30h by 1h; 31h renewal_on=2027-12-11; 32h renewal_on=2026-12-11; tick 40h | 23h
        {date: {field: renewal_on, offset: -30d, at: "09:00"}}                                    | 0h renewal_on=2026-12-20; tick 30h; 31h renewal_on=2026-12-11; tick 32h              | 31h
        {date: {field: renewal_on, offset: -30d, at: "09:00"}}                                    | 0h renewal_on=2026-12-20; tick 50h; 51h renewal_on=2026-12-11; tick 52h              | 0
        {date: {field: ends_at, offset: -2h}}                                                     | 0h ends_at=2026-11-11T12:30:00+01:00; ticks 0h to 30h by 30m                         | 24.5h
        """,
    ),
    Spec(
        "The entry filter",
        "`when` on a trigger is asked when its event comes, and again for half an hour, for what tells of the person may"
        " come after the event. Then the event is refused, and that is written down.",
        _REST.replace("trial.started}", "trial.started, when: {field: plan, op: eq, value: pro}}"),
        """
        happens                                               | enters | refused
        0m plan=pro; 0m trial.started                         | 0m     |
        0m trial.started; tick 10m                            | 0      |
        0m trial.started; 5m plan=pro; tick 6m                | 5m     |
        0m trial.started; 5m plan=pro; 10m trial.started      | 5m     |
        0m trial.started; tick 31m; 40m plan=pro; tick 41m    | 0      | filter
        0m trial.started; tick 31m; 40m plan=pro; 41m trial.started | 41m | filter
        0m trial.started; 5m publish; 10m plan=pro            | 10m    |
        0m trial.started; 5m pause; 10m plan=pro; 15m resume; tick 31m | 31m |
        """,
    ),
    Spec(
        "Getting in again",
        "It needs a new edge: an event of its own. What happened while she was under way brings nobody in later. At most"
        " one enrolment of a person is open for a journey and key; that is a promise of the database.",
        _REST,
        """
        reentry                                            | happens                                                                            | enters
        {policy: never}                                    | 0d trial.started; 0d trial.started                                                 | 1
        {policy: never}                                    | 0d trial.started; 10d trial.started                                                | 1
        {policy: after_exit}                               | 0d trial.started; 0d trial.started                                                 | 1
        {policy: after_exit}                               | 0d trial.started; 1d trial.started; tick 10d                                       | 1
        {policy: after_exit}                               | 0d trial.started; tick 2d; 10d trial.started; tick 12d; 20d trial.started          | 3
        {policy: after_exit, cooldown: 30d}                | 0d trial.started; 0d trial.started; tick 2d                                        | 1
        {policy: after_exit, cooldown: 30d}                | 0d trial.started; tick 2d; 31d trial.started                                       | 1
        {policy: after_exit, cooldown: 30d}                | 0d trial.started; tick 2d; 33d trial.started                                       | 2
        {policy: per_key, key: number}                     | 0d trial.started {number: A}; 0d trial.started {number: A}                         | 1
        {policy: per_key, key: number}                     | 0d trial.started {number: A}; 0d trial.started {number: B}                         | 2
        {policy: per_key, key: number}                     | 0d trial.started {number: A}; tick 2d; 10d trial.started {number: A}               | 1
        {policy: after_exit, max: 2, window: 30d}          | 0d trial.started; 0d trial.started                                                 | 1
        {policy: after_exit, max: 2, window: 30d}          | 0d trial.started; tick 2d; 5d trial.started; tick 7d; 10d trial.started            | 2
        {policy: after_exit, max: 2, window: 30d}          | 0d trial.started; tick 2d; 5d trial.started; tick 7d; 31d trial.started            | 3
        {policy: per_key, key: number, max: 2, window: 30d} | 0d trial.started {number: A}; 0d trial.started {number: B}; 0d trial.started {number: C} | 2
        """,
    ),
    Spec(
        "Late and early",
        "An event that is told later than the journey's `grace` after it happened starts nothing; it still counts for"
        " goals, waits and exits by the time at which it happened. What came before its wait counts since the enrolment,"
        " or since the step where the step says so.",
        """
trigger: {touchpoint: trial.started}
goal: {rule: {did: order.placed}, window: 10d, action: continue}
steps: [{key: hold, wait: 1d}, {key: asked, wait_for: {did: page.viewed}, timeout: 5d, then: [{key: seen, wait: 30d}], else: [{key: unseen, wait: 30d}]}]
        """,
        """
        grace | happens                                                           | enters | stands | goal
        24h   | 0h late 23h trial.started                                         | 23h    | hold   |
        24h   | 0h late 25h trial.started                                         | 0      |        |
        2h    | 0h late 3h trial.started                                          | 0      |        |
        72h   | 0h late 71h trial.started                                         | 71h    | hold   |
        24h   | 0h page.viewed; 1h trial.started; tick 26h                        | 1h     | asked  |
        24h   | 0h trial.started; 1h page.viewed; tick 24h                        | 0h     | seen   |
        24h   | 0h trial.started; tick 24h; 30h page.viewed                       | 0h     | seen   |
        24h   | 0h trial.started; tick 24h; tick 145h; 146h page.viewed           | 0h     | unseen |
        24h   | 0h late 1h trial.started; 0h page.viewed; tick 25h                | 1h     | seen   |
        24h   | 0h trial.started; 1h order.placed                                 | 0h     | hold   | 1h
        24h   | 0h order.placed; 1h trial.started; tick 2h                        | 1h     | hold   |
        24h   | 0h trial.started; tick 24h; 30h late 50h order.placed             | 0h     | asked  | 30h
        24h   | 0h trial.started; tick 24h; tick 145h; 239h late 250h order.placed | 0h    | unseen | 239h
        24h   | 0h trial.started; tick 24h; tick 145h; 239h late 300h order.placed | 0h    | unseen |
        24h   | 0h trial.started; tick 24h; tick 145h; 241h order.placed          | 0h     | unseen |
        """,
    ),
    Spec(
        "What ends a journey first",
        "All of it acts at once, also inside a wait, and withdraws what was not sent. Where several hold at the same"
        " moment, the first of these is the reason: suppressed, the goal, the exit rule, the audience left, consent lost;"
        " then the step, then the end.",
        """
trigger: {segment_entered: vip}
goal: {rule: {did: order.placed}}
exit: {rule: {field: plan, op: eq, value: cancelled}, audience_left: true}
steps: [{key: rest, wait: 5d}, {key: hello, send: hello}, {key: more, wait: 5d}, {exit: done}]
        """,
        """
        happens                                                                                  | left
        0d enter vip; 1d page.viewed                                                             |
        0d enter vip; 1d suppress; 1d order.placed; 1d plan=cancelled; 1d leave vip; 1d deny all | erased
        0d enter vip; 1d order.placed; 1d plan=cancelled; 1d leave vip; 1d deny all              | goal
        0d enter vip; 1d plan=cancelled; 1d leave vip; 1d deny all                               | exit_rule
        0d enter vip; 1d leave vip; 1d deny all                                                  | left_audience
        0d enter vip; 1d deny all                                                                | consent_lost
        0d enter vip; 1d deny news                                                               | consent_lost
        0d enter vip; 1d deny tips                                                               |
        0d enter vip; tick 5d; 6d deny news                                                      |
        0d enter vip; 1d leave vip; 1d enter vip                                                 |
        0d enter vip; tick 5d; tick 10d                                                          | exit
        0d enter vip; tick 5d; 10d plan=cancelled                                                | exit_rule
        0d plan=cancelled; 0d enter vip                                                          | exit_rule
        """,
    ),
    Spec(
        "Who stays",
        "The audience is left only where the journey says so; consent is lost only where nothing that may still come is"
        " allowed, and only since the enrolment. Transactional mail cannot be refused.",
        """
trigger: {segment_entered: vip}
exit: {field: plan, op: eq, value: cancelled}
steps: [{key: rest, wait: 5d}, {send: hello}, {wait: 5d}]
        """,
        """
        steps                                                                             | happens                                   | left
        [{wait: 5d}, {send: hello}]                                                       | 0d enter vip; 1d leave vip                |
        [{wait: 5d}, {send: hello}]                                                       | 0d deny news; 0d enter vip; 1d page.viewed |
        [{wait: 5d}, {send: hello}]                                                       | 0d enter vip; 1d deny news; 2d allow news | consent_lost
        [{wait: 5d}, {send: hello}, {wait: 5d}, {send: tip}]                              | 0d enter vip; 1d deny news                |
        [{wait: 5d}, {send: hello}, {wait: 5d}, {send: tip}]                              | 0d enter vip; 1d deny news; 2d deny tips  | consent_lost
        [{wait: 5d}, {send: tip}, {wait: 5d}, {send: hello}]                              | 0d enter vip; 1d deny news; tick 5d       |
        [{wait: 5d}, {send: tip}, {wait: 5d}, {send: hello}]                              | 0d enter vip; 1d deny news; tick 5d; tick 10d | consent_lost
        [{wait: 5d}, {send: receipt}]                                                     | 0d enter vip; 1d deny all                 |
        [{wait: 5d}, {set: {field: plan, value: pro}}]                                    | 0d enter vip; 1d deny all                 |
        [{wait: 5d}, {ask: {did: page.viewed}, then: [{send: hello}], else: [{send: tip}]}] | 0d enter vip; 1d deny news              |
        [{set: {field: plan, value: cancelled}}, {send: hello}]                           | 0d enter vip                              | exit_rule
        """,
    ),
    Spec(
        "Goals",
        "A goal is what happened since the enrolment, within its window, also after the journey's end; without a window"
        " while she is under way. It is written down once, with the touchpoint that shows it and what it is worth.",
        """
trigger: {touchpoint: trial.started}
steps: [{key: rest, wait: 2d}, {key: hello, send: hello}, {key: last, wait: 5d}, {key: bye, send: bye}]
        """,
        """
        goal                                                                               | happens                                                       | goal_at | left | stands | gets      | worth
        {rule: {did: order.placed}}                                                        | 0d trial.started; 1d order.placed                             | 1d      | goal |        |           |
        {rule: {did: order.placed}, action: continue}                                      | 0d trial.started; 1d order.placed                             | 1d      |      | rest   |           |
        {rule: {did: order.placed}, action: jump, to: last}                                | 0d trial.started; 1d order.placed                             | 1d      |      | last   |           |
        {rule: {did: order.placed}, action: jump, to: last}                                | 0d trial.started; 1d order.placed; tick 6d                    | 1d      | end  |        | bye       |
        {rule: {did: order.placed}, action: jump, to: hello}                               | 0d trial.started; tick 2d; 3d order.placed; tick 8d           | 3d      | end  |        | hello hello bye |
        {rule: {did: order.placed}, action: jump, to: last}                                | 0d trial.started; 1d order.placed; 2d order.placed; tick 6d   | 1d      | end  |        | bye       |
        {rule: {did: order.placed}, window: 30d}                                           | 0d trial.started; tick 2d; tick 7d; 29d order.placed          | 29d     | end  |        | hello bye |
        {rule: {did: order.placed}, window: 30d}                                           | 0d trial.started; tick 2d; tick 7d; 31d order.placed          |         | end  |        | hello bye |
        {rule: {did: order.placed}}                                                        | 0d trial.started; tick 2d; tick 7d; 8d order.placed           |         | end  |        | hello bye |
        {rule: {did: order.placed, count: {op: gte, value: 2}}}                            | 0d trial.started; 1d order.placed; 2d order.placed            | 2d      | goal |        |           |
        {rule: {field: plan, op: eq, value: pro}, window: 3d, action: continue}            | 0d trial.started; 1d plan=pro                                 | 1d      |      | rest   |           |
        {rule: {field: plan, op: eq, value: pro}, window: 1d, action: continue}            | 0d trial.started; 2d plan=pro                                 |         |      | last   | hello     |
        {rule: {did: order.placed}, value: 120}                                            | 0d trial.started; 1d order.placed {total: 40}                 | 1d      | goal |        |           | 120.00
        {rule: {did: order.placed}, value: {property: total}}                              | 0d trial.started; 1d order.placed {total: 40.5}               | 1d      | goal |        |           | 40.50
        {rule: {did: order.placed}, value: {property: total}}                              | 0d trial.started; 1d order.placed {total: much}               | 1d      | goal |        |           |
        """,
    ),
    Spec(
        "Goals after a message",
        "Whether a goal was reached within its window after the first message left is kept beside it: only then it may be"
        " the message's effect. Secondary goals end nothing.",
        """
trigger: {touchpoint: trial.started}
goal: {rule: {did: order.placed}, window: 5d, action: continue}
goals: [{key: looked, rule: {did: page.viewed}, window: 10d, value: 3}, {key: rich, rule: {did: order.placed, where: [{field: total, op: gte, value: 100}]}}]
steps: [{key: rest, wait: 2d}, {key: hello, send: hello}, {key: last, wait: 30d}]
        """,
        """
        happens                                                             | reached            | after a message
        0d trial.started; 1d order.placed; tick 2d                          | own                |
        0d trial.started; tick 2d; 3d order.placed                          | own                | own
        0d trial.started; tick 2d; 3d order.placed {total: 200}             | own rich           | own rich
        0d trial.started; 1d page.viewed; tick 2d; 3d order.placed          | looked own         | own
        0d trial.started; tick 2d; 9d page.viewed                           | looked             | looked
        0d trial.started; tick 2d; 11d page.viewed                          |                    |
        0d trial.started; tick 4d; 4d order.placed; tick 5d                 | own                | own
        """,
    ),
]


# The trigger × the re-entry rule, each also with a new version between: how often she gets in where it fires, she leaves,
# and it fires again.
AGAIN = """
trigger                                          | it fires                                            | it fires again                                      | never | after_exit | per_key
{segment_entered: vip}                           | 0d enter vip                                        | 5d leave vip; 5d enter vip                          | 1     | 2          | 1
{segment_left: vip}                              | 0d enter vip; 0d leave vip                          | 5d enter vip; 5d leave vip                          | 1     | 2          | 1
{touchpoint: trial.started}                      | 0d trial.started {number: A}                        | 5d trial.started {number: B}                        | 1     | 2          | 2
{stage_changed: customer}                        | 0d stage=customer                                   | 5d stage=lead; 6d stage=customer                    | 1     | 2          | 1
{score_crossed: engagement}                      | 0d score.crossed {score: engagement, direction: up} | 5d score.crossed {score: engagement, direction: up} | 1     | 2          | 1
{field_changed: {field: plan, to: pro}}          | 0d plan=pro                                         | 5d plan=start; 6d plan=pro                          | 1     | 2          | 1
{date: {field: renewal_on, at: "10:00"}}         | 0d renewal_on=2026-11-11; tick 1d                   | 5d renewal_on=2026-11-16; tick 6d                   | 1     | 2          | 1
manual                                           | 0d ask                                              | 5d ask                                              | 1     | 2          | 1
"""

# The re-entry rule × what happens: how many enrolments there are, and how many of them are open. `20 at once` are
# threads that ask at the same time.
TWELVE = """
reentry                                      | twice | left and returned | 20 at once
{policy: never}                              | 1, 1  | 1, 0              | 1, 1
{policy: after_exit}                         | 1, 1  | 2, 1              | 1, 1
{policy: after_exit, cooldown: 30d}          | 1, 1  | 1, 0              | 1, 1
{policy: per_key, key: number}               | 1, 1  | 1, 0              | 1, 1
{policy: after_exit, max: 1, window: 30d}    | 1, 1  | 1, 0              | 1, 1
"""
