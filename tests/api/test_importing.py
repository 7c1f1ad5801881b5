"""CSV files as people save them."""

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.utils import timezone

from contacts import importing
from contacts.consent import record_consent
from contacts.importing import run_import, run_waiting
from contacts.models import Consent, Contact, Field, Import, ImportNote, Incoming

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("topics")]


@pytest.fixture(autouse=True)
def files(monkeypatch, tmp_path):
    monkeypatch.setattr(settings, "MEDIA_ROOT", tmp_path)


def load(content: bytes, **more) -> Import:
    one = Import.objects.create(name="people.csv", file=ContentFile(content, name="people.csv"), **more)
    return run_import(one.pk, timezone.now())


def reasons(one: Import) -> list[tuple[int, str, str]]:
    """(row, field, message) of every note, in the order of the file."""
    return [
        (note.line, field, message)
        for note in ImportNote.objects.filter(batch=one).order_by("line", "pk")
        for field, message in note.reasons
    ]


def counts(one: Import):
    return one.created, one.updated, one.unchanged, one.rejected


PEOPLE = (
    "E-mail;Jméno;Příjmení;Země;Firma\nanna@x.example;Anna;Žlutá;Česká republika;Acme\nbob@x.example;Bob;Łęcki;PL;\n"
)


@pytest.mark.parametrize(
    "content",
    [
        PEOPLE.encode(),
        PEOPLE.encode("utf-8-sig"),
        PEOPLE.encode("cp1250"),
        PEOPLE.encode("utf-16"),
        PEOPLE.replace(";", ",").encode(),
        PEOPLE.replace(";", "\t").encode(),
        PEOPLE.replace("\n", "\r\n").encode(),
        PEOPLE.replace("\n", "\r").encode(),
        PEOPLE.rstrip().encode(),
        PEOPLE.replace("\n", "\n\n").encode(),
        PEOPLE.replace("Anna", '"Anna"').encode(),
        PEOPLE.replace("E-mail", " EMAIL ").encode(),
    ],
)  # fmt: skip
def test_a_file_is_read_however_it_was_saved(content):
    one = load(content)
    assert (one.state, one.problem, counts(one), reasons(one)) == ("finished", "", (2, 0, 0, 0), [])
    anna, bob = Contact.objects.order_by("email")
    assert (anna.first_name, anna.last_name, anna.country, anna.company.name) == ("Anna", "Žlutá", "CZ", "Acme")
    assert (bob.last_name, bob.country, bob.company) == ("Łęcki", "PL", None)


def test_the_same_file_again_imports_nobody():
    load(PEOPLE.encode())
    Incoming.objects.all().delete()
    assert counts(load(PEOPLE.encode())) == (0, 0, 2, 0)
    assert not Incoming.objects.exists()


def test_a_bad_row_is_reported_by_its_line_and_stops_nothing():
    lines = [
        "email,country",
        "a@x.example,CZ",
        "not an address,CZ",
        "b@x.example,Nowhere",
        ",CZ",
        "c@x.example,CZ,more",
    ]
    content = "\n".join([*lines, "d@x.example"]).encode()
    one = load(content)
    assert counts(one) == (2, 0, 0, 4)
    assert [(row, field) for row, field, _message in reasons(one)] == [
        (3, "email"), (4, "country"), (5, "email"), (6, ""),
    ]  # fmt: skip
    assert ImportNote.objects.filter(batch=one, is_refused=True).count() == 4


def test_an_empty_cell_clears_nothing():
    load(b"email,first_name\na@x.example,Ann\n")
    assert counts(load(b"email,first_name,last_name\na@x.example,,Bee\n")) == (0, 1, 0, 0)
    assert Contact.objects.get().first_name == "Ann"


def test_custom_fields_are_read_as_their_types_and_columns_may_be_named():
    Field.objects.create(key="seats", type="number")
    Field.objects.create(key="is_vip", type="boolean")
    Field.objects.create(key="renewal_on", type="date")
    content = "Adr;Seats;Is VIP;Renewal on;Shoe size\na@x.example;3,5;ano;28.3.2027;42\n"
    one = load(content.encode(), mapping={"Adr": "email", "Shoe size": ""})
    assert reasons(one) == []
    assert Contact.objects.get().attributes == {"seats": 3.5, "is_vip": True, "renewal_on": "2027-03-28"}
    wrong = load(b"email,seats\nb@x.example,many\n")
    assert reasons(wrong)[0][1] == "attributes.seats"


