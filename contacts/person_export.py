"""All that is held about one person, for that person: every row that leads to them, found by introspection.

A model made tomorrow is in it by itself; what no foreign key leads to is added by `also_tell`.
"""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from datetime import datetime
from html import escape
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q
from django.db.models.fields.reverse_related import ForeignObjectRel
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from contacts.consent import proof
from contacts.erasure import Traces, relations, traces_of
from contacts.models import ConsentChange, Contact, Incoming

_tellers: list[Callable[[Traces], Mapping[str, list[models.Model]]]] = []


def also_tell(tell: Callable[[Traces], Mapping[str, list[models.Model]]]) -> None:
    """Registers a function that finds rows of a person to which no foreign key leads, by their label."""
    if tell not in _tellers:
        _tellers.append(tell)


def everything_about(person: Contact, now: datetime) -> dict[str, Any]:
    """The person's row, and every row of every model that leads to them or to whom was merged into them."""
    traces = traces_of(person, now)
    told: dict[str, Any] = {"contact": row_of(person)}
    told["company"] = str(person.company) if person.company else None
    for model, fields in sorted(places().items(), key=lambda one: one[0]._meta.label_lower):
        which = Q(pk__in=[])
        for path in fields:
            which |= Q(**{f"{path}__in": traces.ids})
        rows = model._base_manager.filter(which).order_by("pk").distinct()
        told[model._meta.label_lower] = [row_of(one) for one in rows]
    told[ConsentChange._meta.label_lower] = proof(person)
    waiting = Q(contact_id__in=traces.ids)
    for column in ("user_id", "anonymous_id", "email"):
        waiting |= Q(**{f"{column}__in": traces.values(column)})
    told["contacts.incoming"] = [row_of(one) for one in Incoming.objects.filter(waiting).order_by("pk")]
    for tell in _tellers:
        for label, found in tell(traces).items():
            told[label] = [row_of(one) for one in found]
    return told


def places() -> dict[type[models.Model], list[str]]:
    """Each model that leads to a contact, itself or by way of others, with the ways: `enrolment__contact`."""
    found: dict[type[models.Model], list[str]] = {}
    for model, name in relations():
        found.setdefault(model, []).append(name)
    newest = dict(found)
    while newest:
        further: dict[type[models.Model], list[str]] = {}
        for model, paths in newest.items():
            for relation in model._meta.get_fields(include_hidden=True):
                if not isinstance(relation, ForeignObjectRel) or relation.many_to_many:
                    continue
                child = relation.related_model
                if isinstance(child, str) or child in found or not child._meta.managed or child._meta.proxy:
                    continue
                further.setdefault(child, []).extend(f"{relation.field.name}__{path}" for path in paths)
        found |= further
        newest = further
    return found


def row_of(row: models.Model) -> dict[str, Any]:
    """The columns of a row by their names; bytes as hexadecimal digits."""
    values = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
    return {name: value.hex() if isinstance(value, bytes | memoryview) else value for name, value in values.items()}


def as_json(told: Mapping[str, Any]) -> str:
    """What was found as JSON that people can read too."""
    return json.dumps(told, cls=DjangoJSONEncoder, ensure_ascii=False, indent=2)


def as_zip(told: Mapping[str, Any]) -> bytes:
    """The same as an archive: `person.json` for programs, `person.html` for people."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("person.json", as_json(told) + "\n")
        archive.writestr("person.html", _page(told))
    return memory.getvalue()


def _page(told: Mapping[str, Any]) -> str:
    heading = _("What we hold about you")
    parts = [f"<h1>{escape(heading)}</h1>", _facts(told["contact"])]
    for label, rows in told.items():
        if isinstance(rows, list) and rows:
            parts.append(f"<h2>{escape(_title(label))} ({len(rows)})</h2>")
            parts += [_facts(row) for row in rows]
    return (
        f'<!DOCTYPE html><html lang="{get_language() or "en"}"><head><meta charset="utf-8">'
        f"<title>{escape(heading)}</title></head><body>{''.join(parts)}</body></html>"
    )


def _title(label: str) -> str:
    names = {model._meta.label_lower: str(model._meta.verbose_name_plural) for model in places()}
    return names.get(label, label)


def _facts(row: Mapping[str, Any]) -> str:
    told = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(_text(value))}</dd>"
        for name, value in row.items()
        if value not in (None, "", [], {})
    )
    return f"<dl>{told}</dl>"


def _text(value: Any) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False)
    return value.isoformat(sep=" ", timespec="minutes") if isinstance(value, datetime) else str(value)
