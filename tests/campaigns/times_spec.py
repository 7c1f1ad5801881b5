"""When people go on, as tables: `docs/journeys.md` is made of them by `scripts.journeys_doc`.

Only data stands here. `test_times.py` asks each row of the engine, and of the plain clocks of `clocks.py`; the moments
were worked out by hand from the zones' rules. All of them are UTC unless a heading says otherwise.

Zones whose rules governments still change from year to year, such as Africa/Casablanca, are not here: PostgreSQL and
Python may know different years of them. Journeys ask PostgreSQL alone.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A part of the manual: what it is about, and rows that a test asks."""

    title: str
    text: str
    rows: str
    # Columns that are code.
    code: tuple[str, ...] = ()


CLOCKS = Table(
    "The days on which clocks change",
    "Somebody comes to a wait at noon of the day before, by her own clock. A local time that the clock jumps over"
    " means the next minute that there is; one that comes twice means the first. `wait: 1d` keeps the time of day,"
    " `wait: 24h` is elapsed. A stream of a nurture track casts by the same clock as `wait_until`. Whoever told a zone"
    " that nobody knows lives by the workspace's clock, and is counted under `unknown_zones` at `/health/`.",
    """
    zone                | day        | local time | comes | wait_until, cast | noon before | 1d          | 24h
    Europe/Prague       | 2027-03-28 | 02:30      | never | 03-28 01:00      | 03-27 11:00 | 03-28 10:00 | 03-28 11:00
    Europe/Warsaw       | 2027-03-28 | 02:30      | never | 03-28 01:00      | 03-27 11:00 | 03-28 10:00 | 03-28 11:00
    Europe/London       | 2027-03-28 | 01:30      | never | 03-28 01:00      | 03-27 12:00 | 03-28 11:00 | 03-28 12:00
    Europe/Lisbon       | 2027-03-28 | 01:30      | never | 03-28 01:00      | 03-27 12:00 | 03-28 11:00 | 03-28 12:00
    Europe/Athens       | 2027-03-28 | 03:30      | never | 03-28 01:00      | 03-27 10:00 | 03-28 09:00 | 03-28 10:00
    Atlantic/Azores     | 2027-03-28 | 00:30      | never | 03-28 01:00      | 03-27 13:00 | 03-28 12:00 | 03-28 13:00
    America/New_York    | 2027-03-14 | 02:30      | never | 03-14 07:00      | 03-13 17:00 | 03-14 16:00 | 03-14 17:00
    America/Chicago     | 2027-03-14 | 02:30      | never | 03-14 08:00      | 03-13 18:00 | 03-14 17:00 | 03-14 18:00
    America/Los_Angeles | 2027-03-14 | 02:30      | never | 03-14 10:00      | 03-13 20:00 | 03-14 19:00 | 03-14 20:00
    America/St_Johns    | 2027-03-14 | 02:30      | never | 03-14 05:30      | 03-13 15:30 | 03-14 14:30 | 03-14 15:30
    America/Santiago    | 2027-09-05 | 00:30      | never | 09-05 04:00      | 09-04 16:00 | 09-05 15:00 | 09-05 16:00
    Australia/Sydney    | 2027-10-03 | 02:30      | never | 10-02 16:00      | 10-02 02:00 | 10-03 01:00 | 10-03 02:00
    Australia/Lord_Howe | 2027-10-03 | 02:15      | never | 10-02 15:30      | 10-02 01:30 | 10-03 01:00 | 10-03 01:30
    Pacific/Auckland    | 2027-09-26 | 02:30      | never | 09-25 14:00      | 09-25 00:00 | 09-25 23:00 | 09-26 00:00
    Pacific/Chatham     | 2027-09-26 | 03:15      | never | 09-25 14:00      | 09-24 23:15 | 09-25 22:15 | 09-25 23:15
    Pacific/Apia        | 2027-03-28 | 02:30      | once  | 03-27 13:30      | 03-26 23:00 | 03-27 23:00 | 03-27 23:00
    Asia/Kolkata        | 2027-03-28 | 02:30      | once  | 03-27 21:00      | 03-27 06:30 | 03-28 06:30 | 03-28 06:30
    Asia/Kathmandu      | 2027-03-28 | 02:30      | once  | 03-27 20:45      | 03-27 06:15 | 03-28 06:15 | 03-28 06:15
    Europe/Prague       | 2027-10-31 | 02:30      | twice | 10-31 00:30      | 10-30 10:00 | 10-31 11:00 | 10-31 10:00
    Europe/Warsaw       | 2027-10-31 | 02:30      | twice | 10-31 00:30      | 10-30 10:00 | 10-31 11:00 | 10-31 10:00
    Europe/London       | 2027-10-31 | 01:30      | twice | 10-31 00:30      | 10-30 11:00 | 10-31 12:00 | 10-31 11:00
    Europe/Lisbon       | 2027-10-31 | 01:30      | twice | 10-31 00:30      | 10-30 11:00 | 10-31 12:00 | 10-31 11:00
    Europe/Athens       | 2027-10-31 | 03:30      | twice | 10-31 00:30      | 10-30 09:00 | 10-31 10:00 | 10-31 09:00
    Atlantic/Azores     | 2027-10-31 | 00:30      | twice | 10-31 00:30      | 10-30 12:00 | 10-31 13:00 | 10-31 12:00
    America/New_York    | 2027-11-07 | 01:30      | twice | 11-07 05:30      | 11-06 16:00 | 11-07 17:00 | 11-07 16:00
    America/Chicago     | 2027-11-07 | 01:30      | twice | 11-07 06:30      | 11-06 17:00 | 11-07 18:00 | 11-07 17:00
    America/Los_Angeles | 2027-11-07 | 01:30      | twice | 11-07 08:30      | 11-06 19:00 | 11-07 20:00 | 11-07 19:00
    America/St_Johns    | 2027-11-07 | 01:30      | twice | 11-07 04:00      | 11-06 14:30 | 11-07 15:30 | 11-07 14:30
    America/Santiago    | 2027-04-04 | 23:30      | twice | 04-04 02:30      | 04-03 15:00 | 04-04 16:00 | 04-04 15:00
    Australia/Sydney    | 2027-04-04 | 02:30      | twice | 04-03 15:30      | 04-03 01:00 | 04-04 02:00 | 04-04 01:00
    Australia/Lord_Howe | 2027-04-04 | 01:45      | twice | 04-03 14:45      | 04-03 01:00 | 04-04 01:30 | 04-04 01:00
    Pacific/Auckland    | 2027-04-04 | 02:30      | twice | 04-03 13:30      | 04-02 23:00 | 04-04 00:00 | 04-03 23:00
    Pacific/Chatham     | 2027-04-04 | 03:15      | twice | 04-03 13:30      | 04-02 22:15 | 04-03 23:15 | 04-03 22:15
    Pacific/Apia        | 2027-10-31 | 02:30      | once  | 10-30 13:30      | 10-29 23:00 | 10-30 23:00 | 10-30 23:00
    Asia/Kolkata        | 2027-10-31 | 02:30      | once  | 10-30 21:00      | 10-30 06:30 | 10-31 06:30 | 10-31 06:30
    Asia/Kathmandu      | 2027-10-31 | 02:30      | once  | 10-30 20:45      | 10-30 06:15 | 10-31 06:15 | 10-31 06:15
    Mars/Base           | 2027-03-28 | 02:30      | never | 03-28 01:00      | 03-27 11:00 | 03-28 10:00 | 03-28 11:00
    """,
)

