"""The screens of contacts: they show, search and edit, name what is wrong, and let foreign text do nothing."""

import json
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from campaigns import publishing
from campaigns.models import Journey
from contacts import segments
from contacts.ingest import ingest
from contacts.models import (
    ApiToken,
    Company,
    Contact,
    Field,
    Identity,
    Import,
    Incoming,
    Membership,
    MembershipOverride,
    Segment,
    Touchpoint,
)  # fmt: skip
from contacts.stream import Step, run_step
from contacts.timeline import page
from contacts.tokens import find

pytestmark = pytest.mark.django_db

CZECH = {"field": "country", "op": "eq", "value": "CZ"}
HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)">'


@pytest.fixture
def boss() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


def staff(name: str, *permissions: str) -> Client:
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="contacts", codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def url(name: str, *args) -> str:
    return reverse(f"admin:contacts_{name}", args=args)


def known(now, **values) -> Contact:
    contact = Contact.objects.create(**values)
    if contact.email:
        Identity.objects.create(contact=contact, kind="email", value=contact.email)
    return contact


def text(response) -> str:
    assert response.status_code == 200, response
    return response.content.decode()


def errors(response) -> dict:
    return response.context["adminform"].form.errors


# Contacts ------------------------------------------------------------------------------------------------------------


def test_the_list_finds_people_by_parts_of_their_names(boss, now):
    known(now, first_name="Žofie", last_name="Nováková", email="zofie@example.com", stage="lead")
    known(now, first_name="Jan", last_name="Novák", email="jan@example.com")
    assert "jan@example.com" in text(boss.get(url("contact_changelist")))
    found = text(boss.get(url("contact_changelist"), {"q": "ŽOF nová"}))
    assert "zofie@example.com" in found and "jan@example.com" not in found
    assert "jan@example.com" in text(boss.get(url("contact_changelist"), {"q": "JAN@example"}))
    leads = text(boss.get(url("contact_changelist"), {"stage__exact": "lead"}))
    assert "zofie@example.com" in leads and "jan@example.com" not in leads
    assert text(boss.get(url("contact_changelist"), {"q": "%_\x00'"}))


def test_the_list_hides_tombstones(boss, now):
    ann = known(now, email="ann@example.com")
    known(now, email="gone@example.com", erased_at=now)
    known(now, email="old@example.com", merged_into=ann)
    page = text(boss.get(url("contact_changelist")))
    assert "ann@example.com" in page and "gone@example.com" not in page and "old@example.com" not in page


def test_the_page_of_a_contact_tells_the_whole_story_by_days(boss, now):
    ann = known(now, email="ann@example.com", stage="lead", highest_stage="qualified")
    vip = Segment.objects.create(key="vip", name="Very important")
    Membership.objects.create(segment=vip, contact=ann, entered_at=now)
    for number in range(60):
        Touchpoint.objects.create(
            contact=ann, kind="page.viewed", occurred_at=now - timedelta(hours=number), received_at=now,
            properties={"url": f"/page-{number}"},
        )  # fmt: skip
    shown = text(boss.get(url("contact_change", ann.pk)))
    assert "Very important" in shown and "Lead" in shown and "/page-0" in shown and "/page-49" in shown
    assert "/page-50" not in shown
    story = page(ann)
    assert [len(day.entries) for day in story.days] == [11, 24, 15]
    earlier = text(boss.get(url("contact_change", ann.pk), {"before": story.earlier}))
    assert "/page-50" in earlier and "/page-59" in earlier and "/page-49" not in earlier
    assert "/page-0" in text(boss.get(url("contact_change", ann.pk), {"before": "nonsense~1"}))


def test_repeats_are_folded(now):
    ann = known(now)
    for minutes in range(3):
        Touchpoint.objects.create(
            contact=ann, kind="page.viewed", occurred_at=now - timedelta(minutes=minutes), received_at=now,
            properties={"url": "/same"},
        )  # fmt: skip
    (entry,) = page(ann).days[0].entries
    assert (entry.detail, entry.times) == ("/same", 3)


