"""People as a file: whole, safe to open, recorded, and the same when they come back."""

import csv
import io

import openpyxl
import orjson
import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.files.base import ContentFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from contacts import exporting, tokens
from contacts.csvfiles import neutral, released
from contacts.importing import new_import, run_import
from contacts.models import Contact, Export, Field, Incoming
from contacts.syncing import upsert
from journey_crm.roles import ensure_roles

EVERYTHING = [name for name in exporting.COLUMNS if name != "last_seen_at"]


def file_of(format="csv", wanted=None, people=None, **more) -> bytes:
    people = Contact.objects.all() if people is None else people
    wanted = wanted or list(exporting.columns())
    blocks = exporting.export(
        people, format=format, wanted=wanted, by=None, door="admin", asked="", now=timezone.now(), **more
    )
    return b"".join(blocks)


def lines(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))


@pytest.fixture
def people(topics, db):
    for key, type_ in {"plan": "text", "seats": "number", "is_vip": "boolean", "renewal_on": "date", "tags": "list",
                       "met_at": "datetime", "size": "choice"}.items():  # fmt: skip
        Field.objects.create(key=key, type=type_, choices=["S", "XL"] if type_ == "choice" else [])
    User.objects.create_user("petr")
    now = timezone.now()
    results = upsert(
        [
            {
                "email": "anna@x.example", "user_id": "u-1", "first_name": "Anna", "last_name": "Žlutá",
                "country": "CZ", "phone": "+420777123456",
                "company": {"name": "Acme", "domain": "acme.example"}, "owner": "petr",
                "language": "cs", "timezone": "Europe/Prague", "job_title": "-5", "salutation": "Dobrý den,\nAnno",
                "attributes": {"plan": "=1+1", "seats": 3.5, "is_vip": True, "renewal_on": "2027-03-28",
                               "tags": ["a", "b;c"], "met_at": "2026-01-02T03:04:05+00:00", "size": "XL"},
                "consents": [{"topic": "news", "channel": "email", "state": "denied"},
                             {"topic": "", "channel": "sms", "state": "denied"}],
            },
            {"email": "bob@x.example", "first_name": "@SUM(A1)", "last_name": "'=x", "company": "Foo.com Ltd",
             "attributes": {"seats": -5, "tags": ["one", "two"], "is_vip": False, "plan": "'quoted'"}},
            {"user_id": "-42", "first_name": "=cmd|'/c calc'!A0", "attributes": {"seats": 10**20}},
        ],
        source="test", now=now,
    )  # fmt: skip
    assert [result["errors"] for result in results] == [[], [], []]
    Contact.objects.create(first_name="Visitor", created_at=now, updated_at=now)
    return Contact.objects.order_by("pk")


# Cells ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    ["=1+1", "+cmd", "-cmd", "@SUM(A1)", " =1", "\t=1", "\u00a0=1", "\x0b=1", "\u200b=1", "\ufeff=1", "\tx", "\rx",
     "=", "-", "+", "--5", "-5+3", "-5+cmd", "+49 170 x", "\n=1", "＝1", "－x", "\x00=1",
     "\u180e=1", "\u061c=1", "\u2066=1", "\u206a=1", "\u115f=1", "\u3164=1",
     "\u034f=1", "\ufff9=1", "\U000e0020=1", "﹦1", "﬩x", "＋x", "＠x"],
)  # fmt: skip
def test_a_cell_that_a_spreadsheet_would_run_is_neutralised_and_comes_back(cell):
    assert neutral(cell) == "'" + cell
    assert released(neutral(cell)) == cell


@pytest.mark.parametrize(
    "cell", ["-5", "-5.2", "-5,2", "+5", "-1 000,50", "-12 %", "+49 170 1234567", "+420777123456", "+1 (555) 010-99",
             "Anna", "", "a=b", "anna@x.example", "O'Neil", "'quoted'", "5-3"],
)  # fmt: skip
def test_numbers_and_telephone_numbers_stay_as_they_are(cell):
    assert neutral(cell) == cell
    assert released(cell) == cell


