"""Handles of a client's own kinds (a CRM's number, a loyalty card): told by upsert, shown with the contact."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from contacts.identity import normalise, normalise_kind
from contacts.sql import load

SQL = load(__file__)

# These have fields of their own, or come by tracking; among the identities of an answer they are only read.
OURS = frozenset({"email", "user_id", "anonymous_id", "phone"})
MOST_PER_KIND = 20


def read(told: Any) -> dict[str, list[str]]:
    """What a record tells of identities: {kind: value, list of values, or null}; an empty list clears the kind.

    Raises ValueError with (field, sentence).
    """
    if told is None:
        return {}
    if not isinstance(told, Mapping) or len(told) > MOST_PER_KIND:
        raise ValueError("identities", _("This must be an object of kinds and their values."))
    found: dict[str, list[str]] = {}
    for name, value in told.items():
        if name in OURS:
            continue
        values = [] if value is None else value if isinstance(value, list) else [value]
        try:
            kind = normalise_kind(name)
            if len(values) > MOST_PER_KIND:
                raise ValueError(_("One contact may have at most %(most)d of a kind.") % {"most": MOST_PER_KIND})
            found[kind] = [normalise(kind, str(one) if type(one) is int else one) for one in values]
        except ValueError as error:
            raise ValueError(f"identities.{name[:64]}", str(error)) from None
    return found


def settle(told: dict[int, tuple[dict[str, list[str]], dict[str, Any]]], *, source: str, now: datetime) -> None:
    """Writes the handles told of contacts, {contact: (identities, result)}, and notes in each result what came of it.

    A handle that leads to somebody else stays there, and the row says so.
    """
    pairs = [(pk, kind, value) for pk, (said, _result) in told.items() for kind in said for value in said[kind]]
    cleared = [(pk, kind) for pk, (said, _result) in told.items() for kind in said if not said[kind]]
    if not pairs and not cleared:
        return
    rows = SQL["settle_told_identities"].rows(
        contacts=[one[0] for one in pairs], kinds=[one[1] for one in pairs], values=[one[2] for one in pairs],
        cleared=[one[0] for one in cleared], cleared_kinds=[one[1] for one in cleared], source=source, now=now,
    )  # fmt: skip
    for contact, kind, owner, is_new in rows:
        result = told[contact][1]
        if owner != contact:
            message = _("This belongs to contact %(id)s. Merge the two first.") % {"id": owner or "?"}
            result["errors"].append({"field": f"identities.{kind}", "message": message})
        elif is_new and result["status"] == "unchanged":
            result["status"] = "updated"


def shown(rows: list[dict[str, str]] | None) -> dict[str, list[str]]:
    """Identities as REST answers them: {kind: values, the oldest first}."""
    found: dict[str, list[str]] = {}
    for row in rows or []:
        found.setdefault(row["kind"], []).append(row["value"])
    return found
