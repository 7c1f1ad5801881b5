"""The gates: order, quiet hours over zones and clock changes, caps, and why."""

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.utils.translation import override

from contacts.models import Contact
from messaging.delivery import deliver
from messaging.explaining import explain_message, why
from messaging.gates import arbitrate
from messaging.models import Message, SendingPolicy, Suppression
from messaging.outbox import cancel, hold


def judge(now) -> None:
    arbitrate(now, 0, 0)


def outcome(message) -> tuple[str, str]:
    message.refresh_from_db()
    return message.state, message.reason


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"erased": True, "merged": True, "email": ""}, "erased"),
        ({"merged": True, "denied": ""}, "merged"),
        ({"suppressed": "legal_hold", "denied": ""}, "legal_hold"),
        ({"suppressed": "bounced", "denied": ""}, "unsubscribed"),
        ({"suppressed": "bounced", "valid": -1}, "suppressed"),
        ({"suppressed": "unsubscribed"}, "unsubscribed"),
        ({"denied": ""}, "unsubscribed"),
        ({"denied": "newsletter", "email": ""}, "topic_refused"),
        ({"email": "", "valid": -1}, "no_address"),
        ({"email": "no@dots", "valid": -1}, "invalid_address"),
        ({"email": "a@b@c.example"}, "invalid_address"),
        ({"email": "x\r\nRCPT TO:<y@z.example>@c.example"}, "invalid_address"),
        ({"before": True, "valid": -1}, "already_sent"),
        ({"valid": 0, "ghost": True}, "expired"),
        ({"ghost": True}, "holdout"),
        ({}, ""),
    ],
)
def test_the_first_gate_that_fails_is_the_reason(make_message, make_contact, make_template, allow, now, values, reason):
    person, template = make_contact(), make_template()
    if values.get("before"):
        make_message(person, template)
        Message.objects.update(state="sent", sent_at=now - timedelta(days=60))
    if "suppressed" in values:
        Suppression.objects.create(address=person.email, reason=values["suppressed"])
    if "denied" in values:
        allow(person, values["denied"], "denied")
    if "email" in values:
        person.email = values["email"]
    if values.get("erased"):
        person.erased_at = now
    if values.get("merged"):
        person.merged_into = make_contact()
    person.save()
    message = make_message(
        person,
        template,
        valid_until=now + timedelta(hours=values["valid"]) if "valid" in values else None,
        is_ghost=values.get("ghost", False),
    )
    judge(now)
    assert outcome(message) == (("skipped", reason) if reason else ("ready", ""))
    Contact.objects.filter(pk=person.pk).update(erased_at=None, merged_into=None)


def test_an_opt_in_topic_needs_consent(make_message, make_template, make_contact, tips, allow, now):
    template = make_template(topic=tips)
    silent, pending, granted = make_contact(), make_contact(), make_contact()
    allow(pending, "tips", "pending")
    allow(granted, "tips")
    messages = [make_message(person, template) for person in (silent, pending, granted)]
    judge(now)
    assert [outcome(one) for one in messages] == [("skipped", "no_consent"), ("skipped", "no_consent"), ("ready", "")]


def test_transactional_mail_ignores_refusals_but_no_bounce(make_message, make_template, make_contact, allow, now):
    template = make_template(message_class="transactional", topic=None)
    refusing, bounced, gone = make_contact(), make_contact(), make_contact()
    allow(refusing, "", "denied")
    Suppression.objects.create(address=bounced.email, reason="bounced")
    Suppression.objects.create(address=gone.email, reason="unsubscribed")
    messages = [make_message(person, template) for person in (refusing, bounced, gone)]
    judge(now)
    assert [outcome(one)[0] for one in messages] == ["ready", "skipped", "ready"]


