"""The files that people really have (R-10): right values or errors by row, never a stopped import; and hostile ones."""

import io
import zipfile
from datetime import date, datetime

import openpyxl
import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.utils import timezone

from contacts import sheets
from contacts.csvfiles import Unreadable, guess_encoding
from contacts.importing import new_import, refused_rows, run_import
from contacts.models import Contact, Field, Import

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("topics")]

PEOPLE = "E-mail;Jméno;Příjmení;Země\nanna@x.example;Anna;Žlutá;Česká republika\nbob@x.example;Řehoř;Šťastný;PL\n"
POLISH = "E-mail;Imię;Nazwisko\nola@x.example;Małgorzata;Wiśniewska\njan@x.example;Łukasz;Źdźbło-Żak\n"
WESTERN = "E-mail;First name;Last name\nzoe@x.example;Zoë;Lefèvre\nanne@x.example;Anaïs;Forêt à côté\n"


def load(content: bytes, name: str = "people.csv", **more) -> Import:
    one = new_import(name, ContentFile(content), **more)
    return run_import(one.pk, timezone.now())


def people() -> dict[str, str]:
    return {one.email.split("@")[0]: f"{one.first_name} {one.last_name}" for one in Contact.objects.all()}


def notes(one: Import) -> list[tuple[int, str]]:
    return [(note.line, field) for note in one.notes.order_by("line") for field, _message in note.reasons]


CZECH = {"anna": "Anna Žlutá", "bob": "Řehoř Šťastný"}
POLES = {"ola": "Małgorzata Wiśniewska", "jan": "Łukasz Źdźbło-Żak"}
FRENCH = {"zoe": "Zoë Lefèvre", "anne": "Anaïs Forêt à côté"}


@pytest.mark.parametrize(
    ("content", "encoding", "expected"),
    [
        (PEOPLE.encode(), "utf-8", CZECH),
        (PEOPLE.encode("utf-8-sig"), "utf-8", CZECH),
        (PEOPLE.encode("utf-16"), "utf-16", CZECH),
        (PEOPLE.encode("utf-16-le"), "utf-16-le", CZECH),
        (PEOPLE.encode("utf-16-be"), "utf-16-be", CZECH),
        (PEOPLE.encode("cp1250"), "cp1250", CZECH),
        (PEOPLE.encode("iso8859-2"), "iso8859-2", CZECH),
        (PEOPLE.replace("\n", "\r").encode("mac_latin2"), "mac_latin2", CZECH),
        (POLISH.encode("cp1250"), "cp1250", POLES),
        (POLISH.encode("iso8859-2"), "iso8859-2", POLES),
        (WESTERN.encode("cp1252"), "cp1252", FRENCH),
        (WESTERN.replace("\n", "\r").encode("mac_roman"), "mac_roman", FRENCH),
    ],
)
def test_the_encoding_is_known_by_what_reads_as_words(content, encoding, expected):
    one = load(content)
    assert (one.encoding, one.state, notes(one)) == (encoding, "finished", [])
    assert people() == expected


def test_a_wrong_guess_may_be_put_right():
    assert guess_encoding(io.BytesIO("E-mail;Name\na@x.example;Muñoz\n".encode("cp1252"))) == "cp1250"
    load("E-mail;Last name\na@x.example;Muñoz\n".encode("cp1252"), encoding="cp1252")
    assert people() == {"a": " Muñoz"}


