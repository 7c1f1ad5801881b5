"""Routing: whose turn it is, who has room, who is there; and what happens when nobody answers."""

import random
import threading
from datetime import UTC, date, datetime, timedelta

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError, connection, transaction

from contacts.ingest import ingest
from contacts.models import Contact, Incoming, Touchpoint
from contacts.stream import Step, run_step
from journey_crm.roles import ADMINISTRATOR, SALES_REP, ensure_roles
from leads import desk
from leads.handing import hand_over
from leads.handoff import handoff
from leads.models import Absence, Lead, Rep, Team
from leads.routing import REASONS, SQL, reroute
from tests.scoring.world import NOW, told

pytestmark = pytest.mark.django_db

CZ = {"field": "country", "op": "eq", "value": "CZ"}


def person(name: str, role: str = SALES_REP, **more):
    user = get_user_model().objects.create_user(name, **more)
    user.groups.add(ensure_roles()[role])
    return user


def team(key: str = "inside", *names: str, sla: int | None = 4, hours: str = "", **more) -> Team:
    one = Team.objects.create(key=key, hours=hours, sla=sla and timedelta(hours=sla), **more)
    for name in names:
        user = get_user_model().objects.filter(username=name).first() or person(name)
        Rep.objects.create(team=one, user=user)
    return one


def place(name: str, **values) -> None:
    Rep.objects.filter(user__username=name).update(**values)


def away(name: str, first: date, last: date) -> Absence:
    return Absence.objects.create(
        user=get_user_model().objects.get(username=name), first_day=first, last_day=last, reason="holiday"
    )


def qualified(count: int = 1, prefix: str = "p", **more) -> list[Contact]:
    people = Contact.objects.bulk_create(
        Contact(email=f"{prefix}{number}@example.com", created_at=NOW, **more) for number in range(count)
    )
    Touchpoint.objects.bulk_create(
        Touchpoint(contact=one, kind="handoff.requested", occurred_at=NOW, received_at=NOW, properties={"team": ""})
        for one in people
    )
    return people


def tick(now: datetime = NOW) -> None:
    from contacts.models import StepCursor

    for step in (Step("ingest", ingest), Step("handoff", handoff), Step("reroute", reroute)):
        run_step(step, now)
    errors = [cursor.error for cursor in StepCursor.objects.exclude(error="")]
    assert not errors, errors[0]


def whose(*people: Contact) -> list[str | None]:
    leads = Lead.objects.filter(contact__in=people) if people else Lead.objects.all()
    return list(leads.order_by("pk").values_list("assigned_to__username", flat=True))


def only() -> Lead:
    return Lead.objects.select_related("assigned_to", "owner").get()


# Turns and room ------------------------------------------------------------------------------------------------------


def test_leads_go_in_turn_to_whoever_had_none_for_the_longest_time():
    team("inside", "ann", "jan", "eva")
    first = qualified(2)
    tick()
    assert whose(*first) == ["ann", "jan"]
    later = qualified(3, prefix="later")
    tick(NOW + timedelta(minutes=5))
    assert whose(*later) == ["eva", "ann", "jan"]
    lead = Lead.objects.earliest("pk")
    assert (lead.state, lead.owner, lead.assigned_at, lead.due_at) == ("open", None, NOW, NOW + timedelta(hours=4))
    assert told(first[0], "lead.assigned") == [{"lead": lead.pk, "team": "inside", "to": "ann"}]
    assert Rep.objects.get(user__username="jan").last_assigned_at == NOW + timedelta(minutes=5)


def test_a_thousand_leads_in_one_tick_are_dealt_fairly_and_nobody_gets_more_than_fits():
    names = ["ann", "eva", "ida", "jan", "leo", "mia", "tom"]
    team("inside", *names, sla=None)
    place("ann", capacity=20)
    place("leo", capacity=100)
    qualified(1_000)
    tick()
    got = {name: whose().count(name) for name in names}
    assert got["ann"] == 20 and got["leo"] == 100
    rest = [got[name] for name in names if name not in ("ann", "leo")]
    assert sum(rest) == 880 and max(rest) - min(rest) <= 1
    # Until somebody is full, each run of seven holds everybody once.
    order = whose()
    assert all(sorted(order[start : start + 7]) == names for start in range(0, 140, 7))


