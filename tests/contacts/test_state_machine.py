"""Whatever comes in whatever order, by whatever door: nobody's history is lost, no consent rises by itself, and every
old id and handle leads to the right living person.

`STATE_MACHINE=200x40` in the environment runs 200 histories of 40 steps; by itself it is half a minute of CI.
"""

import base64
import json
import os
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.db import connection, transaction
from django.test import Client
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from contacts import syncing, tokens
from contacts.consent import NotRaised, raisable, record_consent
from contacts.erasure import erase
from contacts.importing import new_import, run_import
from contacts.merging import merge, older
from contacts.models import Consent, Contact, Identity, Incoming, Merge, Touchpoint
from contacts.unmerging import unmerge, why_not
from growth.models import Order
from journey_crm import as_code, invariants
from journey_crm.tick import tick
from messaging import tokens as mail_tokens

pytestmark = pytest.mark.django_db

HISTORIES, STEPS = map(int, os.environ.get("STATE_MACHINE", "8x12").split("x"))
BEGIN = datetime(2026, 11, 10, 9, 0, tzinfo=UTC)

# The same person's address in several writings; each list is one address.
ADDRESSES = [
    ["ann@example.com", "ANN@Example.COM", "  ann@example.com ", "ａnn@example.com"],
    ["eva@bücher.example", "Eva@BÜCHER.example", "eva@xn--bcher-kva.example"],
    ["jan@example.com", "Jan@EXAMPLE.com"],
    ["jan+news@example.com"],
]
USERS = ["u1", "u2", "u3", "U1"]
DEVICES = ["d1", "d2", "d3"]
STRICTER = {"granted": 0, "pending": 1, "denied": 2}

people_of_rows = st.fixed_dictionaries(
    {"email": st.sampled_from([text for texts in ADDRESSES for text in texts])},
    optional={
        "user_id": st.sampled_from(USERS),
        "first_name": st.sampled_from(["Ann", "Eva", ""]),
        "phone": st.sampled_from(["777 123 456", "+420777123456"]),
        "attributes": st.fixed_dictionaries({"plan": st.sampled_from(["trial", "pro"])}),
        "consents": st.fixed_dictionaries({"news": st.sampled_from(["granted", "denied", "pending"])}),
    },
)

COMPANY = """
brand: {name: Acme, from: "Acme <hello@acme.example>", postal_address: "1 Main St, Brno"}
topics: [{key: news, name: News, opt: in}]
fields: [{key: plan, type: text}]
segments: [{key: readers, rule: {did: page.viewed}}, {key: pros, rule: {field: plan, op: eq, value: pro}}]
scores:
  - key: engagement
    kind: engagement
    qualify_at: 12
    rules: [{key: page, when: {did: page.viewed}, points: 5, half_life: 7d, cap_per_day: 20}]
  - key: fit
    kind: fit
    rules: [{key: pro, when: {field: plan, op: eq, value: pro}, points: 10}]
templates: [{key: hello, topic: news, class: marketing, subject: Hello, body: Hello}]
journeys:
  - key: welcome
    kind: onboarding
    trigger: {segment_entered: readers}
    reentry: {policy: after_exit}
    steps: [{key: hello, send: hello}, {key: pause, wait: 1d}, {key: bye, send: hello}]
"""


