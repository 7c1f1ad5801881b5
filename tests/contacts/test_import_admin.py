"""The import wizard: every step by its form, without script."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from contacts.importing import run_waiting
from contacts.models import Consent, Contact, Field, Import, Segment
from contacts.syncing import upsert
from journey_crm.roles import ensure_roles

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("topics")]

CONTENT = "E-mail;Jméno;Počet míst;consents.news\nann@x.example;Žaneta;3,5;ano\nbad;X;1;\n"


def url(name: str, *args) -> str:
    return reverse(f"admin:contacts_import_{name}", args=args)


@pytest.fixture
def marek():
    ensure_roles()
    user = User.objects.create_user("marek", is_staff=True)
    user.groups.add(Group.objects.get(name="Marketer"))
    client = Client()
    client.force_login(user)
    return client


def upload(client: Client, content: bytes = CONTENT.encode("cp1250"), name: str = "people.csv"):
    return client.post(url("add"), {"file": SimpleUploadedFile(name, content)})


def columns(**more) -> dict[str, str]:
    return {
        "do": "save", "mode": "all", "0-target": "email", "1-target": "first_name", "2-target": "+",
        "2-name": "Počet míst", "2-type": "number", "3-target": "consents.news", **more,
    }  # fmt: skip


def text(answer) -> str:
    return answer.content.decode()


def test_a_file_goes_through_all_steps(marek):
    assert "No file was imported yet" in text(marek.get(url("changelist")))
    assert marek.get(url("sample"))["Content-Disposition"].startswith("attachment")
    answer = upload(marek)
    one = Import.objects.get()
    assert (answer["Location"], one.state, one.encoding) == (url("columns", one.pk), "draft", "cp1250")
    page = text(marek.get(answer["Location"]))
    assert "Žaneta" in page and 'value="number" selected' in page and "May raise" not in page
    answer = marek.post(url("columns", one.pk), columns())
    assert answer["Location"] == url("change", one.pk)
    assert Field.objects.get().key == "pocet_mist" and Field.objects.get().type == "number"
    page = text(marek.get(url("change", one.pk)))
    assert "Dry run of the first 2 rows" in page and "not an e-mail address" in page
    assert not Contact.objects.exists()
    marek.post(url("act", one.pk), {"do": "start"})
    assert 'data-poll="?part=progress"' in text(marek.get(url("change", one.pk)))
    run_waiting(timezone.now())
    page = text(marek.get(url("change", one.pk)))
    assert "finished" in page and "not an e-mail address" in page and "Consent is not raised" in page
    assert "<html" not in text(marek.get(url("change", one.pk) + "?part=progress"))
    report = b"".join(marek.get(url("report", one.pk)).streaming_content).decode()
    assert report.splitlines()[2].startswith("bad,X,1,,3,refused,")
    assert Contact.objects.get().attributes == {"pocet_mist": 3.5} and not Consent.objects.exists()
    assert "1</strong> <span>go," in text(marek.get(url("undo", one.pk)))
    marek.post(url("act", one.pk), {"do": "undo"})
    run_waiting(timezone.now())
    assert not Contact.objects.exists() and "undone" in text(marek.get(url("change", one.pk)))
    said = LogEntry.objects.order_by("pk").values_list("change_message", flat=True)
    assert [message for message in said if message in ("start", "undo")] == ["start", "undo"]


def test_the_columns_of_the_last_such_file_are_remembered_and_another_encoding_is_read_again(marek):
    upload(marek)
    first = Import.objects.get()
    marek.post(url("columns", first.pk), columns(**{"1-target": "last_name"}))
    upload(marek)
    second = Import.objects.latest("pk")
    assert second.mapping["Jméno"] == "last_name"
    marek.post(url("columns", second.pk), {"do": "read", "encoding": "cp1252", "separator": ";"})
    second.refresh_from_db()
    assert (second.encoding, second.headers[2]) == ("cp1252", "Poèet míst")


def test_a_first_line_of_data_is_said_and_may_be_taken_as_such(marek):
    upload(marek, b"ann@x.example,Ann,03/04/2027\n")
    one = Import.objects.get()
    page = text(marek.get(url("columns", one.pk)))
    assert "seems to be data" in page
    told = {"do": "read", "encoding": "utf-8", "separator": ",", "first_line_is_data": "1"}
    marek.post(url("columns", one.pk), told)
    one.refresh_from_db()
    assert (one.header_line, one.mapping["Column 1"]) == (0, "email")
    page = text(marek.get(url("columns", one.pk)))
    assert "seems to be data" not in page and "The values do not tell" in page
    Field.objects.create(key="since", type="date")
    chosen = {"do": "save", "mode": "all", "0-target": "email", "1-target": "first_name"}
    marek.post(url("columns", one.pk), {**chosen, "2-target": "attributes.since", "2-reading": "mdy"})
    marek.post(url("act", one.pk), {"do": "start"})
    run_waiting(timezone.now())
    assert Contact.objects.get().attributes == {"since": "2027-03-04"}


def test_what_is_wrong_is_said_beside_its_field(marek):
    assert "ends in .csv" in text(upload(marek, b"x", "people.exe"))
    assert "web page or XML" in text(upload(marek, b"<svg onload=alert(1)>", "people.csv"))
    assert not Import.objects.exists()
    upload(marek)
    one = Import.objects.get()
    page = text(marek.post(url("columns", one.pk), columns(**{"1-target": "email", "constant": "source"})))
    assert "Say which value." in page
    page = text(marek.post(url("columns", one.pk), columns(**{"1-target": "email"})))
    assert "Another column fills this already." in page
    assert "A new field needs a name." in text(marek.post(url("columns", one.pk), columns(**{"2-name": "…"})))


def test_options_put_people_into_a_segment_and_write_a_value_into_every_row(marek):
    fair = Segment.objects.create(key="fair", name="Fair")
    upload(marek)
    one = Import.objects.get()
    marek.post(url("columns", one.pk), columns(segment=fair.pk, constant="source", constant_value="fair-2026"))
    marek.post(url("act", one.pk), {"do": "start"})
    run_waiting(timezone.now())
    assert Import.objects.get().problem == ""
    assert Contact.objects.get().source == "fair-2026" and fair.overrides.count() == 1


def test_consent_is_raised_only_by_right_and_for_a_reason_that_is_kept(marek, now):
    upsert([{"email": "ann@x.example", "consents": {"news": "denied"}}], source="test", now=now)
    upload(marek)
    one = Import.objects.get()
    marek.post(url("columns", one.pk), columns(may_raise_consent="on", raise_reason="They signed it at the fair"))
    one.refresh_from_db()
    assert not one.may_raise_consent, "a marketer may not"
    boss = Client()
    boss.force_login(User.objects.create_superuser("lenka"))
    assert "Say in a few words" in text(boss.post(url("columns", one.pk), columns(may_raise_consent="on")))
    boss.post(url("columns", one.pk), columns(may_raise_consent="on", raise_reason="They signed it at the fair"))
    assert marek.post(url("act", one.pk), {"do": "start"}).status_code == 403
    boss.post(url("act", one.pk), {"do": "start"})
    run_waiting(timezone.now())
    assert Consent.objects.get().state == "granted"
    change = Contact.objects.get().consent_changes.latest("pk")
    assert (change.actor, change.source) == ("lenka", f"import:{one.pk}")
    assert "They signed it at the fair" in LogEntry.objects.filter(user__username="lenka").earliest("pk").change_message


def test_who_may_not_change_people_starts_no_import_and_undoes_none(marek):
    upload(marek)
    one = Import.objects.get()
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(*Permission.objects.filter(codename__in=["view_import", "add_import"]))
    client = Client()
    client.force_login(viewer)
    assert client.get(url("change", one.pk)).status_code == 200
    assert client.get(url("add")).status_code == 403 and upload(client).status_code == 403
    for what in ("start", "check", "undo", "cancel"):
        assert client.post(url("act", one.pk), {"do": what}).status_code == 403
    assert client.get(url("file", one.pk)).status_code == 403
    assert marek.get(url("act", one.pk)).status_code == 405
    assert marek.post(url("act", one.pk), {"do": "nonsense"}).status_code == 404


def test_the_file_itself_is_only_ever_saved(marek):
    upload(marek, b"email\n<script>alert(1)</script>\n")
    one = Import.objects.get()
    answer = marek.get(url("file", one.pk))
    assert answer["Content-Type"] == "application/octet-stream" and "attachment" in answer["Content-Disposition"]
    assert answer["X-Content-Type-Options"] == "nosniff"


def test_deleting_an_import_takes_its_file_and_leaves_its_people(marek):
    upload(marek)
    one = Import.objects.get()
    marek.post(url("act", one.pk), {"do": "start"})
    assert marek.post(url("delete", one.pk), {"post": "yes"}).status_code == 403, "while it runs"
    run_waiting(timezone.now())
    storage, path = one.file.storage, one.file.name
    assert marek.post(url("delete", one.pk), {"post": "yes"}).status_code == 302
    assert not Import.objects.exists() and not storage.exists(path) and Contact.objects.count() == 1
