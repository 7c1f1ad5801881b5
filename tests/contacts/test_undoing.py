"""Imports that are paused, killed, tried and undone."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.db import connection
from django.utils import timezone

from contacts import importing, merging, undoing
from contacts.consent import record_consent
from contacts.importing import Busy, ask, new_import, run_import, run_waiting, try_first_rows
from contacts.models import (
    Consent,
    ConsentChange,
    Contact,
    Identity,
    Import,
    ImportedPerson,
    Incoming,
    MembershipOverride,
    Segment,
    Touchpoint,
)  # fmt: skip
from contacts.stream import put
from contacts.syncing import upsert
from journey_crm.tick import tick
from leads.models import Lead

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("topics")]


def draft(content: str, **more) -> Import:
    return new_import("people.csv", ContentFile(content.encode()), **more)


def load(content: str, **more) -> Import:
    return run_import(draft(content, **more).pk, timezone.now())


def undo(one: Import) -> Import:
    assert ask(one, "undo")
    run_waiting(timezone.now())
    one.refresh_from_db()
    return one


def rows(count: int, first: int = 0) -> str:
    return "email,first_name\n" + "".join(f"p{number}@x.example,Eva\n" for number in range(first, first + count))


def counts(one: Import) -> tuple[int, ...]:
    return one.rows, one.created, one.updated, one.unchanged, one.rejected


# Trying ---------------------------------------------------------------------------------------------------------------


def test_the_first_rows_are_tried_and_nothing_stays():
    upsert([{"email": "p1@x.example", "first_name": "Ann"}], source="test", now=timezone.now())
    before = list(Contact.objects.values()), Incoming.objects.count()
    one = draft(rows(200) + "nonsense,X\n")
    tried = try_first_rows(one, timezone.now())
    assert [row["status"] for row in tried[:3]] == ["created", "updated", "created"] and len(tried) == 100
    assert tried[1]["changes"] == ["first_name"]
    assert (list(Contact.objects.values()), Incoming.objects.count()) == before
    assert not ImportedPerson.objects.exists()


def test_the_whole_file_is_tried_and_leaves_its_counts_and_notes_only():
    one = draft(rows(30) + "nonsense,X\n")
    assert ask(one, "check")
    assert run_waiting(timezone.now()) == 1
    one.refresh_from_db()
    assert one.state == "draft" and one.checked["created"] == 30 and one.checked["rejected"] == 1
    assert [note.line for note in one.notes.all()] == [32]
    assert not Contact.objects.exists() and not Incoming.objects.exists()
    assert ask(one, "start")
    run_waiting(timezone.now())
    one.refresh_from_db()
    assert (one.state, *counts(one)) == ("finished", 31, 30, 0, 0, 1) and one.notes.count() == 1


# Pausing --------------------------------------------------------------------------------------------------------------


def test_a_pause_bites_between_two_batches_and_what_is_left_follows(monkeypatch):
    monkeypatch.setattr(importing, "BATCH", 10)
    one = draft(rows(50))

    def pause(now_there: Import) -> None:
        if now_there.rows == 20:
            assert ask(now_there, "pause")

    one = run_import(one.pk, timezone.now(), tell=pause)
    assert (one.state, *counts(one)) == ("paused", 20, 20, 0, 0, 0)
    assert run_waiting(timezone.now()) == 0
    assert ask(one, "resume")
    assert run_waiting(timezone.now()) == 1
    one.refresh_from_db()
    assert (one.state, *counts(one)) == ("finished", 50, 50, 0, 0, 0) and one.share == 1


def test_what_was_stopped_for_good_stays_so_and_can_be_undone(monkeypatch):
    monkeypatch.setattr(importing, "BATCH", 10)
    one = draft(rows(50))
    one = run_import(one.pk, timezone.now(), tell=lambda now_there: ask(now_there, "cancel"))
    assert (one.state, *counts(one)) == ("cancelled", 10, 10, 0, 0, 0)
    assert not ask(one, "resume") and run_waiting(timezone.now()) == 0
    assert undo(one).undone == {"removed": 10, "restored": 0, "kept": 0}
    assert not Contact.objects.exists()


def test_a_task_leaves_off_after_its_time_and_the_next_goes_on(monkeypatch):
    monkeypatch.setattr(importing, "BATCH", 10)
    monkeypatch.setattr(importing, "_SLICE", 0)
    one = draft(rows(15))
    ask(one, "start")
    run_waiting(timezone.now())
    one.refresh_from_db()
    assert (one.state, one.rows) == ("running", 0)
    monkeypatch.setattr(importing, "_SLICE", 60)
    run_waiting(timezone.now())
    one.refresh_from_db()
    assert (one.state, *counts(one)) == ("finished", 15, 15, 0, 0, 0)


def test_an_import_that_another_worker_holds_is_left_alone():
    one = draft(rows(1))
    ask(one, "start")
    params = connection.get_connection_params()
    wanted = {key: params[key] for key in ("dbname", "user", "host", "port", "password") if params.get(key)}
    with psycopg.connect(**wanted, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s, %s)", [importing._LOCKS, one.pk])
        with pytest.raises(Busy):
            run_import(one.pk, timezone.now())
        assert run_waiting(timezone.now()) == 0


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_is_killed_leaves_every_row_once(tmp_path, settings):
    one = draft(rows(400) + "nonsense,X\n" + rows(400, first=400).partition("\n")[2])
    ask(one, "start")
    worker = f"""
