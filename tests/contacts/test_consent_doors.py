"""Consent is never raised by any door unless that is asked for and allowed, and then the ledger says by whom."""

import io
import tempfile
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.utils import timezone

from contacts import tokens
from contacts.consent import consent_state, record_consent, set_limits
from contacts.definitions import SECTIONS
from contacts.erasure import erase
from contacts.ingest import ingest
from contacts.merging import merge
from contacts.models import Consent, ConsentChange, Contact, Merge
from contacts.stream import Step, put, run_step
from contacts.syncing import upsert
from contacts.unmerging import unmerge

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("topics")]

ADDRESS = "ann@x.example"
GRANT = [{"topic": topic, "channel": "email", "state": "granted"} for topic in ("", "news")]


@pytest.fixture
def ann(now) -> Contact:
    """Somebody who refused everything, asked for a pause, and for one mail a week."""
    upsert([{"email": ADDRESS, "user_id": "u1"}], source="t", now=now - timedelta(days=9))
    person = Contact.objects.get(email=ADDRESS)
    for topic in ("", "news"):
        record_consent(
            contact=person, topic=topic, channel="email", state="denied", source="t", now=now - timedelta(days=8)
        )
    set_limits(
        contact=person, paused_until=timezone.now() + timedelta(days=300), most_per_week=1, source="t", may_raise=True,
        now=now,
    )  # fmt: skip
    return person


def by_sync(ann, now, client):
    upsert([{"email": ADDRESS, "first_name": "Ann", "consents": GRANT}], source="sync", now=now)


def by_import(ann, now, client):
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        file.write(f"email,first_name,consents\n{ADDRESS},Ann,news/email granted\n")
        file.flush()
        call_command("import_contacts", file.name, stdout=io.StringIO(), stderr=io.StringIO())
    ann.refresh_from_db()
    assert ann.first_name == "Ann"


def by_identifying(ann, now, client):
    put(
        kind="contact.identified", source="web", now=now, user_id="u1", email=ADDRESS,
        traits={"consents": GRANT, "paused_until": None, "most_per_week": 99, "consent": "granted"},
    )  # fmt: skip
    run_step(Step("ingest", ingest), now)


def by_merging(ann, now, client):
    upsert([{"email": "other@x.example", "consents": GRANT}], source="t", now=now, may_raise_consent=True)
    merge(survivor=ann, loser=Contact.objects.get(email="other@x.example"), reason="t", now=now)


def by_being_merged(ann, now, client):
    upsert([{"email": "other@x.example", "consents": GRANT}], source="t", now=now, may_raise_consent=True)
    merge(survivor=Contact.objects.get(email="other@x.example"), loser=ann, reason="t", now=now)


def by_undoing(ann, now, client):
    by_merging(ann, now, client)
    unmerge(Merge.objects.get(), now=now + timedelta(hours=1))


def by_applying(ann, now, client):
    for section in SECTIONS:
        assert "consent" not in section.name, "definitions are about everybody, never about one person"


def by_rest(ann, now, client):
    headers = bearer("sync")
    body = {"email": ADDRESS, "paused_until": None, "most_per_week": None, "consents": GRANT}
    client.patch(f"/api/v1/contacts/{ann.pk}/", body, content_type="application/json", headers=headers)
    client.post("/api/v1/contacts/bulk/", [body], content_type="application/json", headers=headers)
    flagged = client.post(
        "/api/v1/contacts/bulk/?allow_consent_raise=1", [body], content_type="application/json", headers=headers
    )
    assert flagged.status_code == 403
    for told in ({"most_per_week": 5}, {"paused_until": None}, {"most_per_week": 5, "allow_raise": True}):
        answer = client.post(
            f"/api/v1/contacts/{ann.pk}/limits/", told, content_type="application/json", headers=headers
        )
        assert answer.status_code in (400, 403)


def by_clearing_and_adding_again(ann, now, client):
    for row in ({"user_id": "u1", "email": None}, {"email": ADDRESS, "consents": GRANT}):
        upsert([row], source="sync", now=now)