def test_when_everybody_is_full_the_rest_waits_with_its_reason_and_goes_to_who_has_room_again():
    team("inside", "ann", "jan", sla=None)
    Rep.objects.update(capacity=2)
    qualified(6)
    tick()
    tick(NOW + timedelta(minutes=5))
    assert whose().count(None) == 2
    assert set(Lead.objects.unrouted().values_list("unrouted_because", flat=True)) == {"full"}
    ann = get_user_model().objects.get(username="ann")
    lead = desk.claim(lead=Lead.objects.filter(assigned_to=ann).earliest("pk"), by=ann, now=NOW)
    desk.accept(lead=lead, by=ann, now=NOW)
    tick(NOW + timedelta(minutes=10))
    assert whose().count(None) == 2
    desk.convert(lead=lead, by=ann, now=NOW)
    tick(NOW + timedelta(minutes=15))
    assert whose().count(None) == 1
    newest = Lead.objects.filter(assigned_at=NOW + timedelta(minutes=15)).get()
    assert (newest.assigned_to, newest.unrouted_because) == (ann, "")


@pytest.mark.django_db(transaction=True)
def test_ticks_and_claims_at_once_never_fill_a_hand_over_its_capacity():
    team("inside", "ann", "jan", "eva", sla=None)
    Rep.objects.update(capacity=5)
    reps = list(get_user_model().objects.filter(places__isnull=False).order_by("pk"))
    qualified(30)
    start, problems = threading.Barrier(5), []

    def in_thread(work):
        def run():
            try:
                start.wait(timeout=30)
                work()
            except Exception as error:
                problems.append(error)
            finally:
                connection.close()

        return threading.Thread(target=run)

    def ticking():
        from contacts.stream import Busy

        for minute in range(4):
            for step in (Step("handoff", handoff), Step("reroute", reroute)):
                try:
                    run_step(step, NOW + timedelta(minutes=2 * minute))
                except Busy:
                    continue

    def claiming(rep):
        def run():
            for _ in range(6):
                for lead in Lead.objects.filter(state="open", assigned_to=rep)[:2]:
                    desk.claim(lead=lead, by=rep, now=NOW)

        return run

    threads = [in_thread(ticking), in_thread(ticking), *[in_thread(claiming(rep)) for rep in reps]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    tick(NOW + timedelta(hours=1))
    for rep in reps:
        mine = Lead.objects.filter(owner=rep) | Lead.objects.filter(owner=None, assigned_to=rep)
        assert mine.count() == 5
    assert Lead.objects.unrouted().count() == 15


def test_whoever_is_in_two_teams_has_one_hand_and_one_turn():
    team("czech", "ann", "jan", rule=CZ)
    team("rest", "ann", "eva")
    place("ann", capacity=2)
    czech, others = qualified(3, "cz", country="CZ"), qualified(3, "fr", country="FR")
    tick()
    assert whose(*czech) == ["ann", "jan", "ann"]
    assert whose(*others) == ["eva", "eva", "eva"]


# Who takes what ------------------------------------------------------------------------------------------------------


def test_a_rep_gets_what_the_own_rule_takes_and_the_contacts_own_rep_comes_first():
    team("inside", "ann", "jan", "eva")
    place("ann", rule=CZ)
    eva = get_user_model().objects.get(username="eva")
    Rep.objects.filter(user=eva).update(rule=CZ)
    assert whose_of(qualified(4, "fr", country="FR")) == ["jan"] * 4
    assert whose_of(qualified(2, "cz", country="CZ")) == ["ann", "eva"]
    # Hers already: neither her rule nor her turn is asked.
    assert whose_of(qualified(3, "hers", country="FR", owner=eva)) == ["eva"] * 3
    place("eva", capacity=5)
    assert whose_of(qualified(2, "more", country="FR", owner=eva)) == ["eva", "jan"]


def whose_of(people: list[Contact]) -> list[str | None]:
    tick()
    return whose(*people)


def test_of_teams_whose_rules_hold_the_first_by_position_takes_the_lead():
    team("a", "ann", rule=CZ, position=2)
    team("b", "jan", rule=CZ, position=1)
    assert whose_of(qualified(1, country="CZ")) == ["jan"]


def test_a_broken_rule_takes_nothing_says_so_and_keeps_nobody_else_from_leads(caplog):
    team("inside", "ann", "jan")
    broken = {"field": "attributes.gone", "op": "eq", "value": 1}
    place("ann", rule=broken)
    team("first", "eva", rule=broken)
    assert whose_of(qualified(2)) == ["jan", "jan"]
    place("jan", rule=broken)
    assert whose_of(qualified(1, "more")) == [None]
    assert Lead.objects.latest("pk").unrouted_because == "no_rule"


def test_a_team_of_people_who_do_not_work_on_leads_has_nobody():
    team("inside", "ann")
    get_user_model().objects.get(username="ann").groups.clear()
    assert whose_of(qualified(1)) == [None]
    assert only().unrouted_because == "no_rep"
    assert only().due_at == NOW + timedelta(hours=4)


def test_a_lead_that_no_team_takes_goes_to_the_team_that_takes_it_later():
    team("czech", "ann", rule=CZ)
    assert whose_of(qualified(1, country="FR")) == [None]
    assert (only().team, only().due_at, only().unrouted_because) == (None, None, "no_team")
    team("rest", "jan")
    tick(NOW + timedelta(hours=2))
    assert (only().team.key, only().assigned_to.username) == ("rest", "jan")
    assert only().due_at == NOW + timedelta(hours=6)


def test_every_reason_for_nobody_is_worded():
    assert {reason for reason in REASONS if f"'{reason}'" in SQL["assign_leads"].sql} == set(REASONS)


# Who is there --------------------------------------------------------------------------------------------------------

WEEK = "mon-fri 09:00-17:00 Europe/Prague"
TUESDAY = datetime(2026, 11, 10, 9, 0, tzinfo=UTC)  # 10:00 in Prague


def test_who_is_at_work_now_comes_before_who_comes_later_and_who_is_off_today_gets_nothing():
    team("inside", "ann", "jan", "eva", hours=WEEK)
    place("ann", hours="mon-fri 13:00-18:00 Europe/Prague")
    place("eva", hours="mon,wed 09:00-17:00 Europe/Prague")
    place("jan", capacity=2)
    assert whose_of(qualified(3)) == ["jan", "jan", "ann"]
    due = list(Lead.objects.order_by("pk").values_list("due_at", flat=True))
    assert due[0] == datetime(2026, 11, 10, 13, 0, tzinfo=UTC)
    # Her clock begins with her day at 13:00 in Prague.
    assert due[2] == datetime(2026, 11, 10, 16, 0, tzinfo=UTC)
    place("ann", capacity=1)
    assert whose_of(qualified(1, "more")) == [None]
    assert Lead.objects.latest("pk").unrouted_because == "full"


def test_a_lead_of_the_night_goes_in_turn_to_who_is_there_on_the_next_working_day():
    team("inside", "ann", "jan", "eva", hours=WEEK, holidays=["CZ"])
    # Monday 16 November before a holiday, at ten in the evening.
    night = datetime(2026, 11, 16, 21, 0, tzinfo=UTC)
    away("jan", date(2026, 11, 17), date(2026, 11, 18))
    people = qualified(3)
    tick(night)
    assert whose(*people) == ["ann", "eva", "ann"]
    assert set(Lead.objects.values_list("due_at", flat=True)) == {datetime(2026, 11, 18, 12, 0, tzinfo=UTC)}


def test_where_all_whose_it_could_be_are_away_the_lead_waits_for_them():
    team("inside", "ann", "jan", hours=WEEK)
    place("ann", rule=CZ)
    place("jan", rule={"field": "country", "op": "eq", "value": "FR"})
    away("ann", date(2026, 11, 9), date(2026, 11, 11))
    assert whose_of(qualified(1, country="CZ")) == [None]
    assert only().unrouted_because == "away"
    tick(datetime(2026, 11, 11, 12, 0, tzinfo=UTC))
    assert whose() == [None]
    tick(datetime(2026, 11, 12, 8, 0, tzinfo=UTC))
    assert whose() == ["ann"]


def test_nobody_is_absent_twice_at_once_nor_backwards():
    ann, jan = person("ann"), person("jan")
    Absence.objects.create(user=ann, first_day=date(2026, 7, 1), last_day=date(2026, 7, 10))
    Absence.objects.create(user=jan, first_day=date(2026, 7, 1), last_day=date(2026, 7, 10))
    Absence.objects.create(user=ann, first_day=date(2026, 7, 11), last_day=date(2026, 7, 11))
    with pytest.raises(IntegrityError, match="nobody_is_absent_twice_at_once"), transaction.atomic():
        Absence.objects.create(user=ann, first_day=date(2026, 7, 10), last_day=date(2026, 7, 20))
    with pytest.raises(ValidationError, match="There is an absence in these days already."):
        Absence(user=ann, first_day=date(2026, 7, 10), last_day=date(2026, 7, 20)).full_clean()
    with pytest.raises(ValidationError, match="The last day is before the first."):
        Absence(user=ann, first_day=date(2026, 8, 10), last_day=date(2026, 8, 9)).full_clean()


# When nobody answers -------------------------------------------------------------------------------------------------


def test_a_lead_that_is_not_accepted_in_time_goes_on_with_a_new_clock_to_who_has_not_had_it():
    team("inside", "ann", "jan", "eva", hours=WEEK)
    (contact,) = qualified(1)
    tick()
    assert only().assigned_to.username == "ann"
    tick(NOW + timedelta(hours=3, minutes=59))
    assert only().assigned_to.username == "ann"
    seen = []
    moment = only().due_at
    for _ in range(5):
        tick(moment)
        seen.append(only().assigned_to.username)
        assert only().assigned_at == moment
        moment = only().due_at
    # Four working hours from Tuesday 14:00: Wednesday 10:00, and so on.
    assert seen == ["jan", "eva", "ann", "jan", "eva"]
    assert told(contact, "lead.reassigned")[:2] == [
        {"lead": only().pk, "team": "inside", "from": "ann", "to": "jan", "reason": "overdue"},
        {"lead": only().pk, "team": "inside", "from": "jan", "to": "eva", "reason": "overdue"},
    ]
    assert only().reassigned == 5
    assert told(contact, "lead.overdue") == []
    assert len(told(contact, "lead.qualified")) == 1


def test_a_claim_that_is_not_accepted_in_time_is_given_on_and_an_accepted_lead_is_not():
    team("inside", "ann", "jan")
    people = qualified(2)
    tick()
    ann, jan = (get_user_model().objects.get(username=name) for name in ("ann", "jan"))
    first, second = Lead.objects.order_by("pk")
    desk.claim(lead=first, by=ann, now=NOW)
    desk.accept(lead=desk.claim(lead=second, by=jan, now=NOW), by=jan, now=NOW)
    late = NOW + timedelta(hours=4)
    tick(late)
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, first.owner, first.claimed_at, first.assigned_to) == ("open", None, None, jan)
    assert (second.state, second.owner) == ("accepted", jan)
    assert [row["from"] for row in told(people[0], "lead.reassigned")] == ["ann"]
    with pytest.raises(desk.WrongState):
        desk.accept(lead=first, by=ann, now=late)
    assert desk.claim(lead=first, by=ann, now=late).owner == ann


