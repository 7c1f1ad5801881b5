"""The tables of `journeys_spec.py`, played row by row against the engine."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
import yaml
from django.db import connection

from campaigns import publishing
from campaigns.models import Achievement, Candidate, Enrolment
from campaigns.requests import enrol_contacts
from contacts.models import Consent, Contact, Field, Membership, Segment
from messaging.models import Message, Suppression, Template, Topic
from tests.campaigns.journeys_spec import AGAIN, SPECS, TWELVE, rows
from tests.campaigns.world import did, journey, person, tick, where

pytestmark = pytest.mark.django_db

SPANS = {"m": 1, "h": 60, "d": 1440}
OVER = ["trigger", "reentry", "grace", "goal", "steps"]


def span(text: str) -> timedelta:
    return timedelta(minutes=float(text[:-1]) * SPANS[text[-1]])


class Play:
    """One row being played: Ann, her journey, and the clock."""

    def __init__(self, now: datetime, definition: dict[str, Any]):
        self.now, self.definition = now, definition
        Field.objects.get_or_create(key="plan", defaults={"type": "text"})
        Field.objects.get_or_create(key="renewal_on", defaults={"type": "date"})
        Field.objects.get_or_create(key="ends_at", defaults={"type": "datetime"})
        for key in ("vip", "other"):
            Segment.objects.get_or_create(key=key, defaults={"name": key})
        for key, topic in (("hello", "news"), ("bye", "news"), ("tip", "tips"), ("receipt", None)):
            mine = None
            if topic:
                mine, _made = Topic.objects.get_or_create(key=topic, defaults={"name": topic, "is_opt_in": False})
            Template.objects.get_or_create(
                key=key,
                defaults={
                    "topic": mine, "subject": key, "body": "Hello",
                    "message_class": "marketing" if topic else "transactional", "is_repeatable": True,
                },
            )  # fmt: skip
        self.journey = journey(now, **definition)
        self.ann = person()

    def run(self, script: str) -> None:
        parts = [part.strip() for part in script.split(";") if part.strip()]
        moments: list[tuple[timedelta, list[str]]] = []
        for part in parts:
            if part.startswith("ticks"):
                begin, end, step = map(span, re.fullmatch(r"ticks (\S+) to (\S+) by (\S+)", part).groups())
                while begin <= end:
                    moments.append((begin, []))
                    begin += step
                continue
            if part.startswith("nothing until"):
                moments.append((span(part.split()[-1]), []))
                continue
            if part.startswith("tick"):
                moments.append((span(part.split()[1]), []))
                continue
            at, _space, act = part.partition(" ")
            when = span(at)
            if act.startswith("late "):
                _late, told, act = act.split(" ", 2)
                when, act = span(told), f"from {at} {act}"
            if moments and moments[-1][0] == when and moments[-1][1]:
                moments[-1][1].append(act)
            else:
                moments.append((when, [act]))
        for when, acts in moments:
            for act in acts:
                self.act(act, self.now + when)
            tick(self.now + when)

    def act(self, act: str, at: datetime) -> None:
        happened = at
        if act.startswith("from "):
            _from, ago, act = act.split(" ", 2)
            happened = self.now + span(ago)
        word, _space, rest = act.partition(" ")
        if "=" in act and "{" not in act:
            self.change(*act.split("=", 1), at)
        elif word in ("enter", "leave"):
            segment = Segment.objects.get(key=rest)
            if word == "enter":
                Membership.objects.create(segment=segment, contact=self.ann, entered_at=at)
            else:
                Membership.objects.filter(segment=segment, contact=self.ann).delete()
            did(self.ann, f"segment.{'entered' if word == 'enter' else 'left'}", at, segment=rest)
        elif word in ("deny", "allow"):
            topic, state = "" if rest == "all" else rest, "denied" if word == "deny" else "granted"
            Consent.objects.update_or_create(
                contact=self.ann, topic=topic, channel="email", defaults={"state": state, "changed_at": at}
            )
            did(self.ann, "consent.changed", at, topic=topic, channel="email", state=state)
        elif act == "suppress":
            Suppression.objects.create(address=self.ann.email, reason="bounced", suppressed_at=at)
            did(self.ann, "email.bounced", at)
        elif act == "publish":
            journey(at, **self.definition)
        elif act in ("pause", "resume"):
            getattr(publishing, act)(journey=self.journey, by=None, now=at)
        elif act == "ask":
            enrol_contacts(journey=self.journey, contacts=Contact.objects.filter(pk=self.ann.pk), by=None, now=at)
        else:
            did(self.ann, word, happened, received=at, **(yaml.safe_load(rest) or {}))

    def change(self, field: str, value: str, at: datetime) -> None:
        ann = Contact.objects.get(pk=self.ann.pk)
        if field == "zone":
            Contact.objects.filter(pk=ann.pk).update(zone=value, timezone=value)
            did(ann, "contact.updated", at, fields=["timezone"])
        elif field == "stage":
            Contact.objects.filter(pk=ann.pk).update(stage=value)
            did(ann, "stage.changed", at, **{"from": ann.stage, "to": value})
        elif field == "country":
            Contact.objects.filter(pk=ann.pk).update(country=value)
            did(ann, "contact.updated", at, fields=["country"])
        else:
            former = {"former": {field: ann.attributes[field]}} if field in ann.attributes else {}
            rest = {key: one for key, one in ann.attributes.items() if key != field}
            Contact.objects.filter(pk=ann.pk).update(attributes=rest | ({field: value} if value else {}))
            did(ann, "contact.updated", at, fields=[field], **former)

    # What came of it.

    def enters(self, wanted: str) -> str:
        times = Enrolment.objects.order_by("enrolled_at", "pk").values_list("enrolled_at", flat=True)
        if wanted.isdigit():
            return str(len(times))
        return " ".join(self.at(moment, wanted.split()[-1]) for moment in times)

    def at(self, moment: datetime | None, like: str) -> str:
        if moment is None:
            return ""
        number = (moment - self.now) / timedelta(minutes=SPANS[like[-1]]) if like else moment
        return f"{number:g}{like[-1]}" if like else str(moment)

    def left(self, wanted: str) -> str:
        last = Enrolment.objects.order_by("pk").last()
        assert last is not None, "she never entered"
        return last.exit_reason

    def stands(self, wanted: str) -> str:
        return where(self.ann) or ""

    def gets(self, wanted: str) -> str:
        sent = Message.objects.filter(state="sent").order_by("pk").values_list("template__key", flat=True)
        return " ".join(sent)

    def goal_at(self, wanted: str) -> str:
        last = Enrolment.objects.order_by("pk").last()
        kept = Achievement.objects.filter(kind="goal", key="", enrolment=last).first()
        assert (kept.reached_at if kept else None) == (last.goal_at if last else None)
        return self.at(last.goal_at if last else None, wanted)

    def worth(self, wanted: str) -> str:
        value = Achievement.objects.get(key="").value if Achievement.objects.filter(key="").exists() else None
        return "" if value is None else str(value)

    def refused(self, wanted: str) -> str:
        return " ".join(Candidate.objects.filter(state="refused").values_list("reason", flat=True))

    def reached(self, wanted: str, **which: Any) -> str:
        keys = Achievement.objects.filter(kind="goal", **which).values_list("key", flat=True)
        return " ".join(sorted(key or "own" for key in keys))

    def after_a_message(self, wanted: str) -> str:
        return self.reached(wanted, is_after_exposure=True)


CASES = [(spec, case) for spec in SPECS for case in rows(spec.cases)]


@pytest.mark.parametrize(
    ("spec", "case"), CASES, ids=[f"{spec.title}: {' '.join(case.values())[:90]}" for spec, case in CASES]
)
def test_each_row_comes_out_as_the_table_says(now, spec, case):
    definition = yaml.safe_load(spec.definition)
    over = [name for name in OVER if name in case and not (name == "goal" and "{" not in case[name])]
    definition |= {name: yaml.safe_load(case[name]) for name in over}
    play = Play(now, definition)
    play.run(case["happens"])
    for name, wanted in case.items():
        if name in ("happens", *over):
            continue
        found = getattr(play, "goal_at" if name == "goal" else name.replace(" ", "_"))(wanted)
        assert found == wanted, name


@pytest.mark.parametrize("policy", ["never", "after_exit", "per_key"])
@pytest.mark.parametrize("is_new_version", [False, True], ids=["same version", "new version between"])
@pytest.mark.parametrize("case", rows(AGAIN), ids=lambda case: case["trigger"])
def test_each_trigger_with_each_rule_counts_across_versions(now, case, is_new_version, policy):
    reentry = {"policy": policy} | ({"key": "number"} if policy == "per_key" else {})
    trigger = yaml.safe_load(case["trigger"])
    play = Play(now, {"trigger": trigger, "reentry": reentry, "steps": [{"key": "rest", "wait": "2d"}]})
    between = "tick 4d; 4d publish" if is_new_version else "tick 4d"
    play.run(f"{case['it fires']}; {between}; {case['it fires again']}; tick 7d")
    assert str(Enrolment.objects.count()) == case[policy]


@pytest.mark.parametrize("case", rows(TWELVE), ids=lambda case: case["reentry"])
@pytest.mark.parametrize("way", ["twice", "left and returned"])
def test_the_twelve(now, case, way):
    play = Play(
        now,
        {
            "trigger": {"touchpoint": "trial.started"},
            "reentry": yaml.safe_load(case["reentry"]),
            "steps": [{"key": "rest", "wait": "2d"}],
        },
    )
    again = "0d trial.started {number: A}" if way == "twice" else "tick 2d; 5d trial.started {number: A}"
    play.run(f"0d trial.started {{number: A}}; {again}")
    opened = Enrolment.objects.filter(state="open").count()
    assert f"{Enrolment.objects.count()}, {opened}" == case[way]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("case", rows(TWELVE), ids=lambda case: case["reentry"])
def test_twenty_at_once_are_one(now, case):
    reentry = yaml.safe_load(case["reentry"])
    play = Play(now, {"trigger": "manual", "reentry": reentry, "steps": [{"key": "rest", "wait": "2d"}]})

    def ask(_number: int) -> int:
        try:
            people = Contact.objects.filter(pk=play.ann.pk)
            return enrol_contacts(journey=play.journey, contacts=people, by=None, now=now, entry_key="A")
        finally:
            connection.close()

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(ask, range(20))) == 20
    tick(now)
    opened = Enrolment.objects.filter(state="open").count()
    assert f"{Enrolment.objects.count()}, {opened}" == case["20 at once"]
