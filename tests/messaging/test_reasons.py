"""Every reason has a sentence, a case that leads to it, and the same answer by command, REST and checklist."""

import json
import re
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.utils.translation import override

from contacts.merging import merge
from contacts.models import Contact
from messaging.explaining import explain_message, why
from messaging.gates import arbitrate, register_gate
from messaging.models import Cap, Hold, Holdout, Message, Protection, SendingPolicy, Suppression, Topic
from messaging.reasons import DELIVERY, GATE_OF, GATES, REASONS, WAITS, WITHDRAWN, sentence

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


@pytest.fixture
def lead_to(make_contact, make_template, make_message, allow, now):
    """A message of which the gates say that reason: `lead_to("capped")`."""

    def lead(reason: str) -> Message:
        person, values, template = make_contact(phone="+420601234567"), {}, {}
        policy = SendingPolicy.objects.create(pk=1)
        if reason == "erased":
            Contact.objects.filter(pk=person.pk).update(erased_at=now)
        elif reason == "merged":
            other = make_contact()
            Contact.objects.filter(pk=person.pk).update(merged_into=other)
        elif reason == "legal_hold":
            # On the e-mail address; and an SMS does not leave either.
            Suppression.objects.create(address=person.email, reason="legal_hold")
            template = {"channel": "sms", "body_format": "text", "subject": "", "message_class": "transactional"}
        elif reason == "suppressed":
            Suppression.objects.create(address=person.email, reason="complained")
        elif reason in ("unsubscribed", "topic_refused"):
            allow(person, "" if reason == "unsubscribed" else "newsletter", "denied")
        elif reason == "no_consent":
            template = {"topic": Topic.objects.create(key="opt", name="Opt", is_opt_in=True)}
        elif reason in ("no_address", "invalid_address"):
            Contact.objects.filter(pk=person.pk).update(email="" if reason == "no_address" else "no@dots")
        elif reason == "expired":
            values = {"valid_until": now}
        elif reason == "holdout":
            values = {"is_ghost": True}
        elif reason == "paused":
            Contact.objects.filter(pk=person.pk).update(paused_until=now + 30 * DAY)
        elif reason == "held_by_sales":
            Hold.objects.create(contact=person, held_at=now, until=now + 30 * DAY)
        elif reason == "onboarding_protection":
            Protection.objects.create(contact=person, source="x", until=now + 5 * DAY)
            values = {"is_promotion": True, "valid_until": now + 2 * DAY}
        elif reason == "quiet_hours":
            SendingPolicy.objects.filter(pk=policy.pk).update(quiet_from="08:00", quiet_until="20:00")
            template = {"quiet_hours": "skip"}
        elif reason == "capped":
            Cap.objects.create(channel="email", per_month=0)
            values = {"valid_until": now + timedelta(hours=3)}
        text = make_template(**template)
        if reason == "already_sent":
            make_message(person, text)
            Message.objects.update(state="sent", sent_at=now - 60 * DAY)
        message = make_message(person, text, **values)
        arbitrate(now, 0, 0)
        message.refresh_from_db()
        message.contact.refresh_from_db()
        return message

    return lead


@pytest.mark.parametrize("reason", GATES)
def test_every_reason_of_the_gates_has_a_case_that_says_so_everywhere(lead_to, now, reason):
    message = lead_to(reason)
    assert (message.state, message.reason) == ("skipped", reason)
    told = why(message, now)
    assert told.sentence == sentence(reason)
    failed = [one.gate for one in told.checks if one.is_passed is False]
    assert failed == [GATE_OF[reason]]
    # Behind the gate that failed nothing was asked.
    places = [one.is_passed for one in told.checks]
    assert places[places.index(False) + 1 :] == [None] * (len(places) - places.index(False) - 1)
    if reason not in ("erased", "merged"):
        out = StringIO()
        call_command("explain", str(message.contact_id), "--message", message.key, "--json", stdout=out)
        answer = json.loads(out.getvalue())
        assert (answer["reason"], answer["sentence"]) == (reason, told.sentence)
        assert answer["zone"] == "Europe/Prague" and answer["zone_from"] == "workspace"
    Contact.objects.update(erased_at=None, merged_into=None)


def test_every_other_reason_is_written_by_somebody_and_fails_at_the_delivery_or_before(make_message, now):
    sources = "\n".join(
        path.read_text()
        for app in ("messaging", "campaigns", "contacts", "growth")
        for path in Path(app).rglob("*")
        if path.suffix in (".py", ".sql") and path.name != "reasons.py" and "migrations" not in path.parts
    )
    for reason in [*DELIVERY, *WITHDRAWN]:
        assert re.search(rf"\b{reason}\b", sources), reason
        state = "cancelled" if reason in WITHDRAWN else "failed"
        message = make_message(due_at=now + DAY)
        Message.objects.filter(pk=message.pk).update(state=state, reason=reason)
        message.refresh_from_db()
        told = why(message, now)
        (failed,) = [one for one in told.checks if one.is_passed is False]
        assert told.sentence == failed.sentence == sentence(reason)


def test_the_page_about_the_gates_names_every_reason():
    page = Path("docs/gates.md").read_text()
    assert [reason for reason in GATES if f"`{reason}`" not in page] == []


def test_every_sentence_is_one():
    for language in ("en", "cs", "pl"):
        with override(language):
            for said in [*map(str, REASONS.values()), *(str(one) % {"moment": "9:00"} for one in WAITS.values())]:
                assert re.fullmatch(r"\S.*[^.\s]\.", said), said


# Numbers, rivals, and when it is asked again --------------------------------------------------------------------------