def test_where_nobody_else_is_the_lead_stays_and_that_is_told_once_until_somebody_comes():
    team("inside", "ann")
    (contact,) = qualified(1)
    tick()
    for minutes in (0, 1, 5, 60, 600):
        tick(NOW + timedelta(hours=4, minutes=minutes))
    lead = only()
    assert (lead.assigned_to.username, lead.due_at) == ("ann", NOW + timedelta(hours=4))
    assert lead.overdue_at == lead.due_at
    assert [row["to"] for row in told(contact, "lead.overdue")] == ["ann"]
    Rep.objects.create(team=Team.objects.get(), user=person("jan"))
    tick(NOW + timedelta(days=2))
    assert only().assigned_to.username == "jan"
    assert only().overdue_at is None
    tick(NOW + timedelta(days=2, hours=4))
    assert only().assigned_to.username == "ann"


def test_who_claims_a_late_lead_has_a_clock_of_his_own():
    team("inside", "ann", "jan")
    qualified(1)
    tick()
    late = NOW + timedelta(hours=4)
    Rep.objects.filter(user__username="jan").update(capacity=0)
    tick(late)
    ann = get_user_model().objects.get(username="ann")
    Rep.objects.update(capacity=None)
    desk.claim(lead=only(), by=ann, now=late + timedelta(minutes=30))
    tick(late + timedelta(minutes=31))
    assert (only().owner, only().due_at, only().overdue_at) == (ann, late + timedelta(hours=4, minutes=31), None)
    tick(late + timedelta(hours=4, minutes=31))
    assert (only().owner, only().assigned_to.username) == (None, "jan")


