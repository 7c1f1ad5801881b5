"""Workers killed, broken and delayed at each place of the send path, and many at once over the same rows.

Who is killed is a process of its own; with STORM=2000 all of them are, and the rounds are as big as the promise.
"""

import contextlib
import os
import threading
from collections import Counter
from datetime import timedelta

import pytest

from contacts.models import Contact, Incoming
from journey_crm.invariants import check
from messaging.delivery import WINDOW, deliver, sweep
from messaging.failpoints import ACTIONS, NAMES, FailpointError
from messaging.gates import arbitrate
from messaging.models import Message
from tests.messaging.pipelining import PipeliningServer
from tests.messaging.test_workers import finish, start_worker

pytestmark = pytest.mark.django_db(transaction=True)

# `STORM=2000` runs what the promise says: ten times two thousand, with a server that thinks for 50 ms over each mail.
STORM = int(os.environ.get("STORM", "0"))


def settle(now, rounds=2) -> None:
    """What the clock does after a worker's death: the sweep, the gates and other workers."""
    for number in range(rounds):
        at = now + timedelta(minutes=6 * number)
        sweep(at)
        arbitrate(at, 0, 0)
        deliver(now=at)


@pytest.mark.parametrize("place", NAMES)
@pytest.mark.parametrize("action", ACTIONS)
def test_no_failpoint_doubles_or_loses_a_mail(smtp_sink, make_ready, settings, now, place, action):
    make_ready(230)
    failpoint = f"{place}:{action}" + (":0.001" if action == "sleep" else "")
    if STORM or action == "kill":
        code, output = finish(start_worker(now, smtp_sink.url, failpoint))
        assert code == {"kill": -9, "raise": code, "sleep": 0}[action], output
    else:
        settings.FAILPOINT = failpoint
        with contextlib.suppress(FailpointError):
            deliver(now=now)
        settings.FAILPOINT = ""
    settle(now)
    states = Counter(Message.objects.values_list("state", flat=True))
    arrived = Counter(mail.recipients[0] for mail in smtp_sink.mails)
    sent = set(Message.objects.sent().values_list("contact__email", flat=True))
    uncertain = set(Message.objects.uncertain().values_list("contact__email", flat=True))
    # No doubles; nothing lost: whoever got nothing is in doubt, and whoever got something is sent or in doubt.
    assert max(arrived.values()) == 1
    assert states["sent"] + states["uncertain"] == 230
    assert sent <= set(arrived) <= sent | uncertain
    # A broken connection leaves each of its mails in doubt where its text had left; a dead worker what it had begun.
    most = 230 if (place, action) == ("after_data", "raise") else WINDOW
    assert states["uncertain"] <= (0 if action == "sleep" or place == "after_claim" else most)
    assert Incoming.objects.filter(kind="email.sent").count() == states["sent"]
    assert set(check(now + timedelta(minutes=7)).values()) == {0}


@pytest.mark.parametrize("number", range(10))
def test_four_processes_share_what_is_due(make_template, now, number):
    """Ten times: four workers over the same rows, and a server that takes its time."""
    rows = STORM or 60
    template = make_template()
    people = Contact.objects.bulk_create(Contact(email=f"s{n}@example.com", stage="known") for n in range(rows))
    Message.objects.bulk_create(
        Message(
            key=f"s:{one.pk}",
            contact=one,
            template=template,
            message_class="marketing",
            created_at=now,
            due_at=now,
            state="ready",
        )
        for one in people
    )
    wait = threading.Event().wait
    with PipeliningServer(on_text=lambda number, raw: wait(0.05) and None) as server:
        if STORM:
            workers = [start_worker(now, server.url) for _ in range(4)]
            assert [finish(one)[0] for one in workers] == [0] * 4
        else:
            # A process takes seconds to begin; these are threads of this one, with connections of their own.
            threads = [threading.Thread(target=_deliver_apart, args=(now, server.url)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert Counter(server.recipients).most_common(1)[0][1] == 1
        assert len(server.texts) == rows
    assert Counter(Message.objects.values_list("state", flat=True)) == {"sent": rows}


def _deliver_apart(now, url) -> None:
    from django.db import connection

    from messaging.channels import choose, smtp
    from messaging.delivery import _deliver_by

    try:
        _deliver_by({"email": choose(url)}, worker=f"t{threading.get_ident()}", now=now, limit=None)
    finally:
        smtp.close_all()
        connection.close()