def test_an_import_never_raises_consent_and_says_so():
    load(b"email\na@x.example\n")
    person = Contact.objects.get()
    record_consent(contact=person, topic="news", channel="email", state="denied", source="link", now=timezone.now())
    one = load(b"email,consents.news\na@x.example,yes\n")
    assert Consent.objects.get().state == "denied"
    assert [(row, field) for row, field, _message in reasons(one)] == [(2, "consents.news")]
    assert one.noted == 1


def test_a_file_that_cannot_be_read_fails_with_a_sentence():
    for content, mapping in [(b"", {}), (b"email\n", {"colour": "email"}), (b"email\n", {"email": "nonsense"})]:
        one = load(content, mapping=mapping)
        assert one.state == "failed"
        assert one.problem


def test_what_waits_is_found_and_run():
    Import.objects.create(name="people.csv", file=ContentFile(PEOPLE.encode(), name="people.csv"))
    assert run_waiting(timezone.now()) == 1
    assert run_waiting(timezone.now()) == 0
    assert Import.objects.get().state == "finished"


def test_the_command_counts_and_a_dry_run_changes_nothing(tmp_path, capsys):
    path = tmp_path / "list.csv"
    path.write_text(PEOPLE)
    call_command("import_contacts", str(path), "--dry-run")
    assert not Contact.objects.exists()
    assert "Would be: 2 rows, 2 created" in capsys.readouterr().out
    call_command("import_contacts", str(path), "--map", "Firma=job_title")
    assert Contact.objects.get(email="anna@x.example").job_title == "Acme"
    for arguments in (["nowhere.csv"], [str(path), "--map", "nonsense"], [str(path), "--map", "Colour=email"]):
        with pytest.raises(CommandError):
            call_command("import_contacts", *arguments)


def test_a_bad_file_stops_nobody_elses_import():
    names = {
        "header": b"email," + b"x" * 140_000 + b"\na@x.example,1\n",
        "nul": b"email,first\0name\na@x.example,1\n",
        "good": b"email\ngood@x.example\n",
    }
    made = {
        name: Import.objects.create(name=name, file=ContentFile(content, name=f"{name}.csv"))
        for name, content in names.items()
    }
    assert run_waiting(timezone.now()) == 3
    for one in made.values():
        one.refresh_from_db()
    assert {name: one.state for name, one in made.items()} == {
        "header": "failed", "nul": "failed", "good": "finished",
    }  # fmt: skip
    assert made["header"].problem and "NUL" in made["nul"].problem


def test_a_failure_nobody_thought_of_fails_one_import_only(monkeypatch):
    first = Import.objects.create(name="one", file=ContentFile(b"email\na@x.example\n", name="one.csv"))
    second = Import.objects.create(name="two", file=ContentFile(b"email\nb@x.example\n", name="two.csv"))
    read = importing.open_table

    def breaks_once(*args, **more):
        monkeypatch.setattr(importing, "open_table", read)
        raise KeyError("x")

    monkeypatch.setattr(importing, "open_table", breaks_once)
    assert run_waiting(timezone.now()) == 2
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, second.state) == ("failed", "finished")
    assert "KeyError" in first.problem


def test_a_cell_too_long_or_with_a_nul_is_an_error_of_its_row():
    one = load(
        b"email,plan,id\na@x.example,basic,\nb@x.example,ba\0sic,\nc@x.example," + b"y" * 140_000
        + b",\nd@x.example,basic,\n,," + b"9" * 5000 + b"\n"
    )  # fmt: skip
    assert one.state == "finished"
    assert counts(one) == (2, 0, 0, 3)
    assert {row for row, _field, _message in reasons(one)} == {3, 4, 6}


def test_a_number_of_any_size_in_a_file_is_stored():
    Field.objects.create(key="n", type="number")
    one = load(b"email,n\na@x.example,100000000000000000001\n")
    assert counts(one) == (1, 0, 0, 0)
    assert Contact.objects.get().attributes["n"] == 100000000000000000001