def by_another_row(ann, now, client):
    upsert(
        [{"user_id": "u1", "consents": {"news": "denied"}}, {"email": ADDRESS, "consents": GRANT}],
        source="sync", now=now, may_raise_consent=False,
    )  # fmt: skip


def by_answering(ann, now, client):
    for query in ("", "?allow_consent_raise=1"):
        for told in GRANT:
            body = {"contact": ann.pk, "source": "form", **told}
            answer = client.post(
                f"/api/v1/consents/{query}", body, content_type="application/json", headers=bearer("sync")
            )
            assert answer.status_code == 403


def by_the_scope_without_the_right(ann, now, client):
    headers = bearer("admin", is_superuser=False)
    paths = [f"/api/v1/{name}/?allow_consent_raise=1" for name in ("contacts/bulk", "consents")]
    rows = [{"email": ADDRESS, "consents": GRANT}]
    for path, body in zip(paths, (rows, {"contact": ann.pk, "source": "form", **GRANT[1]}), strict=True):
        answer = client.post(path, body, content_type="application/json", headers=headers)
        assert (answer.status_code, "contacts.raise_consent" in answer.content.decode()) == (403, True)


DOORS = [
    by_sync, by_import, by_identifying, by_merging, by_being_merged, by_undoing, by_applying, by_rest,
    by_clearing_and_adding_again, by_another_row, by_answering, by_the_scope_without_the_right,
]  # fmt: skip


def bearer(scope: str, is_superuser: bool = True) -> dict[str, str]:
    if is_superuser:
        user = User.objects.filter(username="client").first() or User.objects.create_superuser("client")
    else:
        user = User.objects.create_user("clerk", is_staff=True)
        names = ["add_contact", "change_contact", "view_contact", "add_consent"]
        user.user_permissions.set(Permission.objects.filter(content_type__app_label="contacts", codename__in=names))
    _token, secret = tokens.issue(user=user, scopes=[scope], now=timezone.now())
    return {"Authorization": f"Bearer {secret}"}


@pytest.mark.parametrize("door", DOORS)
def test_no_door_raises_consent_by_itself(door, ann, now, client):
    door(ann, now, client)
    person = Contact.objects.get(identities__kind="email", identities__value=ADDRESS)
    assert consent_state(person, "news", "email") == "denied"
    assert set(Consent.objects.filter(contact=person).values_list("state", flat=True)) == {"denied"}
    assert person.paused_until > timezone.now() + timedelta(days=299)
    assert person.most_per_week == 1


@pytest.mark.parametrize("refused", [{"": "denied"}, {"news": "denied"}, {"news": "pending"}])
def test_an_address_that_was_cleared_keeps_what_was_refused(refused, now):
    upsert([{"email": ADDRESS, "user_id": "u1", "consents": refused}], source="t", now=now)
    upsert([{"user_id": "u1", "email": ""}], source="sync", now=now)
    upsert([{"email": ADDRESS, "first_name": "New"}], source="sync", now=now)
    person = Contact.objects.get(email=ADDRESS)
    assert consent_state(person, "news", "email") == refused.get("news", "denied")
    assert person.identities.get(kind="user_id").value == "u1"


def test_what_clears_an_address_and_refuses_at_once_keeps_it_too(now):
    upsert([{"email": ADDRESS, "user_id": "u1"}], source="t", now=now)
    upsert([{"user_id": "u1", "email": "", "consents": {"": "denied"}}], source="sync", now=now)
    upsert([{"email": ADDRESS}], source="sync", now=now)
    assert consent_state(Contact.objects.get(email=ADDRESS), "", "email") == "denied"


