"""One lead, whole: from an anonymous hit over two reps and a change of clocks to an order, told to everybody once.

Nothing is faked but the clock: all steps of the tick, at once where they may meet, and a real SMTP server.
"""

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from contacts import tokens
from contacts.models import Contact, StepCursor, Touchpoint
from contacts.stream import put
from growth.models import Order
from journey_crm import as_code
from journey_crm.invariants import check
from journey_crm.roles import ADMINISTRATOR, SALES_REP, ensure_roles
from journey_crm.tick import tick
from leads import activities, desk, moves
from leads.loop import loop, span_of
from leads.mails import deliver_mails
from leads.models import HotAlert, Lead, RejectReason
from messaging.delivery import deliver
from tests.leads.test_leads_sync import Mirror, the_table

PRAGUE = ZoneInfo("Europe/Prague")
# The clocks go back on the Sunday behind it.
FRIDAY = datetime(2027, 10, 29, 14, 0, tzinfo=PRAGUE)


def at(day: int, hour: int, minute: int = 0, second: int = 0) -> datetime:
    local = (FRIDAY + timedelta(days=day)).replace(hour=hour, minute=minute, second=second)
    return local.astimezone(UTC)


def work(moment: datetime, ticks: int = 3) -> None:
    for _ in range(ticks):
        tick(moment)
        deliver(now=moment)
        deliver_mails(moment)
    assert not StepCursor.objects.exclude(error="").exists()


def all_at_once(works: list) -> None:
    """Lets all go at one signal; raises what went wrong."""
    start, errors = threading.Barrier(len(works)), []

    def guarded(one):
        try:
            start.wait()
            one()
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=guarded, args=[one]) for one in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]


@pytest.fixture
def reps(transactional_db):
    groups = ensure_roles()
    people = {}
    for name, role in (("eva", SALES_REP), ("petr", SALES_REP), ("crm", ADMINISTRATOR)):
        people[name] = get_user_model().objects.create_user(name, email=f"{name}@lipa.example")
        people[name].groups.add(groups[role])
    document = as_code.read((Path(__file__).parent / "sales.yaml").read_text(encoding="utf-8"))
    as_code.apply([document], is_publish=True, now=FRIDAY)
    return people


def told(kind: str) -> list[dict]:
    return list(Touchpoint.objects.filter(kind=kind).order_by("id").values_list("properties", flat=True))


