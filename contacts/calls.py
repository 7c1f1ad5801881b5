"""Segment's calls (identify, track, page, screen, group, alias) as rows of the inbox."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any

import msgspec
from django.utils.translation import gettext as _
from msgspec import UNSET, Raw, UnsetType

from contacts.identity import LONGEST, normalise, normalise_domain
from contacts.wire import DEEPEST, is_too_deep

# Kinds that only our own parts may tell: a write key stands in public pages, and must not be able to qualify a lead.
RESERVED = {
    "alert", "campaign", "consent", "contact", "date", "email", "enrolment", "handoff", "journey", "lead", "marketing",
    "message", "milestone", "onboarding", "onsite", "score", "segment", "sms", "stage", "task", "track", "webhook",
}  # fmt: skip
# Names of Segment's e-commerce specification for what we call otherwise.
SYNONYMS = {
    "order completed": "order.placed",
    "order refunded": "order.refunded",
    "signed up": "account.created",
    "account created": "account.created",
}
CHANNELS = {"order": "purchase", "page": "web", "form": "web", "screen": "product"}

_KIND = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
_REGION = re.compile(r"[A-Za-z]{2}")
_WORD = re.compile(r"[^\W_]+")


class Call(msgspec.Struct):
    """One call as SDKs write it. Ids may be numbers; what we do not read is left out."""

    type: str = ""
    event: str | None = None
    name: str | None = None
    category: str | None = None
    messageId: str | None = None  # noqa: N815 - the names of the wire
    anonymousId: str | int | None = None  # noqa: N815
    userId: str | int | None = None  # noqa: N815
    previousId: str | int | None = None  # noqa: N815
    groupId: str | int | None = None  # noqa: N815
    timestamp: str | None = None
    originalTimestamp: str | None = None  # noqa: N815
    sentAt: str | None = None  # noqa: N815
    properties: dict[str, Any] | None = None
    traits: dict[str, Any] | None = None
    context: Raw = Raw(b"")
    writeKey: str | None = None  # noqa: N815


class Batch(msgspec.Struct):
    batch: list[Raw] | UnsetType = UNSET
    sentAt: str | None = None  # noqa: N815
    context: dict[str, Any] | None = None
    writeKey: str | None = None  # noqa: N815


class Refused(Exception):
    """The whole request is refused: status and sentence."""

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status = status


# The columns of the inbox, in the order in which `row` answers them.
COLUMNS = (
    "source", "message_id", "kind", "channel", "occurred_at", "received_at",
    "anonymous_id", "user_id", "email", "traits", "properties",
)  # fmt: skip


@dataclass
class Sender:
    """What all calls of one request share: who sent them, from where, and when by our clock."""

    source: str
    now: datetime
    user_agent: str = ""
    address: str = ""
    # Those of the batch, for calls that have none of their own.
    context: dict[str, Any] | None = None
    sent_at: str | None = None
    # SDKs repeat the same context in every call: each is read once.
    known: dict[bytes, tuple[dict[str, Any], bytes]] = field(default_factory=dict)

    def read(self, raw: Raw) -> tuple[dict[str, Any], bytes]:
        """A call's context, and what is worth keeping of it as JSON."""
        key = bytes(raw)
        if (read := self.known.get(key)) is None:
            own = _dict(msgspec.json.decode(key)) if key else {}
            context = {**(self.context or {}), **own}
            read = self.known[key] = context, _written(_about(context, self))
        return read


def row(one: Call, sender: Sender) -> tuple:
    """A call as a row of the inbox, in the order of `COLUMNS`. Raises Refused with what is wrong with it."""
    anonymous_id, user_id = _id("anonymousId", one.anonymousId), _id("userId", one.userId)
    properties, traits = one.properties or {}, None
    context, about = sender.read(one.context)
    match one.type:
        case "track":
            if not one.event:
                raise Refused(400, _("“event” is missing."))
            kind = kind_of(one.event)
        case "page":
            kind = "page.viewed"
            page = _dict(context.get("page"))
            properties = {**{k: page[k] for k in ("url", "path", "title", "referrer") if k in page}, **properties}
            if one.name:
                properties = {"name": one.name, **properties}
        case "screen":
            kind, properties = "screen.viewed", {"name": one.name or "", **properties}
        case "identify":
            kind, properties = "contact.identified", {}
            traits = _tidied(one.traits or _dict(context.get("traits")))
        case "group":
            if not one.groupId:
                raise Refused(400, _("“groupId” is missing."))
            kind, properties = "group.joined", {"group_id": str(one.groupId), **(one.traits or {})}
        case "alias":
            if not one.previousId or not user_id:
                raise Refused(400, _("“previousId” and “userId” are both needed."))
            kind, properties = "contact.aliased", {"previous_id": _id("previousId", one.previousId)}
        case _:
            raise Refused(400, _("“type” must be identify, track, page, screen, group or alias."))
    email = "" if traits is None else _email(traits)
    if not (anonymous_id or user_id or email):
        raise Refused(400, _("“anonymousId” or “userId” is missing."))
    if about != b"{}":
        properties = {**properties, "context": Raw(about)}
    written, told = _written(properties), None if traits is None else _written(traits)
    if b"\\u0000" in written or (told and b"\\u0000" in told):
        raise Refused(400, _("The event holds a NUL character, which cannot be stored."))
    if is_too_deep(properties, written) or (told and is_too_deep(traits, told)):
        raise Refused(400, _("The event is nested deeper than %(deepest)d levels.") % {"deepest": DEEPEST})
    return (
        sender.source, _message_id(one.messageId), kind, CHANNELS.get(kind.partition(".")[0], "web"),
        _occurred_at(one.timestamp or one.originalTimestamp, one.sentAt or sender.sent_at, sender.now), sender.now,
        anonymous_id, user_id, email, told, written,
    )  # fmt: skip


