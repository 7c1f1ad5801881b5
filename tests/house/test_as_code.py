"""Definitions as code: out and in again, errors with a path, all or nothing."""

from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command

from campaigns.models import Draft, Journey, JourneyVersion
from contacts.definitions import DefinitionError
from contacts.models import Segment
from journey_crm import as_code
from messaging.models import Template

COMPANY = Path(as_code.__file__).parent / "demo_company" / "company.yaml"

pytestmark = pytest.mark.django_db


@pytest.fixture
def company(now):
    for username in ("petr", "ania"):
        get_user_model().objects.create_user(username)
    document = as_code.read(COMPANY.read_text(encoding="utf-8"))
    return as_code.apply([document], is_publish=True, now=now)


def what(changes):
    return {change.what for change in changes}


def test_it_creates_and_publishes_all_that_the_demo_company_defines(company):
    assert what(company) == {"created", "published"}
    assert JourneyVersion.objects.count() == 4
    assert Segment.objects.get(key="customers").rule == {"stage": "customer"}


def test_what_is_exported_changes_nothing_when_it_is_applied(company, now):
    text = as_code.write(as_code.export())
    drafts = Draft.objects.count()
    assert what(as_code.apply([as_code.read(text)], is_publish=True, now=now)) == {"unchanged"}
    assert as_code.write(as_code.export()) == text
    assert Draft.objects.count() == drafts


def test_it_exports_what_is_asked_for_by_key(company):
    document = as_code.export(["customers", "welcome"])
    assert {name: [item["key"] for item in items] for name, items in document.items()} == {
        "segments": ["customers"],
        "templates": ["welcome"],
        "journeys": ["welcome"],
    }


def test_it_says_that_nothing_has_a_key(company):
    with pytest.raises(DefinitionError, match="nowhere"):
        as_code.export(["nowhere"])


def test_a_plan_names_what_would_change_and_changes_nothing(company, now):
    document = as_code.read(
        "segments: [{key: customers, name: Buyers, rule: {stage: customer}}, {key: new, name: New}]"
    )
    changes = as_code.apply([document], is_plan=True, now=now)
    assert [str(change) for change in changes] == ["changed   segments customers: name", "created   segments new"]
    assert Segment.objects.get(key="customers").name == "Customers"
    assert not Segment.objects.filter(key="new").exists()


def test_one_error_leaves_everything_as_it_was(company, now):
    document = as_code.read(
        "segments: [{key: fine, rule: {stage: lead}}, {key: wrong, rule: {all: [{field: nonsense, op: eq, value: 1}]}}]"
    )
    with pytest.raises(DefinitionError) as caught:
        as_code.apply([document], now=now)
    assert caught.value.path.startswith("segments.wrong.rule.all[0]")
    assert not Segment.objects.filter(key__in=["fine", "wrong"]).exists()


def test_publishing_a_changed_draft_makes_the_next_version(company, now):
    document = as_code.export(["welcome"])
    document["journeys"][0]["steps"][1]["wait"] = "2d"
    changes = as_code.apply([document], is_publish=True, now=now)
    assert [str(change) for change in changes if change.what != "unchanged"] == [
        "changed   journeys welcome: steps",
        "published journeys welcome",
    ]
    assert Journey.objects.get(key="welcome").version.number == 2


@pytest.mark.parametrize(
    ("source", "path", "message"),
    [
        ("segments: {", "file, line 1", "cannot be read"),
        ("- a", "file", "must be a mapping"),
        ("segmints: []", "file: segmints", "is not known"),
        ("segments: {key: a}", "file: segments", "must be a list"),
    ],
)
def test_what_is_no_definition_is_refused_with_its_place(source, path, message):
    with pytest.raises(DefinitionError, match=message) as caught:
        as_code.read(source)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("segments: [{name: No key}]", "segments[0].key"),
        ("segments: [{key: a}, {key: a}]", "segments[1]"),
        ("segments: [{key: a, colour: red}]", "segments.a.colour"),
        ("topics: [{key: a, name: A, opt: maybe}]", "topics.a.opt"),
        ("fields: [{key: a, type: choice}]", "fields.a.choices"),
        ("templates: [{key: a, class: marketing, subject: S}]", "templates.a.body"),
        ("templates: [{key: a, class: transactional, subject: S, body: B, topic: none}]", "templates.a.topic"),
        ("scores: [{key: a, rules: [{key: r, when: {did: x.y}, points: many}]}]", "scores.a.rules[0].points"),
        ("offers: [{key: a, products: [none]}]", "offers.a.products[0]"),
        ("routing: [{team: a, reps: [nobody]}]", "routing.a.reps[0]"),
        ("routing: [{team: a, hours: mon-fri 9-5}]", "routing.a.hours"),
        ("routing: [{team: a, holidays: [XX]}]", "routing.a.holidays"),
        ("journeys: [{key: a, kind: party}]", "journeys.a.kind"),
    ],
)
def test_every_section_names_what_is_wrong_in_it(source, path, now):
    with pytest.raises(DefinitionError) as caught:
        as_code.apply([as_code.read(source)], now=now)
    assert caught.value.path == path


def test_words_and_times_stay_what_people_wrote():
    assert as_code.read("segments: [{key: a, name: no, rule: {at: 10:00, on: 2027-03-28}}]")["segments"][0] == {
        "key": "a",
        "name": "no",
        "rule": {"at": "10:00", "on": "2027-03-28"},
    }


def test_the_commands_speak_in_sentences(tmp_path, company):
    out = StringIO()
    path = tmp_path / "a.yaml"
    path.write_text("segments: [{key: customers, name: Buyers, rule: {stage: customer}}]")
    call_command("apply", str(path), "--plan", stdout=out)
    assert "1 of 1 would change." in out.getvalue()
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("apply", str(tmp_path / "none.yaml"))
    out = StringIO()
    call_command("export", "customers", stdout=out)
    assert out.getvalue() == ("segments:\n  - key: customers\n    name: Customers\n    rule: {stage: customer}\n")
    assert Template.objects.exists()