class People(RuleBasedStateMachine):
    """The steps that change who is who; the invariants are asked after each."""

    def __init__(self):
        super().__init__()
        self.transaction = transaction.atomic()
        self.transaction.__enter__()
        self.now = BEGIN
        self.numbers = count(1)
        self.seen: set[int] = set()  # numbers of events that must be found again
        self.gone: set[int] = set()  # contacts that were erased, with whoever was part of them
        self.owners: dict[tuple[str, str], int] = {}  # the contact that a handle first led to
        self.parts: dict[int, int] = {}  # who is part of whom, as the merges said
        self.merges: set[int] = set()
        self.links: dict[int, str] = {}  # the unsubscribe link of each contact, made when it was new
        self.said: dict[int, dict] = {}  # consent of each living contact before the step
        self.granted: set[tuple[int, str]] = set()  # by whom a grant was truly given in this step
        self.notice()

    def teardown(self):
        transaction.set_rollback(True)
        self.transaction.__exit__(None, None, None)

    # What the model knows

    def root(self, pk: int) -> int:
        while pk in self.parts:
            pk = self.parts[pk]
        return pk

    def living(self) -> list[Contact]:
        return list(Contact.objects.living().order_by("pk"))

    def pick(self, number: int) -> Contact:
        people = self.living()
        return people[number % len(people)]

    def notice(self):
        """Takes up what the step told: merges by handles, new contacts, where new handles lead."""
        for log in Merge.objects.exclude(pk__in=self.merges).order_by("pk"):
            self.merges.add(log.pk)
            self.parts[log.loser_id] = log.survivor_id
        for kind, value, contact in Identity.objects.values_list("kind", "value", "contact"):
            self.owners.setdefault((kind, value), contact)
        signer = mail_tokens.current()
        for contact in Contact.objects.exclude(pk__in=self.links):
            self.links[contact.pk] = signer.token(mail_tokens.PERSON, 0, contact.pk)

    def remember(self):
        self.said = {contact.pk: self.states(contact.pk) for contact in self.living()}
        self.granted = set()

    def states(self, pk: int) -> dict[str, str]:
        return dict(Consent.objects.filter(contact=pk, channel="email").values_list("topic", "state"))

    def settle(self, *, tick_after: bool = True):
        self.now += timedelta(minutes=1)
        if tick_after:
            done = tick(self.now)
            assert "busy" not in done
        self.notice()

    def event(self) -> dict:
        number = next(self.numbers)
        self.seen.add(number)
        return {"n": number}

    # The doors

    @rule(device=st.sampled_from(DEVICES), ticks=st.booleans())
    def view_a_page(self, device, ticks):
        self.remember()
        self.call("track", {"event": "page.viewed", "anonymousId": device, "properties": self.event()})
        self.settle(tick_after=ticks)

    @rule(
        device=st.sampled_from(["", *DEVICES]),
        user=st.sampled_from(["", *USERS]),
        address=st.sampled_from(["", *[text for texts in ADDRESSES for text in texts]]),
        ticks=st.booleans(),
    )
    def identify(self, device, user, address, ticks):
        if not (device or user):
            return
        self.remember()
        traits = {"email": address} if address else {}
        self.call("identify", {"anonymousId": device or None, "userId": user or None, "traits": traits})
        self.settle(tick_after=ticks)
        if device and (user or address):
            # On a shared device the last who was named stays.
            self.owners.pop(("anonymous_id", device), None)
            self.settle()

    def call(self, name, body):
        headers = {"Authorization": "Basic " + base64.b64encode(f"{self.write_key}:".encode()).decode()}
        answer = Client().post(f"/v1/{name}", json.dumps(body), content_type="application/json", headers=headers)
        assert answer.status_code == 200, answer.content
        # The clock of the tracking API is the wall's; that of this test is its own.
        Incoming.objects.filter(error="").update(occurred_at=self.now, received_at=self.now)

    @rule(rows=st.lists(people_of_rows, min_size=1, max_size=3), may_raise=st.booleans())
    def sync(self, rows, may_raise):
        self.remember()
        results = syncing.upsert(rows, source="sync", now=self.now, actor="test", may_raise_consent=may_raise)
        if may_raise:
            self.granted |= {(result["id"], "news") for result in results if result["id"]}
        self.settle()

    @rule(rows=st.lists(people_of_rows, min_size=1, max_size=3))
    def import_a_file(self, rows):
        self.remember()
        lines = ["email,first_name,user_id,consent:news"]
        for row in rows:
            told = [
                row["email"],
                row.get("first_name", ""),
                row.get("user_id", ""),
                row.get("consents", {}).get("news", ""),
            ]
            lines.append(",".join(f'"{one}"' for one in told))
        one = new_import("people.csv", ContentFile("\n".join(lines).encode(), name="people.csv"))
        one.state = "waiting"
        one.save()
        one = run_import(one.pk, self.now)
        assert one.state == "finished", one.problem
        self.settle()

    @precondition(lambda self: len(self.said) >= 0 and Contact.objects.living().exists())
    @rule(number=st.integers(0, 9))
    def order(self, number):
        self.remember()
        Order.objects.create(number=f"o{next(self.numbers)}", contact=self.pick(number), total=1, placed_at=self.now)
        self.settle()

    # Who is who

    @precondition(lambda self: Contact.objects.living().count() > 1)
    @rule(one=st.integers(0, 9), other=st.integers(0, 9))
    def merge(self, one, other):
        survivor, loser = older(self.pick(one), self.pick(other))
        if survivor == loser:
            return
        self.remember()
        merge(survivor=survivor, loser=loser, reason="test", now=self.now)
        self.settle()

    @precondition(lambda self: Merge.objects.filter(undone_at=None).exists())
    @rule(number=st.integers(0, 9), ticks=st.booleans())
    def undo(self, number, ticks):
        logs = list(Merge.objects.filter(undone_at=None).order_by("pk"))
        log = logs[number % len(logs)]
        self.remember()
        if why_not(log):
            with pytest.raises(ValueError, match=r"\."):
                unmerge(log, now=self.now)
            return
        unmerge(log, now=self.now)
        assert self.parts.pop(log.loser_id) == log.survivor_id
        # Whoever comes back was part of the survivor a moment ago.
        self.said[log.loser_id] = self.said[log.survivor_id]
        self.settle(tick_after=ticks)

    @precondition(lambda self: Contact.objects.living().exists())
    @rule(number=st.integers(0, 9))
    def erase(self, number):
        contact = self.pick(number)
        everybody = {contact.pk} | {pk for pk in self.parts if self.root(pk) == contact.pk}
        self.remember()
        lost = Touchpoint.objects.filter(contact=contact, properties__has_key="n")
        self.seen -= set(lost.values_list("properties__n", flat=True))
        self.seen -= self.waiting_for(contact)
        erase(contact, by=None, now=self.now)
        self.gone |= everybody
        self.owners = {handle: pk for handle, pk in self.owners.items() if pk not in everybody}
        self.settle()

    def waiting_for(self, contact) -> set[int]:
        """Events of the inbox that go with an erasure: those that are said of the person's handles."""
        waiting = Incoming.objects.filter(anonymous_id__in=contact.identities.filter(
            kind="anonymous_id").values("value"), properties__has_key="n")  # fmt: skip
        return set(waiting.values_list("properties__n", flat=True))

    # What people say

    @precondition(lambda self: Contact.objects.living().exists())
    @rule(number=st.integers(0, 9), topic=st.sampled_from(["news", ""]), state=st.sampled_from(sorted(STRICTER)))
    def say(self, number, topic, state):
        contact = self.pick(number)
        self.remember()
        try:
            record_consent(contact=contact, topic=topic, channel="email", state=state, source="form", now=self.now)
            self.granted.add((contact.pk, topic))
        except NotRaised:
            # Whoever was erased once and came back by a file raises consent by a proven word only.
            assert state != "denied" and contact.pk not in raisable([contact.pk])
        self.settle()

    @precondition(lambda self: bool(set(self.links) - self.gone))
    @rule(number=st.integers(0, 99))
    def unsubscribe(self, number):
        """By a link in a mail to whoever the person was then."""
        known = sorted(set(self.links) - self.gone)
        pk = known[number % len(known)]
        self.remember()
        answer = Client().post(f"/u/{self.links[pk]}/")
        assert answer.status_code == 200
        assert self.states(self.root(pk))[""] == "denied"
        self.settle()

    @rule(hours=st.sampled_from([1, 30]))
    def wait(self, hours):
        self.remember()
        self.now += timedelta(hours=hours)
        self.settle()

    # What must hold after every step

    @invariant()
    def nothing_is_lost(self):
        found = list(Touchpoint.objects.filter(properties__has_key="n").values_list("properties__n", flat=True)) + list(
            Incoming.objects.filter(properties__has_key="n").values_list("properties__n", flat=True)
        )
        assert sorted(found) == sorted(self.seen)
        assert not Incoming.objects.exclude(error="").exists()

    @invariant()
    def no_consent_rises_by_itself(self):
        for contact in self.living():
            after = self.states(contact.pk)
            before = [said for pk, said in self.said.items() if self.root(pk) == contact.pk or pk == contact.pk]
            for topic, state in after.items():
                words = [said[topic] for said in before if topic in said]
                strictest = max(words, key=STRICTER.__getitem__, default="")
                if (contact.pk, topic) in self.granted:
                    continue
                if strictest:
                    assert STRICTER[state] >= STRICTER[strictest], (contact.pk, topic, before, after)
                else:
                    assert state != "granted", (contact.pk, topic, before, after)
            for topic in {topic for said in before for topic, state in said.items() if state == "denied"}:
                assert after.get(topic) == "denied" or (contact.pk, topic) in self.granted

    @invariant()
    def the_invariants_hold(self):
        counts = invariants.check(self.now)
        del counts["I1"]  # about late deliveries, and nothing delivers here
        assert not any(counts.values()), counts
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("SET CONSTRAINTS ALL DEFERRED")

    @invariant()
    def every_old_id_and_handle_leads_to_the_right_person(self):
        for contact in Contact.objects.all():
            expected = self.root(contact.pk)
            if contact.pk in self.gone:
                assert contact.erased_at
            else:
                assert (contact.merged_into_id or contact.pk) == expected
                assert contact.erased_at is None
            if contact.pk == expected and contact.pk not in self.gone and contact.email:
                assert Identity.objects.get(kind="email", value=contact.email).contact_id == contact.pk
        found = {(kind, value): pk for kind, value, pk in Identity.objects.values_list("kind", "value", "contact")}
        assert found == {handle: self.root(pk) for handle, pk in self.owners.items()}

    @invariant()
    def one_address_is_one_person_in_whatever_writing(self):
        values = set(Identity.objects.filter(kind="email").values_list("value", flat=True))
        assert values <= {
            "ann@example.com", "eva@xn--bcher-kva.example", "jan@example.com", "jan+news@example.com",
        }  # fmt: skip


def test_people_come_merge_part_and_go_and_nothing_is_lost(db, data_dir):
    user = get_user_model().objects.create(username="tracker")
    People.write_key = tokens.issue(user=user, scopes=["track"], now=BEGIN)[1]
    as_code.apply([as_code.read(COMPANY)], is_publish=True, now=BEGIN)
    mail_tokens.current()
    run_state_machine_as_test(
        People,
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=STEPS,
            deadline=None,
            print_blob=True,
            # A shorter history is worth hours of shrinking only to who looks into a failure.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
