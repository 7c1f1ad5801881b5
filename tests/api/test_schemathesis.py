"""Everything that the OpenAPI document allows, and what it forbids, asked by three users: no answer is our fault.

`SCHEMATHESIS_EXAMPLES=200` asks each call so many times; each is rolled back, so all find the same world.
"""

import os
import re
from datetime import timedelta

import pytest
import schemathesis
from django.contrib.auth.models import User
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from django.urls import resolve
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import response_schema_conformance

from contacts import webhooks
from contacts.models import Company, Consent, Contact, Field, Segment, Touchpoint, Webhook
from growth.models import Order
from journey_crm import as_code
from journey_crm.tick import tick
from leads.models import Lead
from messaging.models import Message, Template
from tests.house.test_as_code import COMPANY

pytestmark = pytest.mark.django_db
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "6"))

# Stands in everything that belongs to somebody whom the sales rep may not see.
CANARY = "kanarek"
CHECKS = [schemathesis.checks.not_a_server_error, response_schema_conformance]


@pytest.fixture
def world(rep, now):
    """One person of the rep's and one of somebody else's, each with a row of everything; ids and keys by resource."""
    for username in ("petr", "ania"):
        User.objects.create_user(username)
    as_code.apply([as_code.read(COMPANY.read_text(encoding="utf-8"))], is_publish=True, now=now)
    other = User.objects.get(username="petr")
    Field.objects.get_or_create(key="plan", defaults={"name": "Plan", "type": "text"})
    ids: dict[str, list] = {}
    for mark, owner in (("mine", rep), (CANARY, other)):
        company = Company.objects.create(name=f"{mark} Ltd", domain=f"{mark}.example")
        contact = Contact.objects.create(
            email=f"{mark}@{mark}.example", first_name=mark, last_name=mark, company=company, owner=owner,
            stage="known", attributes={"plan": mark}, identified_at=now, created_at=now, updated_at=now,
        )  # fmt: skip
        contact.identities.create(kind="user_id", value=f"user-{mark}")
        contact.identities.create(kind="email", value=contact.email)
        Lead.objects.create(
            contact=contact, owner=owner, state="claimed", created_at=now, headline=mark, claimed_at=now
        )
        Touchpoint.objects.create(
            contact=contact,
            kind="page.viewed",
            source="web",
            occurred_at=now,
            received_at=now,
            properties={"url": mark},
        )
        Order.objects.create(number=mark, contact=contact, total=10, placed_at=now)
        Consent.objects.create(contact=contact, topic=f"topic-{mark}", state="granted", changed_at=now)
        template = Template.objects.order_by("pk").first()
        Message.objects.create(
            key=mark, contact=contact, template=template, message_class="transactional", created_at=now, due_at=now,
            sent_at=now, finished_at=now, state="sent", address=contact.email, language="en",
        )  # fmt: skip
        hook = Webhook.objects.create(name=mark, url=f"https://{mark}.example/", secret=webhooks.make_secret())
        webhooks.send_test(hook, now=now)
    Segment.objects.get_or_create(key="by-hand", defaults={"name": "By hand"})
    tick(now + timedelta(minutes=1))
    for model in (Contact, Company, Lead, Touchpoint, Order, Consent, Message, Webhook):
        ids[model._meta.verbose_name_plural.lower()] = [str(pk) for pk in model.objects.values_list("pk", flat=True)]
    return ids


def known(path: str) -> list[str]:
    """Ids or keys that there are, for the resource of a path."""
    view = resolve(re.sub(r"\{\w+\}", "1", path)).func.cls
    field = getattr(view, "lookup_field", "pk")
    model = getattr(view, "queryset", None)
    return (
        [str(one) for one in model.model._base_manager.values_list(field, flat=True)[:20]] if model is not None else []
    )


@pytest.fixture
def document(db):
    # The end of a request closes a connection that is inside a transaction; here all of them share the test's.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield schemathesis.openapi.from_wsgi("/api/schema/?format=json", get_wsgi_application())
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def who(admin, rep, bearer):
    return {
        "admin": bearer(admin, "admin"),
        "rep": bearer(rep, "sync", "read"),
        "reader": bearer(admin, "read"),
    }


def operations(document):
    calls = [result.ok() for result in document.get_all_operations()]
    return [one for one in calls if one.path.startswith("/api/v1/")]


def names_in(operation) -> list[str]:
    return [one.name for one in operation.path_parameters]


def complaints(operation, who) -> list[str]:
    """What is wrong with the answers to calls of one kind, each made by everybody."""
    found: list[str] = []
    names = names_in(operation)
    pool = known(operation.path) if names else []
    cases = [operation.as_strategy(generation_mode=mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)]

    @seed(1)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.one_of(cases), key=st.sampled_from(pool or [None]), is_known=st.sampled_from([True, True, False]))
    def ask(case, key, is_known):
        if key is not None and is_known:
            case.path_parameters = {**(case.path_parameters or {}), **dict.fromkeys(names, key)}
        kept = ("authorization", "if-match", "if-none-match")
        case.headers = {name: value for name, value in (case.headers or {}).items() if name.lower() not in kept}
        for person, headers in who.items():
            found.extend(complaint(case, operation, person, headers))

    ask()
    return found


def complaint(case, operation, person, headers) -> list[str]:
    """What is wrong with the answer to one call."""
    with transaction.atomic():
        answer = case.call(headers=headers)
        transaction.set_rollback(True)
    about = f"{person}: {case.as_curl_command()}\n  → {answer.status_code} {answer.content[:300]!r}"
    if answer.status_code >= 500:
        return [about]
    # What he said himself may come back to him.
    said = str([case.path_parameters, case.query, case.body])
    if person == "rep" and CANARY in answer.text and CANARY not in said:
        return [f"foreign: {about}"]
    if person == "reader" and operation.method != "get" and answer.status_code < 300 and not reads(case):
        return [f"a reader wrote: {about}"]
    try:
        case.validate_response(answer, checks=CHECKS)
    except BaseException as error:  # noqa: BLE001 - schemathesis raises a group of its own
        violation = re.sub(r"\s+", " ", str(error)).partition("Response violates schema")[2]
        return [f"{about}\n  {violation[:400]}"]
    return []


def reads(case) -> bool:
    """A POST that only asks."""
    return case.path.endswith(("/preview/", "/fit/", "/impact/"))


def test_nothing_that_is_asked_is_our_fault_and_nobody_gets_what_is_anothers(world, document, who):
    found = []
    for operation in operations(document):
        found += complaints(operation, who)
    one_of_each = {re.sub(r"[0-9a-f]{2,}|^\w+: |'[^']*'", "", one.partition("→")[2])[-300:]: one for one in found}
    assert not found, f"{len(found)}:\n\n" + "\n\n".join(list(one_of_each.values())[:30])


def test_every_call_refuses_a_parameter_that_it_does_not_know(document, who):
    wrong = []
    for operation in operations(document):
        values = dict.fromkeys(names_in(operation), "1")
        case = operation.Case(path_parameters=values, query={"no_such_parameter": "1"})
        with transaction.atomic():
            answer = case.call(headers=who["admin"])
            transaction.set_rollback(True)
        if answer.status_code != 400 or "no_such_parameter" not in answer.text:
            wrong.append((operation.label, answer.status_code, answer.text[:200]))
    assert wrong == []
