"""Versions: unchanged is no new one, going back, copies, drafts of old, pausing, and ending in two ways."""

import pytest
from django.contrib.auth.models import User

from campaigns import publishing
from campaigns.models import Draft, Due, Enrolment, Journey, JourneyVersion
from messaging.delivery import deliver as send_out
from messaging.gates import arbitrate
from messaging.models import Brand, Message, Template
from tests.campaigns.world import DAY, did, journey, person, sent, tick, where

pytestmark = pytest.mark.django_db

STEPS = [{"key": "first", "wait": "2d"}, {"key": "hello", "send": "hello"}, {"key": "second", "wait": "4d"}]


def fresh(one):
    one.refresh_from_db()
    return one


def change(one, now, **more):
    publishing.save_draft(journey=one, definition={**publishing.draft_of(fresh(one)), **more}, by=None, now=now)
    return fresh(one)


def publish(one, now, **more):
    version = publishing.publish(journey=one, by=None, now=now, **more)
    fresh(one)
    return version


def test_publishing_what_is_live_already_makes_no_new_version(now):
    one = journey(now, steps=STEPS)
    first = one.version
    assert publish(one, now) == first
    change(one, now)
    assert publish(one, now) == first
    change(one, now, name="New name")
    assert publish(one, now).number == 2
    assert JourneyVersion.objects.count() == 2


def test_a_changed_text_reaches_whoever_was_not_written_to_yet(now, tmp_path, settings):
    settings.EMAIL_URL = f"maildir:{tmp_path}"
    Brand.objects.get_or_create(pk=1, defaults={"name": "A", "sender": "A <a@example.com>", "postal_address": "B"})
    journey(now, steps=[{"key": "hello", "send": "hello"}, {"key": "rest", "wait": "1d"}])
    did(person(), "trial.started", now)
    tick(now, delivers=False)
    Template.objects.update(subject="Corrected")
    arbitrate(now, 0, 0)
    send_out(now=now)
    message = Message.objects.get()
    assert (message.state, message.version.content["variants"]["en"]["subject"]) == ("sent", "Corrected")
    assert JourneyVersion.objects.count() == 1


# Going back -----------------------------------------------------------------------------------------------------------


def test_rolling_back_publishes_an_old_version_again_with_a_sheet_like_any_other(now):
    one = journey(now, steps=STEPS)
    change(one, now, steps=STEPS[1:])
    publish(one, now)
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    assert where(ann) == "second"
    version = publishing.rollback(journey=one, number=1, by=None, now=now, everybody="follow")
    assert (version.number, version.definition) == (3, JourneyVersion.objects.get(number=1).definition)
    assert publishing.draft_of(fresh(one)) == version.definition
    assert Draft.objects.order_by("-revision").first().message == "Version 1 restored."
    assert Enrolment.objects.get().version == version
    tick(now + 4 * DAY)
    assert sent(ann) == ["hello"], "she goes on from where she stood, and hears nothing twice"
    assert Enrolment.objects.get().state == "finished"


def test_what_cannot_go_live_any_more_is_not_rolled_back_to_and_leaves_the_draft_alone(now):
    one = journey(now, steps=STEPS)
    change(one, now, steps=STEPS[:1])
    publish(one, now)
    Template.objects.all().delete()
    with pytest.raises(publishing.Unpublishable, match="There is no template"):
        publishing.rollback(journey=one, number=1, by=None, now=now)
    assert publishing.draft_of(fresh(one))["steps"] == STEPS[:1]
    with pytest.raises(publishing.WrongState, match="There is no version 9"):
        publishing.rollback(journey=one, number=9, by=None, now=now)


def test_any_draft_and_any_version_becomes_the_draft_again(now):
    one = journey(now, steps=STEPS)
    karel = User.objects.create(username="karel")
    change(one, now, name="Two")
    change(one, now, name="Three")
    publishing.restore(journey=one, draft=one.drafts.get(revision=2), by=karel, now=now, revision=3)
    draft = publishing.current_draft(fresh(one))
    assert (draft.definition["name"], draft.message, draft.made_by) == ("Two", "Draft 2 restored.", karel)
    publishing.restore(journey=one, version=one.version, by=karel, now=now)
    assert publishing.draft_of(fresh(one)) == one.version.definition
    publishing.undo(journey=one)
    assert publishing.draft_of(fresh(one))["name"] == "Two"
    with pytest.raises(publishing.Stale):
        publishing.restore(journey=one, version=one.version, by=karel, now=now, revision=1)


# Copies ---------------------------------------------------------------------------------------------------------------


def test_a_copy_is_a_draft_of_its_own_that_lets_nobody_in(now):
    one = journey(now, name="Trial", steps=STEPS)
    karel = User.objects.create(username="karel")
    copies = [publishing.clone(journey=one, by=karel, now=now) for _number in range(2)]
    assert [(copy.key, copy.name, copy.state, copy.version) for copy in copies] == [
        ("j-copy", "Copy of Trial", "draft", None),
        ("j-copy-2", "Copy of Trial", "draft", None),
    ]
    definition = publishing.draft_of(copies[0])
    assert (definition["key"], definition["steps"]) == ("j-copy", STEPS)
    assert publishing.current_draft(copies[0]).made_by == karel
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    assert set(Enrolment.objects.values_list("journey__key", flat=True)) == {"j"}
    publish(copies[0], now)
    did(ann, "trial.started", now + DAY)
    tick(now + DAY)
    assert Enrolment.objects.count() == 2
    with pytest.raises(publishing.Taken):
        publishing.clone(journey=one, by=karel, now=now, key="j")


