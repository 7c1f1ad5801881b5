"""When a message may leave, over the two nights of 2027 in which clocks change: made by hand from the zones' rules.

Each row: the zone, when the message is due (UTC), and from when on it may leave (UTC; the same moment: at once),
under the default quiet hours 20:00–08:00.
"""

# Clocks go forward in the north (America 14 March, Jerusalem 26 March, Europe 28 March), and back in the south.
SPRING = [
    # Brno: the clock goes from 02:00 to 03:00 on 28 March; 08:00 is then 06:00 UTC, not 07:00.
    ("Europe/Prague", "2027-03-27T18:59", "2027-03-27T18:59"),
    ("Europe/Prague", "2027-03-27T19:00", "2027-03-28T06:00"),
    ("Europe/Prague", "2027-03-28T05:59", "2027-03-28T06:00"),
    ("Europe/Warsaw", "2027-03-27T23:00", "2027-03-28T06:00"),
    ("Europe/London", "2027-03-27T20:00", "2027-03-28T07:00"),
    ("Europe/London", "2027-03-26T20:00", "2027-03-27T08:00"),
    ("America/New_York", "2027-03-14T01:00", "2027-03-14T12:00"),
    ("America/New_York", "2027-03-13T01:00", "2027-03-13T13:00"),
    ("America/Los_Angeles", "2027-03-14T05:00", "2027-03-14T15:00"),
    ("America/Phoenix", "2027-03-14T05:00", "2027-03-14T15:00"),
    ("America/Havana", "2027-03-14T02:00", "2027-03-14T12:00"),
    ("Asia/Tokyo", "2027-03-28T11:00", "2027-03-28T23:00"),
    ("Asia/Kolkata", "2027-03-28T14:30", "2027-03-29T02:30"),
    ("Asia/Kolkata", "2027-03-28T14:29", "2027-03-28T14:29"),
    ("Asia/Kathmandu", "2027-03-28T15:00", "2027-03-29T02:15"),
    ("Asia/Jerusalem", "2027-03-25T19:00", "2027-03-26T05:00"),
    # Half an hour only, and back: on 4 April Lord Howe goes from +11 to +10:30.
    ("Australia/Lord_Howe", "2027-04-03T12:00", "2027-04-03T21:30"),
    ("Australia/Sydney", "2027-04-03T12:00", "2027-04-03T22:00"),
    ("Pacific/Auckland", "2027-04-03T10:00", "2027-04-03T20:00"),
    ("Pacific/Apia", "2027-03-28T08:00", "2027-03-28T19:00"),
    # Far from UTC: the day there is another one.
    ("Pacific/Kiritimati", "2027-03-28T06:00", "2027-03-28T18:00"),
]
AUTUMN = [
    ("Europe/Prague", "2027-10-30T18:00", "2027-10-31T07:00"),
    ("Europe/Prague", "2027-10-29T18:00", "2027-10-30T06:00"),
    ("Europe/Warsaw", "2027-10-31T00:30", "2027-10-31T07:00"),
    ("Europe/Warsaw", "2027-10-31T01:30", "2027-10-31T07:00"),
    ("Europe/London", "2027-10-30T19:00", "2027-10-31T08:00"),
    ("America/New_York", "2027-11-07T00:00", "2027-11-07T13:00"),
    ("America/New_York", "2027-11-06T00:00", "2027-11-06T12:00"),
    ("America/Los_Angeles", "2027-11-07T03:00", "2027-11-07T16:00"),
    ("America/Phoenix", "2027-11-07T03:00", "2027-11-07T15:00"),
    ("America/Havana", "2027-11-07T00:00", "2027-11-07T13:00"),
    ("Asia/Tokyo", "2027-10-31T11:00", "2027-10-31T23:00"),
    ("Asia/Kolkata", "2027-10-31T14:30", "2027-11-01T02:30"),
    ("Asia/Kathmandu", "2027-10-31T15:00", "2027-11-01T02:15"),
    ("Asia/Jerusalem", "2027-10-30T17:00", "2027-10-31T06:00"),
    ("Australia/Lord_Howe", "2027-10-02T10:00", "2027-10-02T21:00"),
    ("Australia/Sydney", "2027-10-02T10:00", "2027-10-02T21:00"),
    ("Pacific/Auckland", "2027-09-25T08:00", "2027-09-25T19:00"),
    ("Pacific/Kiritimati", "2027-10-31T06:00", "2027-10-31T18:00"),
]