def test_foreign_text_does_nothing_on_any_page(boss, now):
    company = Company.objects.create(name=HOSTILE)
    ann = known(now, first_name=HOSTILE, company=company, country="CZ", attributes={"note": HOSTILE})
    touch = Touchpoint.objects.create(
        contact=ann, kind=HOSTILE, occurred_at=now, received_at=now, properties={"url": HOSTILE, "title": "</div>"}
    )
    segment = Segment.objects.create(key="s", name=HOSTILE, rule=CZECH)
    Membership.objects.create(segment=segment, contact=ann, entered_at=now)
    job = Import.objects.create(name=HOSTILE, state="finished", problem=HOSTILE)
    job.notes.create(line=1, is_refused=True, cells=[HOSTILE], reasons=[[HOSTILE, HOSTILE]])
    for address in [
        url("contact_changelist"), url("contact_change", ann.pk), url("segment_changelist"),
        url("segment_change", segment.pk), url("touchpoint_changelist"), url("touchpoint_change", touch.pk),
        url("company_change", company.pk), url("import_change", job.pk), url("import_changelist"),
    ]:  # fmt: skip
        shown = text(boss.get(address))
        assert "&lt;script&gt;alert(1)" in shown, address
        assert "<script>alert" not in shown and "<img src=x" not in shown, address
    sample = text(boss.post(url("segment_preview"), {"rule": json.dumps(CZECH)}))
    assert "alert(1)" in sample and "<script>" not in sample


def fields_of(contact: Contact, **changed) -> dict:
    names = [
        "email",
        "phone",
        "first_name",
        "last_name",
        "salutation",
        "language",
        "country",
        "timezone",
        "job_title",
        "source",
    ]
    values = {name: getattr(contact, name) for name in names}
    return values | {"attributes": json.dumps(contact.attributes), "company": "", "owner": ""} | changed


def test_an_edit_keeps_identities_and_is_news(boss, now):
    ann = known(now, email="ann@example.com", first_name="Ann", attributes={"plan": "trial", "old": 1})
    acme = Company.objects.create(name="Acme")
    answer = boss.post(
        url("contact_change", ann.pk),
        fields_of(ann, email="Ann.Lee@Example.com", country="cz", company=acme.pk, attributes='{"plan": "pro"}'),
    )
    assert answer.status_code == 302, errors(answer)
    ann.refresh_from_db()
    assert (ann.email, ann.country, ann.company, ann.attributes) == ("ann.lee@example.com", "CZ", acme, {"plan": "pro"})
    assert Identity.objects.filter(contact=ann, kind="email", value="ann.lee@example.com").exists()
    assert Incoming.objects.filter(contact_id=ann.pk, kind="contact.updated").exists()
    run_step(Step("ingest", ingest), now)
    assert Touchpoint.objects.filter(contact=ann, kind="contact.updated").exists()


def test_a_wrong_edit_names_its_field(boss, now):
    ann, _ben = known(now, email="ann@example.com"), known(now, email="ben@example.com")
    Field.objects.create(key="seats", type="number")
    for changed, field in [
        ({"email": "nobody"}, "email"),
        ({"email": "BEN@example.com"}, "email"),
        ({"country": "Czechia"}, "country"),
        ({"attributes": '{"seats": "many"}'}, "attributes"),
        ({"attributes": "[1]"}, "attributes"),
    ]:
        answer = boss.post(url("contact_change", ann.pk), fields_of(ann, **changed))
        assert list(errors(answer)) == [field], changed
    assert Contact.objects.get(pk=ann.pk).email == "ann@example.com"


def test_a_contact_can_be_added_by_its_address(boss):
    answer = boss.post(url("contact_add"), fields_of(Contact(), email="New@Example.com"))
    assert answer.status_code == 302, errors(answer)
    assert Identity.objects.get(value="new@example.com").contact.email == "new@example.com"
    assert list(errors(boss.post(url("contact_add"), fields_of(Contact(), first_name="Nameless")))) == ["email"]


def test_a_viewer_sees_and_cannot_change(now):
    ann = known(now, email="ann@example.com", first_name="Ann")
    viewer = staff("viewer", "view_contact", "view_segment")
    assert "ann@example.com" in text(viewer.get(url("contact_change", ann.pk)))
    assert viewer.post(url("contact_change", ann.pk), fields_of(ann, first_name="X")).status_code == 403
    segment = Segment.objects.create(key="s", name="S", rule=CZECH)
    assert "country" in text(viewer.get(url("segment_change", segment.pk)))
    outsider = staff("outsider")
    for address in [url("contact_changelist"), url("contact_change", ann.pk), url("segment_change", segment.pk)]:
        assert outsider.get(address).status_code == 403
    assert outsider.post(url("segment_preview"), {"rule": "{}"}).status_code == 403


