"""When an answer is due, as tables: `docs/routing.md` is made of them by `scripts.routing_doc`.

Only data stands here. `test_working.py` asks each row; the moments were worked out by hand, from the calendars of the
countries and the rules of the zones. Each is written by the clock of the working hours, with its distance from UTC.
"""

from tests.campaigns.times_spec import Table

OFFICE = "mon-fri 09:00-17:00 Europe/Prague"

WEEK = Table(
    "A plain week",
    "Four hours are four working hours. What is left when the day ends is done on the next.",
    f"""
    hours    | since                    | within | answer by                | because
    {OFFICE} | tue 2026-11-10 10:00 +01 | 4h     | tue 2026-11-10 14:00 +01 | all in one day
    {OFFICE} | tue 2026-11-10 13:00 +01 | 4h     | tue 2026-11-10 17:00 +01 | to the last minute
    {OFFICE} | tue 2026-11-10 15:00 +01 | 4h     | wed 2026-11-11 11:00 +01 | two hours today, two tomorrow
    {OFFICE} | tue 2026-11-10 17:00 +01 | 1h     | wed 2026-11-11 10:00 +01 | the day is over at 17:00
    {OFFICE} | tue 2026-11-10 22:00 +01 | 4h     | wed 2026-11-11 13:00 +01 | the night does not count
    {OFFICE} | fri 2026-11-13 16:00 +01 | 4h     | mon 2026-11-16 12:00 +01 | nor does the weekend
    {OFFICE} | sat 2026-11-14 12:00 +01 | 30m    | mon 2026-11-16 09:30 +01 | the clock begins on Monday
    {OFFICE} | mon 2026-11-09 09:00 +01 | 40h    | fri 2026-11-13 17:00 +01 | a whole week of work
    """,
    ("hours",),
)

SPLIT = "mon-thu 09:00-12:00,13:00-17:00; fri 09:00-15:00 Europe/Prague"

WINDOWS = Table(
    "Several windows",
    "A day may have several windows, and days may differ. Without hours a team is always at work.",
    f"""
    hours                             | since                    | within | answer by                | because
    {SPLIT}                           | thu 2026-11-12 11:30 +01 | 1h     | thu 2026-11-12 13:30 +01 | lunch does not count
    {SPLIT}                           | thu 2026-11-12 12:15 +01 | 1h     | thu 2026-11-12 14:00 +01 | it begins after lunch
    {SPLIT}                           | thu 2026-11-12 16:00 +01 | 2h     | fri 2026-11-13 10:00 +01 | over the night
    {SPLIT}                           | fri 2026-11-13 14:30 +01 | 1h     | mon 2026-11-16 09:30 +01 | Friday is short
    mon 22:00-24:00; tue 00:00-06:00  | mon 2026-11-09 23:00 +01 | 3h     | tue 2026-11-10 02:00 +01 | a night is two windows
    sat-mon 10:00-12:00 Europe/Prague | fri 2026-11-13 08:00 +01 | 5h     | mon 2026-11-16 11:00 +01 | Saturday to Monday
                                      | sat 2026-11-14 23:00 +01 | 4h     | sun 2026-11-15 03:00 +01 | always
    """,
    ("hours",),
)

NEW_YORK = "mon-fri 09:00-17:00 America/New_York"

HOLIDAYS = Table(
    "Holidays",
    "On a public holiday of any of the team's countries nobody works. A regional one is none.",
    f"""
    hours      | holidays | since                    | within | answer by                | because
    {OFFICE}   | CZ       | mon 2026-11-16 15:00 +01 | 4h     | wed 2026-11-18 11:00 +01 | 17 November
    {OFFICE}   |          | mon 2026-11-16 15:00 +01 | 4h     | tue 2026-11-17 11:00 +01 | no country, no holiday
    {OFFICE}   | CZ       | tue 2026-11-17 12:00 +01 | 1h     | wed 2026-11-18 10:00 +01 | it comes in on the holiday
    {OFFICE}   | CZ       | wed 2026-12-23 16:00 +01 | 2h     | mon 2026-12-28 10:00 +01 | Christmas and a weekend
    {OFFICE}   | CZ       | thu 2026-12-31 16:00 +01 | 2h     | mon 2027-01-04 10:00 +01 | New Year, the year changes
    {OFFICE}   | CZ       | thu 2027-03-25 16:00 +01 | 2h     | tue 2027-03-30 10:00 +02 | Easter, and the clock changes
    {OFFICE}   | CZ, PL   | tue 2026-11-10 16:00 +01 | 2h     | thu 2026-11-12 10:00 +01 | 11 November in Poland
    {NEW_YORK} | US       | wed 2026-11-25 16:00 -05 | 2h     | fri 2026-11-27 10:00 -05 | Thanksgiving
    """,
    ("hours",),
)

