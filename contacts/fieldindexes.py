"""Indexes of the custom fields that rules ask about: made when a rule needs one, dropped when none does any more.

An index stands on the very expression that a compiled rule compares (`rulefields.custom`), so PostgreSQL finds it by
itself. Date and time fields have none: how an instant is read depends on the zones' rules, which change.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from django.db import DatabaseError, connection, transaction

from contacts import segments
from contacts.models import Contact, Field
from contacts.rulefields import custom
from contacts.rulevalues import begin, json_value

log = structlog.get_logger(__name__)

PREFIX = "contact_field_"
_LOCK = 7_265_011
_TEXTS = ("text", "choice")
_INDEXED = ("text", "choice", "number", "boolean", "date", "list")

_FIND = """
SELECT index.relname, pg_index.indisvalid, pg_relation_size(index.oid)
FROM pg_index
JOIN pg_class index ON index.oid = pg_index.indexrelid
WHERE pg_index.indrelid = 'contacts_contact'::regclass AND starts_with(index.relname::text, %s)
"""


@dataclass(frozen=True)
class Index:
    """An index as it stands in the database; `size` in bytes."""

    name: str
    is_valid: bool
    size: int


def name_of(one: Field) -> str:
    """What the index of a field is called; another type makes another index. Of texts only the beginning stands in."""
    return f"{PREFIX}{one.pk}_{one.type}{'_begin' if one.type in _TEXTS else ''}"


def found() -> dict[str, Index]:
    """The indexes of custom fields that there are, by name."""
    with connection.cursor() as cursor:
        cursor.execute(_FIND, [PREFIX])
        return {row[0]: Index(*row) for row in cursor.fetchall()}


def wanted() -> dict[str, Field]:
    """The fields that need an index: those that anybody's rule asks about, by the name of the index."""
    return {
        name_of(one): one
        for one in Field.objects.all()
        if one.type in _INDEXED and segments.users_of_field(one.key, is_asking=True)
    }


def settle(say: Callable[[str], Any] = lambda line: None) -> int:
    """Makes the indexes that are needed and drops the others; how many it made or dropped. Nobody has to wait for it.

    Inside a transaction (as in tests) nothing can be made concurrently; elsewhere writing goes on meanwhile.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
        if not cursor.fetchone()[0]:
            return 0  # somebody else is at it
    try:
        return _settle(say)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


def _settle(say: Callable[[str], Any]) -> int:
    there, needed = found(), wanted()
    aside = "" if connection.in_atomic_block else "CONCURRENTLY"
    done = 0
    with connection.cursor() as cursor:
        for name, index in there.items():
            # One that could not be finished is of no use, and in the way.
            if name not in needed or not index.is_valid:
                say(f"- {name}")
                cursor.execute(f"DROP INDEX {aside} IF EXISTS {connection.ops.quote_name(name)}")
                done += 1
        for name, one in needed.items():
            if name not in there or not there[name].is_valid:
                say(f"+ {name} ({one.key})")
                sql, params = _definition(one)
                quoted = connection.ops.quote_name(name)
                try:
                    with transaction.atomic() if connection.in_atomic_block else nullcontext():
                        cursor.execute(f"CREATE INDEX {aside} IF NOT EXISTS {quoted} ON contacts_contact {sql}", params)
                    done += 1
                except DatabaseError as error:
                    # Rules work without; what is half done would cost each write, and the other fields have a claim.
                    log.warning("field_index_failed", field=one.key, reason=str(error))
                    say(f"! {name} ({one.key}): {error}")
                    cursor.execute(f"DROP INDEX {aside} IF EXISTS {quoted}")
        if done:
            # What an expression's values look like is known only then.
            cursor.execute("ANALYZE contacts_contact")
    return done


def _definition(one: Field) -> tuple[str, Any]:
    """How the index finds: lists by what they hold, everything else by its order."""
    if one.type == "list":
        sql, params = _compiled(json_value("attributes", one.key))
        return f"USING gin (({sql}) jsonb_path_ops)", params
    # No expression of an indexed type depends on the moment.
    expression = custom(one).expression(datetime.now(UTC))
    sql, params = _compiled(begin(expression) if one.type in _TEXTS else expression)
    return f"(({sql})) WHERE merged_into_id IS NULL AND erased_at IS NULL", params


def _compiled(expression: Any) -> tuple[str, Any]:
    query = Contact.objects.order_by().query
    compiler = query.get_compiler(connection=connection)
    return compiler.compile(expression.resolve_expression(query))
