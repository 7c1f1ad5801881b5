"""Companies: their people join by address or by name, never by a mail provider's domain, and two become one."""

from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import User
from django.test import Client

from contacts import syncing, tokens
from contacts.companies import activity, merge_companies
from contacts.identity import FREE_MAIL, normalise_domain
from contacts.models import AT_ONCE, Company, Contact, Segment, Touchpoint
from contacts.stream import put
from journey_crm.tick import tick

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 10, 9, 0, tzinfo=UTC)


def sync(*rows) -> list[Contact]:
    results = syncing.upsert(list(rows), source="test", now=NOW)
    assert [result["errors"] for result in results] == [[] for _row in rows]
    tick(NOW)
    return [Contact.objects.get(pk=result["id"]) for result in results]


@pytest.fixture
def api(db):
    user = User.objects.create_superuser("root")
    secret = tokens.issue(user=user, scopes=["admin"], now=NOW)[1]

    def call(method, path, body=None):
        return getattr(Client(), method)(
            f"/api/v1/{path}", body, content_type="application/json", headers={"Authorization": f"Bearer {secret}"}
        )

    return call


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("https://www.Acme.example/about?x=1", "acme.example"),
        ("WWW.ACME.example.", "acme.example"),
        ("info@acme.example", "acme.example"),
        ("acme.example:8080", "acme.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("", ""),
    ],
)
def test_a_domain_has_one_form(written, expected):
    assert normalise_domain(written) == expected
    assert normalise_domain(normalise_domain(written)) == expected


@pytest.mark.parametrize("wrong", ["acme", "a b.example", "acme.", "ac\u200bme.example", "http://"])
def test_what_is_no_domain_is_refused(wrong):
    if normalise_domain("http://") == "" and wrong == "http://":
        return
    with pytest.raises(ValueError, match="domain"):
        normalise_domain(wrong)


def test_people_join_the_company_whose_domain_their_address_has():
    acme = Company.objects.create(name="Acme", domain="acme.example")
    ann, bob, eve = sync(
        {"email": "ann@acme.example"}, {"email": "bob@ACME.example", "company": "Elsewhere"}, {"email": "eve@x.example"}
    )
    assert ann.company == acme
    assert (bob.company.name, eve.company) == ("Elsewhere", None)
    told = Touchpoint.objects.get(contact=ann, kind="contact.updated")
    assert told.properties == {"fields": ["company"], "reason": "domain"}


def test_who_was_there_before_the_company_joins_it_and_who_was_taken_out_stays_out():
    ann, bob = sync({"email": "ann@acme.example"}, {"email": "bob@acme.example"})
    acme = Company.objects.create(name="Acme", domain="acme.example")
    tick(NOW)
    ann.refresh_from_db()
    assert ann.company == acme
    sync({"email": "bob@acme.example", "company": None})
    sync({"email": "bob@acme.example", "first_name": "Bob"})
    bob.refresh_from_db()
    assert bob.company is None


@pytest.mark.parametrize("domain", ["gmail.com", "seznam.cz", "wp.pl", "t-online.de"])
def test_a_mail_provider_joins_nobody(domain):
    assert domain in FREE_MAIL
    Company.objects.create(name="Mail", domain=domain)
    [ann] = sync({"email": f"ann@{domain}"})
    assert ann.company is None
    [result] = syncing.upsert([{"email": "eve@x.example", "company": {"domain": domain}}], source="test", now=NOW)
    assert result["errors"][0]["field"] == "company.domain"
    for user, company in (("u1", {"name": "Acme", "website": f"https://{domain}/"}), ("u2", {"website": domain})):
        put(kind="contact.identified", source="t", now=NOW, user_id=user, traits={"company": company})
    tick(NOW)
    first, second = (Contact.objects.get(identities__value=user) for user in ("u1", "u2"))
    assert (first.company.name, first.company.domain, second.company) == ("Acme", None, None)