# name → content, what became of its rows (created, updated, unchanged, rejected), notes by row.
MATRIX = {
    "byte order mark and quotes": (
        b'\xef\xbb\xbf"email","first_name"\r\n"a@x.example","A ""B"" C"\r\n', (1, 0, 0, 0), []),
    "Mac line ends": (b"email,first_name\ra@x.example,A\rb@x.example,B\r", (2, 0, 0, 0), []),
    "mixed line ends": (b"email,first_name\r\na@x.example,A\nb@x.example,B\rc@x.example,C", (3, 0, 0, 0), []),
    "ragged rows": (b"email,first_name\na@x.example\nb@x.example,B,more\nc@x.example,C,,,\n", (2, 0, 0, 1), [(3, "")]),
    "empty lines and blanks": (b"\n\nemail,first_name\n\n  ,  \na@x.example,A\n,,\n\n", (1, 0, 0, 0), []),
    "a header twice, one empty": (b"email,first_name,first_name,\na@x.example,A,Z,x\n", (1, 0, 0, 0), []),
    "a quote that is never closed": (
        b'email,first_name\na@x.example,"A\nb@x.example,B\nc@x.example,C\n', (2, 0, 0, 1), [(2, "")]),
    "a cell of many lines": (b'email,salutation\na@x.example,"Dear\nA,\nhello"\nb@x.example,B\n', (2, 0, 0, 0), []),
    "a line that says the separator": (b"sep=#\r\nemail#first_name\r\na@x.example#A,B;C\r\n", (1, 0, 0, 0), []),
    "some broken bytes in UTF-8": (
        b"email;last_name\n" + b"".join(f"p{n}@x.example;Žlutý\n".encode() for n in range(60))
        + b"z@x.example;\xe8\n", (60, 0, 0, 1), [(62, "")]),
    "commas inside, semicolons between": (
        b"email;last_name\na@x.example;A, B, C\nb@x.example;D, E\n", (2, 0, 0, 0), []),
    "one column": (b"email\na@x.example\nnonsense\n", (1, 0, 0, 1), [(3, "email")]),
}  # fmt: skip


@pytest.mark.parametrize("name", MATRIX)
def test_a_file_gives_right_values_or_errors_by_row_and_never_stops(name):
    content, counts, found = MATRIX[name]
    one = load(content)
    assert (one.state, one.problem) == ("finished", "")
    assert ((one.created, one.updated, one.unchanged, one.rejected), notes(one)) == (counts, found)
    again = load(content)
    assert (again.created, again.updated) == (0, 0)
    if name == "byte order mark and quotes":
        assert people() == {"a": 'A "B" C '}
    if name == "some broken bytes in UTF-8":
        assert people()["p0"] == " Žlutý"


def test_rows_that_were_refused_come_back_as_a_file_to_mend():
    content = 'email;country;note\na@x.example;CZ;ok\nbad;CZ;"=cmd|x"\nb@x.example;Nowhere;two\nlines;;;;x\n'
    one = load(content.encode())
    assert (one.created, one.rejected) == (1, 3)
    report = "".join(refused_rows(one))
    assert report.splitlines()[1].startswith("bad,CZ,'=cmd|x,3,refused,")
    mended = report.replace("bad,", "c@x.example,").replace("Nowhere", "PL")
    two = load(mended.encode())
    assert (two.created, two.rejected) == (2, 1)
    assert Contact.objects.get(email="c@x.example").attributes == {"note": "=cmd|x"}


# Guesses --------------------------------------------------------------------------------------------------------------


def test_an_open_quotation_mark_swallows_nobody():
    content = b'email,first_name\nm1@x.example,"open quote\nm2@x.example,B\nm3@x.example,"a ""q"" b"\nm4@x.example,D\n'
    one = load(content)
    assert (one.created, one.rejected, notes(one)) == (3, 1, [(2, "")])
    assert people() == {"m2": "B ", "m3": 'a "q" b ', "m4": "D "}
    dry = new_import("people.csv", ContentFile(content))
    assert run_import(dry.pk, timezone.now(), is_dry=True).checked["rejected"] == 1
    some = load(b'email,note,size\na@x.example,"Hello\nb@x.example,B,M\nbye",L\nc@x.example,,S\n')
    assert (some.created, some.rejected, notes(some)) == (1, 1, [(4, "")])


def test_a_duplicate_is_named_by_its_line():
    one = load(b"email,user_id\na@x.example,1\nb@x.example,2\na@x.example,3\n")
    assert one.notes.get().reasons[0][1] == "Row 2 says the same of another person."


