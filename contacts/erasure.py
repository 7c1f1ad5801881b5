"""Erasure: the person goes, everywhere; what stays is a nameless tombstone, totals, and keyed hashes of their handles.

Whatever points at a contact is deleted, so that a model made tomorrow cannot be forgotten; an app whose rows must stay
says by `keep` what is left of them, and clears what no foreign key leads to by `forget_by`, both from its
`AppConfig.ready`. What went is written down in `Erasure`, the proof.
"""

import hmac
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from hashlib import sha256
from operator import or_
from typing import Any

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection, models, transaction
from django.db.models import Q

from contacts import merging, sweeping
from contacts.models import (
    ConsentChange,
    Contact,
    ErasedHandle,
    Erasure,
    ErasureKey,
    IdempotencyKey,
    Identity,
    Incoming,
    Merge,
    Receipt,
    StepCursor,
    Touchpoint,
    Wording,
)
from contacts.stream import head, wait_for_tick_lock

# The handles by which an erased person is known again. An anonymous id names a device, to which nobody writes.
KNOWN_AGAIN = ("email", "phone", "user_id")
# Shorter texts stand in rows of everybody.
_SHORTEST = 5


@dataclass(frozen=True)
class Traces:
    """What leads to a person beside foreign keys.

    `ids` are the contact's and of all who were merged into them; `texts` give the person away wherever they stand:
    handles, addresses and whole names.
    """

    ids: list[int]
    handles: list[tuple[str, str]]
    texts: list[str]
    now: datetime

    def values(self, kind: str) -> list[str]:
        return [value for one, value in self.handles if one == kind]

    def within(self, field: str) -> Q:
        """Rows whose text holds one of `texts`; nobody's, where there is none."""
        return reduce(or_, [Q(**{f"{field}__icontains": one}) for one in self.texts], Q(pk__in=[]))


@dataclass(frozen=True)
class _Kept:
    which: Q
    blank: Mapping[str, Any]


_kept: dict[type[models.Model], _Kept] = {}
_forgetters: list[Callable[[Traces], Mapping[str, int]]] = []


def keep(model: type[models.Model], which: Q | None = None, **blank: Any) -> None:
    """Rows of this model (those of `which`) survive their person as totals; `blank` is what then stands in columns."""
    _kept[model] = _Kept(which or Q(), blank)


def forget_by(forget: Callable[[Traces], Mapping[str, int]]) -> None:
    """Registers a function that clears what no foreign key leads to; it answers how many rows of what it removed.

    It runs in the transaction of the erasure, before the rows that lead to the contact go.
    """
    if forget not in _forgetters:
        _forgetters.append(forget)


@transaction.atomic
def erase(contact: Contact, *, by, now: datetime) -> Erasure | None:
    """Removes a person, with everybody merged into them, for good; the proof. A second time does nothing (None).

    `by` is the user who asked for it, or None.
    """
    # A tick under way may be about to write of this person.
    wait_for_tick_lock()
    person = Contact.objects.select_for_update().get(pk=contact.pk)
    while person.merged_into_id:
        person = Contact.objects.select_for_update().get(pk=person.merged_into_id)
    if person.erased_at:
        return None
    traces = traces_of(person, now)
    removed: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for forget in (_forget_log, _forget_events, _forget_answers, *_forgetters):
        removed.update(forget(traces))
    for model, name in relations():
        rows = model._base_manager.filter(**{f"{name}__in": traces.ids})
        if model in _kept:
            stay = rows.filter(_kept[model].which)
            if _kept[model].blank:
                kept[model._meta.label_lower] += stay.update(**_kept[model].blank)
            else:
                kept[model._meta.label_lower] += stay.count()
            rows = rows.exclude(_kept[model].which) if _kept[model].which else rows.none()
        removed[model._meta.label_lower] += rows.delete()[0]
    for table, column in merging.extra_places():
        removed[table] += _delete(table, column, traces.ids)
    # Words that only this person was shown may speak of them.
    Wording.objects.exclude(digest__in=ConsentChange.objects.values("wording")).delete()
    key, digests = _remember(traces)
    blank = {
        field.name: field.get_default()
        for field in Contact._meta.concrete_fields
        if field.name not in {"id", "stage", "highest_stage", "created_at", "merged_into", "erased_at", "updated_at"}
    }
    Contact.objects.filter(pk__in=traces.ids).update(**blank, erased_at=now, updated_at=now)
    # What other people's rows say of them is found by a walk behind this, which must not hold the tick up; what is
    # about to be sent is blanked at once.
    sought = sweeping.sought(traces.handles)
    removed["contacts.webhookdelivery (others)"] += sweeping.blank_waiting(sought)
    labels = sorted({*removed, *kept})
    counts = {one: {"removed": removed[one], "kept": kept[one]} for one in labels if removed[one] or kept[one]}
    return Erasure.objects.create(
        contact_number=person.pk, erased_at=now, erased_by=by, key=key, handles=digests, counts=counts,
        sought=sought, upto=head() if sought else 0, swept_at=None if sought else now,
    )  # fmt: skip


def relations() -> list[tuple[Any, str]]:
    """Every model and field that leads to a contact, the log of merges included."""
    return [
        *((model, name) for model, name in merging.relations() if model is not Contact),
        (Merge, "survivor"),
        (Merge, "loser"),
    ]