def test_a_lead_in_the_pool_is_told_as_overdue_too():
    team("inside")
    (contact,) = qualified(1)
    for hours in (0, 3, 4, 5, 50):
        tick(NOW + timedelta(hours=hours))
    assert [row["to"] for row in told(contact, "lead.overdue")] == [""]


def test_what_the_absent_and_the_gone_have_not_accepted_goes_to_others():
    team("inside", "ann", "jan", sla=None)
    people = qualified(4)
    tick()
    ann = get_user_model().objects.get(username="ann")
    mine = list(Lead.objects.filter(assigned_to=ann).order_by("pk"))
    desk.accept(lead=desk.claim(lead=mine[0], by=ann, now=NOW), by=ann, now=NOW)
    desk.claim(lead=mine[1], by=ann, now=NOW)
    away("ann", date(2026, 11, 11), date(2026, 11, 13))
    tick(NOW + timedelta(hours=8))
    assert Lead.objects.get(pk=mine[1].pk).owner == ann
    tick(datetime(2026, 11, 10, 23, 30, tzinfo=UTC))
    assert whose()[-2:] == ["jan", "jan"] and Lead.objects.get(pk=mine[1].pk).state == "open"
    assert [row["reason"] for row in told(people[2], "lead.reassigned")] == ["absent"]
    assert Lead.objects.get(pk=mine[0].pk).owner == ann
    jan = get_user_model().objects.get(username="jan")
    get_user_model().objects.filter(pk=jan.pk).update(is_active=False)
    tick(datetime(2026, 11, 11, 0, 30, tzinfo=UTC))
    nobodys = Lead.objects.exclude(pk=mine[0].pk)
    assert set(nobodys.values_list("assigned_to", "state", "unrouted_because")) == {(None, "open", "away")}
    tick(datetime(2026, 11, 14, 0, 30, tzinfo=UTC))
    assert set(nobodys.values_list("assigned_to__username", flat=True)) == {"ann"}


