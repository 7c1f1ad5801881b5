"""Real complaints, as mailbox providers send them, stop a journey, and all marketing where it is everybody's fault."""

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model

from campaigns import fuse
from campaigns.models import Journey
from contacts.models import Touchpoint
from journey_crm.tick import tick
from messaging import brake, returning, tokens
from messaging.models import Brand, Message, Template
from tests.campaigns.world import journey, people
from tests.messaging.test_bounce_reading import mail

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


@pytest.fixture
def letters(now):
    """500 letters of one journey that left, and 500 of another."""
    Brand.objects.create(pk=1, name="Acme", sender="Acme <hello@acme.example>", postal_address="1 Main St")
    crowd = people(1_000)
    for key in ("bad", "good"):
        journey(now, key=key, steps=[{"send": "hello"}])
    rows = Message.objects.bulk_create(
        Message(
            key=f"test:{one.pk}", contact=one, template=Template.objects.get(key="hello"), message_class="marketing",
            created_at=now, due_at=now, sent_at=now, claimed_at=now, state="sent", address=one.email,
            journey_key="bad" if place < 500 else "good",
        )
        for place, one in enumerate(crowd)
    )  # fmt: skip
    Touchpoint.objects.bulk_create(
        Touchpoint(contact_id=row.contact_id, kind="email.sent", occurred_at=now, received_at=now,
                   properties={"message": row.pk, "journey": row.journey_key})
        for row in rows
    )  # fmt: skip
    return rows


def complain(row, at):
    sign = f"m{row.pk}.{tokens.first().message_tag(row.pk)}"
    returning.keep([mail("26-arf-abuse", sign=sign)], source="hook", now=at)
    returning.read_waiting(now=at)
    tick(at)


def test_a_journey_of_which_people_complain_pauses_itself_and_tells_somebody(letters, smtp_sink, now):
    get_user_model().objects.create_superuser("boss", email="boss@acme.example")
    tick(now)
    for place in range(2):
        complain(letters[place], now + place * MINUTE)
    assert not Journey.objects.filter(state="paused").exists() and brake.pulled() is None
    complain(letters[2], now + 2 * MINUTE)
    one = Journey.objects.get(state="paused")
    assert (one.key, one.pause_reason["rule"], one.pause_reason["found"]) == ("bad", "complaints", 3)
    # Three of the workspace's last thousand: all marketing waits, too.
    assert (brake.pulled().complaints, brake.pulled().deliveries) == (3, 1_000)
    assert [fuse.tell(now=now), fuse.tell(now=now)] == [1, 0]
    told = smtp_sink.mails[0]
    assert (told.recipients, told["Auto-Submitted"]) == (("boss@acme.example",), "auto-generated")
    assert "3 people complained about the last 500 messages." in told.body()
    one.refresh_from_db()
    assert fuse.in_words(one.pause_reason) == "3 people complained about the last 500 messages."
