"""Mail over a link of 10 ms, as to a relay in another town: one process, from the claim to the mark.

Between us and the sink stands a process that holds back each byte for 5 ms on either way, so that every question and
its answer take 10 ms. The limit is what five hundred connections of smtplib would reach there, each of which waits four
times for each mail: one of them is measured.
"""

import smtplib
from collections.abc import Callable
from datetime import UTC, datetime

from journey_crm.benches import Result, Stopwatch
from journey_crm.benches.deliver import mail_to, make_people, prebuilt
from journey_crm.benches.link import link
from journey_crm.benches.sink import sink
from messaging.channels import Outgoing
from messaging.delivery import deliver
from messaging.models import Message

ROWS = 10_000
CONNECTIONS = 100
PREBUILT, BY_SMTPLIB, AIM = 500, 50, 500


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
        say(f"{rows:,} mails to {sink_name}, 10 ms away, over {connections} connections")
        ours, plain = Stopwatch(), Stopwatch()
        with ours:
            sent = deliver(now=now, limit=rows)
        if sent != rows or Message.objects.sent().count() != rows + built + CONNECTIONS:
            raise RuntimeError(f"Of {rows} mails {sent} left.")
        say("the same by one connection of smtplib")
        few = mails[: min(rows, BY_SMTPLIB)]
        with plain:
            _send_by_smtplib(far, few)
    plain_rate = len(few) / plain.seconds
    return Result(
        "relay", "mails/s", rows, sent / ours.seconds, plain_rate * AIM, 0.2,
        f"{AIM} connections of smtplib, by one that was measured; prebuilt mails of the same bytes",
        {
            "sink": sink_name,
            "one smtplib connection": f"{plain_rate:,.0f} mails/s",
            "times one smtplib connection": f"{sent / ours.seconds / plain_rate:.0f} (goal 100, aim {AIM})",
        },
    )  # fmt: skip


def _send_by_smtplib(port: int, mails: list[Outgoing]) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        for one in mails:
            client.sendmail(one.sender, [one.recipient], one.raw)