# Segments ------------------------------------------------------------------------------------------------------------


def segment_form(**values) -> dict:
    inline = {f"overrides-{name}": count for name, count in [("TOTAL_FORMS", 0), ("INITIAL_FORMS", 0)]}
    return inline | {"name": "Czech", "key": "czech", "rule": json.dumps(CZECH)} | values


def test_a_segment_is_made_previewed_and_shows_its_members(boss, now):
    known(now, email="ann@example.com", country="CZ")
    known(now, email="ben@example.com", country="PL")
    assert boss.post(url("segment_add"), segment_form()).status_code == 302
    segment = Segment.objects.get()
    before = text(boss.get(url("segment_change", segment.pk)))
    assert "<strong>Country</strong> is <strong>Czechia</strong>" in before and "Nobody is in it yet" in before
    assert "1 person" in text(boss.post(url("segment_preview"), {"rule": json.dumps(CZECH)}))
    segments.refresh(now, 0, 0)
    after = boss.get(url("segment_change", segment.pk))
    assert [person.email for person in after.context["members"]] == ["ann@example.com"]
    sample = text(boss.post(url("segment_preview"), {"rule": json.dumps({"not": CZECH})}))
    assert "ben@example.com" in sample and "ann@example.com" not in sample


def test_a_wrong_rule_names_its_condition(boss, now):
    rule = {"all": [CZECH, {"did": "page.viewed", "where": [{"field": "url", "op": "like", "value": "x"}]}]}
    answer = boss.post(url("segment_add"), segment_form(rule=json.dumps(rule)))
    assert "Condition 2 cannot be asked: There is no operator" in errors(answer)["rule"][0]
    assert "Condition 2 cannot be asked" in text(boss.post(url("segment_preview"), {"rule": json.dumps(rule)}))
    assert boss.post(url("segment_preview"), {"rule": "{"}).status_code == 422
    assert not Segment.objects.exists()


def test_a_circle_is_refused_on_the_form(boss):
    a = Segment.objects.create(key="a", name="A")
    Segment.objects.create(key="b", name="B", rule={"in_segment": "a"})
    answer = boss.post(url("segment_change", a.pk), segment_form(name="A", rule='{"in_segment": "b"}'))
    assert "circle" in errors(answer)["rule"][0]


def test_a_changed_rule_is_asked_of_everybody_at_the_next_tick(boss, now):
    ben = known(now, country="PL")
    segment = Segment.objects.create(key="s", name="S", rule=CZECH)
    segments.refresh(now, 0, 0)
    changed = segment_form(name="Polish", rule='{"field": "country", "op": "eq", "value": "PL"}')
    assert boss.post(url("segment_change", segment.pk), changed).status_code == 302
    segments.refresh(now, 0, 0)
    assert list(segments.members(Segment.objects.get(name="Polish"))) == [ben]


def test_a_person_put_in_by_hand_is_a_member_after_the_next_tick(boss, now):
    ann = known(now)
    segment = Segment.objects.create(key="s", name="S")
    segments.refresh(now, 0, 0)
    data = segment_form(name="S", rule="") | {
        "overrides-TOTAL_FORMS": 1, "overrides-0-contact": ann.pk, "overrides-0-is_member": "on",
        "overrides-0-segment": segment.pk,
    }  # fmt: skip
    assert boss.post(url("segment_change", segment.pk), data).status_code == 302
    assert MembershipOverride.objects.get().made_by.username == "boss"
    segments.refresh(now, 0, 0)
    assert list(segments.members(segment)) == [ann]


def test_a_segment_in_use_cannot_be_deleted(boss):
    used = Segment.objects.create(key="used", name="Used")
    Segment.objects.create(key="user", name="The user", rule={"in_segment": "used"})
    assert "The user" in text(boss.get(url("segment_delete", used.pk)))
    boss.post(url("segment_delete", used.pk), {"post": "yes"})
    boss.post(url("segment_changelist"), {"action": "delete_selected", "_selected_action": used.pk, "post": "yes"})
    assert Segment.objects.filter(key="used").exists()