def test_a_lead_from_the_first_hit_to_the_order_with_all_that_may_go_wrong_between(client, reps, smtp_sink):
    def viewed(number: int, moment: datetime) -> None:
        put(
            kind="page.viewed", source="web", channel="web", now=moment, message_id=f"view-{number}",
            anonymous_id="a1", properties={"url": "https://lipa.example/pricing"},
        )  # fmt: skip

    # An anonymous visitor looks at prices; then she is known.
    viewed(0, at(0, 14))
    work(at(0, 14))
    assert Contact.objects.get().stage == "visitor"
    who = {"source": "web", "channel": "web", "anonymous_id": "a1", "email": "jana@studio.example"}
    put(kind="contact.identified", now=at(0, 14, 10), traits={"first_name": "Jana"}, **who)
    put(kind="form.submitted", now=at(0, 14, 10), **who)
    work(at(0, 14, 10))
    jana = Contact.objects.get()
    assert (jana.stage, jana.email, Lead.objects.count()) == ("lead", "jana@studio.example", 0)

    # Twenty views at once, a third of them told twice, while three ticks run: one crossing, lead, assignment, and mail.
    numbers = [*range(1, 15), *range(1, 7)]
    three = at(0, 15)
    all_at_once([*(lambda number=number: viewed(number, three) for number in numbers), *[lambda: tick(three)] * 3])
    work(three)
    work(at(0, 15, 1))
    assert [one["direction"] for one in told("score.crossed")] == ["up"]
    lead = Lead.objects.get()
    first = lead.assigned_to
    second = reps["petr"] if first == reps["eva"] else reps["eva"]
    assert [one["to"] for one in told("lead.assigned")] == [first.username]
    assert HotAlert.objects.count() == 1 and len(told("lead.hot")) == 1
    assert [mail["Subject"] for mail in smtp_sink.to(first.email)] == ["Hot lead: Jana"]
    # Two hours of work on Friday and two on Monday, by the clock of winter.
    assert lead.due_at == at(3, 11) and lead.due_at - three == timedelta(days=2, hours=21)

    # Nobody answers over the weekend: it goes to the other rep, and nobody is told again that it is hot.
    for moment in (at(1, 12), at(2, 12), at(3, 9), at(3, 10, 59)):
        work(moment, ticks=1)
    assert told("lead.reassigned") == []
    work(at(3, 11))
    lead.refresh_from_db()
    assert (lead.assigned_to, lead.state, lead.due_at) == (second, "open", at(3, 15))
    assert [(one["from"], one["to"], one["reason"]) for one in told("lead.reassigned")] == [
        (first.username, second.username, "overdue")
    ]
    assert HotAlert.objects.count() == 1 and smtp_sink.to(second.email) == [] and len(smtp_sink.to(first.email)) == 1

    # The second rep takes it, writes, calls, puts it off until noon, gives it back by mistake, and accepts.
    desk.claim(lead=lead, by=second, now=at(3, 11, 5))
    activities.note(lead=lead, by=second, now=at(3, 11, 6), body="Compares three tools.")
    activities.call(lead=lead, by=second, now=at(3, 11, 7), outcome="no_answer")
    desk.snooze(lead=lead, by=second, now=at(3, 11, 8), until=at(3, 12))
    work(at(3, 11, 9))
    assert Lead.objects.get().snoozed_until == at(3, 12)
    work(at(3, 12))
    assert Lead.objects.get().snoozed_until is None
    reason = RejectReason.objects.get(key="too-early")
    desk.reject(lead=lead, by=second, now=at(3, 12, 5), reason=reason)
    work(at(3, 12, 5, 10), ticks=1)
    moves.undo(lead=lead, by=second, now=at(3, 12, 5, 20))
    work(at(3, 12, 6))
    assert told("lead.rejected") == []
    desk.accept(lead=lead, by=second, now=at(3, 12, 7))
    jana.refresh_from_db()
    assert (jana.stage, jana.owner) == ("qualified", second)
    work(at(3, 16))
    assert Lead.objects.get().owner == second, "who accepted is not asked again"

    # She buys.
    desk.convert(
        lead=lead, by=second, now=at(4, 10), value=Decimal(1200), currency="EUR", order_number="2027-7",
        order_total=Decimal(1200),
    )  # fmt: skip
    work(at(4, 10, 1))
    work(at(4, 10, 2))
    jana.refresh_from_db()
    order = Order.objects.get()
    assert (jana.stage, order.number, order.contact, order.total) == ("customer", "2027-7", jana, Decimal(1200))
    assert len(told("lead.converted")) == len(told("order.placed")) == 1

    # The report counts it once, and who reads the stream has the table as it is.
    report = loop(span_of(30, None, at(4, 11)), at(4, 11))
    assert (report.handed, report.won, report.won_values) == (1, 1, {"EUR": 1200})
    assert {step.key: step.number.count for step in report.funnel} == {
        "all": 1, "claimed": 1, "accepted": 1, "won": 1, "rejected": 0, "unfinished": 0, "open": 0,
    }  # fmt: skip
    assert report.reasons == []
    mirror = Mirror()
    _, secret = tokens.issue(user=reps["crm"], scopes=["read"], name="crm", now=at(4, 11))
    mirror.poll(client, {"headers": {"Authorization": f"Bearer {secret}"}})
    assert mirror.as_it_is() == the_table() and len(mirror.leads) == 1
    assert set(check(at(4, 10, 2)).values()) == {0}

    # Each thing once, in the order of the story.
    kinds = list(Touchpoint.objects.filter(contact=jana).order_by("id").values_list("kind", flat=True))
    way = [
        "page.viewed", "contact.identified", "score.crossed", "lead.qualified", "lead.assigned", "lead.hot",
        "lead.reassigned", "lead.claimed", "lead.noted", "lead.called", "lead.snoozed", "lead.woken", "lead.undone",
        "lead.accepted", "lead.converted", "order.placed",
    ]  # fmt: skip
    assert [kinds.index(kind) for kind in way] == sorted(kinds.index(kind) for kind in way)
    assert [kind for kind in way[2:] if kinds.count(kind) != 1] == []