def traces_of(person: Contact, now: datetime) -> Traces:
    """What leads to a living person and to everybody merged into them."""
    everybody = with_merged(person)
    handles = list(Identity.objects.filter(contact__in=everybody).values_list("kind", "value"))
    rows = [person, *Contact.objects.filter(pk__in=everybody).exclude(pk=person.pk)]
    told = [("email", row.email) for row in rows] + [("phone", row.phone) for row in rows]
    handles += [one for one in dict.fromkeys(told) if one[1] and one not in handles]
    names = {f"{row.first_name} {row.last_name}".strip() for row in rows if row.first_name and row.last_name}
    texts = sorted({one for one in (*(value for _kind, value in handles), *names) if len(one) >= _SHORTEST})
    return Traces(everybody, handles, texts, now)


def with_merged(person: Contact) -> list[int]:
    """The ids of a person and of everybody who was merged into them, however long ago."""
    everybody, newest = [person.pk], [person.pk]
    while newest:
        newest = list(Contact.objects.filter(merged_into__in=newest).values_list("pk", flat=True))
        everybody += newest
    return everybody


# Known again ---------------------------------------------------------------------------------------------------------


def digest(key: bytes, value: str, kind: str = "email") -> str:
    """The keyed hash by which an erased handle is known again."""
    text = f"erased:{value}" if kind == "email" else f"erased:{kind}:{value}"
    return hmac.digest(key, text.encode(), sha256).hex()


def keys() -> list[bytes]:
    """Every key a digest may have been made with: ours, and SECRET_KEY with its fallbacks, which came before it."""
    ours = [bytes(one) for one in ErasureKey.objects.order_by("pk").values_list("secret", flat=True)]
    return [*ours, *(key.encode() for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS))]


def pads() -> list[tuple[bytes, bytes]]:
    """HMAC's inner and outer block of each key, for a statement that asks about a whole set of handles."""
    blocks = [(sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0") for key in keys()]
    return [(bytes(one ^ 0x36 for one in block), bytes(one ^ 0x5C for one in block)) for block in blocks]


def _remember(traces: Traces) -> tuple[ErasureKey, int]:
    # Two first erasures at once may make two keys; both are kept, both are asked.
    key = ErasureKey.objects.order_by("pk").first() or ErasureKey.objects.create(
        secret=secrets.token_bytes(32), created_at=traces.now
    )
    digests = {digest(bytes(key.secret), value, kind) for kind, value in traces.handles if kind in KNOWN_AGAIN}
    ErasedHandle.objects.bulk_create(
        [ErasedHandle(digest=one, erased_at=traces.now) for one in sorted(digests)], ignore_conflicts=True
    )
    return key, len(digests)


def erased_among(values: Iterable[str], kind: str = "email") -> set[str]:
    """Which of these normalised handles belonged to somebody who asked to be erased."""
    told = set(values)
    if not told or not ErasedHandle.objects.exists():
        return set()
    used = keys()
    by_digest = {digest(key, one, kind): one for one in told for key in used}
    found = ErasedHandle.objects.filter(digest__in=by_digest).values_list("digest", flat=True)
    return {by_digest[one] for one in found}


# What no foreign key leads to ----------------------------------------------------------------------------------------


def _delete(table: str, column: str, ids: list[int]) -> int:
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {quote(table)} WHERE {quote(column)} = ANY(%s)", [ids])  # noqa: S608  from our apps
        return cursor.rowcount


def _forget_events(traces: Traces) -> dict[str, int]:
    """The stream, what still waits in the inbox, and under which names it came."""
    waiting = Q(contact_id__in=traces.ids) | traces.within("error")
    for column in ("user_id", "anonymous_id", "email"):
        waiting |= Q(**{f"{column}__in": traces.values(column)})
    for column in ("traits", "properties", "message_id"):
        waiting |= traces.within(column)
    StepCursor.objects.filter(traces.within("error")).update(error="")
    return {
        "contacts.touchpoint": Touchpoint.objects.filter(contact__in=traces.ids).delete()[0],
        "contacts.incoming": Incoming.objects.filter(waiting).delete()[0],
        "contacts.receipt": _forget_receipts(traces),
    }


def _forget_receipts(traces: Traces) -> int:
    # A composite key: `within` has no pk to begin with.
    named = [Q(message_id__icontains=one) for one in traces.texts]
    return Receipt.objects.filter(reduce(or_, named)).delete()[0] if named else 0


def _forget_answers(traces: Traces) -> dict[str, int]:
    """Answers to POSTs that told of the person: a client that asks again gets a new one."""
    needles = [one.encode() for one in traces.texts]
    needles += [f'"{name}":{pk}{end}'.encode() for pk in traces.ids for name in ("id", "contact") for end in ",}"]
    rows = IdempotencyKey.objects.exclude(body=None).extra(  # noqa: S610  no bytes operator in the ORM
        where=["EXISTS (SELECT FROM unnest(%s::bytea[]) AS needle WHERE position(needle IN body) > 0)"],
        params=[needles],
    )
    keyed = IdempotencyKey.objects.filter(traces.within("key"))
    return {"contacts.idempotencykey": rows.delete()[0] + keyed.delete()[0]}


def _forget_log(traces: Traces) -> dict[str, int]:
    """The admin's log keeps who did what when, and no longer with whom."""
    about = Q(content_type=ContentType.objects.get_for_model(Contact), object_id__in=[str(pk) for pk in traces.ids])
    for model, name in relations():
        if model._meta.pk.is_relation or not hasattr(model._meta.pk, "get_internal_type"):
            continue
        logged = LogEntry.objects.filter(content_type=ContentType.objects.get_for_model(model))
        if logged.exists():
            own = model._base_manager.filter(**{f"{name}__in": traces.ids}).values_list("pk", flat=True)
            about |= Q(
                content_type=ContentType.objects.get_for_model(model), object_id__in=[str(pk) for pk in own[:10_000]]
            )
    about |= traces.within("object_repr") | traces.within("change_message")
    return {"admin.logentry": LogEntry.objects.filter(about).update(object_repr="", change_message="")}