WAITS = Table(
    "Waits",
    "Somebody in Prague comes to the wait and goes on, both by her clock. A wait that is over is none. In"
    " `wait_until`, a moment that is now counts; a window (`from`, `to`) may run over midnight and belongs to the"
    " weekday on which it opens; a date of the contact that is past or missing is not waited for. `renewal_on` is"
    " Thursday 2027-04-01. The clocks go forward on Sunday 2027-03-28.",
    """
    step                                                                       | comes            | goes on
    {wait: 30m}                                                                | 2027-03-28 01:50 | 2027-03-28 03:20
    {wait: 12h}                                                                | 2027-03-27 20:00 | 2027-03-28 09:00
    {wait: 1d}                                                                 | 2027-03-27 20:00 | 2027-03-28 20:00
    {wait: 2w}                                                                 | 2027-03-20 09:00 | 2027-04-03 09:00
    {wait: P1DT6H}                                                             | 2027-03-27 01:00 | 2027-03-28 08:00
    {wait: 1d}                                                                 | 2027-03-27 02:10 | 2027-03-28 03:00
    {wait_until: {local_time: "09:00"}}                                        | 2027-03-26 09:00 | 2027-03-26 09:00
    {wait_until: {local_time: "09:00"}}                                        | 2027-03-26 09:01 | 2027-03-27 09:00
    {wait_until: {local_time: "09:00", weekdays: mon-fri}}                     | 2027-03-26 09:01 | 2027-03-29 09:00
    {wait_until: {local_time: "09:00", weekdays: "tue,thu"}}                   | 2027-03-30 10:00 | 2027-04-01 09:00
    {wait_until: {local_time: "09:00", weekdays: sat-mon}}                     | 2027-03-30 10:00 | 2027-04-03 09:00
    {wait_until: {from: "09:00", to: "17:00"}}                                 | 2027-03-26 08:00 | 2027-03-26 09:00
    {wait_until: {from: "09:00", to: "17:00"}}                                 | 2027-03-26 12:34 | 2027-03-26 12:34
    {wait_until: {from: "09:00", to: "17:00", weekdays: mon-fri}}              | 2027-03-26 17:00 | 2027-03-29 09:00
    {wait_until: {from: "22:00", to: "02:00", weekdays: fri}}                  | 2027-03-27 01:30 | 2027-03-27 01:30
    {wait_until: {from: "22:00", to: "02:00", weekdays: fri}}                  | 2027-03-28 01:30 | 2027-04-02 22:00
    {wait_until: {field: renewal_on}}                                          | 2027-03-26 08:00 | 2027-04-01 00:00
    {wait_until: {field: renewal_on, offset: -7d, local_time: "09:00"}}        | 2027-03-20 08:00 | 2027-03-25 09:00
    {wait_until: {field: renewal_on, offset: 2d}}                              | 2027-03-26 08:00 | 2027-04-03 00:00
    {wait_until: {field: renewal_on, offset: -2h}}                             | 2027-03-26 08:00 | 2027-03-31 22:00
    {wait_until: {field: renewal_on, offset: -7d}}                             | 2027-03-26 08:00 | 2027-03-26 08:00
    {wait_until: {field: trial_ends_on}}                                       | 2027-03-26 08:00 | 2027-03-26 08:00
    """,
    code=("step",),
)

