"""Records of contacts that clients and files tell: made or changed as one set, each with what became of it.

A contact is found by `user_id`, else by `email`. Nothing that a record does not name is touched; a record older than
what we know changes nothing; consent is never raised unless the caller may, and then with proof.
"""

import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from random import random
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db import DatabaseError, connection, transaction
from django.db.models.functions import Coalesce, Lower
from django.utils.translation import gettext as _

from contacts import handles
from contacts.consent import CHANNELS, raisable, stricter
from contacts.erasure import erased_among
from contacts.folding import Result, denials, fold, is_stale, outdone, reject, stale
from contacts.models import Company, Contact, Identity
from contacts.records import Reader, Record, Wrong
from contacts.sql import load
from contacts.wire import dumps

SQL = load(__file__)

MOST_ROWS = 10_000

# Batches work side by side; one that another writer got in the way of tries again alone, and then none can.
_BATCH_LOCK, _COMPANY_LOCK = 7_265_002, 7_265_004
_TRIES = 8
_COLUMNS = (
    "index, known_id, user_id, email, phone, first_name, last_name, salutation, language, country, timezone, "
    "job_title, company_role, source, company_id, owner_id, attributes, cleared, clears_attributes, told_at, "
    "is_refusing"
)
_TEXTS = (
    "phone",
    "first_name",
    "last_name",
    "salutation",
    "language",
    "country",
    "timezone",
    "job_title",
    "company_role",
    "source",
)
_NEXT, _NULL = "\x1f", "\x01"
# What another writer may do to us at any time, and a second try puts right.
_RACES = {"40001", "40P01", "23505"}
# Classes of errors that lie in what a row holds: data, constraints, limits of the database.
_OF_A_ROW = {"22", "23", "54"}

# A company merged into another keeps its name and domain, and leads there.
_BECAME = Coalesce("merged_into", "pk")


def upsert(
    rows: Sequence[Any],
    *,
    source: str,
    now: datetime,
    actor: str = "",
    may_raise_consent: bool = False,
    mode: str = "all",
    batch: int | None = None,
    lines: Sequence[int] | None = None,
    by: AbstractBaseUser | None = None,
) -> list[Result]:
    """Makes or changes contacts by their records (decoded JSON), in the caller's transaction or one of its own.

    One result a row: {index, id, status, errors}, the status being created, updated, unchanged or rejected. Several
    rows of one person are taken as one, the later word winning. `source` and `actor` stand in the ledger of consent.
    With the `mode` create nobody who is there is changed, with update nobody is made. `batch` is the Import whose
    rows these are: what it makes and writes over is kept, so that it can be undone. `lines` are the numbers by which
    messages name the rows, where those came from a file; else it is their index. Rows that lead to a contact whom the
    user `by` may not see are rejected.
    """
    owners = (row.get("owner") for row in rows if isinstance(row, dict))
    reader = Reader(now, [name for name in owners if isinstance(name, str)])
    results: list[Result] = [{"index": index, "id": None, "status": "", "errors": []} for index in range(len(rows))]
    records: list[Record] = []
    for index, row in enumerate(rows):
        try:
            record = reader.read(index, row)
            if not (record.user_id or record.email or record.contact_id):
                raise Wrong("email", _("A contact is found by user_id or email; neither is there."))
            if record.user_id or record.email:
                record.contact_id = None
            records.append(record)
        except Wrong as wrong:
            reject(results[index], wrong)
    people = fold(records, results, lines or range(len(rows)), now)
    write(
        people,
        results,
        source=source,
        now=now,
        actor=actor,
        may_raise_consent=may_raise_consent,
        mode=mode,
        batch=batch,
        by=by,
    )
    return results