_written = msgspec.json.Encoder().encode


def line(row: tuple) -> bytes:
    """A row as a line of COPY's text format."""
    source, message_id, kind, channel, occurred_at, received_at, anonymous_id, user_id, email, told, written = row
    texts = (
        f"{source}\t{_escaped(message_id)}\t{kind}\t{channel}\t{occurred_at.isoformat()}\t{received_at.isoformat()}\t"
        f"{_escaped(anonymous_id)}\t{_escaped(user_id)}\t{_escaped(email)}\t"
    )
    # JSON holds no control characters; its backslashes would be COPY's.
    traits = b"\\N" if told is None else told.replace(b"\\", b"\\\\")
    return texts.encode() + traits + b"\t" + written.replace(b"\\", b"\\\\")


def _escaped(text: str) -> str:
    if "\\" not in text and text.isprintable():
        return text
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _id(name: str, value: str | int | None) -> str:
    text = "" if value is None else str(value).strip()
    if not text or (len(text) <= LONGEST and text.isascii() and text.isprintable()):
        return text
    try:
        return normalise("user_id", text)
    except ValueError as error:
        raise Refused(400, f"{name}: {error}") from None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _email(traits: dict[str, Any] | None) -> str:
    """The normalised address in the traits; an unreadable one is left where it stands, and identifies nobody."""
    address = (traits or {}).get("email")
    try:
        return normalise("email", address) if isinstance(address, str) and address.strip() else ""
    except ValueError:
        return ""


def _tidied(traits: dict[str, Any]) -> dict[str, Any]:
    """The traits with a telephone and a company's domain in the form in which the other doors write them.

    A telephone that cannot be read is kept beside, as it was told; it is no telephone.
    """
    phone, company, country = traits.get("phone"), traits.get("company"), traits.get("country")
    if isinstance(phone, str | int) and not isinstance(phone, bool) and str(phone).strip():
        region = country.strip().upper() if isinstance(country, str) and _REGION.fullmatch(country.strip()) else "CZ"
        traits = {key: value for key, value in traits.items() if key != "phone"}
        try:
            traits["phone"] = normalise("phone", str(phone), region=region)
        except ValueError:
            traits["phone_as_told"] = phone
    if isinstance(company, dict):
        for name in ("domain", "website"):
            if isinstance(company.get(name), str) and not company[name].isascii():
                try:
                    company = {**company, name: normalise_domain(company[name])}
                except ValueError:
                    company = {key: value for key, value in company.items() if key != name}
        traits = {**traits, "company": company}
    return traits


def _message_id(value: str | None) -> str:
    """A message id of bounded length: a repeat is known by it."""
    text = (value or "").replace("\0", "")
    return text if len(text) <= 200 else sha256(text.encode()).hexdigest()


@lru_cache(maxsize=4096)
def kind_of(event: str) -> str:
    """The touchpoint kind of an event's name: “Product Viewed” → product.viewed, “Purchase” → event.purchase.

    A name of the form noun.verbed stays. Nouns of our own parts are kept for them: “lead.converted” from outside is
    event.lead_converted. Raises Refused for a name without letters.
    """
    text = event.strip()
    if text.lower() in SYNONYMS:
        return SYNONYMS[text.lower()]
    if _KIND.fullmatch(text) and text.partition(".")[0] not in RESERVED:
        return text[:100]
    words = _WORD.findall(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text).lower())
    if not words:
        raise Refused(400, _("“event” has no letters."))
    if len(words) == 1 or words[0] in RESERVED:
        return "event." + "_".join(words)[:90]
    return f"{'_'.join(words[:-1])[:60]}.{words[-1][:40]}"


def _occurred_at(stamp: str | None, sent_at: str | None, now: datetime) -> datetime:
    """When it happened by our clock: the client's clock is off by (received − sent), as Segment corrects it."""
    happened = _moment(stamp)
    if happened is None:
        return now
    sent = _moment(sent_at)
    if sent is not None:
        happened = now - (sent - happened)
    return min(happened, now)


@lru_cache(maxsize=1024)
def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    # A clock that was never set says 1970; nothing we care for is older than the web.
    return moment if moment > datetime(1995, 1, 1, tzinfo=UTC) else None


_PAGE = ("url", "path", "title", "referrer", "search")


def _about(context: dict[str, Any], sender: Sender) -> dict[str, Any]:
    """What is worth keeping of an SDK's context: the page, where it came from, and with what."""
    about: dict[str, Any] = {}
    if page := _dict(context.get("page")):
        about["page"] = {key: page[key] for key in _PAGE if page.get(key) and isinstance(page[key], str)}
    if campaign := _dict(context.get("campaign")):
        about["campaign"] = {key: value for key, value in list(campaign.items())[:20] if isinstance(value, str)}
    library = _dict(context.get("library")).get("name")
    is_browser = bool(page) or (isinstance(library, str) and library in {"analytics.js", "track.js"})
    if agent := context.get("userAgent") or (is_browser and sender.user_agent):
        about["user_agent"] = str(agent)[:500]
    if address := context.get("ip") or (is_browser and sender.address):
        about["ip"] = str(address)[:45]
    for key in ("locale", "timezone"):
        if isinstance(context.get(key), str):
            about[key] = context[key][:100]
    if library:
        about["library"] = str(library)[:100]
    return about
