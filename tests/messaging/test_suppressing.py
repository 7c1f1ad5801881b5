"""The list of suppressed addresses: search, by hand, by file; each change keeps its why."""

import csv
import io
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from openpyxl import Workbook

from journey_crm.roles import ensure_roles
from messaging import suppressing
from messaging.models import Suppression, SuppressionChange

pytestmark = pytest.mark.django_db
LIST = "/admin/messaging/suppression/"


@pytest.fixture
def people():
    """An administrator and a marketer, logged in."""
    ensure_roles()
    User.objects.create_superuser("boss")
    marek = User.objects.create_user("marek", is_staff=True)
    marek.groups.add(Group.objects.get(name="Marketer"))
    clients = {name: Client() for name in ("boss", "marek")}
    for name, client in clients.items():
        client.force_login(User.objects.get(username=name))
    return clients


def page(row) -> str:
    return reverse("admin:messaging_suppression_change", args=[row.pk])


def test_the_list_is_searched_and_filtered_and_says_why_since_when_and_because_of_what(people, make_message, now):
    message = make_message()
    Suppression.objects.create(address="gone@example.com", reason="bounced", detail="5.1.1 <b>x", message_id=message.pk)
    Suppression.objects.create(address="angry@example.com", reason="complained")
    html = people["marek"].get(LIST, {"q": "gone"}).content.decode()
    assert "gone@example.com" in html and "angry@example.com" not in html
    assert "5.1.1 &lt;b&gt;x" in html and reverse("admin:messaging_message_change", args=[message.pk]) in html
    html = people["marek"].get(LIST, {"reason": "complained"}).content.decode()
    assert "angry@example.com" in html and "gone@example.com" not in html


def test_an_address_comes_on_and_off_by_hand_and_both_are_kept(people):
    marek = people["marek"]
    marek.post(f"{LIST}add/", {"address": "Ann@Example.com", "reason": "manual", "detail": "asked by phone"})
    row = Suppression.objects.get()
    assert marek.post(page(row), {"why": " "}).status_code == 400
    assert Suppression.objects.exists()
    assert marek.post(page(row), {"why": "asked again"}).status_code == 302
    assert not Suppression.objects.exists()
    found = SuppressionChange.objects.order_by("pk").values_list(
        "action", "address", "reason", "why", "changed_by__username"
    )
    assert list(found) == [
        ("added", "ann@example.com", "manual", "asked by phone", "marek"),
        ("removed", "ann@example.com", "manual", "asked again", "marek"),
    ]
    marek.post(f"{LIST}add/", {"address": "ann@example.com", "reason": "manual", "detail": "third time"})
    html = marek.get(page(Suppression.objects.get())).content.decode()
    assert all(words in html for words in ("asked by phone", "asked again", "third time"))


def test_a_complaint_is_lifted_by_who_may_and_is_sure_alone(people, now):
    row = Suppression.objects.create(address="ann@example.com", reason="complained", suppressed_at=now)
    assert people["marek"].post(page(row), {"why": "she is nice", "is_sure": "1"}).status_code == 400
    assert "Only an administrator" in people["marek"].get(page(row)).content.decode()
    assert people["boss"].post(page(row), {"why": "she wrote to us"}).status_code == 400
    assert Suppression.objects.exists()
    assert people["boss"].post(page(row), {"why": "she wrote to us", "is_sure": "1"}).status_code == 302
    change = SuppressionChange.objects.get()
    assert (change.action, change.reason, change.since, change.changed_by.username) == (
        "removed", "complained", now, "boss",
    )  # fmt: skip


def test_what_became_a_complaint_while_somebody_looked_is_one(now):
    row = Suppression.objects.create(address="ann@example.com", reason="bounced", suppressed_at=now)
    Suppression.objects.update(reason="complained")
    with pytest.raises(suppressing.NotLifted):
        suppressing.remove(suppression=row, why="it works again", by=None, may_lift=False, is_sure=False, now=now)