def write(
    people: dict[int, list[Record]],
    results: list[Result],
    *,
    source: str,
    now: datetime,
    actor: str = "",
    may_raise_consent: bool = False,
    mode: str = "all",
    batch: int | None = None,
    by: AbstractBaseUser | None = None,
) -> None:
    """Writes folded records and fills in their results; tried again where another writer was in the way.

    Where the database refuses what a row holds, that row is rejected and the others are written.
    """
    said = {row.index: results[row.index]["errors"] for rows in people.values() for row in rows}
    for attempt in range(_TRIES):
        for index, errors in said.items():
            results[index].update(id=None, status="", errors=list(errors))
        try:
            with transaction.atomic():
                _write(people, results, source, now, actor, may_raise_consent, mode, batch, by, is_alone=attempt > 0)
            return
        except DatabaseError as error:
            state = getattr(error.__cause__, "sqlstate", None) or ""
            if state not in _RACES or attempt == _TRIES - 1:
                if state[:2] not in _OF_A_ROW:
                    raise
                break
        time.sleep(0.02 * 2**attempt * random())
    for index, errors in said.items():
        results[index].update(id=None, status="", errors=list(errors))
    if len(people) == 1:
        for row in next(iter(people.values())):
            reject(results[row.index], Wrong("", _("The database cannot store this row.")))
        return
    # One half after the other, down to the row that is to blame.
    parts, middle = list(people.items()), len(people) // 2
    for part in (parts[:middle], parts[middle:]):
        write(
            dict(part), results, source=source, now=now, actor=actor, may_raise_consent=may_raise_consent, mode=mode,
            batch=batch, by=by,
        )  # fmt: skip


# Writing -------------------------------------------------------------------------------------------------------------


def _write(people, results, source, now, actor, may_raise_consent, mode, batch, by, is_alone) -> None:
    with connection.cursor() as cursor:
        if is_alone or len(people) > 1:
            cursor.execute(f"SELECT pg_advisory_xact_lock{'' if is_alone else '_shared'}(%s)", [_BATCH_LOCK])  # noqa: S608
        companies = _companies((rows[0] for rows in people.values()), now)
        for first, *_later in people.values():
            if first.company and first.company[0] == "id" and first.company not in companies:
                reject(results[first.index], Wrong("company.id", _("There is no such company.")))
        SQL["make_staged_contact"].run()
        waiting = [rows[0] for rows in people.values() if not results[rows[0].index]["status"]]
        waiting.sort(key=lambda record: record.turn)
        left: list[Record] = []
        # Two records that name one contact by different handles come one after the other.
        while left or waiting:
            if not left:
                left = [record for record in waiting if record.turn == waiting[0].turn]
                waiting = waiting[len(left) :]
                left = _without_hidden(left, results, by)
            if not left:
                continue
            _stage(cursor, left, companies)
            again = []
            written = SQL["upsert_staged_contacts"].rows(source=source, now=now, mode=mode, batch=batch)
            outcome = {row[0]: row for row in written}
            for record in left:
                # No outcome: merged away or erased while we waited for the row.
                _index, contact_id, status, other = outcome.get(record.index, (0, None, "gone", 0))
                if status == "again":
                    again.append(record)
                else:
                    _note(results[record.index], contact_id, status, other)
            left = again
    _refuse_for_erased(people, results, now)
    _settle_consents(people, results, source, now, actor, may_raise_consent)
    told = {
        result["id"]: (first.identities, result)
        for first, *_later in people.values()
        if first.identities and (result := results[first.index])["id"] and not is_stale(result)
    }
    handles.settle(told, source=source, now=now)
    for first, *later in people.values():
        if later:
            _note_later(results[first.index], [results[record.index] for record in later])


def _without_hidden(records: list[Record], results: list[Result], by: AbstractBaseUser | None) -> list[Record]:
    """Rejects the records that lead to a contact whom this user may not see; the others. Asked for all at once."""
    if by is None or (by.is_active and by.has_perm("contacts.view_contact")):  # type: ignore[attr-defined]
        return records
    told = {
        "user_id": {record.user_id for record in records if record.user_id},
        "email": {record.email for record in records if record.email},
    }
    owner_of: dict[tuple[str, Any], int] = {}
    for kind, values in told.items():
        found = Identity.objects.filter(kind=kind, value__in=values).values_list("value", "contact_id")
        owner_of |= {(kind, value): contact for value, contact in found}
    owner_of |= {("id", record.contact_id): record.contact_id for record in records if record.contact_id}
    seen = {0} | set(Contact.objects.visible_to(by).filter(pk__in=set(owner_of.values())).values_list("pk", flat=True))
    left = []
    for record in records:
        handles = (("id", record.contact_id), ("user_id", record.user_id), ("email", record.email))
        hidden = next((kind for kind, value in handles if owner_of.get((kind, value), 0) not in seen), None)
        if hidden == "id":
            reject(results[record.index], Wrong("id", _("There is no such contact.")))
        elif hidden:
            reject(results[record.index], Wrong(hidden, _("This belongs to a contact that you may not see.")))
        else:
            left.append(record)
    return left