import os, signal, django
from django.conf import settings
django.setup()
settings.MEDIA_ROOT = {str(settings.MEDIA_ROOT)!r}
settings.DATABASES["default"]["NAME"] = {connection.settings_dict["NAME"]!r}
from django.utils import timezone
from contacts import importing
importing.BATCH = 50
left = iter(range({{left}}))
real = importing.write
def write(*args):
    counts = real(*args)
    if next(left, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return counts
importing.write = write
importing.run_import({one.pk}, timezone.now())
"""
    for left in (3, 5):
        done = subprocess.run(
            [sys.executable, "-c", worker.replace("{left}", str(left))],
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "journey_crm.settings", "DATABASE_URL": _url()},
            capture_output=True,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    one.refresh_from_db()
    assert (one.state, one.rows) == ("running", 400)
    assert run_waiting(timezone.now()) == 1
    one.refresh_from_db()
    assert (one.state, *counts(one)) == ("finished", 801, 800, 0, 0, 1)
    assert Contact.objects.count() == Identity.objects.count() == one.people.count() == 800
    assert Incoming.objects.filter(kind="contact.created").count() == 800 and one.notes.count() == 1


def _url() -> str:
    there = connection.settings_dict
    return f"postgres://{there['USER']}@/{there['NAME']}?host={there['HOST']}&port={there['PORT'] or 5432}"


# Undoing --------------------------------------------------------------------------------------------------------------


def test_whom_an_import_made_goes_and_what_it_changed_comes_back():
    now = timezone.now()
    petr = User.objects.create_user("petr")
    upsert(
        [{"email": "ann@x.example", "user_id": "1", "first_name": "Ann", "company": "Acme", "country": "CZ",
          "attributes": {"plan": "trial", "seats": 3}}],
        source="test", now=now,
    )  # fmt: skip
    ann = Contact.objects.get()
    before = Contact.objects.values().get()
    one = load(
        "user_id,email,first_name,company,owner,timezone,plan,size\n"
        "1,new@x.example,Anna,Beta,petr,Europe/Warsaw,paid,XL\n"
        ",bob@x.example,Bob,Beta,,,,\n"
    )
    assert counts(one) == (2, 1, 1, 0, 0)
    ann.refresh_from_db()
    assert (ann.email, ann.owner, ann.zone) == ("new@x.example", petr, "Europe/Warsaw")
    tick(timezone.now())
    found = undoing.preview(one, timezone.now())
    assert {name: found[name] for name in ("made", "changed", "removed", "restored", "kept")} == {
        "made": 1, "changed": 1, "removed": 1, "restored": 1, "kept": 0,
    }  # fmt: skip
    assert Contact.objects.living().count() == 2, "a preview changes nothing"
    one = undo(one)
    assert (one.state, one.undone) == ("undone", {"removed": 1, "restored": 1, "kept": 0})
    after = Contact.objects.values().get()
    for name in ("updated_at", "synced_at", "stage", "highest_stage", "stage_changed_at"):
        before.pop(name), after.pop(name)
    assert after == before
    assert sorted(Identity.objects.values_list("kind", "value")) == [("email", "ann@x.example"), ("user_id", "1")]
    told = Incoming.objects.get(kind="contact.updated", source=f"import-undo:{one.pk}")
    assert sorted(told.properties["fields"]) == [
        "company", "email", "first_name", "owner", "plan", "size", "timezone"]  # fmt: skip
    assert not Touchpoint.objects.exclude(contact=ann).exists()


def test_whoever_did_something_or_was_changed_since_stays_and_is_told():
    one = load(rows(7))
    tick(timezone.now())
    later = timezone.now() + timedelta(minutes=1)
    people = {contact.email.split("@")[0]: contact for contact in Contact.objects.all()}
    put(kind="page.viewed", source="web", now=later, contact_id=people["p0"].pk)
    tick(later)
    upsert([{"email": "p1@x.example", "last_name": "Nová"}], source="rest", now=later)
    Lead.objects.create(contact=people["p2"], created_at=later, headline="Called")
    record_consent(contact=people["p3"], topic="news", channel="email", state="granted", source="form", now=later)
    Identity.objects.create(contact=people["p4"], kind="anonymous_id", value="a", created_at=later)
    MembershipOverride.objects.create(
        segment=Segment.objects.create(key="vip", name="VIP"), contact=people["p5"], is_member=True, made_at=later
    )
    found = undoing.preview(one, later)
    assert (found["removed"], found["kept"]) == (1, 6)
    one = undo(one)
    assert one.undone == {"removed": 1, "restored": 0, "kept": 6}
    kept = {contact.email.split("@")[0]: why for contact, why in undoing.kept(one, 99)}
    assert set(kept) == {"p0", "p1", "p2", "p3", "p4", "p5"} and kept["p1"] == "They were changed since."
    assert set(Contact.objects.values_list("pk", flat=True)) == {people[name].pk for name in kept}


def test_a_field_that_was_changed_since_keeps_its_newer_value():
    upsert([{"email": "a@x.example", "first_name": "A", "last_name": "B"}], source="test", now=timezone.now())
    one = load("email,first_name,last_name,plan\na@x.example,AA,BB,paid\n")
    upsert(
        [{"email": "a@x.example", "last_name": "BBB", "attributes": {"plan": None}}], source="rest", now=timezone.now()
    )
    one = undo(one)
    person = Contact.objects.get()
    assert (person.first_name, person.last_name, person.attributes) == ("A", "BBB", {})
    assert one.undone == {"removed": 0, "restored": 0, "kept": 1}
    assert undoing.kept(one, 9)[0][1] == "Some fields were changed since and keep the newer value."


def test_a_person_of_two_rows_far_apart_becomes_as_before_both(monkeypatch):
    monkeypatch.setattr(importing, "BATCH", 1)
    upsert([{"email": "a@x.example", "first_name": "A"}], source="test", now=timezone.now())
    told = ["a@x.example,AA,Clerk", "b@x.example,B,", "a@x.example,AAA,Head", "b@x.example,BB,"]
    one = load("email,first_name,job_title\n" + "\n".join(told))
    assert counts(one) == (4, 1, 3, 0, 0) and one.people.count() == 2
    undo(one)
    person = Contact.objects.get()
    assert (person.first_name, person.job_title) == ("A", "")


def test_consent_is_not_raised_by_an_import_nor_by_its_undoing():
    now = timezone.now()
    for name in ("a", "b", "c"):
        upsert([{"email": f"{name}@x.example"}], source="test", now=now)
    people = {contact.email[0]: contact for contact in Contact.objects.all()}
    record_consent(contact=people["a"], topic="news", channel="email", state="denied", source="link", now=now)
    record_consent(contact=people["b"], topic="news", channel="email", state="granted", source="form", now=now)
    content = "email,consents.news\na@x.example,yes\nb@x.example,no\nc@x.example,yes\n"
    one = load(content)
    assert dict(Consent.objects.values_list("contact__email", "state")) == {
        "a@x.example": "denied", "b@x.example": "denied"}  # fmt: skip
    assert [(note.line, note.is_refused) for note in one.notes.order_by("line")] == [(2, False), (4, False)]
    undo(one)
    assert Consent.objects.get(contact=people["b"]).state == "denied", "what it lowered stays"
    raised = load(content, may_raise_consent=True, raise_reason="Signed at the fair, forms in the archive")
    assert Consent.objects.get(contact=people["a"]).state == "granted"
    undo(raised)
    assert set(Consent.objects.values_list("state", flat=True)) == {"denied"}
    last = ConsentChange.objects.filter(contact=people["a"]).latest("pk")
    assert (last.state, last.source) == ("denied", f"import-undo:{raised.pk}")


def test_members_put_into_a_segment_are_taken_out_again():
    upsert([{"email": "p0@x.example", "first_name": "Eva"}], source="test", now=timezone.now())
    fair = Segment.objects.create(key="fair", name="Fair")
    one = load(rows(3), segment=fair)
    assert fair.overrides.filter(is_member=True).count() == 3
    tick(timezone.now())
    assert fair.memberships.count() == 3
    assert undo(one).undone == {"removed": 2, "restored": 1, "kept": 0}
    assert not fair.overrides.exists()
    tick(timezone.now())
    assert not fair.memberships.exists()


def test_only_making_and_only_changing_people():
    upsert([{"email": "p0@x.example", "first_name": "Ann"}], source="test", now=timezone.now())
    made = load(rows(2), mode="create")
    assert counts(made) == (2, 1, 0, 1, 0)
    assert Contact.objects.get(email="p0@x.example").first_name == "Ann"
    changed = load(rows(3), mode="update")
    assert counts(changed) == (3, 0, 1, 1, 1)
    assert not Contact.objects.filter(email="p2@x.example").exists()


def test_a_merge_since_keeps_both():
    one = load(rows(2))
    first, second = Contact.objects.order_by("pk")
    merging.merge(survivor=first, loser=second, reason="by hand", now=timezone.now())
    one = undo(one)
    assert one.undone["removed"] == 0
    assert Contact.objects.count() == 2


def test_people_go_slice_by_slice(monkeypatch):
    monkeypatch.setattr(undoing, "SLICE", 2)
    upsert([{"email": "p3@x.example", "first_name": "Ann"}], source="test", now=timezone.now())
    one = load(rows(5))
    assert undo(one).undone == {"removed": 4, "restored": 1, "kept": 0}
    assert Contact.objects.get().first_name == "Ann"


def test_the_inbox_is_read_once_for_a_slice_and_not_once_a_person():
    one = load(rows(300))
    assert Incoming.objects.count() == 300
    undoing.SQL["make_undoing"].run()
    undoing.SQL["take_people_to_undo"].run(batch=one.pk, after=0, limit=200)
    statement = Path(undoing.__file__).with_name("queries").joinpath("undoing.sql").read_text()
    body = statement.partition("-- keep_who_changed --\n")[2].partition("\n-- last_to_undo --")[0]
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE undoing")
        told = {"batch": one.pk, "source": f"import:{one.pk}"}
        cursor.execute("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) " + body, told)
        waiting = [cursor.fetchone()[0][0]["Plan"]]
    scans = []
    while waiting:
        node = waiting.pop()
        waiting += node.get("Plans", [])
        if node.get("Relation Name") == "contacts_incoming":
            scans.append(node["Actual Loops"])
    assert scans == [1]


# Cleaning up ----------------------------------------------------------------------------------------------------------


def test_files_notes_and_ways_back_are_kept_for_some_weeks():
    one = load(rows(2) + "nonsense,X\n")
    storage, path = one.file.storage, one.file.name
    assert importing.tidy(timezone.now() + timedelta(days=29)) == 0 and storage.exists(path)
    assert importing.tidy(timezone.now() + timedelta(days=31)) == 1
    one.refresh_from_db()
    assert (one.created, one.notes.count(), one.people.count(), storage.exists(path)) == (2, 0, 0, False)
    assert importing.tidy(timezone.now() + timedelta(days=31)) == 0
    assert not importing.is_undoable(one)


def test_erasure_takes_notes_and_files_that_name_the_person():
    one = load(rows(2) + "P1@x.example,X,too,many\n")
    person = Contact.objects.get(email="p1@x.example")
    importing.forget([person.pk], ["p1@x.example"])
    one.refresh_from_db()
    assert not one.file and not one.notes.exists()
