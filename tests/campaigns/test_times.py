"""The tables of time: each row is asked of the engine, and of the plain clocks that the walker lives by."""

from datetime import UTC, date, datetime, timedelta

import pytest
import yaml

from campaigns.engine import PASSING
from campaigns.models import Due, Enrolment, Visit
from contacts.models import Contact, Field
from contacts.stream import put
from messaging.models import Message
from scripts import journeys_doc
from tests.campaigns import clocks, walker
from tests.campaigns.clocks import instant, local, parts
from tests.campaigns.times_spec import CLOCKS, ENDS, EVENTS, LATE, WAITS
from tests.campaigns.world import DAY, deliver, did, journey, people, person, sent, tick
from tests.contacts.rules_spec import rows

pytestmark = pytest.mark.django_db

HOUSE = "Europe/Prague"
RENEWAL = "2027-04-01"


def clock_rows() -> list[dict]:
    """The rows of the days on which clocks change, with their noon as a moment."""
    found = rows(CLOCKS.rows)
    for row in found:
        row["known zone"] = HOUSE if row["zone"] == "Mars/Base" else row["zone"]
        day = date.fromisoformat(row["day"]) - timedelta(days=1)
        row["noon"] = instant(clocks.at(day, "12:00"), row["known zone"])
    return sorted(found, key=lambda row: row["noon"])


def written(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%m-%d %H:%M}"


def branches(steps: dict) -> list[dict]:
    """One journey for many waits: each person goes by the one that her field `way` names."""
    Field.objects.create(key="way", name="way", type="text")
    asked = [{"label": way, "when": {"field": "way", "op": "eq", "value": way}} for way in steps]
    paths = {way: [{**step, "key": f"at-{place}"}] for place, (way, step) in enumerate(steps.items())}
    return [{"ask": asked, **paths, "else": []}, {"wait": "1d", "key": "beyond"}]


def test_on_the_days_on_which_clocks_change_everybody_goes_on_at_the_moment_of_the_table():
    found = clock_rows()
    assert len({row["known zone"] for row in found}) >= 12
    began = found[0]["noon"] - DAY
    walls = {row["local time"]: {"wait_until": {"local_time": row["local time"]}} for row in found}
    ways = {"until": None, "1d": {"wait": "1d"}, "24h": {"wait": "24h"}}
    journey(began, steps=branches({**walls, "1d": ways["1d"], "24h": ways["24h"]}))
    for wall in walls:
        stream = {"cadence": {"rrule": "FREQ=DAILY", "at": wall}, "items": []}
        trigger = {"touchpoint": "trial.started", "where": [{"field": "clock", "op": "eq", "value": wall}]}
        journey(began, key=f"cast-{wall[:2]}{wall[3:]}", kind="nurture", trigger=trigger, streams=[stream])
    for number, row in enumerate(found):
        for way in ways:
            traits = {"email": f"{way}{number}@example.com", "timezone": row["zone"]}
            put(kind="contact.identified", source="test", now=began, email=traits["email"], traits=traits)
    tick(began)
    known = {contact.email: contact for contact in Contact.objects.all()}
    assert known["until0@example.com"].zone == found[0]["zone"]
    for number, row in enumerate(found):
        for way in ways:
            ann = known[f"{way}{number}@example.com"]
            ann.attributes = {"way": row["local time"] if way == "until" else way}
            ann.save(update_fields=["attributes"])
            did(ann, "trial.started", row["noon"], clock=row["local time"])
        tick(row["noon"])
        due = {
            (email.split("@")[0], kind): moment
            for email, kind, moment in Due.objects.values_list("enrolment__contact__email", "node_kind", "due_at")
        }
        told = [row["noon"], due[f"until{number}", "wait_until"], due[f"until{number}", "stream"]]
        told += [due[f"1d{number}", "wait"], due[f"24h{number}", "wait"]]
        until = row["wait_until, cast"]
        assert list(map(written, told)) == [row["noon before"], until, until, row["1d"], row["24h"]], row
        Enrolment.objects.filter(state="open").delete()