def _stage(cursor, records: list[Record], companies: dict[tuple, int]) -> None:
    SQL["empty_staged_contact"].run()
    lines = "\n".join([_line(record, companies) for record in records]) + "\n"
    with cursor.copy(f"COPY staged_contact ({_COLUMNS}) FROM STDIN (DELIMITER '{_NEXT}', NULL '{_NULL}')") as copy:
        copy.write(lines.encode())


def _line(record: Record, companies: dict[tuple, int]) -> str:
    """A record as a line of COPY. What stands between values, and for NULL, is in no text that was let in."""
    told = record.texts.get
    company = 0 if record.company is False else companies.get(record.company, _NULL)
    owner = 0 if record.owner_id is False else _NULL if record.owner_id is None else record.owner_id
    line = _NEXT.join(
        (
            str(record.index), _NULL if record.contact_id is None else str(record.contact_id),
            _NULL if record.user_id is None else record.user_id, _NULL if record.email is None else record.email,
            *[told(name, _NULL) for name in _TEXTS], str(company), str(owner),
            dumps(record.attributes).decode() if record.attributes else "{}", _array(record.cleared),
            "t" if record.clears_attributes else "f", record.told_at.isoformat() if record.told_at else _NULL,
            "f" if not record.consents or set(record.consents.values()) == {"granted"} else "t",
        )
    )  # fmt: skip
    if "\\" in line or "\n" in line or "\r" in line:
        line = line.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return line


def _array(texts: list[str]) -> str:
    """PostgreSQL's way to write a list of texts."""
    if not texts:
        return "{}"
    quoted = ('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in texts)
    return "{" + ",".join(quoted) + "}"


def _note(result: Result, contact_id: int | None, status: str, other: int) -> None:
    result["id"] = contact_id
    if status in {"created", "updated", "unchanged"}:
        result["status"] = status
    elif status == "there":
        result["status"] = "unchanged"
    elif status == "stale":
        result["status"] = "unchanged"
        stale(result)
    else:
        result["id"] = None
        if status == "gone":
            wrong = Wrong("id", _("There is no such contact."))
        elif status == "absent":
            wrong = Wrong("", _("Nobody here has this address or user_id, and nobody new is to be made."))
        elif status == "user":
            message = _("Contact %(id)s has this address and another user_id.") % {"id": other}
            wrong = Wrong("email", message)
        else:
            message = _("This belongs to contact %(id)s. Merge the two first.") % {"id": other}
            wrong = Wrong(status, message)
        reject(result, wrong)


def _note_later(first: Result, later: list[Result]) -> None:
    """Rows that were taken together: the first says what happened, and the later ones that they had a part in it."""
    for result in later:
        result["id"] = first["id"]
        if first["status"] == "rejected":
            result["status"], result["errors"] = "rejected", first["errors"]
        elif is_stale(result) or first["status"] == "unchanged":
            result["status"] = "unchanged"
        else:
            result["status"] = "updated"


def _companies(records: Iterable[Record], now: datetime) -> dict[tuple, int]:
    """The id of each company that records name; those that are not there are made."""
    asked = {record.company for record in records if record.company}
    if not asked:
        return {}
    found: dict[tuple, int] = {}
    ids = {value for kind, value, _name in asked if kind == "id"}
    # One that was merged into another leads to it.
    companies = Company.objects.annotate(now=Coalesce("merged_into", "pk"))
    found |= {("id", pk, ""): now for pk, now in companies.filter(pk__in=ids).values_list("pk", "now")}
    for attempt in ("look", "look as the only one", "make, and look again"):
        domains = {value for kind, value, _name in asked if kind == "domain"}
        names = {value.lower() for kind, value, _name in asked if kind == "name"}
        by_domain = dict(Company.objects.filter(domain__in=domains).values_list("domain", _BECAME))
        lowered = Company.objects.annotate(low=Lower("name")).filter(low__in=names).order_by("-pk")
        by_name = dict(lowered.values_list("low", _BECAME)) if names else {}
        for one in asked:
            kind, value, _name = one
            pk = by_domain.get(value) if kind == "domain" else by_name.get(value.lower()) if kind == "name" else None
            if pk:
                found[one] = pk
        missing = {
            (kind, value.lower()): (kind, value, name) for kind, value, name in asked - set(found) if kind != "id"
        }
        if not missing or attempt == "make, and look again":
            break
        if attempt == "look":
            # No constraint keeps two batches from making one name twice.
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_COMPANY_LOCK])
            continue
        Company.objects.bulk_create(
            [
                Company(name=name, domain=value if kind == "domain" else None, created_at=now, updated_at=now)
                for kind, value, name in sorted(missing.values())
            ],
            ignore_conflicts=True,
        )
    return found