@given(st.text())
def test_whatever_a_cell_says_it_comes_back_as_it_was(text):
    assert released(neutral(text)) == text


# Files ----------------------------------------------------------------------------------------------------------------


def test_a_csv_holds_everybody_in_the_columns_that_were_asked_for(people):
    rows = lines(file_of(wanted=["email", "company", "attributes.plan", "consents.news", "stage"]))
    assert rows[0] == {
        "email": "anna@x.example", "company": "Acme", "attributes.plan": "'=1+1", "consents.news": "denied",
        "stage": "visitor",
    }  # fmt: skip
    assert [row["email"] for row in rows] == ["anna@x.example", "bob@x.example", "", ""]
    assert file_of(has_mark=True).startswith(b"\xef\xbb\xbf")


def test_a_workbook_says_the_same_as_the_csv(people):
    book = openpyxl.load_workbook(io.BytesIO(file_of("xlsx")), read_only=True)
    rows = [[cell or "" for cell in row] for row in book.active.iter_rows(values_only=True)]
    told = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    assert told == lines(file_of())
    kinds = {cell.data_type for row in openpyxl.load_workbook(io.BytesIO(file_of("xlsx"))).active for cell in row}
    assert "f" not in kinds


def test_ndjson_is_what_the_sync_takes(people):
    rows = [orjson.loads(line) for line in file_of("ndjson").splitlines()]
    assert rows[0]["attributes"]["plan"] == "=1+1" and rows[0]["company"] == {"name": "Acme", "domain": "acme.example"}
    assert {result["status"] for result in upsert(rows[:3], source="test", now=timezone.now())} == {"unchanged"}


@pytest.mark.parametrize("format", ["csv", "xlsx"])
def test_an_export_that_is_imported_again_changes_nothing(people, format):
    before = list(people.values())
    Incoming.objects.all().delete()
    content = file_of(format, people=people.exclude(first_name="Visitor"))
    one = new_import(f"again.{format}", ContentFile(content))
    one = run_import(one.pk, timezone.now())
    assert (one.problem, list(one.notes.values_list("line", "reasons"))) == ("", [])
    assert (one.created, one.updated, one.unchanged, one.rejected) == (0, 0, 3, 0)
    assert not Incoming.objects.exists()
    for was, row in zip(before, people.values(), strict=True):
        assert row | {"synced_at": None} == was | {"synced_at": None}


def test_whoever_was_erased_while_the_file_was_read_is_not_in_it(people):
    blocks = exporting.export(
        people, format="csv", wanted=["email"], by=None, door="admin", asked="", now=timezone.now()
    )
    Contact.objects.filter(email="bob@x.example").update(erased_at=timezone.now())
    assert b"bob@x.example" not in b"".join(blocks)


def test_what_was_taken_is_recorded_also_when_the_reader_goes_away(people):
    file_of(wanted=["email"])
    blocks = exporting.export(
        people, format="ndjson", wanted=["email"], by=None, door="rest", asked="q=x", now=timezone.now()
    )
    next(blocks)
    blocks.close()
    assert list(Export.objects.order_by("pk").values_list("door", "people", "is_complete", "asked")) == [
        ("admin", 4, True, ""), ("rest", 4, False, "q=x"),
    ]  # fmt: skip


@pytest.mark.parametrize(("format", "column"), [("pdf", "email"), ("csv", "password")])
def test_what_there_is_not_is_refused_with_its_name(db, format, column):
    with pytest.raises(ValueError, match="pdf|password"):
        file_of(format, [column])
    assert not Export.objects.exists()


# Pages ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def marek(db):
    ensure_roles()
    user = User.objects.create_user("marek", is_staff=True)
    user.groups.add(Group.objects.get(name="Marketer"))
    client = Client()
    client.force_login(user)
    return client


