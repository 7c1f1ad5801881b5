"""Consent: what a person allows now, the ledger that proves it, and the touchpoint that tells it."""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from contacts.erasure import KNOWN_AGAIN, erased_among
from contacts.models import Consent, ConsentChange, Contact, Identity, Wording
from contacts.sql import load
from contacts.stream import put

SQL = load(__file__)

# By what people are written to.
CHANNELS = ("email", "sms")
_STRICTEST = ("denied", "pending", "granted")
_demands: list[Callable[[str, str], bool]] = []


_topics: list[Callable[[], Iterable[str]]] = []


def register_topics(keys: Callable[[], Iterable[str]]) -> None:
    """Registers a function that tells the keys of topics. Call it from `AppConfig.ready`."""
    if keys not in _topics:
        _topics.append(keys)


def known_topics() -> set[str]:
    """The keys of all topics, and "" for all of a channel."""
    return {"", *(key for keys in _topics for key in keys())}


class NotRaised(ValueError):
    """A consent that would be raised by somebody who may not."""


def stricter(one: str, other: str) -> str:
    """The stricter of two states."""
    return min(one, other, key=_STRICTEST.index)


def is_raise(before: str, state: str) -> bool:
    """Does this allow more than held before ("" where nothing was ever said)? `settle_told_consents` asks the same."""
    return (state == "granted" and before != "granted") or (state == "pending" and before == "denied")


def raisable(contacts: Iterable[int]) -> set[int]:
    """Those whose consent others may raise: nobody with a handle that was erased, who can only say so themselves."""
    found = set(contacts)
    for kind in KNOWN_AGAIN:
        rows = Identity.objects.filter(contact__in=found, kind=kind).values_list("value", "contact")
        if kind == "phone":
            rows = rows.union(
                Contact.objects.filter(pk__in=found).exclude(phone="").values_list("phone", "pk"), all=True
            )
        pairs = list(rows)
        erased = erased_among((value for value, _pk in pairs), kind)
        found -= {pk for value, pk in pairs if value in erased}
    return found


def demand_confirmation(asks: Callable[[str, str], bool]) -> None:
    """Registers a question: must this topic on this channel be confirmed by the person (double opt-in)?

    Call it from `AppConfig.ready`.
    """
    if asks not in _demands:
        _demands.append(asks)


@transaction.atomic
def record_consent(
    *,
    contact: Contact,
    topic: str,
    channel: str,
    state: str,
    source: str,
    wording: str = "",
    actor: str = "",
    ip_address: str | None = None,
    user_agent: str = "",
    is_proven: bool = False,
    may_raise: bool = True,
    door: str = "",
    now: datetime,
) -> ConsentChange | None:
    """Writes what a person allows, with its proof; None where nothing new was said.

    An empty `topic` means all of the channel. `wording` is the words that the person saw. Said of somebody merged
    away, it holds for whom they became. Where a topic must be confirmed by its reader, a grant only awaits that
    (`pending`), unless it `is_proven`: said by who reads the address's mail, or confirmed already. `source` is where
    they said it, `door` the way by which we heard of it, where that is another. Raises ValueError
    with a sentence for an unknown state, a missing channel or source, and somebody erased; NotRaised where it would
    allow more than held and is neither proven nor `may_raise`, or a handle of theirs was erased.
    """
    if state not in dict(Consent.STATES):
        raise ValueError(_("A consent is granted, denied or pending, not “%(state)s”.") % {"state": state})
    if not channel or not source:
        raise ValueError(_("A consent needs its channel and its source."))
    person = _lock(contact.pk)
    before = Consent.objects.filter(contact=person, topic=topic, channel=channel).first()
    if state == "granted" and not is_proven and not (before and before.state == "granted"):
        state = "pending" if any(asks(topic, channel) for asks in _demands) else state
    if not is_proven and is_raise(before.state if before else "", state):
        if not may_raise:
            raise NotRaised(_("Consent is raised only by who may, and where that is asked for."))
        if person.pk not in raisable([person.pk]):
            raise NotRaised(_("This person was erased once; only they themselves may allow anything again."))
    digest = keep_words(wording, now)
    if before and before.state == state:
        last = person.consent_changes.filter(topic=topic, channel=channel).order_by("-changed_at", "-pk").first()
        if last and last.wording == digest:
            return None
    Consent.objects.update_or_create(
        contact=person, topic=topic, channel=channel, defaults={"state": state, "changed_at": now}
    )
    change = ConsentChange.objects.create(
        contact=person,
        topic=topic,
        channel=channel,
        state=state,
        source=source,
        wording=digest,
        actor=actor,
        ip_address=ip_address,
        user_agent=user_agent[:500].replace("\0", ""),
        changed_at=now,
    )
    if not before or before.state != state:
        put(
            kind="consent.changed",
            source=door or source,
            now=now,
            contact_id=person.pk,
            properties={"topic": topic, "channel": channel, "state": state, "source": source},
        )
    return change


