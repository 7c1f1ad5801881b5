"""Routing for people: “Test a lead”, the lists of a lead manager, places in teams as code."""

import re
from datetime import UTC, date, datetime, timedelta
from html import unescape

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.urls import reverse

from contacts.definitions import DefinitionError
from contacts.models import Contact, Incoming, Touchpoint
from journey_crm import as_code
from journey_crm.roles import ADMINISTRATOR, MARKETER
from leads import desk
from leads.models import Absence, Lead, Rep, Team
from leads.trying import try_routing, try_values
from tests.leads.test_routing import CZ, away, only, person, place, qualified, team, tick, whose
from tests.scoring.world import NOW, known

pytestmark = pytest.mark.django_db

OFFICE = "mon-fri 09:00-17:00 Europe/Prague"


@pytest.fixture
def boss(client):
    boss = person("boss", ADMINISTRATOR, is_staff=True)
    client.force_login(boss)
    return boss


def text_of(response) -> str:
    assert response.status_code == 200
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", response.content.decode())))


def told(found) -> dict[str, str]:
    return {one.place.rep.user.get_username(): one.why for one in found.reps}


# Test a lead ---------------------------------------------------------------------------------------------------------


def test_each_team_and_each_rep_is_answered_with_the_reason():
    team("czech", "ann", "eva", "ida", "jan", "leo", "max", hours=OFFICE, rule=CZ)
    team("polish", "pia", rule={"field": "country", "op": "eq", "value": "PL"})
    team("rest", "tom")
    place("ida", rule={"field": "language", "op": "eq", "value": "cs"})
    place("jan", capacity=1)
    place("leo", hours="wed 10:00-12:00 Europe/Prague")
    away("eva", date(2026, 11, 9), date(2026, 11, 12))
    get_user_model().objects.filter(username="max").update(is_active=False)
    Lead.objects.create(contact=known("old@example.com"), created_at=NOW, assigned_at=NOW,
        assigned_to=get_user_model().objects.get(username="jan"))  # fmt: skip
    found = try_routing(known(country="CZ"), NOW)
    assert [(one.team.key, one.is_chosen, one.why) for one in found.teams] == [
        ("czech", True, "It is the first whose rule holds."),
        ("polish", False, "Its rule does not hold."),
        ("rest", False, "It takes only what no other team takes, and “czech” comes first."),
    ]
    assert found.teams[0].asked.answers[0].is_true and not found.teams[1].asked.answers[0].is_true
    assert told(found) == {
        "ann": "It is this rep's turn. 0 leads in hand, none was given yet.",
        "eva": "Is away until 12 Nov 2026.",
        "ida": "The rule of the place does not hold.",
        "jan": "Has no room: 1 of 1 in hand.",
        "leo": "Is at work again on 11 Nov 2026, 10:00 only.",
        "max": "The log-in is deactivated.",
    }
    assert found.place.rep.user.username == "ann"
    assert found.due_at == datetime(2026, 11, 10, 13, 0, tzinfo=UTC)


def test_the_answer_is_what_the_tick_then_does_and_asking_changes_nothing():
    team("inside", "ann", "jan", "eva", hours=OFFICE)
    place("ann", rule=CZ, capacity=3)
    place("eva", hours="mon-fri 11:00-12:00 Europe/Prague")
    for number in range(8):
        now = NOW + timedelta(minutes=20 * number)
        country = "CZ" if number % 2 else "FR"
        predicted = try_values({"country": country}, now)
        assert (Contact.objects.count(), Lead.objects.count()) == (number, number)
        (contact,) = qualified(1, f"n{number}", country=country)
        again = try_routing(contact, now)
        tick(now)
        lead = Lead.objects.get(contact=contact)
        for answer in (predicted, again):
            assert (answer.place.rep.user, answer.due_at) == (lead.assigned_to, lead.due_at)
    assert set(whose()) == {"ann", "jan", "eva"}


def test_where_nobody_gets_it_the_answer_says_the_reason_that_the_tick_writes_down():
    french = {"field": "country", "op": "eq", "value": "FR"}
    for reason, arrange in {
        "no_team": lambda: None,
        "no_rep": lambda: team("inside"),
        "no_rule": lambda: (team("inside", "ann"), place("ann", rule=french)),
        "away": lambda: (team("inside", "ann"), away("ann", NOW.date(), NOW.date())),
        "full": lambda: (team("inside", "ann"), place("ann", capacity=0)),
    }.items():
        for model in (Lead, Contact, Team, Absence, Touchpoint):
            model.objects.all().delete()
        arrange()
        (contact,) = qualified(1, country="CZ")
        found = try_routing(contact, NOW)
        tick()
        from leads.routing import REASONS

        assert (only().unrouted_because, found.reason) == (reason, str(REASONS[reason]))
        assert (found.place, found.due_at) == (None, only().due_at)


