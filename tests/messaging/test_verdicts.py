"""What follows when mail comes back, whoever tells it, in whatever order and how often."""

from datetime import timedelta
from itertools import permutations

import pytest

from contacts.consent import proof
from contacts.merging import merge
from contacts.models import Consent, Incoming, Touchpoint
from journey_crm.tick import tick
from messaging.models import Feedback, Message, Suppression
from messaging.outbox import intend
from messaging.verdicts import Verdict, settle

pytestmark = pytest.mark.django_db
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def make_sent(make_message, now):
    """A message that left an hour ago."""

    def make(**values) -> Message:
        message = make_message(**values)
        message.state, message.sent_at, message.claimed_at = "sent", now - HOUR, now - HOUR
        message.address = message.contact.email
        message.save()
        return message

    return make


def told(message, *kinds, at):
    return [Verdict(message.pk, kind, at, {"hard": "5.1.1", "soft": "4.2.2"}.get(kind, ""), kind) for kind in kinds]


def outcome(message) -> tuple:
    return (
        Feedback.objects.filter(message=message).values_list(
            "verdict", "delivered_at", "soft_at", "bounced_at", "complained_at", "code", "detail"
        ).get(),
        Suppression.objects.filter(address=message.address).values_list("reason", "message_id").get(),
        sorted(set(Incoming.objects.filter(contact_id=message.contact_id).exclude(kind="consent.changed")
                   .values_list("message_id", "kind"))),
        Message.objects.get(pk=message.pk).state,
    )  # fmt: skip


def test_every_order_of_what_may_be_told_ends_the_same(make_sent, now):
    kinds = ["delivered", "soft", "hard", "complaint"]
    moments = {kind: now - timedelta(minutes=place) for place, kind in enumerate(kinds)}
    ends = []
    for order in permutations(kinds):
        message = make_sent()
        for kind in order:
            settle(told(message, kind, at=moments[kind]), source="test", now=now)
        # A repeat of the first, and all at once once more.
        settle(told(message, order[0], at=moments[order[0]] + HOUR), source="test", now=now)
        settle([one for kind in order for one in told(message, kind, at=moments[kind])], source="test", now=now)
        feedback, (reason, number), events, state = outcome(message)
        assert number == message.pk
        ends.append((feedback, reason, [(name.replace(str(message.pk), "N"), kind) for name, kind in events], state))
    assert len(ends) == 24 and all(end == ends[0] for end in ends)
    feedback, reason, events, state = ends[0]
    assert (feedback[0], feedback[5], reason, state) == ("complaint", "5.1.1", "complained", "sent")
    assert [name for name, _kind in events] == ["bounced:hard:N", "bounced:soft:N", "complained:N", "delivered:N"]


def test_a_later_delivery_takes_nothing_back(make_sent, now):
    message = make_sent()
    settle(told(message, "hard", at=now), source="test", now=now)
    settle(told(message, "delivered", at=now + DAY), source="test", now=now + DAY)
    assert Feedback.objects.get().verdict == "hard"
    assert Suppression.objects.get().reason == "bounced"


def test_a_repeat_is_one_touchpoint(make_sent, now):
    message = make_sent()
    for _ in range(3):
        settle(told(message, "hard", "complaint", at=now), source="test", now=now)
    tick(now)
    settle(told(message, "hard", "complaint", at=now), source="test", now=now)
    tick(now)
    kinds = Touchpoint.objects.filter(kind__startswith="email.").order_by("kind").values_list("kind", "properties")
    told_of = {"message": message.pk, "template": message.template.key, "journey": ""}
    assert list(kinds) == [
        ("email.bounced", told_of | {"class": "hard", "code": "5.1.1"}),
        ("email.complained", told_of),
    ]


def test_a_hard_bounce_suppresses_the_address_that_we_wrote_to_and_policy_suppresses_none(make_sent, now):
    gone, refused = make_sent(), make_sent()
    settle(told(gone, "hard", at=now) + told(refused, "policy", at=now), source="test", now=now)
    one = Suppression.objects.get()
    assert (one.address, one.reason, one.message_id, one.detail) == (gone.address, "bounced", gone.pk, "5.1.1 hard")
    assert Feedback.objects.get(message=refused).verdict == "policy"


def test_what_a_person_wrote_by_hand_stays_on_the_list(make_sent, now):
    message = make_sent()
    Suppression.objects.create(address=message.address, reason="manual", detail="by request")
    settle(told(message, "hard", "complaint", at=now), source="test", now=now)
    assert Suppression.objects.get().detail == "by request"