def test_two_companies_become_one_and_both_names_lead_there():
    one, other = (
        Company.objects.create(name="Acme", domain="acme.example", attributes={"plan": "pro"}, is_joined=True),
        Company.objects.create(
            name="Acme Ltd", domain="acme.test", employees=7, attributes={"plan": "x", "b": 1}, is_joined=True
        ),
    )
    people = sync({"email": "a@x.example", "company": "acme.example"}, {"email": "b@x.example", "company": "acme.test"})
    segment = Segment.objects.create(
        key="large", name="Large", rule={"field": "company.employees", "op": "gte", "value": 5}, sweep_at=None
    )
    merge_companies(survivor=one, loser=other, now=NOW)
    segment.refresh_from_db()
    assert segment.sweep_at == AT_ONCE
    one.refresh_from_db()
    assert (one.employees, one.attributes) == (7, {"plan": "pro", "b": 1})
    for row in people:
        row.refresh_from_db()
        assert row.company == one
    tick(NOW)
    assert Touchpoint.objects.filter(contact=people[1], properties__reason="merge").exists()
    rows = sync(
        {"email": "c@x.example", "company": "acme.test"}, {"email": "d@x.example", "company": "Acme Ltd"},
        {"email": "e@acme.test"}, {"email": "f@x.example", "company": {"id": other.pk}},
    )  # fmt: skip
    put(kind="contact.identified", source="t", now=NOW, user_id="u1", traits={"company": {"domain": "acme.test"}})
    put(kind="contact.identified", source="t", now=NOW, user_id="u2", traits={"company": "acme ltd"})
    tick(NOW)
    rows += Contact.objects.filter(identities__kind="user_id")
    assert [row.company for row in rows] == [one] * 6
    for wrong in (one, other):
        with pytest.raises(ValueError, match="itself|already"):
            merge_companies(survivor=one, loser=wrong, now=NOW)


def test_companies_and_their_people_by_rest(api):
    acme = api("post", "companies/", {"name": "Acme", "domain": "https://www.acme.example/"}).json()
    assert acme["domain"] == "acme.example"
    assert api("post", "companies/", {"name": "Mail", "domain": "gmail.com"}).status_code == 400
    ann, _eve = sync({"email": "ann@acme.example"}, {"email": "eve@x.example"})
    for path in (f"companies/{acme['id']}/contacts/", f"contacts/?company={acme['id']}"):
        assert [row["id"] for row in api("get", path).json()["results"]] == [ann.pk]
    other = api("post", "companies/", {"name": "Acme Ltd"}).json()
    segment = Segment.objects.create(
        key="large", name="Large", rule={"field": "company.employees", "op": "gte", "value": 5}, sweep_at=None
    )
    assert api("patch", f"companies/{other['id']}/", {"employees": 9}).status_code == 200
    segment.refresh_from_db()
    assert segment.sweep_at == AT_ONCE
    merged = api("post", f"companies/{acme['id']}/merge/", {"other": other["id"]})
    assert merged.json()["employees"] == 9
    assert api("get", f"companies/{other['id']}/").json()["id"] == acme["id"]
    assert [row["id"] for row in api("get", "companies/").json()["results"]] == [acme["id"]]


def test_a_companys_page_shows_its_people_and_what_they_did():
    acme = Company.objects.create(name="Acme", domain="acme.example")
    other = Company.objects.create(name="Acme Ltd")
    [ann] = sync({"email": "ann@acme.example", "first_name": "Ann", "company_role": "champion"})
    put(kind="page.viewed", source="t", now=datetime.now(UTC), contact_id=ann.pk, properties={"url": "/pricing"})
    tick(datetime.now(UTC))
    assert [(one.kind, one.times, one.people) for one in activity(acme, now=datetime.now(UTC))][0][1:] == (1, 1)
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    page = client.get(f"/admin/contacts/company/{acme.pk}/change/").content.decode()
    assert "champion" in page
    assert "/pricing" in page
    assert f"/admin/contacts/contact/{ann.pk}/change/" in page
    address = f"/admin/contacts/company/{acme.pk}/merge/"
    assert f"?other={other.pk}" in client.get(address, {"q": "ltd"}).content.decode()
    assert "cannot be undone" in client.get(address, {"other": other.pk}).content.decode()
    client.post(address, {"other": other.pk})
    other.refresh_from_db()
    assert other.merged_into == acme
    assert client.get(f"/admin/contacts/company/{other.pk}/change/").status_code == 302


def test_segments_that_ask_about_companies_look_again_when_traits_change_one():
    acme = Company.objects.create(name="Acme", domain="acme.example", employees=3)
    [ann] = sync({"email": "ann@acme.example"})
    segment = Segment.objects.create(
        key="large", name="Large", rule={"field": "company.employees", "op": "gte", "value": 5}
    )
    tick(NOW)
    assert not segment.memberships.exists()
    traits = {"company": {"domain": "acme.example", "employees": 50}}
    put(kind="contact.identified", source="t", now=NOW, user_id="u9", traits=traits)
    tick(NOW)
    acme.refresh_from_db()
    assert acme.employees == 50
    assert segment.memberships.filter(contact=ann).exists()