def test_numbers_are_read_as_their_column_writes_them():
    for key in ("a", "b", "c"):
        Field.objects.create(key=key, type="number")
    one = load(b'email,a,b,c\nx@x.example,"1,234","1.234","1,234"\ny@x.example,"1,234.50","3,5",7\n')
    assert Contact.objects.get(email="x@x.example").attributes == {"a": 1234, "b": 1234, "c": 1234}
    assert {header: told["is_sure"] for header, told in one.readings.items()} == {"a": True, "b": True, "c": False}
    load(b"email;a;b\nz@x.example;1.234;1,234\n")
    assert Contact.objects.get(email="z@x.example").attributes == {"a": 1234, "b": 1.234}


def test_days_are_read_as_their_column_writes_them():
    for key in ("a", "b"):
        Field.objects.create(key=key, type="date")
    one = load(b"email,a,b\nx@x.example,03/04/2027,03/04/2027\ny@x.example,12/31/2026,05/06/2026\n")
    assert Contact.objects.get(email="x@x.example").attributes == {"a": "2027-03-04", "b": "2027-04-03"}
    assert one.readings == {"a": {"as": "mdy", "is_sure": True}, "b": {"as": "dmy", "is_sure": False}}


def test_kraj_is_a_country_only_where_it_holds_countries():
    load("email;Kraj\na@x.example;Jihomoravský kraj\n".encode())
    load(b"email;Kraj\nb@x.example;Polska\n")
    assert dict(Contact.objects.values_list("email", "country")) == {"a@x.example": "", "b@x.example": "PL"}


def test_one_broken_sequence_leaves_a_small_file_in_utf_8():
    one = load(b"email,first_name\na@x.example," + "Žlutá Řehoř".encode() + b"\nb@x.example,P\xe1l\n")
    assert (one.encoding, one.created, notes(one)) == ("utf-8", 1, [(3, "")])


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_title_above_the_names_of_the_columns_is_passed_over(separator):
    content = "People of 2026\n\nemail,first_name\nt@x.example,T\n".replace(",", separator)
    one = load(content.encode())
    assert (one.header_line, one.created, people()) == (3, 1, {"t": "T "})


def test_a_title_above_a_sheet_is_passed_over():
    one = load(workbook(["People of 2026"], [], ["email", "first_name"], ["t@x.example", "T"]))
    assert (one.header_line, one.created, people()) == (3, 1, {"t": "T "})


