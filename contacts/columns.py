"""What the columns of a file fill: guessed from their headers, chosen by people, compiled once for all rows.

A target is the name of a field (`email`), `name` (first and last in one), `company.domain`, `attributes.KEY`,
`consents.TOPIC` (e-mail) or `consents.CHANNEL/TOPIC`; an empty one leaves the column out. An empty cell says nothing:
it does not clear.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson
from django.utils.translation import gettext as _

from contacts.csvfiles import Unreadable, released
from contacts.headings import is_address
from contacts.models import Consent, Field
from contacts.readings import Reading, day, moment, number
from contacts.records import READ_ONLY, WRITABLE

_YES, _NO = {"1", "yes", "y", "true", "ano", "a", "tak", "t", "x"}, {"0", "no", "n", "false", "ne", "nie"}

# What a column may be called, without accents and in small letters → what it fills.
_HEADERS = {
    "email": "email e_mail mail email_address e_mail_address emailova_adresa adresa_e_mail adres_e_mail adres_email",
    "user_id": "user_id userid customer_id customer_number id_zakaznika zakaznik_id cislo_zakaznika id_klienta",
    "first_name": "first_name firstname given_name forename jmeno krestni_jmeno imie",
    "last_name": "last_name lastname surname family_name prijmeni nazwisko",
    "name": "name full_name fullname cele_jmeno jmeno_a_prijmeni imie_i_nazwisko",
    "phone": "phone phone_number telephone mobile telefon mobil telefonni_cislo tel nr_telefonu numer_telefonu komorka",
    "company": "company company_name organization organisation employer account firma spolecnost nazwa_firmy",
    "company.domain": "company_domain company_website domena_firmy",
    "job_title": "job_title title position role pozice funkce stanowisko",
    "company_role": "company_role buying_role role_in_company role_ve_firme rola_w_firmie",
    "language": "language lang locale jazyk jezyk",
    "country": "country country_code zeme stat",
    "timezone": "timezone time_zone casova_zona strefa_czasowa",
    "salutation": "salutation greeting osloveni zwrot",
    "owner": "owner sales_rep vlastnik obchodnik opiekun wlasciciel",
    "source": "source lead_source zdroj zrodlo",
    "updated_at": "updated_at updated modified last_modified zmeneno zmodyfikowano",
    # Only our own export calls a column so: another system's number is not ours.
    "id": "journey_id",
}
_FIELD_OF = {header: field for field, headers in _HEADERS.items() for header in headers.split()}
# What our own files say besides: read by people, never written back.
_OURS = {*READ_ONLY, "import_row", "import_result", "import_reason"} - {"name"}
_COUNTRIES = {
    "CZ": "czechia czech_republic ceska_republika cesko czechy", "SK": "slovakia slovensko slowacja",
    "PL": "poland polska polsko", "DE": "germany deutschland nemecko niemcy", "AT": "austria rakousko osterreich",
    "GB": "united_kingdom uk great_britain velka_britanie wielka_brytania", "US": "united_states usa",
}  # fmt: skip
_COUNTRY_OF = {name: code for code, names in _COUNTRIES.items() for name in names.split()}
# Headers that are Polish and nothing else.
_POLISH = {"imie", "nazwisko", "imie_i_nazwisko", "komorka", "stanowisko", "jezyk", "zrodlo", "miasto"}
_NAMELESS = re.compile(r"Column \d+")
_DOTTED = re.compile(r"attributes\.[^\s\0]{1,64}|consents\.[^\s\0]{0,100}|company\.domain")
_STATES = {name for name, _label in Consent.STATES}


def plain(text: str) -> str:
    """A header as it is compared: small letters without accents, everything else one underscore."""
    letters = unicodedata.normalize("NFKD", text.strip().lower().replace("ł", "l"))
    return re.sub(r"[^a-z0-9]+", "_", "".join(one for one in letters if not unicodedata.combining(one))).strip("_")


def guess(headers: list[str], rows: Sequence[list[str]] = ()) -> dict[str, str]:
    """What each column is likely to fill, no field twice; what nobody knows fills a custom field of its name.

    Some first `rows` tell what the headers leave open: which of nameless columns holds the addresses, and whether
    “Kraj” is a country, as in Polish, or a region, as in Czech.
    """
    by_plain = {plain(name): key for key, label in Field.objects.values_list("key", "name") for name in (label, key)}
    bares = [plain(header) for header in headers]
    found: dict[str, str] = {}
    for place, (header, bare) in enumerate(zip(headers, bares, strict=True)):
        told = [row[place].strip() for row in rows if place < len(row) and row[place].strip()]
        if _NAMELESS.fullmatch(header):
            target = "email" if told and all(is_address(cell) for cell in told) else ""
        elif header.startswith("#") or bare in _OURS or not bare:
            target = ""
        elif _DOTTED.fullmatch(header):
            target = header
        elif bare in _FIELD_OF:
            target = _FIELD_OF[bare]
        elif bare == "kraj" and _holds_countries(told, bares):
            target = "country"
        else:
            target = f"attributes.{by_plain.get(bare, bare[:64])}"
        found[header] = "" if target in found.values() else target
    return found


def _holds_countries(told: list[str], bares: list[str]) -> bool:
    if told:
        return all(len(cell) == 2 and cell.isalpha() or plain(cell) in _COUNTRY_OF for cell in told)
    return any(bare in _POLISH for bare in bares)


def check(mapping: dict[str, str], headers: list[str] | None = None) -> None:
    """Raises Unreadable for a column that the file does not have, and for a field that there is not."""
    if headers is not None and (unknown := sorted(set(mapping) - set(headers))):
        raise Unreadable(_("The file has no column “%(name)s”.") % {"name": unknown[0]})
    for target in mapping.values():
        if target and target != "name" and target not in WRITABLE and not _DOTTED.fullmatch(target):
            raise Unreadable(_("There is no field “%(name)s” to fill.") % {"name": target})


Put = Callable[[dict[str, Any], str], None]


def compiled(
    headers: list[str], mapping: dict[str, str], constants: dict[str, str], readings: dict[str, Reading] | None = None
) -> Callable[[list[str]], dict]:
    """One function from the cells of a row to its record, as `contacts.syncing` takes it.

    Columns that the mapping does not name are guessed. Raises Unreadable as `check`.
    """
    check(mapping, headers)
    check({name: name for name in constants})
    filled = {**guess(headers), **mapping}
    types = dict(Field.objects.values_list("key", "type"))
    choices = {one.key: one for one in Field.objects.filter(type="choice")}
    texts: list[tuple[int, str]] = []
    others: list[tuple[int, Put]] = []
    taken = set()
    for index, header in enumerate(headers):
        target = filled[header]
        if not target or target in taken:
            continue
        taken.add(target)
        if target in _AS_IT_IS:
            texts.append((index, target))
        else:
            reading = (readings or {}).get(header, {}).get("as", "")
            others.append((index, _put(target, types, choices, reading)))
    always = [(_put(target, types, choices), value) for target, value in constants.items() if value.strip()]
    # A name that is a domain is a name where the file has another column for domains.
    has_domains = "company.domain" in taken

    def record(cells: list[str]) -> dict:
        made: dict[str, Any] = {}
        width = len(cells)
        for index, name in texts:
            if index < width and (cell := cells[index].strip()):
                made[name] = released(cell) if cell[0] == "'" else cell
        for index, put in others:
            if index < width and (cell := cells[index].strip()):
                put(made, released(cell) if cell[0] == "'" else cell)
        for put, value in always:
            put(made, value)
        if has_domains and type(made.get("company")) is str:
            made["company"] = {"name": made["company"]}
        return made

    return record


# Cells that a record takes as they are.
_AS_IT_IS = {
    "email", "phone", "first_name", "last_name", "job_title", "company_role", "language", "timezone", "salutation",
    "owner", "source", "user_id", "updated_at", "company",
}  # fmt: skip


def _put(target: str, types: dict[str, str], choices: dict[str, Field], reading: str = "") -> Put:
    kind, _dot, key = target.partition(".")
    if kind == "attributes":
        return _attribute(key, types.get(key, "text"), choices.get(key), reading)
    if kind == "consents":
        channel, slash, topic = key.rpartition("/")
        return _consent(topic if slash else key, channel if slash else "email")
    if target == "company.domain":
        return _domain
    return _PUTS.get(target) or _plainly(target)


def _plainly(name: str) -> Put:
    def put(record: dict[str, Any], cell: str) -> None:
        record[name] = cell

    return put


def _attribute(key: str, type_: str, choice: Field | None, reading: str = "") -> Put:
    read = readers(choice, reading).get(type_)

    def put(record: dict[str, Any], cell: str) -> None:
        attributes = record.get("attributes")
        if attributes is None:
            attributes = record["attributes"] = {}
        attributes[key] = read(cell) if read else cell

    return put


def _consent(topic: str, channel: str) -> Put:
    def put(record: dict[str, Any], cell: str) -> None:
        is_yes = boolean(cell)
        state = cell.lower() if is_yes is None else "granted" if is_yes else "denied"
        if state not in _STATES:
            state = {_word(label): name for name, label in Consent.STATES}.get(_word(cell), state)
        record.setdefault("consents", []).append({"topic": topic, "channel": channel, "state": state})

    return put


def _word(text: Any) -> str:
    return str(text).strip().lower()


def _domain(record: dict[str, Any], cell: str) -> None:
    name = record.get("company")
    record["company"] = {"name": name, "domain": cell} if isinstance(name, str) else {"domain": cell}


def _name(record: dict[str, Any], cell: str) -> None:
    if "," in cell:
        last, _comma, first = cell.partition(",")
    else:
        first, _space, last = cell.partition(" ")
    record.setdefault("first_name", first.strip())
    record.setdefault("last_name", last.strip())


def _country(record: dict[str, Any], cell: str) -> None:
    record["country"] = cell if len(cell) == 2 else _COUNTRY_OF.get(plain(cell), cell)


def _id(record: dict[str, Any], cell: str) -> None:
    record["id"] = int(cell) if cell.isascii() and cell.isdecimal() and len(cell) <= 18 else cell


_PUTS: dict[str, Put] = {"name": _name, "country": _country, "id": _id}


# Cells as the custom field's type; what does not fit stays text, and is refused with its reason ----------------------


def boolean(cell: str) -> bool | None:
    """Yes or no in the languages of the house; None for anything else."""
    word = cell.lower()
    return True if word in _YES else False if word in _NO else None


def _is_yes(cell: str) -> Any:
    known = boolean(cell)
    return cell if known is None else known


def is_day(cell: str) -> bool:
    """Whether a cell says a day in one of the ways people write it."""
    return re.fullmatch(r"\d{4}-\d\d-\d\d", day(cell)) is not None


def _list(cell: str) -> Any:
    if cell.startswith("["):
        try:
            return orjson.loads(cell)
        except orjson.JSONDecodeError:
            return cell
    return [part.strip() for part in re.split("[;,]", cell) if part.strip()]


def readers(choice: Field | None = None, reading: str = "") -> dict[str, Callable[[str], Any]]:
    """How the cells of each type are read, in a column read as `reading`; a type that is not here takes them as they
    are."""
    labels: dict[str, str] = {}
    for one in choice.choices if choice else ():
        key = str(one["key"]) if isinstance(one, dict) else str(one)
        labels[key] = key
    # A key is itself before it is anybody's label.
    for one in choice.choices if choice else ():
        key, label = (str(one["key"]), str(one.get("label", ""))) if isinstance(one, dict) else (str(one), "")
        labels.setdefault(key.lower(), key)
        labels.setdefault(label.lower(), key)
    return {
        "number": lambda cell: number(cell, reading if reading in (",", ".") else ""), "boolean": _is_yes,
        "date": lambda cell: day(cell, reading), "datetime": lambda cell: moment(cell, reading), "list": _list,
        "choice": lambda cell: labels.get(cell) or labels.get(cell.lower(), cell),
    }  # fmt: skip


def unknown_fields(targets: Iterable[str]) -> list[str]:
    """The custom fields among these targets that nobody registered yet."""
    keys = {target.partition(".")[2] for target in targets if target.startswith("attributes.")}
    return sorted(keys - set(Field.objects.values_list("key", flat=True)))
