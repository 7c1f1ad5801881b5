"""How fast mails leave: limits, warm-up, what is kept for transactional mail, and providers that say "later"."""

from collections import Counter
from datetime import date, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from contacts.models import Contact
from journey_crm.invariants import check
from messaging import throttle
from messaging.delivery import deliver, sweep
from messaging.explaining import explain_message, why
from messaging.gates import arbitrate
from messaging.models import Departure, DomainLimit, Message, Pace

MINUTE = timedelta(minutes=1)


@pytest.fixture
def make_mails(make_template, now):
    """Mails that passed the gates, to so many people of each domain: `make_mails({"gmail.com": 5})`."""
    made = iter(range(10**6))

    def make(domains: dict[str, int], **values) -> list[Message]:
        template = values.pop("template", None) or make_template()
        people = Contact.objects.bulk_create(
            Contact(email=f"p{next(made)}@{domain}", stage="known")
            for domain, many in domains.items()
            for _ in range(many)
        )
        told = {"message_class": template.message_class, "created_at": now, "due_at": now, "state": "ready"} | values
        return Message.objects.bulk_create(
            Message(key=f"limited:{person.pk}", contact=person, template=template, **told) for person in people
        )

    return make


@pytest.fixture
def limit(db):
    def make(name="Gmail", domains=("gmail.com", "googlemail.com"), scope="domains", **values) -> DomainLimit:
        DomainLimit.objects.filter(name=name).delete()
        return DomainLimit.objects.create(
            **{"name": name, "scope": scope, "domains": list(domains), "is_active": True, "reserved": 0} | values
        )

    return make


def tick(at) -> int:
    arbitrate(at, 0, 0)
    return deliver(now=at)


def arrived(sink) -> Counter:
    return Counter(mail.recipients[0].partition("@")[2] for mail in sink.mails)


def test_nothing_is_limited_by_the_examples_and_nothing_is_counted(smtp_sink, make_mails, now):
    throttle.make_examples()
    throttle.make_examples()
    assert dict(DomainLimit.objects.values_list("name", "is_active")) == {"Gmail": False, "Seznam": False, "WP": False}
    make_mails({"gmail.com": 20})
    assert not throttle.is_on()
    assert deliver(now=now) == 20
    assert not Departure.objects.exists()


def test_a_provider_gets_so_many_a_minute_over_all_its_domains_and_others_go_on(smtp_sink, make_mails, limit, now):
    limit(per_minute=10)
    make_mails({"gmail.com": 15, "googlemail.com": 10, "other.example": 30})
    assert tick(now) == 40
    assert arrived(smtp_sink)["other.example"] == 30
    for minute in (1, 2):
        assert tick(now + minute * MINUTE) == (10, 5)[minute - 1]
    assert sum(arrived(smtp_sink).values()) == 55
    assert set(Message.objects.values_list("state", flat=True)) == {"sent"}
    assert max(Counter(mail.recipients for mail in smtp_sink.mails).values()) == 1


def test_two_claims_in_one_minute_share_the_limit(smtp_sink, make_mails, limit, now):
    limit(per_minute=10)
    make_mails({"gmail.com": 30})
    sent = [deliver(now=now + timedelta(seconds=second), limit=8) for second in (0, 10, 20, 30)]
    assert sent == [8, 2, 0, 0]


def test_what_waits_says_so_and_breaks_no_invariant(smtp_sink, make_mails, limit, now):
    limit(per_minute=1)
    make_mails({"gmail.com": 5})
    tick(now)
    waiting = Message.objects.filter(state="pending").order_by("due_at")
    assert {message.reason for message in waiting} == {"throttled"}
    # Spread over the minutes to come, rather than all asked again in each.
    starts = now.replace(second=0, microsecond=0)
    assert [message.due_at for message in waiting] == [starts + n * MINUTE for n in range(1, 5)]
    assert all(message.wanted_at == now for message in waiting)
    told = why(waiting[0], now)
    assert (told.state, told.reason) == ("pending", "throttled")
    assert "sending limit" in told.sentence
    assert "sending limit" in explain_message(contact=waiting[0].contact, key=waiting[0].key, now=now).sentence
    found = check(now + timedelta(seconds=50))
    assert {name: found[name] for name in ("I1", "I2", "I4", "I5", "I9")} == dict.fromkeys(
        ("I1", "I2", "I4", "I5", "I9"), 0
    )
    for minute in range(1, 6):
        tick(now + minute * MINUTE)
    assert Counter(Message.objects.values_list("state", "reason")) == {("sent", ""): 5}
    assert all(one == 0 for one in check(now + 6 * MINUTE).values())