def test_the_list_has_no_button_that_deletes_without_asking_why(people):
    row = Suppression.objects.create(address="ann@example.com", reason="manual")
    assert (
        people["boss"].post(reverse("admin:messaging_suppression_delete", args=[row.pk]), {"post": "yes"}).status_code
        == 403
    )
    people["boss"].post(LIST, {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"})
    assert Suppression.objects.exists()


FILE = """E-mail;Reason;Detail
Gone@Example.com;bounced;550 no
ann@bücher.example;;
no address;;
eva@example.com;because;
gone@example.com ;manual;twice
there@example.com;manual;
erased@example.com;erased;
"""


def test_a_file_adds_in_one_statement_and_says_what_became_of_each_row(now, django_assert_num_queries):
    Suppression.objects.create(address="there@example.com", reason="complained")
    with django_assert_num_queries(1):
        outcomes = suppressing.bring(io.BytesIO(FILE.encode()), why="old system", by=None, now=now)
    assert [(one.line, one.address, one.result) for one in outcomes] == [
        (2, "gone@example.com", "added"),
        (3, "ann@xn--bcher-kva.example", "added"),
        (4, "no address", "refused"),
        (5, "eva@example.com", "refused"),
        (6, "gone@example.com", "there"),
        (7, "there@example.com", "there"),
        (8, "erased@example.com", "refused"),
    ]
    assert "not “because”" in outcomes[3].sentence
    assert set(Suppression.objects.values_list("address", "reason")) == {
        ("gone@example.com", "bounced"), ("ann@xn--bcher-kva.example", "manual"), ("there@example.com", "complained"),
    }  # fmt: skip
    assert set(SuppressionChange.objects.values_list("action", "why")) == {("added", "old system")}
    assert SuppressionChange.objects.count() == 2


def test_a_bare_list_and_a_workbook_are_read_too(now):
    bare = suppressing.bring(io.BytesIO(b"a@example.com\nb@example.com\n"), why="", by=None, now=now)
    assert [(one.line, one.result) for one in bare] == [(1, "added"), (2, "added")]
    book, file = Workbook(), io.BytesIO()
    for cells in (["address", "reason"], ["c@example.com", "bounced"]):
        book.active.append(cells)
    book.save(file)
    file.seek(0)
    assert [one.result for one in suppressing.bring(file, why="", by=None, now=now)] == ["added"]


def test_a_file_without_addresses_is_refused_as_a_whole(now):
    for text in ("name,town\nAnn,Brno\n", "", "%PDF-1.7"):
        with pytest.raises(suppressing.Unreadable):
            suppressing.bring(io.BytesIO(text.encode()), why="", by=None, now=now)


def test_what_is_exported_can_be_brought_in_elsewhere_and_runs_in_no_spreadsheet(people, now):
    Suppression.objects.create(address="ann@example.com", reason="complained", suppressed_at=now)
    before = now - timedelta(1)
    Suppression.objects.create(address="=cmd@example.com", reason="bounced", detail="=1+1", suppressed_at=before)
    answer = people["marek"].get(f"{LIST}export/")
    text = b"".join(answer.streaming_content).decode()
    assert list(csv.reader(io.StringIO(text))) == [
        ["address", "reason", "since", "detail"],
        ["ann@example.com", "complained", now.isoformat(), ""],
        ["'=cmd@example.com", "bounced", before.isoformat(), "'=1+1"],
    ]
    Suppression.objects.all().delete()
    file = SimpleUploadedFile("suppressed.csv", text.encode())
    html = people["marek"].post(f"{LIST}import/", {"file": file, "why": "moved"}).content.decode()
    assert "What became of the rows" in html
    assert set(Suppression.objects.values_list("address", "reason", "detail")) == {
        ("ann@example.com", "complained", ""), ("=cmd@example.com", "bounced", "=1+1"),
    }  # fmt: skip


def test_an_import_says_why_and_what_was_refused(people):
    html = people["marek"].post(f"{LIST}import/", {"why": ""}).content.decode()
    assert html.count("This field is required.") == 2
    file = SimpleUploadedFile("x.csv", b"email\n<script>alert(1)</script>\n")
    html = people["marek"].post(f"{LIST}import/", {"file": file, "why": "x"}).content.decode()
    assert "&lt;script&gt;alert(1)" in html and "<script>alert(1)" not in html