def test_what_a_deleted_user_had_claimed_is_open_again():
    team("inside", "ann", sla=None)
    qualified(1)
    tick()
    ann = get_user_model().objects.get(username="ann")
    desk.claim(lead=only(), by=ann, now=NOW)
    ann.delete()
    tick(NOW + timedelta(minutes=2))
    assert (only().state, only().owner, only().unrouted_because) == ("open", None, "no_rep")


@pytest.mark.django_db(transaction=True)
def test_of_an_acceptance_and_a_reassignment_at_once_one_wins():
    team("inside", "ann", "jan")
    late = NOW + timedelta(hours=4)
    ann, jan = (get_user_model().objects.get(username=name) for name in ("ann", "jan"))
    Lead.objects.bulk_create(
        Lead(contact=one, created_at=NOW, team=Team.objects.get(), state="claimed", owner=ann, claimed_at=NOW,
            claimed_by=ann, assigned_to=ann, assigned_at=NOW, due_at=late)
        for one in Contact.objects.bulk_create(Contact(email=f"q{n}@example.com", created_at=NOW) for n in range(20))
    )  # fmt: skip
    start, accepted = threading.Barrier(2), []

    def accepting():
        try:
            start.wait(timeout=30)
            for lead in Lead.objects.order_by("pk"):
                try:
                    accepted.append(desk.accept(lead=lead, by=ann, now=late).pk)
                except desk.DeskError:
                    continue
        finally:
            connection.close()

    thread = threading.Thread(target=accepting)
    thread.start()
    start.wait(timeout=30)
    run_step(Step("reroute", reroute), late)
    thread.join()
    given = set(Lead.objects.filter(state="open", assigned_to=jan, owner=None).values_list("pk", flat=True))
    assert given | set(accepted) == set(Lead.objects.values_list("pk", flat=True))
    assert not given & set(accepted)
    assert Touchpoint.objects.filter(kind="lead.reassigned").count() == len(given)
    assert Incoming.objects.filter(kind="lead.accepted").count() == len(accepted)


