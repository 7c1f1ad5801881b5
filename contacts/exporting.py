"""Taking people out as a file: CSV, XLSX or NDJSON, streamed in constant memory, with a record of who took what.

Column names are those that the import knows: an export imported again changes nothing.
"""

import csv
from array import array
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.db.models import F, QuerySet
from django.db.models.functions import Greatest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from contacts import sheets
from contacts.csvfiles import neutral
from contacts.models import Consent, Contact, Export, Field, Identity
from contacts.wire import dumps

MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8", "xlsx": sheets.MEDIA_TYPE, "ndjson": "application/x-ndjson; charset=utf-8",
}  # fmt: skip
_CHUNK = 2_000

# Column → what it is called for people. The name in the file is `header(column)`.
COLUMNS = {
    "id": gettext_lazy("Number of the contact here"), "user_id": gettext_lazy("User ID"),
    "email": gettext_lazy("E-mail"), "first_name": gettext_lazy("First name"),
    "last_name": gettext_lazy("Last name"), "salutation": gettext_lazy("Salutation"),
    "phone": gettext_lazy("Telephone"), "company": gettext_lazy("Company"),
    "company.domain": gettext_lazy("Company's domain"), "job_title": gettext_lazy("Job title"),
    "company_role": gettext_lazy("Role in the company"), "language": gettext_lazy("Language"),
    "country": gettext_lazy("Country"), "timezone": gettext_lazy("Time zone"), "owner": gettext_lazy("Owner"),
    "source": gettext_lazy("Source"), "stage": gettext_lazy("Stage"), "created_at": gettext_lazy("Created"),
    "last_seen_at": gettext_lazy("Last seen"), "updated_at": gettext_lazy("Changed at"),
}  # fmt: skip
_FIELDS = {
    **{name: name for name in COLUMNS if "." not in name and name not in ("user_id", "updated_at")},
    "company": "company__name", "company.domain": "company__domain", "owner": "owner__username",
    "updated_at": "told_at",
}  # fmt: skip


def columns() -> dict[str, Any]:
    """Every column that may be asked for, with its name for people: fields, custom fields, consents."""
    found: dict[str, Any] = dict(COLUMNS)
    found |= {f"attributes.{one.key}": str(one) for one in Field.objects.all()}
    said = Consent.objects.order_by("channel", "topic").values_list("topic", "channel").distinct()[:200]
    for topic, channel in said:
        key = f"consents.{topic}" if channel == "email" and topic else f"consents.{channel}/{topic}"
        about = {"topic": topic or _("all topics"), "channel": channel}
        found[key] = _("Consent: %(topic)s, %(channel)s") % about
    return found


def header(column: str) -> str:
    """What a column is called in the file."""
    return {"id": "journey_id", "company.domain": "company_domain"}.get(column, column)


def export(
    people: QuerySet[Contact], *, format: str, wanted: list[str], by: Any, door: str, asked: str, now: datetime,
    has_mark: bool = False,
) -> Iterator[bytes]:  # fmt: skip
    """Records the export and answers its file in blocks: people of the queryset, which its caller limited to whom
    the user may see, with the `wanted` of `columns()`.

    `asked` says in words or parameters who was meant. `has_mark` puts a byte order mark before a CSV, for Excel.
    Raises ValueError with a sentence for a column or format that there is not.
    """
    if format not in MEDIA_TYPES:
        raise ValueError(_("There is no format “%(name)s”.") % {"name": format})
    if unknown := [
        name for name in wanted if name not in COLUMNS and not name.startswith(("attributes.", "consents."))
    ]:
        raise ValueError(_("There is no column “%(name)s”.") % {"name": unknown[0]})
    record = Export.objects.create(
        made_by=by, door=door, format=format, columns=wanted, asked=asked[:2000], made_at=now
    )
    return _blocks(people, record, wanted, has_mark)


def _blocks(people: QuerySet[Contact], record: Export, wanted: list[str], has_mark: bool) -> Iterator[bytes]:
    done = 0

    def counted(rows: Iterable[Any]) -> Iterator[Any]:
        nonlocal done
        for row in rows:
            done += 1
            yield row

    is_complete = False
    try:
        if record.format == "ndjson":
            for chunk in _chunks(people, wanted):
                yield b"".join(dumps(_as_record(wanted, row)) + b"\n" for row in counted(chunk))
        else:
            rows = _rows(counted(row for chunk in _chunks(people, wanted) for row in chunk), wanted)
            yield from sheets.written(rows) if record.format == "xlsx" else _as_csv(rows, has_mark)
        is_complete = True
    finally:
        # Also where the reader went away in the middle.
        Export.objects.filter(pk=record.pk).update(people=done, is_complete=is_complete)