def test_the_copy_of_a_broadcast_has_no_date(now):
    one = Journey.objects.create(key="sale", kind="broadcast", name="Sale")
    definition = {
        "key": "sale", "kind": "broadcast", "audience": {"field": "plan", "op": "is_set"}, "send": "sale",
        "at": "2027-03-28T09:00", "valid_until": "2027-03-30T18:00",
    }  # fmt: skip
    publishing.save_draft(journey=one, definition=definition, by=None, now=now)
    copy = publishing.clone(journey=fresh(one), by=None, now=now, key="sale-2", name="Summer sale")
    assert publishing.draft_of(copy) == {
        "key": "sale-2", "kind": "broadcast", "audience": {"field": "plan", "op": "is_set"}, "send": "sale",
        "name": "Summer sale",
    }  # fmt: skip


def test_an_archived_journey_may_be_copied(now):
    one = journey(now, steps=STEPS)
    publishing.archive(journey=one, by=None, now=now)
    assert publishing.clone(journey=fresh(one), by=None, now=now).state == "draft"


# Pausing --------------------------------------------------------------------------------------------------------------


def test_a_pause_freezes_everybody_and_what_is_overdue_is_spaced_anew_afterwards(now):
    one = journey(now, steps=[*STEPS, {"key": "bye", "send": "bye"}, {"key": "end", "wait": "1d"}])
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    publishing.pause(journey=one, by=None, now=now)
    for day in range(1, 8):
        tick(now + day * DAY)
    assert (where(ann), sent(ann)) == ("first", [])
    publishing.resume(journey=one, by=None, now=now + 8 * DAY)
    tick(now + 8 * DAY)
    assert (where(ann), sent(ann)) == ("second", ["hello"])
    tick(now + 11 * DAY)
    assert sent(ann) == ["hello"], "four days after the message that left late"
    tick(now + 12 * DAY)
    assert sent(ann) == ["hello", "bye"]


def test_people_are_moved_in_a_paused_journey_too_and_stand_still(now):
    one = journey(now, steps=STEPS)
    ann = person()
    did(ann, "trial.started", now)
    tick(now)
    publishing.pause(journey=one, by=None, now=now)
    change(one, now, steps=[{"key": "first", "wait": "1h"}, *STEPS[1:]])
    publish(one, now, everybody="follow")
    tick(now + 3 * DAY)
    assert (where(ann), fresh(one).state) == ("first", "paused")
    publishing.resume(journey=one, by=None, now=now + 3 * DAY)
    tick(now + 3 * DAY)
    assert where(ann) == "second"


# Ending ---------------------------------------------------------------------------------------------------------------


def test_archiving_takes_people_out_now_or_lets_them_finish_first(now):
    ann, ben, eva = person(), person(), person()
    one = journey(now, "now", trigger={"touchpoint": "a.done"}, steps=STEPS)
    two = journey(now, "later", trigger={"touchpoint": "b.done"}, steps=STEPS)
    did(ann, "a.done", now)
    did(ben, "b.done", now)
    tick(now)
    publishing.archive(journey=one, by=None, now=now)
    publishing.archive(journey=two, by=None, now=now, people="finish")
    did(eva, "b.done", now)
    tick(now)
    assert (where(ann), where(ben), where(eva)) == (None, "first", None)
    assert fresh(two).state == "closing"
    assert Enrolment.objects.get(contact=ann).exit_reason == "archived"
    with pytest.raises(publishing.WrongState):
        publish(two, now)
    tick(now + 2 * DAY)
    assert sent(ben) == ["hello"]
    tick(now + 6 * DAY)
    tick(now + 6 * DAY)
    assert Enrolment.objects.get(contact=ben).state == "finished"
    assert fresh(two).state == "archived"


def test_who_is_closing_may_still_be_ended_at_once_and_an_empty_journey_is_archived_at_once(now):
    one = journey(now, steps=STEPS)
    did(person(), "trial.started", now)
    tick(now)
    publishing.pause(journey=one, by=None, now=now)
    publishing.archive(journey=one, by=None, now=now, people="finish")
    assert (fresh(one).state, one.paused_at) == ("closing", None)
    publishing.archive(journey=one, by=None, now=now)
    tick(now)
    assert (fresh(one).state, Due.objects.count()) == ("archived", 0)
    two = journey(now, "two", steps=STEPS)
    publishing.archive(journey=two, by=None, now=now, people="finish")
    assert fresh(two).state == "archived"


def test_nobody_finishes_a_track(now):
    stream = {"key": "basics", "cadence": {"rrule": "FREQ=DAILY", "at": "10:00"}, "items": [{"send": "guide"}]}
    one = journey(now, kind="nurture", streams=[stream])
    did(person(), "trial.started", now)
    tick(now)
    with pytest.raises(publishing.WrongState, match="A track has no end"):
        publishing.archive(journey=one, by=None, now=now, people="finish")