EVENTS = Table(
    "Events before, during and after the wait for them",
    "A journey begins with `trial.started`, waits one day (`1d`), and then for `project.created` with a timeout of"
    " `5d`. Moments count from when she entered; the event *happens*, and we *hear* of it, by such and such a moment."
    " Counted `since: enrolment`, what came before the wait is an answer; counted `since: step`, it is none. What let"
    " her in is never an answer. What we hear of after she went on comes too late.",
    """
    since     | happens | heard | goes by | after
    enrolment | -1d     | -1d   | else    | 6d
    enrolment | -1h     | 2d    | else    | 6d
    enrolment | 0h      | 0h    | then    | 1d
    enrolment | 12h     | 12h   | then    | 1d
    enrolment | 12h     | 2d    | then    | 2d
    enrolment | 1d      | 1d    | then    | 1d
    enrolment | 2d      | 2d    | then    | 2d
    enrolment | 6d      | 6d    | then    | 6d
    enrolment | 5d      | 7d    | else    | 6d
    enrolment | 7d      | 7d    | else    | 6d
    step      | 12h     | 12h   | else    | 6d
    step      | 12h     | 2d    | else    | 6d
    step      | 1d      | 1d    | then    | 1d
    step      | 2d      | 2d    | then    | 2d
    step      | 6d      | 6d    | then    | 6d
    step      | 7d      | 7d    | else    | 6d
    """,
)

LATE = Table(
    "Late events as triggers",
    "An event that we hear of late starts a journey while it is not older than a day. What she did after it counts,"
    " even before we noticed her. The event is `trial.started`; she *did* `project.created` so long after that.",
    """
    heard after | did after | enters | a wait for it goes by
    0h          |           | yes    | else
    23h         | 1h        | yes    | then
    24h         | 1h        | yes    | then
    25h         | 1h        | no     |
    23h         | -1h       | yes    | else
    """,
)

ENDS = Table(
    "When a message cannot be sent",
    "Whoever has come to a `send` rests there until the message has left, so that a wait behind it counts from the"
    " real send. If it will not leave, the step's `on_skip` decides: `advance` goes on, `exit` ends the journey, `wait`"
    " tries again day by day for a week where another day may help (a cap, a pause, a missing address), then goes on.",
    """
    on_skip | the message ends as  | then she
    advance | sent                 | goes on
    advance | uncertain            | goes on
    advance | failed: refused      | goes on
    advance | skipped: capped      | goes on
    exit    | sent                 | goes on
    exit    | uncertain            | goes on
    exit    | failed: refused      | leaves (not_sent)
    exit    | skipped: capped      | leaves (not_sent)
    wait    | sent                 | goes on
    wait    | failed: refused      | goes on
    wait    | skipped: capped      | is tried again
    wait    | skipped: no_address  | is tried again
    wait    | skipped: unsubscribed | goes on
    """,
)

TABLES = [WAITS, CLOCKS, EVENTS, LATE, ENDS]