def refuse(*, contacts: Collection[int], channels: Collection[str], source: str, now: datetime) -> None:
    """Writes for a set of living people that they refuse all of these channels, with its proof; again is harmless."""
    pairs = [(pk, channel) for pk in sorted(set(contacts)) for channel in channels]
    SQL["settle_told_consents"].rows(
        contacts=[pk for pk, _channel in pairs], topics=[""] * len(pairs), channels=[one for _pk, one in pairs],
        states=["denied"] * len(pairs), source=source, actor="", now=now, raisable=[],
    )  # fmt: skip


def _lock(pk: int) -> Contact:
    """The contact, or whom they became, locked so that two answers at once come one after the other."""
    person = Contact.objects.select_for_update(no_key=True).get(pk=pk)
    while person.merged_into_id:
        person = Contact.objects.select_for_update(no_key=True).get(pk=person.merged_into_id)
    if person.erased_at:
        raise ValueError(_("Contact %(id)d was erased.") % {"id": person.pk})
    return person


def consent_state(contact: Contact, topic: str, channel: str) -> str:
    """What holds for one topic on one channel: granted, denied, pending, or "" where nothing was ever said.

    Who refuses all of a channel refuses each of its topics; so does, for the time being, an address not confirmed yet.
    """
    said = dict(
        Consent.objects.filter(contact=contact, channel=channel, topic__in=["", topic]).values_list("topic", "state")
    )
    veto = said.get("", "")
    if "denied" in (veto, said.get(topic)):
        return "denied"
    return "pending" if veto == "pending" else said.get(topic, "")


def keep_words(words: str, now: datetime) -> str:
    """Keeps the words that people see, once; the digest by which the ledger names them ("" for no words)."""
    if not words:
        return ""
    digest = sha256(words.encode()).hexdigest()
    Wording.objects.get_or_create(digest=digest, defaults={"words": words, "kept_at": now})
    return digest


KEEP = object()


@transaction.atomic
def set_limits(
    *,
    contact: Contact,
    paused_until: Any = KEEP,
    most_per_week: Any = KEEP,
    source: str,
    actor: str = "",
    may_raise: bool,
    now: datetime,
) -> Contact:
    """Writes until when a person wants no marketing (a moment, or None), and how much of it in 7 days at most.

    What is left out stays. Without `may_raise` a pause only grows and a limit only falls. Raises ValueError with a
    sentence for what is refused, for a limit under 1, and for somebody erased.
    """
    person = _lock(contact.pk)
    told: dict[str, dict[str, Any]] = {}
    if paused_until is not KEEP:
        until = paused_until if paused_until and paused_until > now else None
        had = person.paused_until if person.paused_until and person.paused_until > now else None
        if until != had:
            if not may_raise and had and (until is None or until < had):
                raise ValueError(_("Only the person themselves ends or shortens a pause."))
            told["consent.paused" if until else "consent.resumed"] = {"until": until.isoformat()} if until else {}
        person.paused_until = until
    if most_per_week is not KEEP and most_per_week != person.most_per_week:
        if most_per_week is not None and not 1 <= most_per_week <= 100:
            raise ValueError(_("A limit is from 1 to 100 messages in 7 days."))
        if not may_raise and person.most_per_week and (most_per_week is None or most_per_week > person.most_per_week):
            raise ValueError(_("Only the person themselves lifts their limit."))
        person.most_per_week = most_per_week
        told["consent.limited"] = {"most_per_week": most_per_week}
    if told:
        person.updated_at = now
        person.save(update_fields=["paused_until", "most_per_week", "updated_at"])
        for kind, properties in told.items():
            put(kind=kind, source=source, now=now, contact_id=person.pk, properties=properties | {"actor": actor})
    return person


def proof(contact: Contact) -> list[dict[str, Any]]:
    """The whole ledger of a person, the oldest first, with the words themselves: what proves each yes and no."""
    rows = contact.consent_changes.order_by("changed_at", "pk").values(
        "topic", "channel", "state", "source", "wording", "actor", "ip_address", "user_agent", "changed_at"
    )
    return with_words(rows)


def with_words(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the ledger, each with its words beside their digest."""
    found = [dict(row) for row in rows]
    words = dict(Wording.objects.filter(digest__in={row["wording"] for row in found}).values_list("digest", "words"))
    return [{**row, "wording": words.get(row["wording"], ""), "wording_sha256": row["wording"]} for row in found]
