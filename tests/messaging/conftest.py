"""A brand, topics, people and messages to send to them."""

from itertools import count

import pytest

from contacts.models import Consent, Contact
from messaging.delivery import deliver
from messaging.gates import arbitrate
from messaging.models import Brand, Message, Template, Topic
from messaging.outbox import intend

_numbers = count(1)


@pytest.fixture
def brand(db) -> Brand:
    return Brand.objects.create(
        pk=1, name="Acme", sender="Acme <hello@acme.example>", postal_address="1 Main St, 602 00 Brno"
    )


@pytest.fixture
def newsletter(db) -> Topic:
    """Opt-out: everybody until they refuse."""
    return Topic.objects.create(key="newsletter", name="Newsletter", is_opt_in=False)


@pytest.fixture
def tips(db) -> Topic:
    """Opt-in: only with consent."""
    return Topic.objects.create(key="tips", name="Product tips", is_opt_in=True)


@pytest.fixture
def make_contact(db):
    def make(**values) -> Contact:
        number = next(_numbers)
        return Contact.objects.create(
            **{"email": f"person{number}@example.com", "first_name": f"Name{number}", "stage": "known"} | values
        )

    return make


@pytest.fixture
def make_template(brand, newsletter):
    def make(**values) -> Template:
        number = next(_numbers)
        return Template.objects.create(
            **{
                "key": f"letter-{number}",
                "topic": newsletter,
                "subject": "Hello {{ contact.first_name | default: 'friend' }}",
                "body": "Dear {{ contact.first_name | default: 'friend' }}, [look](https://acme.example/look).",
            }
            | values
        )

    return make


@pytest.fixture
def make_message(make_contact, make_template, now):
    """An intent that is due; each for somebody new and with a text of its own unless told."""

    def make(contact=None, template=None, **values) -> Message:
        contact, template = contact or make_contact(), template or make_template()
        return intend(
            **{"key": f"test:{next(_numbers)}", "contact": contact, "template": template, "now": now} | values
        )

    return make


@pytest.fixture
def make_ready(make_template, make_contact, now):
    """Many messages of one template that passed the gates: `make_ready(100)`."""

    def make(number: int, template=None) -> list[Message]:
        template = template or make_template()
        people = Contact.objects.bulk_create(
            Contact(email=f"r{next(_numbers)}@example.com", first_name="Eva") for _ in range(number)
        )
        return Message.objects.bulk_create(
            Message(
                key=f"ready:{person.pk}:{template.key}",
                contact=person,
                template=template,
                message_class=template.message_class,
                created_at=now,
                due_at=now,
                state="ready",
            )
            for person in people
        )

    return make


@pytest.fixture
def send(now):
    """Gates and delivery once, at `now` unless told; how many left."""

    def run(at=None) -> int:
        arbitrate(at or now, 0, 0)
        return deliver(now=at or now)

    return run


@pytest.fixture
def allow(now):
    def record(contact, topic="", state="granted"):
        Consent.objects.update_or_create(
            contact=contact, topic=topic, channel="email", defaults={"state": state, "changed_at": now}
        )

    return record