NIGHTS = [
    # zone, now in UTC, and when it may leave in that zone (None: at once); the spread of 15 minutes comes on top
    ("Europe/Prague", "2026-11-10T09:00", None),
    ("Europe/Prague", "2026-11-10T18:59", None),
    ("Europe/Prague", "2026-11-10T19:00", "2026-11-11T08:00"),
    ("Europe/Prague", "2026-11-10T23:30", "2026-11-11T08:00"),
    ("Europe/Prague", "2026-11-11T06:59", "2026-11-11T08:00"),
    ("Europe/Prague", "2026-11-11T07:00", None),
    ("America/New_York", "2026-11-10T09:00", "2026-11-10T08:00"),
    ("America/New_York", "2026-11-10T13:00", None),
    ("Asia/Tokyo", "2026-11-10T12:00", "2026-11-11T08:00"),
    ("Asia/Kolkata", "2026-11-10T14:30", "2026-11-11T08:00"),
    ("Asia/Kolkata", "2026-11-10T14:29", None),
    # The night in which the clock goes forward, and the one in which it goes back.
    ("Europe/Prague", "2027-03-27T21:00", "2027-03-28T08:00"),
    ("Europe/Prague", "2027-03-28T05:59", "2027-03-28T08:00"),
    ("Europe/Prague", "2027-03-28T06:00", None),
    ("Europe/Prague", "2026-10-24T20:00", "2026-10-25T08:00"),
    ("Europe/Prague", "2026-10-25T06:59", "2026-10-25T08:00"),
    ("Europe/Prague", "2026-10-25T07:00", None),
    # Nobody knows where: the house's own zone.
    ("", "2026-11-10T20:00", "2026-11-11T08:00"),
]


@pytest.mark.parametrize(("zone", "at", "leaves"), NIGHTS)
def test_quiet_hours_are_the_persons_own(make_message, make_contact, zone, at, leaves):
    moment = utc(at)
    message = make_message(make_contact(zone=zone), now=moment)
    judge(moment)
    if leaves is None:
        assert outcome(message) == ("ready", "")
        assert message.zone == (zone or "Europe/Prague")
        return
    assert outcome(message) == ("pending", "")
    start = datetime.fromisoformat(leaves).replace(tzinfo=ZoneInfo(zone or "Europe/Prague"))
    assert start <= message.due_at < start + timedelta(minutes=15)
    judge(message.due_at)
    assert outcome(message) == ("ready", "")


def test_the_end_of_the_night_is_spread(make_message, now):
    messages = [make_message(now=now) for _ in range(30)]
    judge(utc("2026-11-10T22:00"))
    dues = [Message.objects.get(pk=one.pk).due_at for one in messages]
    assert len(set(dues)) > 20
    assert max(dues) - min(dues) < timedelta(minutes=15)


def test_quiet_hours_of_the_day_work_too(make_message, brand):
    SendingPolicy.objects.create(pk=1, quiet_from="12:00", quiet_until="14:00")
    noon, evening = make_message(now=utc("2026-11-10T11:30")), make_message(now=utc("2026-11-10T22:00"))
    judge(utc("2026-11-10T11:30"))
    assert outcome(noon)[0] == "pending"
    judge(utc("2026-11-10T22:00"))
    assert outcome(evening)[0] == "ready"


def test_transactional_mail_knows_no_night(make_message, make_template):
    message = make_message(template=make_template(message_class="transactional"), now=utc("2026-11-10T23:00"))
    judge(utc("2026-11-10T23:00"))
    assert outcome(message) == ("ready", "")


def test_a_message_that_the_night_outlasts_expires(make_message):
    moment = utc("2026-11-10T23:00")
    message = make_message(now=moment, valid_until=moment + timedelta(hours=2))
    judge(moment)
    assert outcome(message) == ("skipped", "expired")


def test_quiet_hours_are_waited_for_no_longer_than_the_policy_says(make_message, brand):
    SendingPolicy.objects.create(pk=1, max_defer=timedelta(hours=3))
    message = make_message(now=utc("2026-11-10T23:00"))
    judge(utc("2026-11-10T23:00"))
    assert outcome(message) == ("skipped", "expired")