YES, NO = {"consents": {"news": "granted"}}, {"consents": {"news": "denied"}}
OLD = {"updated_at": "2020-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    "rows, silent",
    [
        ([{"email": ADDRESS, **NO}, {"email": ADDRESS, "first_name": "Z", **YES}], 1),
        ([{"email": ADDRESS, **YES}, {"email": ADDRESS, "first_name": "Z", **NO}], 0),
        ([{"user_id": "u1", **NO}, {"email": ADDRESS, **YES}], 1),
        ([{"user_id": "u1", **YES}, {"email": ADDRESS, **NO}], 0),
        ([{"email": ADDRESS, "updated_at": "2026-11-09T00:00:00Z", **YES}, {"email": ADDRESS, **OLD, **NO}], 0),
    ],
)
def test_the_strictest_word_of_a_batch_holds_and_the_others_are_told(rows, silent, now):
    upsert([{"email": ADDRESS, "user_id": "u1", **YES, **OLD}], source="t", now=now, may_raise_consent=True)
    results = upsert(rows, source="sync", now=now, may_raise_consent=True)
    assert "consents.news" in [error["field"] for error in results[silent]["errors"]]
    assert "consents.news" not in [error["field"] for error in results[1 - silent]["errors"]]
    assert consent_state(Contact.objects.get(email=ADDRESS), "news", "email") == "denied"


def test_a_stale_row_may_refuse_but_not_grant(now):
    upsert([{"email": ADDRESS, "consents": {"tips": "denied"}}], source="t", now=now)
    row = {"email": ADDRESS, "first_name": "Old", **OLD, "consents": {"news": "denied", "tips": "granted"}}
    upsert([row], source="sync", now=now, may_raise_consent=True)
    person = Contact.objects.get(email=ADDRESS)
    assert person.first_name == ""
    assert [consent_state(person, topic, "email") for topic in ("news", "tips")] == ["denied", "denied"]


def test_nobody_raises_the_consent_of_the_erased_for_them(ann, now, client):
    Contact.objects.filter(pk=ann.pk).update(phone="+420777000111")
    erase(ann, by=None, now=now)
    upsert([{"user_id": "new", "phone": "+420777000111", "email": ADDRESS}], source="sync", now=now)
    person = Contact.objects.get(email=ADDRESS)
    assert set(person.consents.values_list("channel", "state")) == {("email", "denied"), ("sms", "denied")}
    headers = bearer("admin")
    rows = [{"email": ADDRESS, "consents": GRANT}]
    bulk = client.post(
        "/api/v1/contacts/bulk/?allow_consent_raise=1", rows, content_type="application/json", headers=headers
    )
    assert {error["field"] for error in bulk.json()[0]["errors"]} == {"consents.", "consents.news"}
    for told in GRANT:
        body = {"contact": person.pk, "source": "form", **told}
        answer = client.post(
            "/api/v1/consents/?allow_consent_raise=1", body, content_type="application/json", headers=headers
        )
        assert answer.status_code == 403
        assert "state: This person was erased" in answer.json()["title"]
    assert consent_state(person, "news", "email") == "denied"


@pytest.mark.parametrize("told", [{"topic": "news-leter"}, {"topic": "news", "channel": "fax"}])
def test_an_unknown_topic_or_channel_is_refused_by_name(told, ann, client):
    headers, name = bearer("sync"), next(reversed(told))
    body = {"contact": ann.pk, "state": "denied", "source": "form", **told}
    answer = client.post("/api/v1/consents/", body, content_type="application/json", headers=headers)
    assert answer.status_code == 400
    assert told[name] in answer.json()["errors"][0]["message"]
    assert answer.json()["errors"][0]["field"] == name
    rows = [{"email": ADDRESS, "consents": [{"state": "denied", **told}]}, {"email": "bob@x.example"}]
    wrong, right = client.post("/api/v1/contacts/bulk/", rows, content_type="application/json", headers=headers).json()
    assert (wrong["status"], right["status"]) == ("rejected", "created")
    assert wrong["errors"][0]["field"] == f"consents.{told['topic']}"
    assert told[name] in wrong["errors"][0]["message"]


