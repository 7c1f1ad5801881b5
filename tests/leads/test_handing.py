"""Giving back and handing over: whose a lead is then, by which clock, and who may do it."""

from datetime import date, timedelta

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission

from contacts.models import Incoming
from journey_crm.roles import ADMINISTRATOR, MARKETER
from leads import desk, handing, moves
from leads.models import Lead, LeadMove, Rep
from tests.leads.test_routing import away, only, person, qualified, team, tick
from tests.scoring.world import NOW, told

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def user(name: str):
    return get_user_model().objects.get(username=name)


def claimed(by: str) -> Lead:
    tick()
    return desk.claim(lead=only(), by=user(by), now=NOW + HOUR)


def test_a_lead_that_is_given_back_is_nobodys_with_the_whole_time_and_goes_to_another_rep():
    team("inside", "ann", "jan")
    [contact] = qualified()
    back = desk.release(lead=claimed("ann"), by=user("ann"), now=NOW + 3 * HOUR)
    assert (back.state, back.owner, back.assigned_to, back.assigned_at) == ("open", None, None, None)
    assert back.due_at == NOW + 7 * HOUR
    tick(NOW + 3 * HOUR)
    lead = only()
    assert (lead.assigned_to, lead.due_at, lead.reassigned) == (user("jan"), NOW + 7 * HOUR, 0)
    assert told(contact, "lead.assigned")[-1]["to"] == "jan"


def test_routing_never_gives_a_lead_back_to_who_gave_it_back_not_even_the_contacts_own_rep():
    inside = team("inside", "ann")
    [contact] = qualified()
    contact.owner = user("ann")
    contact.save()
    desk.release(lead=claimed("ann"), by=user("ann"), now=NOW + HOUR)
    tick(NOW + HOUR)
    assert (only().assigned_to, only().unrouted_because) == (None, "nobody_else")
    # A colleague who joins gets it; and by hand its first rep may still take it.
    Rep.objects.create(team=inside, user=person("jan"))
    tick(NOW + 2 * HOUR)
    assert only().assigned_to == user("jan")
    assert desk.claim(lead=only(), by=user("ann"), now=NOW + 2 * HOUR).owner == user("ann")


def test_where_a_manager_gives_it_back_its_rep_does_not_get_it_again():
    team("inside", "ann", "jan")
    qualified()
    boss = person("boss", ADMINISTRATOR)
    desk.release(lead=claimed("ann"), by=boss, now=NOW + HOUR)
    tick(NOW + HOUR)
    assert only().assigned_to == user("jan")


def test_what_was_given_back_is_taken_back_until_a_colleague_claims_it():
    team("inside", "ann", "jan")
    qualified()
    lead = claimed("ann")
    desk.release(lead=lead, by=user("ann"), now=NOW + 2 * HOUR)
    tick(NOW + 2 * HOUR)
    assert only().assigned_to == user("jan")
    assert moves.undoable(only(), user("ann"), NOW + 2 * HOUR)
    undone = moves.undo(lead=lead, by=user("ann"), now=NOW + 2 * HOUR)
    assert (undone.state, undone.owner, undone.assigned_to) == ("claimed", user("ann"), user("ann"))
    assert undone.due_at == lead.due_at and undone.claimed_at == NOW + HOUR
    tick(NOW + 2 * HOUR)
    assert only().owner == user("ann")
    # A move that was undone keeps nobody from getting it again.
    assert LeadMove.objects.get(kind="release").undone_at
    desk.release(lead=lead, by=user("ann"), now=NOW + 2 * HOUR)
    tick(NOW + 2 * HOUR)
    desk.claim(lead=lead, by=user("jan"), now=NOW + 2 * HOUR)
    assert moves.undoable(only(), user("ann"), NOW + 2 * HOUR) is None
    with pytest.raises(moves.NothingToUndo, match="has moved this lead since"):
        moves.undo(lead=lead, by=user("ann"), now=NOW + 2 * HOUR)


def test_a_rep_and_a_manager_hand_over_by_the_same_clock_and_both_can_be_undone():
    team("inside", "ann", "jan", hours="mon-fri 09:00-17:00 Europe/Prague")
    Rep.objects.filter(user=user("jan")).update(hours="mon-fri 09:00-11:00 Europe/Prague")
    people = qualified(2)
    tick()
    boss = person("boss", ADMINISTRATOR)
    first, second = Lead.objects.order_by("pk")
    Lead.objects.update(assigned_to=user("ann"), assigned_at=NOW)
    given = handing.assign(lead=first, to=user("jan"), by=user("ann"), now=NOW)
    assert handing.hand_over(Lead.objects.filter(pk=second.pk), to=user("jan"), by=boss, now=NOW) == 1
    second.refresh_from_db()
    assert given.due_at == second.due_at and given.due_at - NOW > timedelta(days=1)
    tick(NOW)
    for contact, by in zip(people, ("ann", "boss"), strict=True):
        [row] = told(contact, "lead.reassigned")
        assert {key: row[key] for key in ("by", "from", "to", "reason")} == {
            "by": by, "from": "ann", "to": "jan", "reason": "handed_over",
        }  # fmt: skip
    for lead, by in ((first, user("ann")), (second, boss)):
        assert moves.undo(lead=lead, by=by, now=NOW).assigned_to == user("ann")


def test_to_whom_has_it_already_nothing_happens():
    team("inside", "ann")
    qualified()
    tick()
    lead = handing.assign(lead=only(), to=user("ann"), by=user("ann"), now=NOW + HOUR)
    assert (lead.assigned_at, lead.due_at) == (NOW, NOW + 4 * HOUR)
    assert not LeadMove.objects.exists() and not Incoming.objects.filter(kind__startswith="lead.").exists()


def test_who_may_hand_over_gives_all_leads_and_a_rep_his_own_and_open_ones_within_the_team():
    team("inside", "ann", "jan", "eva", sla=None)
    people = qualified(3)
    tick()
    leads = dict(zip(("open", "anns", "jans"), Lead.objects.order_by("pk"), strict=True))
    for key, name in (("anns", "ann"), ("jans", "jan")):
        desk.accept(lead=desk.claim(lead=leads[key], by=user(name), now=NOW), by=user(name), now=NOW)
    # Of a colleague's in hand a rep gives nothing away; of the rest, all.
    assert handing.hand_over(Lead.objects.all(), to=user("eva"), by=user("ann"), now=NOW) == 2
    assert list(Lead.objects.order_by("pk").values_list("owner__username", flat=True)) == [None, "eva", "jan"]
    leads["open"].refresh_from_db()
    assert leads["open"].assigned_to == user("eva")
    people[1].refresh_from_db()
    assert people[1].owner == user("eva")
    # May route, and need not work on leads; may change leads, and need not route.
    router, changer = person("router", MARKETER), person("changer")
    router.user_permissions.add(Permission.objects.get(codename="route_lead"))
    changer.user_permissions.add(Permission.objects.get(codename="change_lead"))
    assert handing.assign(lead=leads["jans"], to=user("ann"), by=user("router"), now=NOW).owner == user("ann")
    with pytest.raises(desk.WrongWords, match="not in a team with you"):
        handing.assign(lead=leads["jans"], to=user("eva"), by=user("changer"), now=NOW)
    away("eva", date(2026, 11, 10), date(2026, 11, 10))
    with pytest.raises(desk.WrongWords, match="is away"):
        handing.assign(lead=leads["jans"], to=user("eva"), by=user("router"), now=NOW)