def test_the_rest_api_tells_the_numbers_of_every_cap_and_when_it_is_asked_again(
    make_contact, make_message, make_template, newsletter, now, client, django_user_model
):
    SendingPolicy.objects.create(pk=1, per_day=5, per_week=9)
    Cap.objects.create(channel="email", topic=newsletter, per_week=2)
    person, template = make_contact(most_per_week=7), make_template(name="Weekly", is_repeatable=True)
    for day in (1, 2):
        make_message(person, template, now=now - day * DAY)
    Message.objects.update(state="sent", sent_at=now - DAY)
    late = make_message(person, make_template(key="late"))
    arbitrate(now, 0, 0)
    late.refresh_from_db()
    assert (late.state, late.waits_for) == ("pending", "frequency")
    told = explain_message(contact=person, key="late", now=now).as_dict()
    assert told["caps"] == [
        {"channel": "", "topic": "", "day": 0, "per_day": 5, "week": 2, "per_week": 7, "month": 2, "per_month": 12},
        {
            "channel": "email", "topic": "Newsletter", "day": 0, "per_day": None, "week": 2, "per_week": 2, "month": 2,
            "per_month": None,
        },
    ]  # fmt: skip
    assert told["asked_again"] == late.due_at
    assert "took the place on" in told["facts"][0] and "“Weekly”" in told["facts"][0]
    assert "2 of 2 in 7 days" in " ".join(one["sentence"] for one in told["checks"])


def test_a_message_that_left_says_by_which_clock_it_did(make_contact, make_message, send, smtp_sink, now):
    message = make_message(make_contact(country="JP"), now=now)
    send(now + timedelta(hours=15))
    message.refresh_from_db()
    Contact.objects.update(country="CZ")
    message.contact.refresh_from_db()
    told = why(message, now + 9 * DAY)
    assert (told.state, told.zone, told.zone_from) == ("sent", "Asia/Tokyo", "inferred")


# The late, holdouts of a message, and a merge -------------------------------------------------------------------------


def test_what_is_late_after_an_outage_leaves_at_a_throttle_the_weightiest_first(
    make_contact, make_message, make_template, now
):
    SendingPolicy.objects.create(pk=1, drain_per_minute=3)
    template = make_template()
    late = [make_message(make_contact(), template, due_at=now - DAY, tier=1 + n % 5) for n in range(10)]
    prompt = [make_message(make_contact(), template, due_at=now - timedelta(minutes=5)) for _ in range(5)]
    receipt = make_message(template=make_template(message_class="transactional", topic=None), due_at=now - DAY)
    arbitrate(now, 0, 0)
    for one in [*late, *prompt, receipt]:
        one.refresh_from_db()
    assert {one.state for one in [*prompt, receipt]} == {"ready"}
    passed = [one for one in late if one.state == "ready"]
    assert sorted(one.tier for one in passed) == [1, 1, 2]
    waiting = [one for one in late if one.state == "pending"]
    assert {one.waits_for for one in waiting} == {"throttle"}
    assert "leaves at a throttle" in why(waiting[0], now).sentence
    left, minute = len(passed), timedelta(minutes=1)
    for number in range(1, 5):
        arbitrate(now + number * minute, 0, 0)
        ready = Message.objects.filter(pk__in=[one.pk for one in late], state="ready").count()
        assert ready - left <= 3
        left = ready
    assert left == 10


def test_every_gate_asks_again_what_waited_for_its_turn(make_contact, make_message, make_template, allow, now):
    SendingPolicy.objects.create(pk=1, drain_per_minute=1)
    messages = [make_message(due_at=now - DAY) for _ in range(3)]
    arbitrate(now, 0, 0)
    for one in messages:
        allow(one.contact, "", "denied")
    arbitrate(now + timedelta(hours=1), 0, 0)
    for one in messages:
        one.refresh_from_db()
    assert sorted(one.reason for one in messages) == ["", "unsubscribed", "unsubscribed"]


def test_of_one_message_some_are_held_out_and_stay_so(make_contact, make_message, make_template, now):
    template, other = make_template(holdout=50, is_repeatable=True), make_template()
    people = [make_contact() for _ in range(40)]
    for person in people:
        make_message(person, template)
    arbitrate(now, 0, 0)
    held = set(Message.objects.filter(reason="holdout").values_list("contact_id", flat=True))
    drawn = Holdout.objects.filter(scope=f"message:{template.pk}")
    assert 8 < len(held) < 32
    assert held == set(drawn.filter(is_held=True).values_list("contact_id", flat=True)) and drawn.count() == 40
    template.holdout = 1
    template.save()
    for person in people:
        make_message(person, template, now=now + 8 * DAY)
        make_message(person, other, now=now + 8 * DAY, tier=5)
    arbitrate(now + 8 * DAY, 0, 0)
    again = Message.objects.filter(reason="holdout", created_at=now + 8 * DAY)
    assert {(one.contact_id, one.template_id) for one in again} == {(pk, template.pk) for pk in held}


def test_a_gate_of_an_app_above_is_asked_once_however_often_it_is_registered():
    from messaging import gates

    before = list(gates._gates)
    register_gate(before[0])
    assert gates._gates == before


def test_who_was_merged_is_written_to_once(make_contact, make_message, make_template, send, smtp_sink, now):
    survivor, loser, template = make_contact(), make_contact(), make_template()
    for person in (survivor, loser):
        make_message(person, template)
    merge(survivor=survivor, loser=loser, reason="by hand", now=now)
    send()
    assert len(smtp_sink.mails) == 1