def test_all_gates_are_asked_again_after_a_wait(smtp_sink, make_mails, limit, allow, now):
    limit(per_minute=1)
    _first, second = make_mails({"gmail.com": 2})
    tick(now)
    allow(second.contact, state="denied")
    tick(now + MINUTE)
    second.refresh_from_db()
    assert (second.state, second.reason) == ("skipped", "unsubscribed")


def test_hours_and_days_are_limited_too(smtp_sink, make_mails, limit, now):
    limit(per_hour=3, per_day=5)
    make_mails({"gmail.com": 9})
    assert tick(now) == 3
    hour = now.replace(minute=0) + timedelta(hours=1)
    assert tick(hour) == 2
    assert tick(hour + timedelta(hours=1)) == 0
    assert Message.objects.filter(state="pending", due_at__lt=hour + timedelta(hours=2)).count() == 0
    # The next day begins at midnight in the workspace's zone, and quiet hours end in the morning.
    for hours in range(13, 40, 3):
        tick(now + timedelta(hours=hours))
    assert len(smtp_sink.mails) == 9


def test_every_other_domain_by_itself(smtp_sink, make_mails, limit, now):
    limit(per_minute=10)
    limit("Everybody else", [], "each", per_minute=2)
    make_mails({"gmail.com": 9, "a.example": 5, "b.example": 1})
    assert tick(now) == 12
    assert arrived(smtp_sink) == {"gmail.com": 9, "a.example": 2, "b.example": 1}


def test_the_whole_machine_has_a_limit(smtp_sink, make_mails, limit, now):
    limit("All mail", [], "all", per_minute=7)
    make_mails({"gmail.com": 10, "a.example": 5})
    assert [tick(now + n * MINUTE) for n in range(3)] == [7, 7, 1]


def test_transactional_mail_goes_first_and_has_a_share_of_its_own(smtp_sink, make_mails, make_template, limit, now):
    limit(per_minute=10, reserved=30)
    make_mails({"gmail.com": 20})
    assert deliver(now=now) == 7
    receipt = make_template(message_class="transactional", topic=None)
    make_mails({"gmail.com": 5}, template=receipt, state="ready")
    assert deliver(now=now + timedelta(seconds=5)) == 3
    assert Message.objects.filter(state="sent", message_class="transactional").count() == 3
    tick(now + MINUTE)
    # In the next minute they come before all that waited longer.
    assert Message.objects.filter(state="sent", message_class="transactional").count() == 5


def test_so_many_are_on_their_way_at_once(smtp_sink, make_mails, limit, now):
    limit(at_once=4)
    make_mails({"gmail.com": 3}, state="sending", lease_until=now + 5 * MINUTE, claimed_by="other")
    Message.objects.filter(claimed_by="other").update(address="x@gmail.com")
    make_mails({"gmail.com": 5})
    assert deliver(now=now) == 1
    later = Message.objects.filter(reason="throttled").values_list("due_at", flat=True)
    assert min(later) == now + timedelta(seconds=10)


def test_a_warm_up_grows_by_the_day_and_ends_at_the_limit(smtp_sink, make_mails, limit, now):
    limit(per_day=10, warm_up_from=now.date(), warm_up_first=4, warm_up_growth=50)
    make_mails({"gmail.com": 30})
    days = []
    for day in range(4):
        before = len(smtp_sink.mails)
        for hour in range(3):
            tick(now + timedelta(days=day, hours=hour))
        days.append(len(smtp_sink.mails) - before)
    assert days == [4, 6, 9, 10]


def test_a_warm_up_that_begins_later_limits_nothing_yet(smtp_sink, make_mails, limit, now):
    limit(warm_up_from=now.date() + timedelta(days=1), warm_up_first=1)
    make_mails({"gmail.com": 5})
    assert tick(now) == 5