def test_a_file_without_names_of_columns_is_taken_as_data_if_told(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("a@x.example,Anna\nb@x.example,Bob\n")
    with pytest.raises(CommandError, match="header-line 0"):
        call_command("import_contacts", str(path))
    assert not Import.objects.exists()
    call_command("import_contacts", str(path), "--header-line", "0", "--map", "Column 2=first_name")
    assert people() == {"a": "Anna ", "b": "Bob "}


# Workbooks ------------------------------------------------------------------------------------------------------------


def workbook(*rows, title="People") -> bytes:
    book = openpyxl.Workbook()
    book.active.title = title
    for row in rows:
        book.active.append(row)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def test_a_workbook_is_read_with_its_dates_numbers_and_errors():
    for key, type_ in {"seats": "number", "is_vip": "boolean", "since": "date", "met_at": "datetime"}.items():
        Field.objects.create(key=key, type=type_)
    one = load(
        workbook(
            ["E-mail", "Telefon", "Seats", "Is VIP", "Since", "Met at", "Code"],
            ["a@x.example", 420777123456, 3.5, True, date(2027, 3, 28), datetime(2027, 3, 28, 14, 5), 7],
            [None, None, None, None, None, None, None],
            ["b@x.example", None, "#N/A", None, None, None, None],
            ["c@x.example", "+420 777 123 457", -2, False, "1.2.2027", None, "007"],
        ),
        name="people.xlsx",
    )
    assert (one.state, one.problem, one.created, one.rejected) == ("finished", "", 2, 1)
    assert notes(one) == [(4, "")]
    anna, cyril = Contact.objects.order_by("email")
    assert anna.attributes == {
        "seats": 3.5, "is_vip": True, "since": "2027-03-28", "met_at": "2027-03-28T12:05:00+00:00", "code": "7",
    }  # fmt: skip
    assert cyril.attributes == {"seats": -2, "is_vip": False, "since": "2027-02-01", "code": "007"}
    assert cyril.phone == "+420777123457"


def test_another_sheet_may_be_chosen_and_an_unknown_one_is_refused():
    book = openpyxl.Workbook()
    book.active.append(["nothing"])
    book.create_sheet("Lidé").append(["email"])
    book["Lidé"].append(["a@x.example"])
    content = io.BytesIO()
    book.save(content)
    assert load(content.getvalue(), name="x.xlsx", sheet="Lidé").created == 1
    with pytest.raises(Unreadable, match="Nowhere"):
        new_import("x.xlsx", ContentFile(content.getvalue()), sheet="Nowhere")


def zipped(parts: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return content.getvalue()


def unzipped(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


GOOD = unzipped(workbook(["email"], ["a@x.example"]))
SHEET = "xl/worksheets/sheet1.xml"


@pytest.mark.parametrize(
    "content",
    [
        b"%PDF-1.7 ...", b"\x89PNG\r\n\x1a\n", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), b"\x1f\x8b\x08\x00",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"\xef\xbb\xbf <!DOCTYPE html><table></table>", b"<?xml version='1.0'?><a/>",
        b"", b"\n\n", b"PK\x03\x04 broken",
        zipped({"../../etc/passwd": b"x"}),
        zipped({**GOOD, SHEET: b'<!DOCTYPE a [<!ENTITY b "c">]>' + GOOD[SHEET]}),
        zipped({**GOOD, SHEET: GOOD[SHEET].decode().encode("utf-16")}),
        zipped({**GOOD, SHEET: GOOD[SHEET].replace(b"</sheetData>", b" " * (40 << 20) + b"</sheetData>")}),
        ",".join(str(number) for number in range(600)).encode(),
    ],
    # A ZIP holds the moment it was made, which would give each run other names.
    ids=[
        "pdf", "png", "old excel", "gzip", "svg", "html", "xml", "empty", "blank lines", "broken zip", "zip slip",
        "entities", "utf-16 sheet", "zip bomb", "too many columns",
    ],
)  # fmt: skip
def test_what_is_no_table_is_refused_with_a_sentence_and_leaves_nothing(content):
    with pytest.raises(Unreadable, match=r"\w+ \w+"):
        new_import("people.csv", ContentFile(content))
    assert not Import.objects.exists()


def test_a_workbook_with_a_part_that_leads_elsewhere_is_read_and_writes_nowhere(tmp_path):
    one = load(zipped({**GOOD, "../../../outside.txt": b"x", "/etc/absolute": b"x"}), name="../../x.xlsx")
    assert (one.name, one.created) == ("x.xlsx", 1)
    assert not list(tmp_path.rglob("outside.txt"))


def test_the_rows_and_parts_of_a_workbook_are_limited(monkeypatch):
    content = workbook(["email"], *[[f"p{number}@x.example"] for number in range(20)])
    monkeypatch.setattr(sheets, "_MOST_ROWS", 10)
    one = load(content)
    assert one.state == "failed" and "10 rows" in one.problem
    monkeypatch.setattr(sheets, "_LARGEST", 100)
    with pytest.raises(Unreadable, match="too large"):
        new_import("x.xlsx", ContentFile(content))


def test_a_file_lies_under_a_name_of_our_own():
    one = new_import("../../evil\n<b>.csv", ContentFile(b"email\na@x.example\n"))
    assert ".." not in one.file.name and one.file.name.startswith("imports/") and one.file.name.endswith(".csv")