def test_five_soft_bounces_in_a_month_wear_an_address_out(make_sent, make_contact, now):
    ann, bob = make_contact(), make_contact()
    for day in range(5):
        assert not Suppression.objects.exists()
        at = now + day * DAY
        settle(told(make_sent(contact=ann), "soft", at=at) + told(make_sent(contact=bob), "unknown", at=at),
               source="test", now=at)  # fmt: skip
    assert set(Suppression.objects.values_list("address", "reason")) == {(ann.email, "bounced"), (bob.email, "bounced")}


def test_four_or_five_over_two_months_or_with_a_delivery_between_do_not(make_sent, make_contact, now):
    four, slow, mended = make_contact(), make_contact(), make_contact()
    for place in range(5):
        at = now + place * DAY
        late = now + place * 9 * DAY
        if place < 4:
            settle(told(make_sent(contact=four), "soft", at=at), source="test", now=at)
        settle(told(make_sent(contact=slow), "soft", at=late), source="test", now=late)
        settle(told(make_sent(contact=mended), "soft", at=at), source="test", now=at) if place < 4 else None
        if place == 3:
            settle(told(make_sent(contact=mended), "delivered", at=at + HOUR), source="test", now=at + HOUR)
    settle(told(make_sent(contact=mended), "soft", at=now + 5 * DAY), source="test", now=now + 5 * DAY)
    assert not Suppression.objects.exists()


def test_five_reports_of_one_message_are_one_bounce(make_sent, now):
    message = make_sent()
    for hour in range(6):
        settle(told(message, "soft", at=now + hour * HOUR), source="test", now=now + hour * HOUR)
    assert not Suppression.objects.exists()


def test_who_complains_refuses_and_what_waits_for_them_is_withdrawn(make_sent, make_message, make_template, now):
    message = make_sent()
    waiting = make_message(contact=message.contact)
    invoice = make_message(contact=message.contact, template=make_template(message_class="transactional", topic=None))
    settle(told(message, "complaint", at=now), source="mail", now=now)
    assert set(Consent.objects.values_list("topic", "channel", "state")) == {
        ("", "email", "denied"),
        ("", "sms", "denied"),
    }
    assert {row["source"] for row in proof(message.contact)} == {"complaint:mail"}
    waiting.refresh_from_db(), invoice.refresh_from_db()
    assert (waiting.state, waiting.reason, invoice.state) == ("cancelled", "unsubscribed", "pending")


def test_a_complaint_follows_merges_and_finds_who_has_the_address_now(make_sent, make_contact, now):
    first = make_sent()
    survivor = make_contact(identified_at=now - 9 * DAY)
    merge(survivor=survivor, loser=first.contact, reason="same phone", now=now)
    settle(told(first, "complaint", at=now), source="mail", now=now)
    assert set(Consent.objects.filter(state="denied").values_list("contact", flat=True)) == {survivor.pk}


def test_who_unsubscribes_at_the_provider_refuses_without_being_suppressed(make_sent, now):
    message = make_sent()
    settle(told(message, "unsubscribed", at=now), source="esp:postmark", now=now)
    assert {row["source"] for row in proof(message.contact)} == {"esp:postmark"}
    assert not Suppression.objects.exists() and not Feedback.objects.exists()


def test_what_comes_back_did_leave(make_sent, now):
    message = make_sent()
    Message.objects.update(state="uncertain", sent_at=None)
    settle(told(message, "delivered", at=now), source="test", now=now)
    message.refresh_from_db()
    assert (message.state, message.sent_at) == ("sent", now - HOUR)
    assert set(Incoming.objects.values_list("kind", flat=True)) == {"email.sent", "email.delivered"}


def test_nothing_comes_back_of_what_never_left_or_never_was(make_message, now):
    message = make_message()
    assert settle(told(message, "complaint", at=now), source="test", now=now) == set()
    assert settle([Verdict(10**9, "hard", now)], source="test", now=now) == set()
    assert not Feedback.objects.exists() and not Suppression.objects.exists() and not Incoming.objects.exists()


def test_what_is_told_of_a_ghost_is_nothing(make_contact, make_template, now):
    ghost = intend(key="g", contact=make_contact(), template=make_template(), now=now, is_ghost=True)
    Message.objects.filter(pk=ghost.pk).update(claimed_at=now)
    assert settle(told(ghost, "hard", at=now), source="test", now=now) == set()