@pytest.mark.parametrize("said", ["421 4.7.0 slow down", "450 4.2.1 too fast", "451 4.7.1 try later"])
def test_a_provider_that_says_later_is_slowed_and_recovers(smtp_sink, make_mails, now, said):
    is_cross = [True]
    smtp_sink.on_recipient = lambda address: said if is_cross[0] and address.endswith("slow.example") else None
    make_mails({"slow.example": 20, "fast.example": 20})
    assert tick(now) == 20
    pace = Pace.objects.get()
    assert (pace.key, pace.before, pace.per_minute, pace.slowed_at) == ("slow.example", 20, 10, now)
    assert pace.said.startswith(said[:3])
    # Whatever else goes there now goes at half the pace, whichever worker takes it.
    is_cross[0] = False
    make_mails({"slow.example": 30, "fast.example": 30})
    # (One of ten is kept for transactional mail.)
    assert deliver(now=now + timedelta(seconds=30)) == 9 + 30
    # With each minute of peace a tenth more, until it is as it was.
    Message.objects.filter(state="pending").delete()
    make_mails({"slow.example": 40})
    assert deliver(now=now + 3 * MINUTE) == 16 - 2
    sweep(now + 10 * MINUTE)
    assert not Pace.objects.exists()
    assert not throttle.is_on()


def test_a_provider_that_goes_on_saying_later_gets_half_of_the_half_once_a_minute(smtp_sink, make_mails, now):
    smtp_sink.on_recipient = lambda address: "421 4.7.0 slow down"
    make_mails({"slow.example": 40})
    tick(now)
    for seconds, expected in ((20, 20), (40, 20), (60, 12)):
        make_mails({"slow.example": 10})
        deliver(now=now + timedelta(seconds=seconds))
        assert Pace.objects.get().per_minute == expected


def test_domains_of_one_provider_are_slowed_together(smtp_sink, make_mails, now):
    throttle.make_examples()
    smtp_sink.on_recipient = lambda address: "421 4.7.0 slow down" if address.endswith("@gmail.com") else None
    make_mails({"gmail.com": 10})
    tick(now)
    assert Pace.objects.get().key == "Gmail"
    make_mails({"googlemail.com": 10})
    assert deliver(now=now + timedelta(seconds=30)) == 4


@pytest.mark.parametrize("said", ["452 4.2.2 mailbox full", "554 5.7.1 no"])
def test_a_full_mailbox_or_a_refusal_slows_nobody(smtp_sink, make_mails, now, said):
    smtp_sink.on_recipient = lambda address: said
    make_mails({"slow.example": 3})
    tick(now)
    assert not Pace.objects.exists()


def test_limits_are_checked_where_they_are_written(db):
    throttle.make_examples()
    with pytest.raises(ValidationError) as error:
        DomainLimit(name="x", scope="domains", domains=[" "]).full_clean()
    assert "domains" in error.value.message_dict
    with pytest.raises(ValidationError) as error:
        DomainLimit(name="x", scope="domains", domains=["@GMAIL.com"]).full_clean()
    assert "Gmail" in error.value.message_dict["domains"][0]
    with pytest.raises(ValidationError):
        DomainLimit(name="x", scope="all", domains=["x.example"]).full_clean()
    with pytest.raises(IntegrityError), transaction.atomic():
        DomainLimit.objects.create(name="y", scope="all", per_minute=0)


def test_old_counts_are_forgotten(smtp_sink, make_mails, limit, now):
    limit(per_minute=10, warm_up_from=date(2026, 1, 1))
    make_mails({"gmail.com": 2})
    deliver(now=now)
    assert Departure.objects.exists()
    sweep(now + timedelta(days=3))
    assert not Departure.objects.exists()


def test_the_screen_of_limits_makes_one_and_says_who_asked_us_to_slow_down(admin_client, now):
    url = "/admin/messaging/domainlimit/"
    values = {"name": "Gmail", "scope": "domains", "domains": " @Gmail.com, googlemail.com", "per_minute": 600}
    values |= {"reserved": 10, "warm_up_first": 50, "warm_up_growth": 40, "is_active": "on"}
    assert admin_client.post(f"{url}add/", values).status_code == 302
    made = DomainLimit.objects.get()
    assert (made.domains, made.per_minute, made.is_active) == (["gmail.com", "googlemail.com"], 600, True)
    refused = admin_client.post(f"{url}add/", values | {"name": "Other", "domains": "gmail.com"})
    assert "has a limit already: Gmail" in refused.content.decode()
    Pace.objects.create(key="Gmail", per_minute=300, before=600, slowed_at=now, said="421 4.7.0 slow down")
    page = admin_client.get(url).content.decode()
    assert "Gmail asked us to slow down and gets 300 mails a minute for now: 421 4.7.0 slow down" in page