def test_with_the_flag_and_the_right_it_is_raised_and_the_ledger_says_by_whom(ann, now, client):
    body = [{"email": ADDRESS, "consents": GRANT}]
    answer = client.post(
        "/api/v1/contacts/bulk/?allow_consent_raise=1", body, content_type="application/json", headers=bearer("admin")
    )
    assert answer.json()[0]["errors"] == []
    assert consent_state(ann, "news", "email") == "granted"
    change = ConsentChange.objects.filter(topic="news").latest("pk")
    assert (change.state, change.source, change.actor) == ("granted", "sync", "client")
    raised = client.post(
        f"/api/v1/contacts/{ann.pk}/limits/", {"paused_until": None, "most_per_week": 3, "allow_raise": True},
        content_type="application/json", headers=bearer("admin"),
    )  # fmt: skip
    assert raised.json() == {"paused_until": None, "most_per_week": 3}


def test_the_proof_is_given_out_whole_as_json_and_as_csv(ann, now, client):
    record_consent(
        contact=ann, topic="news", channel="email", state="granted", source="=cmd()", wording="Yes, news.", now=now
    )
    headers = bearer("read")
    told = client.get(f"/api/v1/contacts/{ann.pk}/proof/", headers=headers).json()
    assert [row["state"] for row in told] == ["denied", "denied", "granted"]
    assert told[-1]["wording"] == "Yes, news."
    lines = client.get(f"/api/v1/contacts/{ann.pk}/proof/?as=csv", headers=headers).content.decode().splitlines()
    assert len(lines) == 4
    assert "Yes, news." in lines[-1]
    assert "'=cmd()" in lines[-1]
    assert client.get(f"/api/v1/contacts/{ann.pk}/proof/?as=xml", headers=headers).status_code == 400
    whole = client.get(f"/api/v1/contacts/{ann.pk}/person/", headers=bearer("admin")).json()
    assert whole["contact"]["email"] == ADDRESS
    assert client.get(f"/api/v1/contacts/{ann.pk}/person/", headers=headers).status_code == 403


@pytest.fixture
def boss(client):
    client.force_login(User.objects.create_superuser("boss"))
    return client


def test_the_consent_centre_finds_filters_and_exports(ann, boss, now):
    other = Contact.objects.create(email="bob@x.example")
    record_consent(contact=other, topic="news", channel="sms", state="granted", source="fair", wording="Yes", now=now)
    page = boss.get(f"/admin/contacts/consentchange/?q={ADDRESS}").content.decode()
    assert page.count('class="chip is-bad"') == 2
    assert "fair" not in page
    assert "fair" in boss.get("/admin/contacts/consentchange/?channel=sms").content.decode()
    lines = boss.get("/admin/contacts/consentchange/export/?state=granted").content.decode().splitlines()
    assert len(lines) == 2
    assert str(other.pk) in lines[1]
    change = ConsentChange.objects.get(source="fair")
    assert ">Yes<" in boss.get(f"/admin/contacts/consentchange/{change.pk}/change/").content.decode()


def test_a_person_is_erased_in_the_admin_only_by_who_is_sure(ann, boss, now):
    path = f"/admin/contacts/contact/{ann.pk}/erase/"
    assert b"What leads to this person now" in boss.get(path).content
    boss.post(path)
    ann.refresh_from_db()
    assert ann.erased_at is None
    proof = boss.post(path, {"is_sure": "1"}, follow=True)
    assert proof.status_code == 200
    ann.refresh_from_db()
    assert ann.erased_at
    assert ADDRESS not in proof.content.decode()
    assert boss.get(path).status_code == 404


def test_a_retention_rule_is_saved_only_by_who_has_read_what_it_takes(ann, boss, now):
    at = timezone.now() - timedelta(days=200)
    put(kind="page.viewed", source="web", now=at, contact_id=ann.pk, occurred_at=at)
    run_step(Step("ingest", ingest), timezone.now())
    told = {"key": "pages", "kind": "page.*", "days": "90", "action": "drop", "kept_properties": "[]", "is_active": "1"}
    page = boss.post("/admin/contacts/retentionrule/add/", told).content.decode()
    assert "It would take 1 touchpoint now, of 1 people" in page
    assert boss.post("/admin/contacts/retentionrule/add/", told | {"is_understood": "1"}).status_code == 302
    wrong = boss.post("/admin/contacts/retentionrule/add/", told | {"key": "x", "kind": "consent.*", "days": "3"})
    assert "The history of the record itself stays" in wrong.content.decode()