def test_the_page_tests_somebody_who_is_there_or_made_up_and_writes_nothing(client, boss):
    team("czech", "ann", rule=CZ)
    team("broken", "jan", rule={"field": "attributes.gone", "op": "eq", "value": 1})
    known(country="CZ", first_name="Jana")
    page = reverse("admin:leads_team_test")
    assert "Who would get this lead, and why?" in text_of(client.get(page))
    before = Contact.objects.count(), Incoming.objects.count(), Touchpoint.objects.count()
    seen = text_of(client.get(page, {"contact_told": "jana@example.com"}))
    assert "→ czech → ann" in seen and "It is the first whose rule holds." in seen
    assert "Its rule cannot be asked:" in seen
    seen = text_of(client.get(page, {"country": "fr"}))
    assert "The lead would be nobody's: no team takes it." in seen
    assert "There is no such contact." in text_of(client.get(page, {"contact_told": "nobody@example.com"}))
    assert (Contact.objects.count(), Incoming.objects.count(), Touchpoint.objects.count()) == before


def test_explain_answers_it_for_a_team(capsys):
    team("czech", "ann", rule=CZ)
    contact = known(country="CZ")
    call_command("explain", str(contact.pk), "--team", "czech")
    out = capsys.readouterr().out
    assert "It is the first whose rule holds." in out and "It is this rep's turn." in out


# The lists of a lead manager -----------------------------------------------------------------------------------------


def test_the_list_of_reps_shows_load_presence_and_turn(client, boss):
    team("inside", "ann", "jan", "eva", sla=None, hours=OFFICE)
    place("ann", capacity=2)
    away("eva", date(2026, 11, 10), date(2026, 11, 12))
    qualified(3)
    tick()
    with time_machine.travel(NOW, tick=False):
        seen = text_of(client.get(reverse("admin:leads_rep_changelist")))
    assert re.search(r"ann inside all of the team 2 of 2 at work –", seen), seen
    assert re.search(r"jan inside all of the team 1 at work next", seen), seen
    assert re.search(r"eva inside all of the team 0 away until 12 Nov 2026 –", seen), seen


def test_the_list_of_reps_asks_the_same_however_many_there_are(client, boss, django_assert_max_num_queries):
    team("inside", *[f"rep{number}" for number in range(20)])
    with django_assert_max_num_queries(20):
        client.get(reverse("admin:leads_rep_changelist"))


def test_a_manager_finds_what_is_nobodys_late_or_with_who_is_away(client, boss):
    team("inside", "ann", "jan", sla=4)
    Rep.objects.update(capacity=1)
    people = qualified(3)
    tick()
    away("ann", date(2026, 11, 9), date(2026, 11, 12))
    page = reverse("admin:leads_lead_changelist")
    with time_machine.travel(NOW + timedelta(hours=5), tick=False):
        found = {
            waits: {contact.pk for contact in people if contact.email in text_of(client.get(page, {"waits": waits}))}
            for waits in ("nobody", "late", "away")
        }
    ann, jan, nobody = (contact.pk for contact in people)
    assert found == {"nobody": {nobody}, "late": {ann, jan, nobody}, "away": {ann}}
    assert "everybody is at capacity" in text_of(client.get(page, {"waits": "nobody"}))


def test_a_manager_hands_over_from_the_list_and_a_marketer_cannot(client, boss):
    team("inside", "ann", "jan", sla=None)
    qualified(1)
    tick()
    ann, jan = get_user_model().objects.filter(places__isnull=False).order_by("pk")
    desk.accept(lead=desk.claim(lead=only(), by=ann, now=NOW), by=ann, now=NOW)
    page = reverse("admin:leads_lead_changelist")
    data = {"action": "hand_over_to", "_selected_action": [only().pk]}
    seen = text_of(client.post(page, data, follow=True))
    assert "Choose to whom the leads shall go." in seen
    assert "1 lead was handed over." in text_of(client.post(page, {**data, "to": jan.pk}, follow=True))
    assert only().owner == jan
    client.force_login(person("mark", MARKETER, is_staff=True))
    client.post(page, {**data, "to": ann.pk}, follow=True)
    assert only().owner == jan


