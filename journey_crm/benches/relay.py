"""Mail over a link of 10 ms, as to a relay in another town: one process, from the claim to the mark.

Between us and the sink stands a process that holds back each byte for 5 ms on either way, so that every question and
its answer take 10 ms. The limit is what a bare client reaches over the same link with as many connections; what a
single connection of smtplib reaches, which waits four times for each mail, is told beside.
"""

import smtplib
from collections.abc import Callable
from datetime import UTC, datetime

from journey_crm.benches import Result, Stopwatch, slices
from journey_crm.benches.deliver import mail_to, make_people, prebuilt
from journey_crm.benches.link import link
from journey_crm.benches.sink import send_bare, sink
from messaging.channels import Outgoing
from messaging.delivery import deliver
from messaging.models import Message

ROWS = 10_000
CONNECTIONS = 100
PREBUILT, BY_SMTPLIB = 500, 50


def run(rows: int, say: Callable[[str], object]) -> Result:
    now = datetime.now(UTC)
    built = min(rows, PREBUILT)
    make_people(rows + built + CONNECTIONS, now)
    mails = prebuilt(built, now)
    connections = min(CONNECTIONS, rows)
    with (
        sink() as (port, sink_name),
        link(port) as far,
        mail_to(f"smtp://127.0.0.1:{far}?connections={connections}"),
    ):
        deliver(now=now, limit=CONNECTIONS)  # opens the connections
        say(
            f"{rows:,} mails to {sink_name} over a link of 10 ms and {connections} connections, by turns with the limit"
        )
        ours, limit, plain, sent = Stopwatch(), Stopwatch(), Stopwatch(), 0
        for part in slices(rows):
            with ours:
                sent += deliver(now=now, limit=len(part))
            with limit:
                send_bare(far, [mails[number % built] for number in part], min(connections, len(part)))
        if sent != rows or Message.objects.sent().count() != rows + built + CONNECTIONS:
            raise RuntimeError(f"Of {rows} mails {sent} left.")
        say("the same by one connection of smtplib")
        few = mails[: min(rows, BY_SMTPLIB)]
        with plain:
            _send_by_smtplib(far, few)
    plain_rate = len(few) / plain.seconds
    return Result(
        "relay", "mails/s", rows, sent / ours.seconds, rows / limit.seconds, 0.35,
        "a bare pipelined client, prebuilt mails of the same bytes, as many connections over the same link",
        {
            "sink": sink_name,
            "one smtplib connection": f"{plain_rate:,.0f} mails/s",
            "times one smtplib connection": f"{sent / ours.seconds / plain_rate:.0f} (goal 100, aim 500)",
        },
    )  # fmt: skip


def _send_by_smtplib(port: int, mails: list[Outgoing]) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        for one in mails:
            client.sendmail(one.sender, [one.recipient], one.raw)
