"""`tick`, `erase` and `export_person` by the command line."""

import json
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from contacts.ingest import ingest
from contacts.models import Contact, ErasedHandle, Identity, Incoming, StepCursor, Touchpoint
from contacts.stream import Step, put, run_step

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 10, 9, 0, tzinfo=UTC)


def call(*words) -> str:
    out = StringIO()
    call_command(*words, stdout=out, stderr=StringIO())
    return out.getvalue()


@pytest.fixture
def ann() -> Contact:
    put(kind="page.viewed", source="t", now=NOW, anonymous_id="a1", properties={"path": "/prices"})
    put(kind="contact.identified", source="t", now=NOW, anonymous_id="a1", user_id="u1", email="ann@x.example",
        traits={"first_name": "Ann", "secret": "likes tea"})  # fmt: skip
    put(
        kind="contact.identified",
        source="t",
        now=NOW,
        user_id="u2",
        email="bob@x.example",
        traits={"first_name": "Bob"},
    )
    run_step(Step("ingest", ingest), NOW)
    return Identity.objects.get(value="u1").contact


def test_tick_runs_at_the_moment_told(ann):
    put(kind="page.viewed", source="t", now=NOW, anonymous_id="a1")
    assert "ingest 1" in call("tick", "--now", "2026-11-10T10:00+01:00")
    assert StepCursor.objects.get(step="ingest").ran_at == NOW


def test_tick_walks_a_virtual_clock(ann):
    call("tick", "--now", "2026-11-10T10:00+01:00", "--until", "2026-11-10T13:00+01:00", "--every", "1h")
    assert StepCursor.objects.get(step="ingest").ran_at == NOW + timedelta(hours=3)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--now", "yesterday"], "--now"),
        (["--now", "2026-13-01"], "--now"),
        (["--until", "soon"], "--until"),
        (["--now", "2026-11-10", "--until", "2026-11-09"], "--until"),
        (["--until", "2030-01-01", "--every", "often"], "--every"),
    ],
)
def test_tick_names_the_option_that_is_wrong(words, names):
    with pytest.raises(CommandError, match=names):
        call("tick", *words)


def test_an_erased_person_is_nowhere_and_others_are_untouched(ann):
    put(kind="page.viewed", source="t", now=NOW, anonymous_id="a1")
    told = call("erase", "ann@x.example", "--yes")
    assert "touchpoints: 4 removed" in told
    assert "handles that still lead here: 0" in told
    ann.refresh_from_db()
    assert (ann.email, ann.first_name, ann.attributes) == ("", "", {})
    assert ann.erased_at
    assert not Touchpoint.objects.filter(contact=ann).exists()
    assert not Incoming.objects.filter(anonymous_id="a1").exists()
    assert ErasedHandle.objects.count() == 2  # the address and the user id
    assert Identity.objects.get(value="u2").contact.first_name == "Bob"


def test_what_an_erased_person_may_have_asked_for_tells_everything(ann):
    told = json.loads(call("export_person", "u1"))
    assert told["contact"]["first_name"] == "Ann"
    assert told["contact"]["attributes"] == {"secret": "likes tea"}
    assert {one["value"] for one in told["contacts.identity"]} == {"a1", "u1", "ann@x.example"}
    assert "page.viewed" in {one["kind"] for one in told["contacts.touchpoint"]}
    assert "bob" not in json.dumps(told).lower()


def test_an_export_into_a_file_is_for_its_owner_alone(ann, tmp_path):
    call("export_person", "u1", "--output", f"{tmp_path}/ann.json")
    assert (tmp_path / "ann.json").stat().st_mode & 0o077 == 0
    with pytest.raises(CommandError, match="--output"):
        call("export_person", "u1", "--output", f"{tmp_path}/nowhere/ann.json")


@pytest.mark.parametrize("command", ["erase", "export_person"])
def test_an_unknown_person_is_said_so(command):
    with pytest.raises(CommandError, match="nobody@x.example"):
        call(command, "nobody@x.example")