# By hand -------------------------------------------------------------------------------------------------------------


def test_a_manager_hands_leads_over_whatever_their_state_and_the_stream_hears_from_whom_to_whom():
    team("inside", "ann", "jan", sla=None)
    people = qualified(3)
    tick()
    ann, jan, boss = (*get_user_model().objects.order_by("pk"), person("boss", ADMINISTRATOR))
    hers = Lead.objects.filter(assigned_to=ann).order_by("pk")
    desk.accept(lead=desk.claim(lead=hers[0], by=ann, now=NOW), by=ann, now=NOW)
    later = NOW + timedelta(hours=1)
    assert hand_over(Lead.objects.all(), to=jan, by=boss, now=later) == 2
    assert set(Lead.objects.values_list("state", "owner__username", "assigned_to__username")) == {
        ("accepted", "jan", "jan"), ("open", None, "jan"),
    }  # fmt: skip
    tick(later)
    (row,) = told(people[0], "lead.reassigned")
    assert {key: row[key] for key in ("by", "from", "to", "reason")} == {
        "by": "boss", "from": "ann", "to": "jan", "reason": "handed_over",
    }  # fmt: skip
    mark = person("mark", "Marketer")
    with pytest.raises(PermissionDenied):
        hand_over(Lead.objects.all(), to=ann, by=mark, now=later)
    with pytest.raises(desk.WrongWords, match="does not work on leads"):
        hand_over(Lead.objects.all(), to=mark, by=boss, now=later)


def test_what_is_handed_over_late_stays_there_and_nothing_is_handed_to_who_is_away():
    team("inside", "ann", "jan", hours=WEEK)
    qualified(2)
    tick()
    ann, jan, boss = (*get_user_model().objects.order_by("pk"), person("boss", ADMINISTRATOR))
    lead = Lead.objects.get(assigned_to=ann)
    late = NOW + timedelta(hours=3, minutes=59)
    hand_over(Lead.objects.filter(pk=lead.pk), to=jan, by=boss, now=late)
    tick(late + timedelta(minutes=10))
    lead.refresh_from_db()
    # From Tuesday 13:59, by the rep's own hours.
    assert (lead.assigned_to, lead.due_at) == (jan, datetime(2026, 11, 11, 8, 59, tzinfo=UTC))
    away("ann", date(2026, 11, 10), date(2026, 11, 10))
    with pytest.raises(desk.WrongWords, match="is away"):
        hand_over(Lead.objects.all(), to=ann, by=boss, now=late)


def test_a_random_world_is_dealt_as_a_plain_loop_would_deal_it():
    chance = random.Random(6)
    countries = ["CZ", "PL", "FR"]
    names = ["ann", "eva", "ida", "jan", "leo"]
    inside = team("inside", *names, sla=None)
    rules, room = {}, {}
    for name in names:
        rules[name] = chance.sample(countries, 2)
        room[name] = chance.choice([3, 8, 15])
        place(name, rule={"field": "country", "op": "in", "value": rules[name]}, capacity=room[name])
    held, last, clock, expected = dict.fromkeys(names, 0), dict.fromkeys(names, 0), 0, []
    for batch in range(4):
        where = [chance.choice(countries) for _ in range(20)]
        for number, country in enumerate(where):
            qualified(1, f"b{batch}n{number}", country=country)
        tick(NOW + timedelta(seconds=batch))
        for country in where:
            free = [name for name in names if country in rules[name] and held[name] < room[name]]
            best = min(free, key=lambda name: (last[name], names.index(name)), default=None)
            expected.append(best)
            if best:
                clock += 1
                held[best], last[best] = held[best] + 1, clock
    assert whose() == expected
    assert None in expected and inside.leads.count() == 80