def test_the_plain_clocks_read_the_table_in_the_same_way():
    for row in clock_rows():
        zone, noon = row["known zone"], row["noon"]
        told = [
            noon,
            clocks.until(noon, {"local_time": row["local time"]}, zone),
            clocks.later(noon, "1d", zone),
            clocks.later(noon, "24h", zone),
        ]
        assert list(map(written, told)) == [row["noon before"], row["wait_until, cast"], row["1d"], row["24h"]], row
        wall = clocks.at(local(told[1], zone).date(), row["local time"])
        first, second = (wall.replace(tzinfo=clocks.ZoneInfo(zone), fold=fold).astimezone(UTC) for fold in (0, 1))
        comes = "once" if first == second else "twice" if local(first, zone) == wall else "never"
        assert comes == row["comes"], row


@pytest.mark.parametrize("wall", ["02:30", "02:29"])
def test_a_mail_leaves_at_that_minute_and_not_before(now, wall):
    """Where the time does not exist, and where it comes twice: once each, at the first minute that fits."""
    journey(now, steps=[{"wait_until": {"local_time": wall}}, {"send": "morning"}])
    for noon, expected in (
        (datetime(2027, 3, 27, 11, tzinfo=UTC), datetime(2027, 3, 28, 1, 0, tzinfo=UTC)),
        (datetime(2027, 10, 30, 10, tzinfo=UTC), datetime(2027, 10, 31, 0, int(wall[3:]), tzinfo=UTC)),
    ):
        ann = person(zone=HOUSE)
        did(ann, "trial.started", noon)
        for moment in (noon, expected - timedelta(minutes=1)):
            tick(moment)
            assert sent(ann) == []
        for moment in (expected, expected + timedelta(hours=1), expected + DAY):
            tick(moment)
            assert sent(ann) == ["morning"]


def test_waits_end_as_the_table_says():
    for key in ("renewal_on", "trial_ends_on"):
        Field.objects.create(key=key, name=key, type="date")
    found = [row | {"way": f"row {number}"} for number, row in enumerate(rows(WAITS.rows))]
    for row in found:
        row["read"], row["came"] = yaml.safe_load(row["step"]), instant(datetime.fromisoformat(row["comes"]), HOUSE)
    journey(datetime(2027, 3, 1, tzinfo=UTC), steps=branches({row["way"]: row["read"] for row in found}))
    for row in sorted(found, key=lambda row: row["came"]):
        ann = person(attributes={"renewal_on": RENEWAL, "way": row["way"]})
        did(ann, "trial.started", row["came"])
        tick(row["came"])
        token = Due.objects.get(contact_id=ann.pk)
        is_over = Visit.objects.filter(enrolment=token.enrolment_id).count() == 3
        goes_on = row["came"] if is_over else token.due_at
        assert f"{local(goes_on, HOUSE):%Y-%m-%d %H:%M}" == row["goes on"], row["step"]
        assert meant(row) == row["goes on"], row["step"]


def meant(row: dict) -> str:
    """The same by the plain clocks."""
    step, came = row["read"], row["came"]
    if "wait" in step:
        moment = clocks.later(came, step["wait"], HOUSE)
    else:
        said = {"renewal_on": RENEWAL}.get(step["wait_until"].get("field"))
        moment = clocks.until(came, step["wait_until"], HOUSE, said)
    return f"{local(moment, HOUSE):%Y-%m-%d %H:%M}"


def span(text: str) -> timedelta:
    return sum(parts(text), timedelta())


