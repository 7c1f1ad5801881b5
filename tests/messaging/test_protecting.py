"""Who is new to something is left in peace by promotions: put off, not lost, as long as they are valid."""

from datetime import timedelta

from contacts.sql import Fragment
from messaging import protecting
from messaging.explaining import why
from messaging.gates import arbitrate
from messaging.models import Message, Protection

DAY = timedelta(days=1)


def protect(contact, until, source="enrolment:1"):
    return Protection.objects.create(contact=contact, source=source, until=until)


def judged(now, *messages) -> list[tuple[str, str]]:
    arbitrate(now, 0, 0)
    for message in messages:
        message.refresh_from_db()
    return [(message.state, message.reason) for message in messages]


def end(source, now) -> int:
    return protecting.end(Fragment("SELECT %(source)s::text", {"source": source}), now)


def test_a_promotion_waits_for_the_end_of_the_protection_and_all_else_does_not(
    make_message, make_contact, make_template, now
):
    eva = make_contact()
    protect(eva, now + 14 * DAY)
    promotion = make_message(eva, is_promotion=True)
    other = make_message(eva)
    receipt = make_message(eva, make_template(message_class="operational"), is_promotion=True)
    assert judged(now, promotion, other, receipt)[0] == ("pending", "")
    assert now + 14 * DAY <= promotion.due_at < now + 14 * DAY + timedelta(minutes=15)
    assert receipt.state == "ready"
    Message.objects.exclude(pk=promotion.pk).delete()
    # The week in which it waits for room begins only now.
    assert judged(promotion.due_at, promotion) == [("ready", "")]


def test_a_promotion_that_ends_before_the_protection_ends_for_it_and_says_so(make_message, make_contact, now):
    eva = make_contact()
    protect(eva, now + 14 * DAY)
    promotion = make_message(eva, is_promotion=True, valid_until=now + 3 * DAY)
    checks = {one.gate: one for one in why(promotion, now).checks}
    assert checks["protection"].is_passed is False
    assert "left in peace until" in checks["protection"].sentence
    assert judged(now, promotion) == [("skipped", "onboarding_protection")]
    told = why(promotion, now)
    assert [one.gate for one in told.checks if one.is_passed is False] == ["protection"]
    assert "new to something" in told.sentence


def test_the_longest_protection_counts_and_a_pause_beside_it(make_message, make_contact, now):
    eva, jan = make_contact(), make_contact(paused_until=now + 20 * DAY)
    protect(eva, now + 2 * DAY)
    protect(eva, now + 5 * DAY, "enrolment:2")
    protect(jan, now + 5 * DAY, "enrolment:3")
    mine, paused = make_message(eva, is_promotion=True), make_message(jan, is_promotion=True)
    assert judged(now, mine, paused) == [("pending", ""), ("skipped", "paused")]
    assert mine.due_at >= now + 5 * DAY


def test_what_waited_goes_when_the_protection_ends_early(make_message, make_contact, now):
    eva = make_contact()
    protect(eva, now + 14 * DAY)
    promotion = make_message(eva, is_promotion=True)
    judged(now, promotion)
    later = now + DAY
    assert end("enrolment:9", later) == 0
    assert end("enrolment:1", later) == 1
    assert judged(later, promotion) == [("ready", "")]


def test_a_protection_that_is_over_holds_nothing(make_message, make_contact, now):
    eva = make_contact()
    protect(eva, now)
    assert judged(now, make_message(eva, is_promotion=True)) == [("ready", "")]
