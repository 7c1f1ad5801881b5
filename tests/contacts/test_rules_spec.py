"""The tables of the manual are true on every door, and the manual is what they make."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
import yaml
from django.contrib.auth.models import User

from contacts import segments, tokens
from contacts.models import (
    Company,
    Consent,
    Contact,
    Field,
    Identity,
    Membership,
    Segment,
    Touchpoint,
)
from contacts.rulefields import Vocabulary
from contacts.rules import RuleError, dump, explain, leaf_kinds, leaves_of, matching, parse, verdict
from growth.models import Order
from messaging.models import Suppression, Topic
from scoring.models import ScoreModel, ScoreRule
from scripts import rules_doc
from tests.contacts import twin
from tests.contacts.rules_spec import REFUSED, SPECS, Spec, rows
from tests.contacts.world import HALF_LIFE, a_matrix, score_entry

pytestmark = pytest.mark.django_db

TEXTS = ["email", "phone", "first_name", "last_name", "language", "country", "timezone", "job_title", "company_role",
         "source"]  # fmt: skip


def cell(text: str, now: datetime) -> Any:
    """A cell as YAML; -14d and +1d are moments."""
    value = yaml.safe_load(text) if text else None
    if isinstance(value, str) and value[:1] in "+-" and value[1:-1].isdecimal():
        return twin.edges(value, now)[0]
    return value


@pytest.fixture
def scene(now):
    """`scene(spec)`: its people in the database, and as the twin's dicts by their names."""
    Topic.objects.create(key="news", name="News", is_opt_in=False)
    Topic.objects.create(key="tips", name="Tips", is_opt_in=True)
    Suppression.objects.create(address="gone@example.com", reason="manual")
    vip = Segment.objects.create(key="vip", name="VIP", sweep_at=None)
    scores = {}
    for key, half_life in (("engagement", HALF_LIFE), ("fit", None)):
        model = ScoreModel.objects.create(key=key, kind=key)
        scores[key] = ScoreRule.objects.create(
            model=model, key=key, when={"did": "page.viewed"}, points=1, half_life=half_life
        )  # fmt: skip
    a_matrix()

    def make(spec: Spec) -> dict[str, dict]:
        for key, type_ in spec.fields.items():
            is_choice = isinstance(type_, list)
            Field.objects.create(key=key, type="choice" if is_choice else type_, choices=type_ if is_choice else [])
        people = {}
        for row in rows(spec.people):
            told = {key: cell(text, now) for key, text in row.items() if key != "who"}
            people[row["who"]] = _person(told, spec, now)
        for name, table in spec.more.items():
            for row in rows(table):
                told = {key: cell(text, now) for key, text in row.items() if key != "who"}
                _MORE[name](people[row["who"]], told, now, vip=vip, scores=scores)
        return people

    return make


def _person(told: dict, spec: Spec, now: datetime) -> dict:
    attributes = {key: told[key] for key in spec.fields if told.get(key) is not None}
    company = told.get("company")
    columns = dict.fromkeys(TEXTS, "") | {
        "stage": "visitor", "highest_stage": "visitor", "created_at": now, "stage_changed_at": None,
        "identified_at": None, "last_seen_at": None,
    }  # fmt: skip
    columns |= {key: value for key, value in told.items() if key in columns and value is not None}
    employer = Company.objects.create(**company, updated_at=now) if company else None
    contact = Contact.objects.create(**columns, attributes=attributes, company=employer)
    empty = {"domain": None, "country": "", "industry": "", "employees": None, "attributes": {}, "updated_at": now}
    return columns | {
        "id": contact.pk, "attributes": attributes, "company": empty | company if company else None, "owner": None,
        "touchpoints": [], "segments": {}, "consents": {}, "points": [], "orders": [], "identities": {},
    }  # fmt: skip


def _touchpoint(person, told, now, **_):
    one = {
        "kind": told["kind"], "occurred_at": told["when"], "is_machine": bool(told.get("machine")),
        "properties": told["properties"],
    }  # fmt: skip
    person["touchpoints"].append(one)
    Touchpoint.objects.create(contact_id=person["id"], received_at=now, **one)


def _member(person, told, now, vip, **_):
    person["segments"][told["segment"]] = told["since"]
    Membership.objects.create(contact_id=person["id"], segment=vip, entered_at=told["since"])


def _consent(person, told, now, **_):
    channel = told.get("channel") or "email"
    person["consents"][told["topic"], channel] = told["state"]
    Consent.objects.create(
        contact_id=person["id"], topic=told["topic"], channel=channel, state=told["state"], changed_at=now
    )


def _points(person, told, now, scores, **_):
    rule = scores[told["score"]]
    person["points"].append(
        {"score": told["score"], "points": told["points"], "at": told["when"], "half_life": rule.half_life}
    )
    score_entry(Contact.objects.get(pk=person["id"]), rule, told["points"], told["when"]).save()


def _order(person, told, now, **_):
    one = {"state": told["state"], "total": Decimal(str(told["total"])), "placed_at": told["when"]}
    person["orders"].append(one)
    Order.objects.create(contact_id=person["id"], number=f"{person['id']}-{len(person['orders'])}", **one)