ABSENCES = Table(
    "Absences",
    "The clock of a rep stands still on days away, both ends included. A lead is given to others then; a clock that"
    " began before goes on when the rep is back, unless the lead was given on.",
    f"""
    hours    | holidays | away                     | since                    | within | answer by                | because
    {OFFICE} |          | 2026-11-11 to 2026-11-13 | tue 2026-11-10 16:00 +01 | 2h     | mon 2026-11-16 10:00 +01 | three days and a weekend
    {OFFICE} |          | 2026-11-11 to 2026-11-11 | tue 2026-11-10 16:00 +01 | 2h     | thu 2026-11-12 10:00 +01 | one day
    {OFFICE} | CZ       | 2026-11-16 to 2026-11-16 | fri 2026-11-13 16:00 +01 | 2h     | wed 2026-11-18 10:00 +01 | a day off before a holiday
    {OFFICE} |          | 2026-11-11 to 2026-11-20 | tue 2026-11-10 16:00 +01 | 2h     | mon 2026-11-23 10:00 +01 | over a weekend
    {OFFICE} | CZ       | 2026-11-12 to 2026-11-30 | tue 2026-11-10 16:00 +01 | 2h     | wed 2026-11-11 10:00 +01 | it begins later
    {OFFICE} |          | 2026-01-01 to 2031-12-31 | tue 2026-11-10 16:00 +01 | 2h     | never                    | gone for years
    """,
    ("hours",),
)

ALWAYS = "mon-sun 00:00-24:00"

CLOCKS = Table(
    "Days on which clocks change",
    "Hours that pass are counted, not hours on the face of the clock. A wall time that the clock jumps over means the"
    " first minute after the jump; one that comes twice means the first.",
    f"""
    hours                              | since                       | within | answer by                   | because
    {OFFICE}                           | fri 2027-03-26 16:00 +01    | 2h     | mon 2027-03-29 10:00 +02    | the week goes by the clock
    {OFFICE}                           | fri 2027-10-29 16:00 +02    | 2h     | mon 2027-11-01 10:00 +01    | and in autumn
    mon-fri 08:30-16:30 Europe/London  | fri 2027-03-26 16:00 +00    | 1h     | mon 2027-03-29 09:00 +01    | London too
    mon-fri 08:30-16:30 Europe/London  | fri 2027-10-29 16:00 +01    | 1h     | mon 2027-11-01 09:00 +00    | and in autumn
    {NEW_YORK}                         | fri 2027-03-12 16:00 -05    | 2h     | mon 2027-03-15 10:00 -04    | two weeks before Europe
    {NEW_YORK}                         | fri 2027-11-05 16:00 -04    | 2h     | mon 2027-11-08 10:00 -05    | one week after Europe
    {NEW_YORK}                         | tue 2026-11-10 04:00 -05    | 1h     | tue 2026-11-10 10:00 -05    | while Prague works
    {ALWAYS} Europe/Prague             | sat 2027-03-27 23:00 +01    | 4h     | sun 2027-03-28 04:00 +02    | the night is an hour short
    {ALWAYS} Europe/Prague             | sat 2027-10-30 23:00 +02    | 4h     | sun 2027-10-31 02:00 +01    | the night is an hour long
    {ALWAYS} America/Santiago          | sat 2027-09-04 23:30 -04    | 1h     | sun 2027-09-05 01:30 -03    | a day without a midnight
    {ALWAYS} Australia/Lord_Howe       | sun 2027-10-03 01:00 +10:30 | 1h     | sun 2027-10-03 02:30 +11    | half an hour
    sun-fri 10:00-17:00 Asia/Kathmandu | fri 2026-11-13 16:30 +05:45 | 1h     | sun 2026-11-15 10:30 +05:45 | no clock changes
    sun 01:00-04:00 Europe/Prague      | sun 2027-03-28 00:00 +01    | 2h     | sun 2027-03-28 04:00 +02    | three hours that are two
    sun 01:00-04:00 Europe/Prague      | sun 2027-03-28 00:00 +01    | 3h     | sun 2027-04-04 02:00 +02    | the third is a week away
    sun 01:00-04:00 Europe/Prague      | sun 2027-10-31 00:00 +02    | 4h     | sun 2027-10-31 04:00 +01    | three hours that are four
    sun 02:15-02:45 Europe/Prague      | sun 2027-03-28 00:00 +01    | 30m    | sun 2027-04-04 02:45 +02    | jumped over
    sun 02:30-05:00 Europe/Prague      | sun 2027-03-28 00:00 +01    | 2h     | sun 2027-03-28 05:00 +02    | it begins at 03:00
    sun 00:00-02:30 Europe/Prague      | sun 2027-10-31 01:00 +02    | 90m    | sun 2027-10-31 02:30 +02    | it ends at the first 02:30
    """,
    ("hours",),
)

TABLES = [WEEK, WINDOWS, HOLIDAYS, ABSENCES, CLOCKS]