def test_with_three_due_one_leaves_each_day_and_none_is_lost(make_message, make_contact, send, smtp_sink, now):
    person = make_contact()
    messages = [make_message(person) for _ in range(3)]
    days = []
    for hour in range(96):
        at = now + timedelta(hours=hour)
        if send(at):
            days.append(at.astimezone(ZoneInfo("Europe/Prague")).date())
    assert len(days) == len(set(days)) == 3
    assert {outcome(one) for one in messages} == {("sent", "")}


def test_who_goes_first_is_tier_then_end_then_age(make_message, make_contact, now):
    person = make_contact()
    newsletter = make_message(person, tier=5)
    older = make_message(person, tier=3, due_at=now - timedelta(hours=2))
    ending = make_message(person, tier=3, valid_until=now + timedelta(days=3))
    judge(now)
    assert [outcome(one)[0] for one in (newsletter, older, ending)] == ["pending", "pending", "ready"]
    Message.objects.filter(state="ready").update(state="sent", sent_at=now)
    handoff = make_message(person, tier=1, now=now + timedelta(days=1))
    judge(now + timedelta(days=1))
    assert [outcome(one)[0] for one in (newsletter, older, handoff)] == ["pending", "pending", "ready"]
    Message.objects.filter(state="ready").update(state="sent", sent_at=now + timedelta(days=1))
    judge(now + timedelta(days=2))
    assert [outcome(one)[0] for one in (newsletter, older)] == ["pending", "ready"]


def test_three_a_week_and_the_loser_is_capped_after_seven_days(make_message, make_contact, now):
    person = make_contact()
    messages = [make_message(person, tier=tier) for tier in (1, 2, 3, 4, 5)]
    for hour in range(24 * 9):
        judge(now + timedelta(hours=hour))
        Message.objects.filter(state="ready").update(state="sent", sent_at=now + timedelta(hours=hour))
    found = [outcome(one) for one in messages]
    assert found[:3] == [("sent", "")] * 3
    assert found[3:] == [("skipped", "capped")] * 2
    sent = list(Message.objects.filter(state="sent").order_by("sent_at").values_list("sent_at", flat=True))
    assert all(later - earlier > timedelta(hours=12) for earlier, later in zip(sent, sent[1:], strict=False))


def test_operational_mail_is_counted_but_never_capped(make_message, make_contact, make_template, now):
    person = make_contact()
    service = make_template(message_class="operational")
    notices = [make_message(person, service) for _ in range(2)]
    advert = make_message(person)
    judge(now)
    assert [outcome(one)[0] for one in [*notices, advert]] == ["ready", "ready", "pending"]


def test_transactional_mail_is_not_counted(make_message, make_contact, make_template, now):
    person = make_contact()
    make_message(person, make_template(message_class="transactional"))
    advert = make_message(person)
    judge(now)
    assert outcome(advert)[0] == "ready"


def test_a_content_reaches_a_person_once_from_whatever_source(
    make_message, make_contact, make_template, send, smtp_sink
):
    person, template = make_contact(), make_template()
    for number in range(3):
        make_message(person, template, key=f"source{number}")
    send()
    assert len(smtp_sink.mails) == 1
    assert Counter(Message.objects.values_list("state", "reason")) == {("sent", ""): 1, ("skipped", "already_sent"): 2}


def test_a_repeatable_content_may_come_again(make_message, make_contact, make_template, brand, now):
    SendingPolicy.objects.create(pk=1, per_day=5, per_week=9)
    person, template = make_contact(), make_template(is_repeatable=True)
    messages = [make_message(person, template) for _ in range(2)]
    judge(now)
    assert [outcome(one)[0] for one in messages] == ["ready", "ready"]