def test_a_field_that_a_segment_asks_cannot_be_deleted(boss):
    plan = Field.objects.create(key="plan")
    Segment.objects.create(key="trial", name="Trial", rule={"field": "plan", "op": "eq", "value": "trial"})
    assert "Trial" in text(boss.get(url("field_delete", plan.pk)))
    boss.post(url("field_delete", plan.pk), {"post": "yes"})
    assert Field.objects.exists()


@pytest.mark.parametrize(
    "more",
    [
        {"steps": [{"set": {"field": "plan", "value": "trial"}}]},
        {"goal": {"field": "plan", "op": "is_set"}},
        {"trigger": {"field_changed": "plan"}},
    ],
)
def test_a_field_that_a_journey_needs_cannot_be_deleted(boss, now, more):
    plan = Field.objects.create(key="plan")
    journey = Journey.objects.create(key="j", kind="onboarding")
    definition = {"key": "j", "name": "Trial journey", "kind": "onboarding", "trigger": "manual", "steps": []} | more
    publishing.save_draft(journey=journey, definition=definition, by=None, now=now)
    assert "journey “Trial journey”" in text(boss.get(url("field_delete", plan.pk)))
    boss.post(url("field_delete", plan.pk), {"post": "yes"})
    assert Field.objects.exists()


def test_an_edited_company_is_asked_about_again(boss, now):
    acme = Company.objects.create(name="Acme", employees=10)
    ann = known(now, company=acme)
    big = Segment.objects.create(key="big", name="Big", rule={"field": "company.employees", "op": "gte", "value": 50})
    segments.refresh(now, 0, 0)
    data = {"name": "Acme", "domain": "", "country": "", "employees": 60, "industry": "", "attributes": "{}"}
    assert boss.post(url("company_change", acme.pk), data).status_code == 302
    assert Company.objects.get().domain is None
    segments.refresh(now, 0, 0)
    assert list(segments.members(big)) == [ann]


# Doors ---------------------------------------------------------------------------------------------------------------


def test_a_token_is_shown_once_and_can_be_revoked(boss, now):
    user = User.objects.get(username="boss")
    data = {"name": "Shop", "user": user.pk, "scopes": ["track", "read"], "expires_at_0": "", "expires_at_1": ""}
    shown = text(boss.post(url("apitoken_add"), data, follow=True))
    token = ApiToken.objects.get()
    secret = shown.split("<code>")[1].split("</code>")[0]
    assert find(secret, now=now) == token
    assert secret not in text(boss.get(url("apitoken_changelist")))
    assert secret not in text(boss.get(url("apitoken_change", token.pk)))
    boss.post(url("apitoken_changelist"), {"action": "revoke", "_selected_action": token.pk})
    assert find(secret, now=now) is None


def test_nobody_makes_a_token_for_somebody_mightier(boss):
    marketer = staff("marketer", "add_apitoken", "change_apitoken", "view_apitoken")
    king = User.objects.get(username="boss")
    answer = marketer.post(url("apitoken_add"), {"name": "", "user": king.pk, "scopes": ["admin"]})
    assert "user" in errors(answer)
    assert not ApiToken.objects.exists()


def test_touchpoints_are_history(boss, now):
    touch = Touchpoint.objects.create(contact=known(now), kind="page.viewed", occurred_at=now, received_at=now)
    assert "page.viewed" in text(boss.get(url("touchpoint_changelist"), {"q": "page.viewed"}))
    assert boss.get(url("touchpoint_add")).status_code == 403
    assert boss.post(url("touchpoint_change", touch.pk), {"kind": "x.y"}).status_code == 403
    assert boss.post(url("touchpoint_delete", touch.pk), {"post": "yes"}).status_code == 403


def test_when_somebody_was_last_seen_is_a_date_in_every_language(boss, now):
    # An age cannot be declined: Czech would say “před 2 měsíce”.
    contact = known(now, email="ann@example.com", last_seen_at=now)
    for language, said in (
        ("en", "Last seen on 10 Nov 2026, 10:00."),
        ("cs", "Naposledy viděn 10.11.2026 10:00."),
        ("pl", "Ostatnio widziany 10-11-2026 10:00."),
    ):
        boss.cookies["django_language"] = language
        shown = text(boss.get(url("contact_change", contact.pk)))
        assert said in " ".join(shown.split())