def test_the_list_leads_to_a_file_of_what_it_shows(people, marek):
    address = reverse("admin:contacts_export_people")
    assert address in marek.get(reverse("admin:contacts_contact_changelist")).content.decode()
    page = marek.get(f"{address}?q=anna").content.decode()
    assert "1 person" in page and 'value="attributes.plan" checked' in page
    answer = marek.post(f"{address}?q=anna", {"format": "csv", "column": ["email", "first_name"]})
    assert answer["Content-Disposition"].startswith("attachment") and "no-store" in answer["Cache-Control"]
    assert lines(answer.getvalue()) == [{"email": "anna@x.example", "first_name": "Anna"}]
    record = Export.objects.get()
    assert (record.made_by.username, record.people, record.asked, record.is_complete) == ("marek", 1, "q=anna", True)
    assert "marek" in marek.get(reverse("admin:contacts_export_changelist")).content.decode()
    refused = marek.post(address, {"format": "csv"})
    assert refused.status_code == 400 and "at least one column" in refused.content.decode()


def test_the_action_leads_to_the_chosen_people(people, marek):
    chosen = [str(pk) for pk in people.values_list("pk", flat=True)[:2]]
    asked = {"action": "export_selected", "_selected_action": chosen}
    page = marek.post(reverse("admin:contacts_contact_changelist"), asked)
    assert page.status_code == 302
    answer = marek.post(page["Location"], {"format": "csv", "column": ["email"]})
    assert [row["email"] for row in lines(answer.getvalue())] == ["anna@x.example", "bob@x.example"]


def test_taking_out_needs_a_right_of_its_own(people):
    reader = User.objects.create_user("reader", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_contact"))
    client = Client()
    client.force_login(reader)
    page = client.get(reverse("admin:contacts_contact_changelist")).content.decode()
    assert "Take out as a file" not in page and "export_selected" not in page
    assert client.get(reverse("admin:contacts_export_people")).status_code == 403
    assert client.post(reverse("admin:contacts_export_people"), {"format": "csv", "column": "email"}).status_code == 403
    assert not Export.objects.exists()


# REST -----------------------------------------------------------------------------------------------------------------


def bearer(user: User) -> dict[str, str]:
    _token, secret = tokens.issue(user=user, scopes=["read"], now=timezone.now())
    return {"Authorization": f"Bearer {secret}"}


def test_rest_answers_a_file_of_whom_the_filters_mean(people, client):
    boss = User.objects.create_superuser("lenka")
    asked = {"q": "anna", "columns": "email,attributes.seats", "format": "csv"}
    answer = client.get("/api/v1/contacts/export/", asked, headers=bearer(boss))
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/csv; charset=utf-8")
    assert lines(answer.getvalue()) == [{"email": "anna@x.example", "attributes.seats": "3.5"}]
    record = Export.objects.get()
    assert (record.made_by, record.door, record.people, record.is_complete) == (boss, "rest", 1, True)
    for format in ("xlsx", "ndjson"):
        answer = client.get(f"/api/v1/contacts/export/?format={format}", headers=bearer(boss))
        assert answer.status_code == 200 and len(answer.getvalue()) > 100
    accepted = {"Accept": "text/csv", **bearer(boss)}
    assert client.get("/api/v1/contacts/export/", headers=accepted).status_code == 200


@pytest.mark.parametrize(
    ("query", "word"), [("format=pdf", "format"), ("columns=password", "columns"), ("nonsense=1", "nonsense")]
)
def test_rest_refuses_what_there_is_not(people, client, query, word):
    boss = User.objects.create_superuser("lenka")
    answer = client.get(f"/api/v1/contacts/export/?{query}", headers=bearer(boss))
    assert answer.status_code == 400 and word in answer.content.decode()
    assert not Export.objects.exists()


def test_rest_gives_nothing_without_the_right_and_nobody_elses_people(people, client):
    petr = User.objects.get(username="petr")
    petr.user_permissions.add(Permission.objects.get(codename="work_lead"))
    assert client.get("/api/v1/contacts/export/", headers=bearer(petr)).status_code == 403
    petr.user_permissions.add(Permission.objects.get(codename="export_contact"))
    answer = client.get("/api/v1/contacts/export/?columns=email", headers=bearer(petr))
    assert [row["email"] for row in lines(answer.getvalue())] == ["anna@x.example"]