def test_every_intent_ends_in_exactly_one_state(make_message, make_contact, make_template, allow, send, smtp_sink, now):
    template = make_template()
    people = [make_contact(zone=zone) for zone in ("", "Asia/Tokyo", "America/New_York") for _ in range(10)]
    for number, person in enumerate(people):
        if number % 5 == 0:
            allow(person, "newsletter", "denied")
        for _ in range(1 + number % 3):
            make_message(person, template if number % 2 else None)
    total = Message.objects.count()
    for hour in range(0, 24 * 9, 2):
        send(now + timedelta(hours=hour))
    found = Counter(Message.objects.values_list("state", flat=True))
    assert sum(found.values()) == total
    assert set(found) == {"sent", "skipped"}
    assert len(smtp_sink.mails) == found["sent"]


def test_a_pause_holds_messages_and_its_end_asks_every_gate_again(make_message, send, smtp_sink, now):
    waiting = make_message(journey_key="track")
    passed = make_message(journey_key="track")
    judge(now)
    assert hold(journey_key="track", is_held=True) == 2
    assert send() == 0
    hold(journey_key="track", is_held=False)
    Suppression.objects.create(address=waiting.contact.email, reason="manual")
    assert send() == 1
    assert outcome(waiting) == ("skipped", "suppressed")
    assert outcome(passed) == ("sent", "")


def test_withdrawing_takes_what_is_not_claimed(make_message, now):
    waiting, sent = make_message(), make_message()
    Message.objects.filter(pk=sent.pk).update(state="sent", sent_at=now, enrolment_id=7)
    Message.objects.filter(pk=waiting.pk).update(enrolment_id=7)
    assert cancel(now=now, reason="exited", enrolments=[7]) == 1
    assert [outcome(one) for one in (waiting, sent)] == [("cancelled", "exited"), ("sent", "")]
    with pytest.raises(TypeError):
        cancel(now=now, reason="exited")


# Why? ----------------------------------------------------------------------------------------------------------------


def failed(explanation) -> list[str]:
    return [one.gate for one in explanation.checks if one.is_passed is False]


def test_it_says_why_not(make_contact, make_template, make_message, allow, now):
    person, template = make_contact(), make_template()
    assert failed(explain_message(contact=person, key=template.key, now=now)) == []
    allow(person, "newsletter", "denied")
    told = explain_message(contact=person, key=template.key, now=now)
    assert (failed(told), told.reason) == (["consent"], "topic_refused")
    assert [one.is_passed for one in told.checks][:3] == [True, True, False]
    assert {one.is_passed for one in told.checks[3:]} == {None}
    assert told.sentence == "The person refused this topic."


def test_it_says_why_it_waits(make_contact, make_template, make_message, now):
    person = make_contact()
    make_message(person, tier=1)
    second = make_message(person, tier=5)
    judge(now)
    second.refresh_from_db()
    told = why(second, now)
    assert failed(told) == ["frequency"]
    assert "1 of 1" in told.checks[-1].sentence
    night = explain_message(contact=make_contact(), key=second.template.key, now=utc("2026-11-10T23:00"))
    assert failed(night) == ["quiet_hours"]


def test_it_says_how_it_ended(make_message, send, smtp_sink, now):
    sent = make_message()
    ghost = make_message(is_ghost=True)
    send()
    for message, state, gates in [(sent, "sent", []), (ghost, "skipped", ["holdout"])]:
        message.refresh_from_db()
        told = why(message, now + timedelta(days=1))
        assert (told.state, failed(told)) == (state, gates)
        assert told.as_dict()["checks"]
    assert explain_message(contact=sent.contact, key=sent.key, now=now).state == "sent"


