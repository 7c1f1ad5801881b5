"""Where the parts of messaging meet: each by itself is right, and what one does the next must bear."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import cycle
from types import SimpleNamespace

import pytest
from django.db import OperationalError

from campaigns import publishing
from campaigns.models import Pulse
from contacts.erasure import erase
from contacts.merging import merge
from contacts.models import Identity, Touchpoint
from journey_crm.invariants import check
from journey_crm.tick import tick
from messaging import brake, delivery, doubts, onsite, pressing, refusing, tokens
from messaging.delivery import deliver, sweep
from messaging.explaining import why
from messaging.gates import arbitrate
from messaging.ledger import ledger
from messaging.models import DomainLimit, Feedback, Message, SendingPolicy, Suppression
from messaging.pressing import Press, refuse
from messaging.verdicts import Verdict, settle
from tests.campaigns.world import did, journey, person
from tests.messaging.test_links import asked_in_front

pytestmark = pytest.mark.django_db
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def outcome(message) -> tuple[str, str]:
    message.refresh_from_db()
    return message.state, message.reason


# The brake -----------------------------------------------------------------------------------------------------------


def test_what_a_dead_worker_had_claimed_does_not_leave_behind_the_brake(smtp_sink, make_ready, now):
    [message] = make_ready(1)
    Message.objects.filter(pk=message.pk).update(
        state="sending", claimed_by="dead", claimed_at=now, lease_until=now + MINUTE, attempts=1
    )
    brake.pull(now=now, by=None)

    sweep(now + 2 * MINUTE)
    deliver(now=now + 2 * MINUTE)

    assert smtp_sink.mails == []
    assert brake.release(brake=brake.pulled(), by=None, note="looked", now=now + 3 * MINUTE)
    arbitrate(now + 3 * MINUTE, 0, 0)
    assert deliver(now=now + 3 * MINUTE) == 1


def test_other_channels_make_complaints_about_mail_no_rarer(make_ready, now):
    mails, texts = make_ready(600), make_ready(900)
    for rows, channel in ((mails, "email"), (texts, "sms")):
        Message.objects.filter(pk__in=[one.pk for one in rows]).update(
            state="sent", sent_at=now, claimed_at=now, channel=channel
        )

    settle([Verdict(one.pk, "complaint", now) for one in mails[:3]], source="test", now=now)
    tick(now)

    assert brake.pulled() is not None


# Pauses --------------------------------------------------------------------------------------------------------------


def on_its_way(now, key="j", **definition):
    """A journey that has just made a message, which passed the gates."""
    made = journey(now, key=key, steps=[{"send": "hello", "key": "s1"}], **definition)
    who = person()
    did(who, "trial.started", now)
    tick(now)
    return made, who, Message.objects.get()


@pytest.mark.parametrize("ends_by", ["an answer", "the sweep"])
def test_what_comes_back_while_its_journey_is_paused_waits_for_the_end_of_the_pause(
    smtp_sink, monkeypatch, ends_by, now
):
    made, _who, message = on_its_way(now)
    if ends_by == "the sweep":
        Message.objects.filter(pk=message.pk).update(
            state="sending", claimed_by="w", claimed_at=now, lease_until=now + MINUTE, attempts=1
        )
        publishing.pause(journey=made, by=None, now=now)
        sweep(now + 2 * MINUTE)
    else:
        own = delivery._mark

        def paused_meanwhile(*told):
            monkeypatch.setattr(delivery, "_mark", own)
            publishing.pause(journey=made, by=None, now=now)
            own(*told)

        monkeypatch.setattr(delivery, "_mark", paused_meanwhile)
        smtp_sink.on_data = lambda mail: "451 later"
        deliver(now=now)
        smtp_sink.on_data = lambda mail: None

    for minutes in (2, 3, 4):
        tick(now + minutes * MINUTE)
        deliver(now=now + minutes * MINUTE)

    assert smtp_sink.mails == []
    message.refresh_from_db()
    assert "paused" in why(message, now + 4 * MINUTE).sentence

    made.refresh_from_db()
    publishing.resume(journey=made, by=None, now=now + 5 * MINUTE)
    tick(now + 5 * MINUTE)
    assert deliver(now=now + 5 * MINUTE) == 1


# Erasure -------------------------------------------------------------------------------------------------------------


def test_a_mail_that_comes_back_from_the_door_for_somebody_erased_leaves_no_trace(smtp_sink, make_ready, now):
    [message] = make_ready(1)
    smtp_sink.on_data = lambda mail: "451 later"
    deliver(now=now)
    # As if it were still with the worker when the person goes.
    Message.objects.filter(pk=message.pk).update(state="sending", claimed_by="w", lease_until=now + MINUTE)
    erase(message.contact, by=None, now=now)
    Message.objects.filter(pk=message.pk).update(state="pending", claimed_by="", lease_until=None, due_at=now)

    tick(now + MINUTE)
    tick(now + 2 * MINUTE)

    assert outcome(message) == ("skipped", "erased")
    assert not Touchpoint.objects.filter(contact=message.contact).exists()


# Addresses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_set", [True, False])
def test_the_way_out_of_an_sms_makes_no_telephone_number_an_e_mail_address(
    make_contact, make_template, make_message, now, is_set
):
    who = make_contact(phone="+420777123456")
    message = make_message(who, make_template(channel="sms", body_format="text", body="Hello"))
    Message.objects.filter(pk=message.pk).update(state="sent", sent_at=now, address="+420777123456")

    if is_set:
        refuse([Press(message.pk, who.pk, None, "")], now)
    else:
        refusing.readers_of(message.pk, who, now)

    assert not Identity.objects.filter(kind="email", value="+420777123456").exists()


def test_a_press_while_the_database_is_away_is_asked_to_come_again(make_contact, make_message, monkeypatch, now):
    message = make_message(make_contact())
    token = tokens.current().token(tokens.PERSON, message.pk, message.contact_id)
    tokens.read(tokens.PERSON, token)  # this process knows the key from now on

    def away(*_presses):
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(pressing, "refuse", away)
    monkeypatch.setattr(pressing, "close_old_connections", lambda: None)
    told = {"body": b"List-Unsubscribe=One-Click", "type": "application/x-www-form-urlencoded"}

    status, headers, _body = asked_in_front(f"/u/{token}/", method="POST", **told)

    assert (status, headers["Retry-After"]) == (503, "5")


def test_an_address_that_does_not_exist_is_no_longer_only_unsubscribed(smtp_sink, make_message, make_template, now):
    message = make_message(template=make_template(message_class="transactional"))
    Suppression.objects.create(address=message.contact.email, reason="unsubscribed", suppressed_at=now - HOUR)
    smtp_sink.on_recipient = lambda address: "550 5.1.1 no such user"
    arbitrate(now, 0, 0)
    deliver(now=now)
    assert outcome(message) == ("failed", "bounced")

    again = make_message(message.contact, make_template(message_class="transactional"))
    arbitrate(now, 0, 0)

    assert outcome(again) == ("skipped", "suppressed")


# Doubts --------------------------------------------------------------------------------------------------------------


def test_what_proves_to_have_arrived_is_not_sent_again(smtp_sink, make_ready, now):
    [message] = make_ready(1)
    Message.objects.filter(pk=message.pk).update(state="uncertain", claimed_at=now, address=message.contact.email)
    doubts.send_again(messages=[message.pk], now=now)

    settle([Verdict(message.pk, "delivered", now)], source="esp:test", now=now)
    arbitrate(now + MINUTE, 0, 0)

    assert deliver(now=now + MINUTE) == 0
    assert outcome(message) == ("sent", "")


# Workers -------------------------------------------------------------------------------------------------------------


def test_a_delivery_that_lasts_longer_than_a_lease_keeps_its_claims(smtp_sink, make_ready, monkeypatch, now):
    make_ready(2)
    monkeypatch.setattr(delivery, "BATCH", 1)
    clock = [1000.0]
    monkeypatch.setattr(delivery, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    leases = []

    class Watching(delivery._Handing):
        def run(self, send):
            leases.append(Message.objects.get(state="sending").lease_until - now - timedelta(seconds=clock[0] - 1000))
            left = super().run(send)
            clock[0] += 600
            return left

    monkeypatch.setattr(delivery, "_Handing", Watching)

    assert deliver(now=now) == 2
    assert leases == [delivery.LEASE, delivery.LEASE]


def test_a_telephone_does_not_wait_for_all_the_mail(
    make_ready, make_message, make_template, make_contact, monkeypatch, now
):
    make_ready(4)
    monkeypatch.setattr(delivery, "BATCH", 2)
    code = make_template(channel="sms", body_format="text", body="Your code", message_class="transactional")
    message = make_message(make_contact(phone="+420777123456"), code)
    arbitrate(now, 0, 0)
    seen = []
    own = delivery._claim

    def noted(channel, *rest):
        seen.append(channel)
        return own(channel, *rest)

    monkeypatch.setattr(delivery, "_claim", noted)
    deliver(now=now)

    assert outcome(message) == ("sent", "")
    assert "sms" in seen[:2]


# Throttle ------------------------------------------------------------------------------------------------------------


def limit(**values):
    told = {"name": "All", "scope": "all", "is_active": True, "reserved": 0}
    return DomainLimit.objects.create(**told | values)


def test_a_throttled_message_whose_journey_ends_is_withdrawn(smtp_sink, now):
    made, who, message = on_its_way(now)
    limit(per_minute=1)
    Message.objects.filter(pk=message.pk).update(state="pending", reason="throttled", due_at=now + HOUR)
    publishing.archive(journey=made, by=None, now=now)
    tick(now)
    assert outcome(message)[0] == "cancelled"
    tick(now + 2 * HOUR)
    assert deliver(now=now + 2 * HOUR) == 0


def test_a_warm_up_counts_the_day_on_which_the_clock_is_put_back_as_one(smtp_sink, make_ready, settings):
    """25 October 2026 has 25 hours in Prague."""
    settings.TIME_ZONE = "Europe/Prague"
    day = datetime(2026, 10, 24, 22, 30, tzinfo=UTC)  # 00:30 on the 25th
    limit(warm_up_from=datetime(2026, 10, 25).date(), warm_up_first=2, warm_up_growth=100)
    rows = make_ready(6)
    Message.objects.filter(pk__in=[one.pk for one in rows]).update(due_at=day, created_at=day)
    assert deliver(now=day) == 2
    waiting = Message.objects.filter(state="pending")
    assert {one.due_at for one in waiting} == {datetime(2026, 10, 25, 23, 0, tzinfo=UTC)}
    Message.objects.filter(state="pending").update(state="ready", due_at=day)
    assert deliver(now=datetime(2026, 10, 25, 22, 30, tzinfo=UTC)) == 0  # 23:30 of the same day
    Message.objects.filter(state="pending").update(state="ready", due_at=day)
    assert deliver(now=datetime(2026, 10, 25, 23, 30, tzinfo=UTC)) == 4


# On the website ------------------------------------------------------------------------------------------------------


def make_onsite(make_template, **values):
    return make_template(channel="onsite", body_format="text", subject="News", body="Hello", **values)


def test_a_drain_of_late_mail_hides_nothing_that_waits_on_the_website(make_message, make_template, now):
    message = make_message(template=make_onsite(make_template))
    arbitrate(now, 0, 0)
    SendingPolicy.objects.update_or_create(pk=1, defaults={"drained_until": now + 3 * HOUR})

    assert onsite.next_for(message.contact_id, now + HOUR) is not None


def test_the_brake_holds_what_is_asked_for_on_the_website(make_message, make_template, now):
    message = make_message(template=make_onsite(make_template))
    arbitrate(now, 0, 0)
    brake.pull(now=now, by=None)
    # As the tick leaves it whose gates began before the brake was pulled.
    Message.objects.filter(pk=message.pk).update(state="ready")
    assert onsite.next_for(message.contact_id, now) is None


# Sums ----------------------------------------------------------------------------------------------------------------


def test_a_hard_bounce_about_a_merged_contacts_mail_stops_whoever_they_became(
    make_message, make_template, make_contact, now
):
    loser, winner = make_contact(email="old@x.example"), make_contact(email="old2@x.example")
    message = make_message(loser)
    Message.objects.filter(pk=message.pk).update(state="sent", sent_at=now, claimed_at=now, address="old@x.example")
    merge(survivor=winner, loser=loser, reason="by hand", now=now)
    settle([Verdict(message.pk, "hard", now, "5.1.1", "no")], source="mail", now=now)
    tick(now)
    assert Suppression.objects.get(address="old@x.example").reason == "bounced"
    assert Touchpoint.objects.filter(contact=winner, kind="email.bounced").count() == 1
    assert Feedback.objects.get(message=message).verdict == "hard"


def test_a_mail_that_comes_back_twice_came_back_once_for_the_fuse(make_message, now):
    made, who, message = on_its_way(now)
    Message.objects.filter(pk=message.pk).update(state="sent", sent_at=now, claimed_at=now, address=who.email)
    for minutes, kind in enumerate(("soft", "hard", "policy"), 1):
        at = now + minutes * MINUTE
        settle([Verdict(message.pk, kind, at)], source="mail", now=at)
        tick(at)
    assert sum(Pulse.objects.filter(journey=made).values_list("bounced", flat=True)) == 1


# Everything at once --------------------------------------------------------------------------------------------------


def test_after_a_stormy_week_each_intent_has_left_or_has_its_reason(
    smtp_sink, make_contact, make_template, make_message, now
):
    SendingPolicy.objects.create(pk=1, global_holdout=10, drain_per_minute=5)
    limit(per_hour=6, reserved=20)
    letters = [
        make_template(),
        make_template(quiet_hours="skip"),
        make_template(holdout=30),
        make_template(message_class="operational"),
        make_template(message_class="transactional"),
        make_template(body="Dear {{ contact.first_name }}"),
        make_template(channel="sms", body_format="text", body="Hello"),
        make_template(channel="onsite", body_format="text", body="Hello", subject="News"),
    ]
    zones = ["Europe/Prague", "America/New_York", "Asia/Tokyo", ""]
    people = [
        make_contact(
            timezone=zones[number % 4], phone=f"+42077712{number:04}" if number % 3 else "",
            first_name="" if number % 7 == 0 else "Eva", email="" if number % 13 == 0 else f"s{number}@example.com",
        )
        for number in range(14)
    ]  # fmt: skip
    for number, who in enumerate(people):
        for place, letter in enumerate(letters):
            make_message(
                who, letter, due_at=now + timedelta(hours=(number * 5 + place * 7) % 30),
                valid_until=now + timedelta(hours=40 + place * 4) if place % 2 else None,
            )  # fmt: skip
    made = Message.objects.count()
    replies = cycle([None, None, "451 later", None, "550 5.1.1 gone", None, None, "554 no", None])
    smtp_sink.on_data = lambda mail: next(replies)

    for hours in [*range(0, 36, 2), *range(36, 11 * 24, 12)]:
        at = now + timedelta(hours=hours)
        tick(at)
        deliver(now=at)
        sweep(at)
        onsite.next_for(people[hours % 14].pk, at)
        left = list(Message.objects.filter(state="sent", channel="email").order_by("pk"))
        if hours == 6:
            settle([Verdict(one.pk, "complaint", at) for one in left[:3]], source="test", now=at)
        if hours == 10:
            merge(survivor=people[1], loser=people[2], reason="by hand", now=at)
            erase(people[3], by=None, now=at)
            refuse([Press(left[-1].pk, left[-1].contact_id, None, "")], at)
        if hours == 20:
            settle([Verdict(one.pk, kind, at) for one in left for kind in ("soft", "delivered")], source="x", now=at)
        if hours == 24 and brake.pulled():
            brake.release(brake=brake.pulled(), by=None, note="looked", now=at)
        if hours in (8, 30):
            for one in Message.objects.order_by("pk")[::5]:
                assert why(one, at).sentence
            assert set(check(at + MINUTE).values()) == {0}
    onsite.expire(now + timedelta(days=60))

    ended = Counter(Message.objects.values_list("state", flat=True))
    assert sum(ended.values()) == made
    assert set(ended) <= {"sent", "skipped", "failed", "cancelled"}, ended
    assert not Message.objects.exclude(state="sent").filter(reason="").exists()
    book = ledger(by="day", days=31, until=(now + timedelta(days=12)).date())
    assert book.total.intents == made == sum(one.number for one in book.total.outcomes)
    assert Counter(mail.recipients[0] for mail in smtp_sink.mails) == Counter(
        Message.objects.filter(state="sent", channel="email").exclude(address="").values_list("address", flat=True)
    ) + Counter({"s3@example.com": len(smtp_sink.to("s3@example.com"))})
    for one in Message.objects.order_by("pk")[::5]:
        assert why(one, now + timedelta(days=11)).sentence