def _refuse_for_erased(people: dict[int, list[Record]], results: list[Result], now: datetime) -> None:
    """Whose handle belonged to somebody erased is a contact again, but nobody may write to them."""
    by_kind: dict[str, dict[str, int]] = {"email": {}, "phone": {}, "user_id": {}}
    for first, *_later in people.values():
        if results[first.index]["status"] in {"created", "updated"}:
            told = {"email": first.email, "phone": first.texts.get("phone"), "user_id": first.user_id}
            for kind, value in told.items():
                if value:
                    by_kind[kind][value] = results[first.index]["id"]
    erased: set[int] = set()
    for kind, found in by_kind.items():
        again = erased_among(found, kind)
        known_longer = Identity.objects.filter(kind=kind, value__in=again, created_at__lt=now)
        # Who came back by their own confirmed word has the handle since then.
        again -= set(known_longer.values_list("value", flat=True))
        erased |= {found[value] for value in again}
    if erased:
        SQL["settle_told_consents"].rows(
            contacts=[pk for pk in sorted(erased) for _channel in CHANNELS],
            topics=[""] * len(erased) * len(CHANNELS), channels=list(CHANNELS) * len(erased),
            states=["denied"] * len(erased) * len(CHANNELS), source="erasure", actor="", now=now, raisable=[],
        )  # fmt: skip


def _settle_consents(people, results, source, now, actor, may_raise_consent) -> None:
    told: dict[tuple[int, str, str], tuple[str, Result]] = {}
    for first, *_later in people.values():
        result = results[first.index]
        if result["status"] not in {"created", "updated", "unchanged"}:
            continue
        # A refusal holds however old its row is.
        for (topic, channel), state in (denials(first) if is_stale(result) else first.consents).items():
            key = (result["id"], topic, channel)
            # Rows that named one person by different handles meet here.
            if key in told and told[key][0] != state:
                is_stricter = stricter(told[key][0], state) == state
                outdone(told[key][1] if is_stricter else result, topic)
                if not is_stricter:
                    continue
            told[key] = (state, result)
    if not told:
        return
    contacts, topics, channels = zip(*told, strict=True)
    settled = SQL["settle_told_consents"].rows(
        contacts=list(contacts), topics=list(topics), channels=list(channels),
        states=[state for state, _result in told.values()],
        source=source, actor=actor, now=now, raisable=sorted(raisable(contacts)) if may_raise_consent else [],
    )  # fmt: skip
    for contact_id, topic, channel, is_refused in settled:
        result = told[contact_id, topic, channel][1]
        if is_refused:
            message = _("Consent is not raised by a sync unless that is asked for and allowed.")
            result["errors"].append({"field": f"consents.{topic}", "message": message})
        elif result["status"] == "unchanged":
            result["status"] = "updated"