def test_what_came_afterwards_is_no_answer_to_why_it_left(make_message, make_contact, allow, send, smtp_sink, now):
    person = make_contact()
    message = make_message(contact=person, valid_until=now + timedelta(hours=1))
    send()
    message.refresh_from_db()
    allow(person, state="denied")
    said = " ".join(check.sentence for check in why(message, now + timedelta(days=1)).checks)
    assert "is allowed" in said and "It is valid until" in said and "no longer valid" not in said


@pytest.mark.parametrize("language", ["en", "cs", "pl"])
def test_every_sentence_of_an_explanation_ends_with_one_full_stop(make_message, smtp_sink, now, language):
    message = make_message()
    judge(now)
    deliver(now=now)
    message.refresh_from_db()
    assert message.state == "sent"
    later, late = make_message(due_at=now + timedelta(days=1)), make_message(valid_until=now + timedelta(hours=1))
    night = utc("2026-11-10T23:00")
    with override(language):
        told = [why(message, now), why(later, now), why(late, now), why(make_message(), night)]
    for said in [one.sentence for one in told] + [check.sentence for one in told for check in one.checks]:
        assert re.search(r"[^.\s]\.$", said), said


def test_a_pause_puts_marketing_off_and_nothing_else(make_message, make_contact, make_template, now):
    person = make_contact(paused_until=now + timedelta(days=3))
    marketing = make_message(person)
    order = make_message(person, make_template(message_class="operational"))
    receipt = make_message(person, make_template(message_class="transactional", topic=None))
    judge(now)
    assert [outcome(one)[0] for one in (marketing, order, receipt)] == ["pending", "ready", "ready"]
    assert now + timedelta(days=3) <= marketing.due_at < now + timedelta(days=3, minutes=15)
    Message.objects.exclude(pk=marketing.pk).delete()  # they fill the cap of any day on which they still wait
    judge(marketing.due_at)
    assert outcome(marketing) == ("ready", "")


def test_what_would_end_within_a_pause_ends_for_it_and_says_so(make_message, make_contact, now):
    month = make_contact(paused_until=now + timedelta(days=30))
    days = make_contact(paused_until=now + timedelta(days=3))
    forever, dated = make_message(month), make_message(days, valid_until=now + timedelta(days=2))
    checks = {one.gate: one for one in why(forever, now).checks}
    assert checks["pause"].is_passed is False
    assert "wants no marketing until" in checks["pause"].sentence
    judge(now)
    assert outcome(forever) == outcome(dated) == ("skipped", "paused")
    told = why(forever, now)
    assert "asked for a pause" in told.sentence
    assert [one.gate for one in told.checks if one.is_passed is False] == ["pause"]


def test_an_own_limit_wins_over_the_cap_and_is_named(make_message, make_contact, now):
    person, other = make_contact(most_per_week=1), make_contact(most_per_week=50)
    for reader in (person, other):
        for days in (2, 3):
            make_message(reader, now=now - timedelta(days=days))
    Message.objects.filter(contact=person).exclude(pk=Message.objects.filter(contact=person).first().pk).delete()
    Message.objects.update(state="sent", sent_at=now - timedelta(days=2))
    own, usual = make_message(person), make_message(other)
    assert "wants at most 1" in {one.gate: one for one in why(own, now).checks}["frequency"].sentence
    judge(now)
    assert [outcome(one)[0] for one in (own, usual)] == ["pending", "ready"]
    more = make_message(other)
    # A limit above the house's cap asks for no more than the house allows.
    judge(now + timedelta(days=1))
    assert outcome(more)[0] == "pending"


def test_an_address_that_nobody_confirmed_gets_nothing(make_message, make_contact, allow, now):
    stranger, undecided, proven = make_contact(), make_contact(), make_contact()
    allow(stranger, "", "pending")
    allow(undecided, "newsletter", "pending")
    allow(proven, "", "granted")
    messages = [make_message(person) for person in (stranger, undecided, proven)]
    judge(now)
    assert [outcome(one) for one in messages] == [("skipped", "no_consent"), ("skipped", "no_consent"), ("ready", "")]
