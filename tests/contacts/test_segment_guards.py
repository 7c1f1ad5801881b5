"""What nobody can do to a segment, by whatever way; and that a rebuild without a change writes nothing."""

import threading
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction

from contacts import segments
from contacts.models import Contact, Field, Membership, Segment, StepCursor, Touchpoint, Turn
from contacts.rules import RuleError
from contacts.stream import Step, run_step

STEP = Step("segment", segments.refresh)


def refresh(now) -> int:
    changed = run_step(STEP, now)
    assert not StepCursor.objects.get(step="segment").error
    return changed


def versions() -> list[tuple]:
    """Every version of every row that the step may write, locks included."""
    with connection.cursor() as cursor:
        cursor.execute(
            " UNION ALL ".join(
                f"SELECT '{table}', ctid::text, xmin::text, xmax::text FROM {table}"
                for table in (
                    "contacts_membership", "contacts_membershipoverride", "contacts_touchpoint", "contacts_turn",
                    "contacts_contact",
                )
            )
        )  # fmt: skip
        return sorted(cursor.fetchall())


@pytest.mark.django_db
@pytest.mark.parametrize("way", ["rebuild", "sweep", "news"])
def test_nothing_is_written_where_nothing_changes(now, way):
    for number in range(50):
        contact = Contact.objects.create(country="CZ" if number % 2 else "PL", created_at=now)
        for day in range(number % 5):
            Touchpoint.objects.create(
                contact=contact, kind="page.viewed", occurred_at=now - timedelta(days=day), received_at=now,
                properties={"at": now.isoformat()},
            )  # fmt: skip
    looked = {"did": "page.viewed", "count": {"op": "gte", "value": 2}, "within": "14d"}
    swept = {"did": "page.viewed", "where": [{"field": "at", "op": "within_last", "value": "30d"}]}
    for key, rule in {
        "czech": {"field": "country", "op": "eq", "value": "CZ"},
        "lookers": {"all": [{"in_segment": "czech"}, looked]},
        "swept": swept,
        "hand": None,
    }.items():
        Segment.objects.create(key=key, name=key, rule=rule)
    segments.override(
        segment=Segment.objects.get(key="hand"), contacts=[Contact.objects.first().pk], is_member=True, by=None, now=now
    )
    assert refresh(now) > 40
    refresh(now)  # what it told is news, too
    assert Turn.objects.exists()
    if way == "rebuild":
        segments.ask_again(Segment.objects.all())
    elif way == "news":
        for contact in Contact.objects.all():
            Touchpoint.objects.create(contact=contact, kind="contact.created", occurred_at=now, received_at=now)
    before = versions()
    assert refresh(now + (segments.SWEEP_EVERY if way == "sweep" else timedelta())) == 0
    assert versions() == before


@pytest.mark.django_db
def test_a_segment_in_use_does_not_go_by_the_orm_or_by_sql(now):
    Segment.objects.create(key="used", name="Used")
    Segment.objects.create(key="user", name="The user", rule={"any": [{"not": {"in_segment": "used"}}]})
    with pytest.raises(IntegrityError, match="The user"), transaction.atomic():
        Segment.objects.get(key="used").delete()
    with pytest.raises(IntegrityError, match="The user"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM contacts_segment WHERE key = 'used'")
    with pytest.raises(IntegrityError, match="The user"), transaction.atomic():
        Segment.objects.filter(key="used").update(key="else")
    Segment.objects.all().delete()
    assert not Segment.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_editors_at_once_close_no_circle():
    for key in ("a", "b"):
        Segment.objects.create(key=key, name=key)
    barrier = threading.Barrier(2)
    refused: list[str] = []

    def edit(key: str, other: str) -> None:
        try:
            segment = Segment.objects.get(key=key)
            barrier.wait(10)
            segments.change_rule(segment, {"in_segment": other})
        except RuleError as error:
            refused.append(error.message)
        finally:
            connection.close()

    editors = [threading.Thread(target=edit, args=pair) for pair in (("a", "b"), ("b", "a"))]
    for one in editors:
        one.start()
    for one in editors:
        one.join(20)
    assert len(refused) == 1 and "a" in refused[0] and "b" in refused[0]
    assert Segment.objects.filter(rule__isnull=False).count() == 1


@pytest.mark.django_db(transaction=True)
def test_who_deletes_and_who_begins_to_ask_about_it_wait_for_each_other():
    used, user = (Segment.objects.create(key=key, name=key.capitalize()) for key in ("used", "user"))
    barrier = threading.Barrier(2)
    outcomes: list[str] = []

    def act(what) -> None:
        try:
            barrier.wait(10)
            what()
            outcomes.append("done")
        except (RuleError, segments.InUse) as error:
            outcomes.append(type(error).__name__)
        finally:
            connection.close()

    acts = [lambda: segments.remove(used), lambda: segments.change_rule(user, {"in_segment": "used"})]
    threads = [threading.Thread(target=act, args=(one,)) for one in acts]
    for one in threads:
        one.start()
    for one in threads:
        one.join(20)
    assert sorted(outcomes) in (["InUse", "done"], ["RuleError", "done"])


@pytest.mark.django_db
def test_a_frozen_segment_says_why_and_is_asked_of_everybody_once_it_is_mended(now):
    plan = Field.objects.create(key="plan")
    ann = Contact.objects.create(attributes={"plan": "trial"})
    trial = Segment.objects.create(key="trial", name="Trial", rule={"field": "plan", "op": "eq", "value": "trial"})
    Segment.objects.create(key="readers", name="Readers", rule={"in_segment": "trial"})
    refresh(now)
    plan.delete()
    assert "plan" in segments.problems()["trial"]
    assert list(segments.problems()) == ["trial"]
    ben = Contact.objects.create(attributes={"plan": "trial"})
    Touchpoint.objects.create(contact=ben, kind="contact.created", occurred_at=now, received_at=now)
    refresh(now)
    assert list(trial.memberships.values_list("contact_id", flat=True)) == [ann.pk]
    Field.objects.create(key="plan")
    assert refresh(now) == 2
    assert segments.problems() == {}
    assert Membership.objects.filter(contact=ben).count() == 2