def test_a_team_is_written_in_the_admin_and_bad_hours_are_refused_by_field(client, boss):
    ann = person("ann")
    page = reverse("admin:leads_team_add")
    data = {
        "key": "inside", "name": "", "position": "0", "rule": "", "hours": "mon-fri 22:00-06:00", "holidays": "CZ,XX",
        "sla": "04:00:00", "places-TOTAL_FORMS": "1", "places-INITIAL_FORMS": "0", "places-0-user": ann.pk,
        "places-0-capacity": "3", "places-0-hours": "never",
    }  # fmt: skip
    response = client.post(page, data)
    errors = response.context["adminform"].form.errors
    assert "ends before it begins" in errors["hours"][0] and "“XX”" in errors["holidays"][0]
    (inline,) = response.context["inline_admin_formsets"]
    assert "There is no time zone “never”" in inline.formset.forms[0].errors["hours"][0]
    data |= {"hours": " mon-fri  09:00-17:00 Europe/Prague", "holidays": "sk,CZ", "places-0-hours": ""}
    assert client.post(page, data).status_code == 302
    one = Team.objects.get()
    assert (one.hours, one.holidays, one.sla) == (OFFICE, ["CZ", "SK"], timedelta(hours=4))
    assert (Rep.objects.get().user, Rep.objects.get().capacity, Rep.objects.get().rule) == (ann, 3, None)


def test_why_somebody_is_away_is_shown_to_those_alone_who_enter_it(client, boss):
    team("inside", "ann")
    away("ann", date(2026, 11, 10), date(2026, 11, 12))
    page = reverse("admin:leads_absence_changelist")
    assert "holiday" in text_of(client.get(page)).lower().split("absences", 1)[1]
    client.force_login(person("mark", MARKETER, is_staff=True))
    seen = text_of(client.get(page))
    assert "ann" in seen and not re.search(r"\bholiday\b", seen)
    one = Absence.objects.get()
    assert not re.search(r"\bholiday\b", text_of(client.get(reverse("admin:leads_absence_change", args=[one.pk]))))


# As code -------------------------------------------------------------------------------------------------------------

CODE = """\
routing:
  - team: inside
    position: 2
    when: {field: country, op: in, value: [CZ, PL]}
    reps:
      - ann
      - {user: jan, when: {field: language, op: eq, value: pl}, capacity: 20, hours: "mon 08:00-14:00 Europe/Warsaw"}
    hours: "mon-thu 09:00-12:00,13:00-17:00; fri 09:00-15:00 Europe/Prague"
    holidays: [CZ, PL]
    sla: 4h
"""


def test_places_in_teams_are_code_and_come_out_as_they_went_in():
    ann, jan = person("ann"), person("jan")
    as_code.apply([as_code.read(CODE)], now=NOW)
    rep = Rep.objects.get(user=jan)
    assert (rep.capacity, rep.hours) == (20, "mon 08:00-14:00 Europe/Warsaw")
    Rep.objects.filter(user=ann).update(turn=7)
    text = as_code.write(as_code.export(["inside"]))
    assert {change.what for change in as_code.apply([as_code.read(text)], now=NOW)} == {"unchanged"}
    assert as_code.write(as_code.export(["inside"])) == text
    assert as_code.read(text)["routing"] == as_code.read(CODE)["routing"]
    as_code.apply([as_code.read(CODE.replace("capacity: 20, ", ""))], now=NOW)
    # Whose turn it is outlives a change of the file.
    assert Rep.objects.get(user=ann).turn == 7
    assert Rep.objects.get(user=jan).capacity is None
    as_code.apply([as_code.read("routing: [{team: inside, reps: [jan]}]")], now=NOW)
    assert [one.user.username for one in Rep.objects.all()] == ["jan"]


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("{team: a, reps: ann}", "reps"),
        ("{team: a, reps: [ann, ann]}", "reps[1]"),
        ("{team: a, reps: [{user: ann, colour: red}]}", "reps[0].colour"),
        ("{team: a, reps: [{user: ann, capacity: -1}]}", "reps[0].capacity"),
        ("{team: a, reps: [{user: ann, hours: mon 9-12}]}", "reps[0].hours"),
        ("{team: a, reps: [{user: ann, when: {field: nothing, op: eq, value: 1}}]}", "reps[0].when.field"),
        ("{team: a, position: first}", "position"),
        ("{team: a, holidays: CZ}", "holidays"),
    ],
)
def test_what_is_wrong_in_a_place_is_named(source, path):
    person("ann")
    with pytest.raises(DefinitionError) as caught:
        as_code.apply([as_code.read(f"routing: [{source}]")], now=NOW)
    assert caught.value.path == f"routing.a.{path}"
