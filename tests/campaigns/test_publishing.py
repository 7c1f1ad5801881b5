"""Drafts are snapshots; published is frozen; people inside finish what they began."""

import threading
import time

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from campaigns import publishing
from campaigns.models import Draft, Enrolment, Journey, JourneyVersion
from contacts.models import Contact, Membership, Segment
from contacts.stream import wait_for_tick_lock
from messaging.models import Message
from tests.campaigns.world import DAY, did, journey, people, person, sent, tick, where

pytestmark = pytest.mark.django_db


def test_people_inside_finish_their_version_and_new_ones_begin_the_new(now):
    journey(now, steps=[{"wait": "2d"}, {"send": "old"}])
    ann, ben = person(), person()
    did(ann, "trial.started", now)
    tick(now)
    journey(now + DAY, steps=[{"wait": "2d"}, {"send": "new"}])
    did(ben, "trial.started", now + DAY)
    tick(now + DAY)
    tick(now + 3 * DAY)
    assert (sent(ann), sent(ben)) == (["old"], ["new"])
    assert set(Enrolment.objects.values_list("contact_id", "version__number")) == {(ann.pk, 1), (ben.pk, 2)}


def test_a_draft_with_errors_is_kept_and_not_published(now):
    one = journey(now, steps=[{"send": "hello"}])
    before = JourneyVersion.objects.get()
    publishing.save_draft(journey=one, definition={"key": "j", "kind": "onboarding", "steps": []}, by=None, now=now)
    with pytest.raises(publishing.Unpublishable) as refused:
        publishing.publish(journey=one, by=None, now=now)
    assert {problem.path for problem in refused.value.problems} == {"steps", "trigger"}
    assert JourneyVersion.objects.get() == before
    one.refresh_from_db()
    assert one.version == before


def test_what_names_a_missing_template_is_not_published(now):
    one = Journey.objects.create(key="j", kind="onboarding")
    definition = {"key": "j", "kind": "onboarding", "trigger": "manual", "steps": [{"send": "nothing"}]}
    publishing.save_draft(journey=one, definition=definition, by=None, now=now)
    with pytest.raises(publishing.Unpublishable, match=r"steps\[0\].send: There is no template “nothing”."):
        publishing.publish(journey=one, by=None, now=now)


def test_a_definition_of_another_key_or_kind_is_not_published(now):
    one = journey(now, steps=[{"send": "hello"}])
    wrong = publishing.draft_of(one) | {"key": "other"}
    publishing.save_draft(journey=one, definition=wrong, by=None, now=now)
    with pytest.raises(publishing.Unpublishable, match="key"):
        publishing.publish(journey=one, by=None, now=now)


def test_undo_and_redo_move_a_pointer_and_a_new_edit_ends_what_was_undone(now):
    one = journey(now, steps=[{"send": "a"}])
    for key in "bc":
        publishing.save_draft(journey=one, definition=publishing.draft_of(one) | {"name": key}, by=None, now=now)
        one.refresh_from_db()
    publishing.undo(journey=one)
    one.refresh_from_db()
    assert publishing.draft_of(one)["name"] == "b"
    publishing.redo(journey=one)
    one.refresh_from_db()
    assert publishing.draft_of(one)["name"] == "c"
    publishing.undo(journey=one)
    one.refresh_from_db()
    publishing.save_draft(journey=one, definition=publishing.draft_of(one) | {"name": "d"}, by=None, now=now)
    one.refresh_from_db()
    assert publishing.redo(journey=one) is None
    assert list(Draft.objects.order_by("revision").values_list("revision", flat=True)) == [1, 2, 4]
    publishing.undo(journey=one)
    publishing.undo(journey=one)
    assert publishing.undo(journey=one) is None


def test_an_editor_who_saw_an_older_draft_is_told_what_changed(now):
    one = journey(now, steps=[{"send": "a"}])
    karel = User.objects.create(username="karel")
    definition = publishing.draft_of(one)
    publishing.save_draft(
        journey=one, definition=definition, by=karel, now=now, message="Karel moved Hello", revision=1
    )
    with pytest.raises(publishing.Stale, match="Karel moved Hello") as stale:
        publishing.save_draft(journey=one, definition=definition, by=None, now=now, revision=1)
    assert stale.value.newest.made_by == karel
    with pytest.raises(publishing.Stale):
        publishing.undo(journey=one, revision=1)


def test_pause_holds_what_is_not_sent_yet(now):
    one = journey(now, steps=[{"send": "hello"}])
    did(person(), "trial.started", now)
    tick(now, delivers=False)
    karel = User.objects.create(username="karel")
    publishing.pause(journey=one, by=karel, now=now)
    one.refresh_from_db()
    assert (one.state, one.paused_at, one.paused_by) == ("paused", now, karel)
    assert Message.objects.get().is_held
    with pytest.raises(publishing.WrongState):
        publishing.pause(journey=one, by=karel, now=now)
    publishing.resume(journey=one, by=karel, now=now)
    assert not Message.objects.get().is_held
    with pytest.raises(publishing.WrongState):
        publishing.resume(journey=one, by=karel, now=now)


def test_publishing_a_paused_journey_leaves_it_paused(now):
    one = journey(now, steps=[{"send": "hello"}])
    publishing.pause(journey=one, by=None, now=now)
    one = journey(now, steps=[{"send": "hello"}, {"wait": "1d"}])
    assert (one.state, one.version.number) == ("paused", 2)


def test_whoever_matches_already_gets_in_only_if_asked_for(now):
    trial = Segment.objects.create(key="trial", name="Trial")
    crowd = people(3)
    Membership.objects.bulk_create(Membership(segment=trial, contact=one, entered_at=now) for one in crowd)
    one = journey(now, trigger={"segment_entered": "trial"}, steps=[{"wait": "1d"}])
    tick(now)
    assert not Enrolment.objects.exists()
    publishing.publish(journey=one, by=None, now=now, enrol_matching=True)
    tick(now)
    assert Enrolment.objects.filter(state="open").count() == 3
    assert where(crowd[0]) == "wait"


def test_an_archived_journey_stays_so(now):
    one = journey(now, steps=[{"send": "hello"}])
    publishing.archive(journey=one, by=None, now=now)
    publishing.archive(journey=one, by=None, now=now)
    with pytest.raises(publishing.WrongState):
        publishing.publish(journey=one, by=None, now=now)
    did(person(), "trial.started", now)
    tick(now)
    assert not Enrolment.objects.exists()
    assert Contact.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("act", ["pause", "resume", "publish", "archive"])
def test_whoever_turns_a_journey_and_the_tick_wait_for_each_other_in_one_order(now, act):
    one, ann = journey(now, steps=[{"send": "hello"}]), person()
    if act == "resume":
        publishing.pause(journey=one, by=None, now=now)
    failed: list[Exception] = []

    def turn() -> None:
        try:
            getattr(publishing, act)(journey=one, by=None, now=now)
        except Exception as error:  # told to the test's own thread
            failed.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=turn)
    with transaction.atomic():  # a tick under way
        wait_for_tick_lock()
        thread.start()
        while thread.is_alive() and not _somebody_waits():
            time.sleep(0.01)
        Enrolment.objects.create(
            contact=ann, journey=one, version=one.version, state="exited", exit_reason="exit", enrolled_at=now,
            ended_at=now,
        )  # fmt: skip
    thread.join(30)
    assert not thread.is_alive()
    assert failed == []


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'advisory')")
        return bool(cursor.fetchone()[0])
