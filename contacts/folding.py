"""Several records of one person in one batch are taken as one, and each is told what became of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from contacts.consent import stricter
from contacts.records import Record, Wrong

Result = dict[str, Any]


def reject(result: Result, wrong: Wrong) -> None:
    result["status"] = "rejected"
    result["errors"] = [wrong.error]


def fold(
    records: list[Record], results: list[Result], numbers: Sequence[int], now: datetime
) -> dict[int, list[Record]]:
    """Puts the records of one person together: by the index of the first, all of them in their order.

    The first takes up what the later ones say. A record that would join two people of this batch is rejected. One with
    a time is never taken together with one without: whether they are stale differs, so they are written in turn.
    """
    people: dict[int, list[Record]] = {}
    named: dict[int, list[tuple[str, Any]]] = {}
    by_handle: dict[tuple[str, Any], Record] = {}
    for record in records:
        handles = [
            handle
            for handle in (("user_id", record.user_id), ("email", record.email), ("id", record.contact_id))
            if handle[1]
        ]
        owners = [by_handle[handle] for handle in handles if handle in by_handle]
        if not owners:
            people[record.index] = [record]
            named[record.index] = handles
            by_handle |= dict.fromkeys(handles, record)
            continue
        first = owners[0]
        if any(one is not first for one in owners) or (
            record.user_id and first.user_id and first.user_id != record.user_id
        ):
            message = _("Row %(index)s says the same of another person.") % {"index": numbers[owners[-1].index]}
            reject(results[record.index], Wrong(handles[-1][0], message))
            continue
        # What has no time is of now.
        is_older = record.told_at and record.told_at < (first.told_at or now)
        if (record.told_at is None) != (first.told_at is None) and not is_older:
            record.turn = first.turn + 1
            people[record.index] = [record]
            named[record.index] = [*named.pop(first.index), *handles]
            by_handle |= dict.fromkeys(named[record.index], record)
            continue
        people[first.index].append(record)
        if is_older:
            stale(results[record.index])
            _take_up_consents(first, denials(record), results[record.index], results)
            continue
        _take_up(first, record)
        _take_up_consents(first, record.consents, results[record.index], results)
        named[first.index] += handles
        by_handle |= dict.fromkeys(handles, first)
    return people


def _take_up(first: Record, later: Record) -> None:
    if later.clears_attributes:
        first.attributes, first.cleared, first.clears_attributes = {}, [], True
    for key in later.cleared:
        first.attributes.pop(key, None)
    first.cleared = [key for key in first.cleared if key not in later.attributes] + later.cleared
    first.attributes = {**first.attributes, **later.attributes}
    first.texts = {**first.texts, **later.texts}
    first.identities = {**first.identities, **later.identities}
    for name in ("user_id", "email", "company", "owner_id", "told_at"):
        if (value := getattr(later, name)) is not None:
            setattr(first, name, value)


def _take_up_consents(first: Record, told: Mapping[tuple[str, str], str], result: Result, results) -> None:
    """The strictest word of a batch about a person holds, whichever row says it; rows not followed are told so."""
    for key, state in told.items():
        if key not in first.consents:
            first.said_by[key] = result["index"]
            first.consents[key] = state
            continue
        was = first.consents[key]
        if was == state:
            continue
        first.consents[key] = stricter(was, state)
        by = first.said_by.get(key, first.index)
        if first.consents[key] == state:
            outdone(results[by], key[0])
            first.said_by[key] = result["index"]
        else:
            outdone(result, key[0])


def denials(record: Record) -> dict[tuple[str, str], str]:
    return {key: state for key, state in record.consents.items() if state == "denied"}


def outdone(result: Result, topic: str) -> None:
    message = _("Another row about the same person says the stricter word, and that one holds.")
    result["errors"].append({"field": f"consents.{topic}", "message": message})


def is_stale(result: Result) -> bool:
    return any(error["field"] == "updated_at" for error in result["errors"])


def stale(result: Result) -> None:
    message = _("We know a newer change of this contact; nothing was overwritten.")
    result["errors"].append({"field": "updated_at", "message": message})