def _identity(person, told, now, **_):
    person["identities"].setdefault(told["kind"], []).append(told["value"])
    Identity.objects.create(contact_id=person["id"], kind=told["kind"], value=told["value"])


_MORE = {
    "touchpoints": _touchpoint, "members": _member, "consents": _consent, "points": _points, "orders": _order,
    "identities": _identity,
}  # fmt: skip


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.title)
def test_each_rule_means_exactly_these_people_whoever_is_asked(scene, client, now, spec):
    people = scene(spec)
    names = {person["id"]: who for who, person in people.items()}
    types = {key: "choice" if isinstance(type_, list) else type_ for key, type_ in spec.fields.items()}
    _token, secret = tokens.issue(user=User.objects.create_superuser("boss"), scopes=["read"], now=now)
    headers = {"Authorization": f"Bearer {secret}"}
    contacts = {contact.pk: contact for contact in Contact.objects.all()}
    for case in rows(spec.cases):
        rule, who = yaml.safe_load(case["rule"]), set(case["who"].split())
        parsed = parse(rule)
        assert parse(dump(parsed)) == parsed
        assert {names[one.pk] for one in matching(parsed, now)} == who, f"SQL: {rule}"
        assert {one for one, person in people.items() if twin.holds(dump(parsed), person, now, types)} == who, rule
        assert segments.preview(rule, now).count() == len(who)
        with time_machine.travel(now, tick=False):
            told = client.post(
                "/api/v1/segments/vip/preview/", {"rule": rule}, content_type="application/json", headers=headers
            ).json()
        assert {names[pk] for pk in told["sample"]} == who and told["count"] == len(who), f"REST: {rule}"
        for pk, contact in contacts.items():
            answers = explain(parsed, contact, now)
            assert verdict(parsed, answers) == (names[pk] in who), f"explanation: {rule}"
            assert all(answer.because.endswith(".") and not answer.says.endswith(".") for answer in answers)


@pytest.mark.parametrize("case", rows(REFUSED), ids=lambda case: case["rule"])
def test_what_cannot_be_asked_is_refused_with_that_path(case):
    for kind in ("fit", "engagement"):
        ScoreModel.objects.create(key=kind, kind=kind)
    a_matrix()
    with pytest.raises(RuleError) as error:
        parse(yaml.safe_load(case["rule"]))
    assert error.value.path == case["path"] and error.value.message.endswith(".")


def test_the_manual_shows_every_operator_of_every_type_and_every_kind_of_leaf(now):
    Identity.objects.create(contact=Contact.objects.create(), kind="erp", value="1")
    shown, kinds = set(), set()
    for spec in SPECS:
        fields = [
            Field(key=key, type="choice" if isinstance(type_, list) else type_,
                  choices=type_ if isinstance(type_, list) else [])
            for key, type_ in spec.fields.items()
        ]  # fmt: skip
        names = Vocabulary(fields=fields, segments={"vip"})
        for case in rows(spec.cases):
            rule = yaml.safe_load(case["rule"])
            for kind in ("consent", "score", "grade"):
                if kind in str(rule):
                    kinds.add(kind)
                    break
            else:
                for _path, leaf in leaves_of(parse(rule, names)):
                    data = leaf.dump()
                    kinds.add(next(kind for kind in leaf_kinds() if kind in data))
                    if "field" in data:
                        shown.add((leaf.field.type, data["op"]))
    every = {(type_, op) for type_, row in _operators_of_the_manual().items() for op in row}
    assert kinds == set(leaf_kinds())
    # Spans of numbers, yes or no, and days are asked as those of texts are.
    assert every - shown <= {(type_, "has_been_for") for type_ in ("number", "boolean", "date")}


def _operators_of_the_manual() -> dict[str, list[str]]:
    names = {"text, choice": "text", "yes or no": "boolean", "date and time": "datetime"}
    table = rules_doc.HEAD.split("|---|---|\n")[1].split("\n\n")[0]
    found = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {names.get(type_, type_): ops.split() for type_, ops in found}


def test_the_manual_names_the_operators_that_there_are():
    names = Vocabulary(fields=[Field(key=f"a_{type_}", type=type_) for type_, _label in Field.TYPES])
    for type_, ops in _operators_of_the_manual().items():
        assert names.field(f"a_{type_}").operators == ops


def test_the_committed_manual_is_what_the_tables_make():
    assert rules_doc.DOC.read_text(encoding="utf-8") == rules_doc.page(), "run: python -m scripts.rules_doc"


def test_a_day_later_is_another_answer(scene, now):
    """The tables stand at one moment; the next day the same rule means others."""
    spec = next(spec for spec in SPECS if spec.title == "For how long")
    people = scene(spec)
    rule = {"field": "plan", "op": "has_been_for", "value": "trial", "for": "6d"}
    assert set(matching(rule, now).values_list("pk", flat=True)) == {people["ann"]["id"]}
    later = matching(rule, now + timedelta(days=1)).values_list("pk", flat=True)
    assert set(later) == {people["ann"]["id"], people["ben"]["id"]}