def test_an_event_answers_a_wait_as_the_table_says(now):
    for since in ("enrolment", "step"):
        wait = {"wait_for": {"did": "project.created"}, "timeout": "5d", "since": since, "key": "wait-for"}
        where = [{"field": "since", "op": "eq", "value": since}]
        trigger = {"touchpoint": "trial.started", "where": where}
        journey(now, key=since, trigger=trigger, steps=[{"wait": "1d"}, wait])
    found = [(ann, row) for ann, row in zip(crowd(len(rows(EVENTS.rows))), rows(EVENTS.rows), strict=True)]
    hearing = {(ann.pk, row["heard"]): row for ann, row in found}
    for hour in range(-24, 24 * 8, 3):
        moment = now + timedelta(hours=hour)
        for ann, row in found:
            if hour == 0:
                did(ann, "trial.started", now, since=row["since"])
            if max(span(row["heard"]), -DAY) == timedelta(hours=hour) or (row["heard"], hour) == ("-1h", -3):
                did(ann, "project.created", now + span(row["happens"]), received=moment)
        tick(moment)
    assert len(hearing) == len(found)
    for ann, row in found:
        left = Visit.objects.get(enrolment__contact=ann, outcome__in=["then", "else"])
        assert (left.outcome, left.left_at - now) == (row["goes by"], span(row["after"])), row


def crowd(count: int) -> list[Contact]:
    people(count)
    return list(Contact.objects.order_by("pk"))


def test_a_late_event_brings_somebody_in_as_the_table_says(now):
    wait = {"wait_for": {"did": "project.created"}, "timeout": "5d", "then": [], "else": []}
    journey(now - 5 * DAY, steps=[wait])
    found = list(zip(crowd(len(rows(LATE.rows))), rows(LATE.rows), strict=True))
    for ann, row in found:
        happened = now - span(row["heard after"])
        if row["did after"]:
            did(ann, "project.created", happened + span(row["did after"]), received=now)
        did(ann, "trial.started", happened, received=now)
    tick(now)
    tick(now + 5 * DAY)
    for ann, row in found:
        ways = Visit.objects.filter(enrolment__contact=ann, outcome__in=["then", "else"]).values_list(
            "outcome", flat=True
        )
        assert (list(ways), Enrolment.objects.filter(contact=ann).exists()) == (
            [row["a wait for it goes by"]] if row["enters"] == "yes" else [], row["enters"] == "yes",
        ), row  # fmt: skip


def test_whose_message_ended_goes_on_as_the_table_says(now):
    for on_skip in ("advance", "exit", "wait"):
        where = [{"field": "on_skip", "op": "eq", "value": on_skip}]
        trigger = {"touchpoint": "trial.started", "where": where}
        steps = [{"send": "hello", "on_skip": on_skip}, {"wait": "1d"}]
        journey(now, key=on_skip, trigger=trigger, steps=steps)
    found = list(zip(crowd(len(rows(ENDS.rows))), rows(ENDS.rows), strict=True))
    for ann, row in found:
        did(ann, "trial.started", now, on_skip=row["on_skip"])
    tick(now, delivers=False)
    later = now + timedelta(hours=2)
    for ann, row in found:
        state, _colon, reason = row["the message ends as"].partition(": ")
        deliver(later, state, reason, contact=ann)
    tick(later, delivers=False)
    for ann, row in found:
        enrolment, message = Enrolment.objects.get(contact=ann), Message.objects.get(contact=ann)
        if row["then she"] == "is tried again":
            assert (message.state, message.due_at) == ("pending", later + DAY), row
        elif row["then she"] == "goes on":
            assert enrolment.state == "open", row
            assert Due.objects.get(contact_id=ann.pk).due_at == later + DAY, row
        else:
            assert (enrolment.state, f"leaves ({enrolment.exit_reason})") == ("exited", row["then she"])


def test_the_walker_tries_again_for_the_same_reasons_as_the_engine():
    assert set(PASSING) == walker.PASSING


def test_the_committed_manual_is_what_the_tables_make():
    assert journeys_doc.DOC.read_text(encoding="utf-8") == journeys_doc.page(), "run: python -m scripts.journeys_doc"