def _as_csv(rows: Iterable[list[str]], has_mark: bool) -> Iterator[bytes]:
    class Echo:
        def write(self, line: str) -> str:
            return line

    writer = csv.writer(Echo())
    block = ["\ufeff"] if has_mark else []
    for row in rows:
        block.append(writer.writerow(row))  # type: ignore[arg-type]
        if len(block) >= 500:
            yield "".join(block).encode("utf-8", "replace")
            block.clear()
    yield "".join(block).encode("utf-8", "replace")


def _rows(found: Iterable[dict[str, Any]], wanted: list[str]) -> Iterator[list[str]]:
    yield [neutral(header(name)) for name in wanted]
    lists = set(Field.objects.filter(type="list").values_list("key", flat=True))
    writers: list[tuple[str, Callable[[Any], str]]] = [
        (name, _list if name.removeprefix("attributes.") in lists else text) for name in wanted
    ]
    for row in found:
        yield [neutral(write(row[name])) if row.get(name) is not None else "" for name, write in writers]


def text(value: Any) -> str:
    """A value as a cell that the import reads as that value."""
    if type(value) is str:
        return value
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f")
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return str(value) if isinstance(value, int) else dumps(value).decode()


def _list(value: Any) -> str:
    is_simple = isinstance(value, list) and value and all(
        isinstance(one, str) and one and one == one.strip() and not set(one) & set(";,") for one in value
    )  # fmt: skip
    joined = "; ".join(value) if is_simple else ""
    return joined if joined and not joined.startswith("[") else text(value)


def _as_record(wanted: list[str], row: dict[str, Any]) -> dict[str, Any]:
    """A person as the sync API takes them."""
    made: dict[str, Any] = {}
    for name in wanted:
        kind, _dot, key = name.partition(".")
        value = row.get(name)
        if kind == "attributes":
            if value is not None:
                made.setdefault("attributes", {})[key] = value
        elif kind == "consents":
            if value is not None:
                channel, slash, topic = key.rpartition("/")
                told = {"topic": topic if slash else key, "channel": channel if slash else "email", "state": value}
                made.setdefault("consents", []).append(told)
        elif kind == "company":
            if value is not None:
                made.setdefault("company", {})["domain" if key else "name"] = value
        else:
            made[name] = value
    return made


def _chunks(people: QuerySet[Contact], wanted: list[str]) -> Iterator[list[dict[str, Any]]]:
    """Rows by column, in the order of ids. Who is meant is asked once; each chunk asks again whether they are there."""
    keys = array("q", people.order_by("pk").values_list("pk", flat=True).iterator(chunk_size=20_000))
    fields = {name: _FIELDS[name] for name in wanted if name in _FIELDS}
    attributes = [name.removeprefix("attributes.") for name in wanted if name.startswith("attributes.")]
    consents = {name for name in wanted if name.startswith("consents.")}
    taken = sorted({"pk", *fields.values(), *(["attributes"] if attributes else [])})
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK].tolist()
        # Whoever was erased or merged while the file was read is in it no more.
        living = (
            Contact.objects.living().filter(pk__in=chunk).annotate(told_at=Greatest(F("updated_at"), F("synced_at")))
        )
        user_ids = {}
        if "user_id" in wanted:
            named = Identity.objects.filter(contact__in=chunk, kind="user_id").order_by("pk")
            user_ids = dict(named.values_list("contact_id", "value"))
        said = _consents(chunk) if consents else {}
        rows = []
        for one in living.order_by("pk").values(*taken):
            row = {name: one[field] or None for name, field in fields.items()}
            row["user_id"] = user_ids.get(one["pk"])
            for key in attributes:
                row[f"attributes.{key}"] = one["attributes"].get(key)
            rows.append(row | said.get(one["pk"], {}))
        yield rows


def _consents(chunk: list[int]) -> dict[int, dict[str, str]]:
    said: dict[int, dict[str, str]] = {}
    rows = Consent.objects.filter(contact__in=chunk).values_list("contact_id", "topic", "channel", "state")
    for pk, topic, channel, state in rows:
        key = f"consents.{topic}" if channel == "email" and topic else f"consents.{channel}/{topic}"
        said.setdefault(pk, {})[key] = state
    return said
