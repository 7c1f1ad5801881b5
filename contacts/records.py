"""One record of a contact as a client writes it: checked, and brought into the one form in which it is stored.

Bulk sync, single REST writes and file imports read their rows here. An omitted field is not in the result; a null (in
files: nothing) clears.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.contrib.auth import get_user_model
from django.utils.translation import gettext as _

from contacts import handles
from contacts.consent import CHANNELS, known_topics
from contacts.identity import FREE_MAIL, is_normal, normalise, normalise_domain
from contacts.models import Consent, Field
from contacts.wire import Unread, dumps

# Columns of plain text, each with its greatest length.
TEXTS = {
    "first_name": 200, "last_name": 200, "salutation": 200, "job_title": 200, "company_role": 100,
    "timezone": 100, "source": 200,
}  # fmt: skip
COLUMNS = (
    "email",
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
WRITABLE = (*COLUMNS, "id", "user_id", "company", "owner", "attributes", "consents", "identities", "updated_at")
# Part of what we answer, so a client may send them back; they are not written.
READ_ONLY = (
    "name",
    "stage",
    "highest_stage",
    "stage_changed_at",
    "nurture_state",
    "phase",
    "zone",
    "created_at",
    "identified_at",
    "last_seen_at",
    "paused_until",
    "most_per_week",
)
KNOWN = frozenset((*WRITABLE, *READ_ONLY))

LARGEST_ATTRIBUTES = 32 * 1024
_COUNTRY, _LANGUAGE = re.compile(r"[A-Za-z]{2}"), re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Wrong(ValueError):
    """What is wrong with one field of a record."""

    def __init__(self, name: str, message: str):
        super().__init__(message)
        self.error = {"field": name, "message": message}


@dataclass(slots=True)
class Record:
    """A checked record. `texts` holds what was told of the columns of text, '' where it clears."""

    index: int
    user_id: str | None = None
    email: str | None = None
    contact_id: int | None = None
    texts: dict[str, str] = field(default_factory=dict)
    # None where nothing was told, else a company or owner; False clears.
    company: Any = None
    owner_id: int | bool | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    cleared: list[str] = field(default_factory=list)
    clears_attributes: bool = False
    consents: dict[tuple[str, str], str] = field(default_factory=dict)
    # The rows whose word on a consent was taken, where it is another row's than this one's.
    said_by: dict[tuple[str, str], int] = field(default_factory=dict)
    # Handles of the client's own kinds; an empty list clears the kind.
    identities: dict[str, list[str]] = field(default_factory=dict)
    told_at: datetime | None = None
    # In which round of its batch it is written.
    turn: int = 0


class Reader:
    """Reads records by the custom fields and users of this moment; make one for each batch."""

    def __init__(self, now: datetime, usernames: Iterable[str] = ()):
        self.latest = now + timedelta(days=1)
        self.fields = {one.key: _CHECKS[one.type](one) for one in Field.objects.all()}
        users = get_user_model().objects.filter(username__in=set(usernames), is_active=True)
        self.users = dict(users.values_list("username", "pk"))
        self.topics: set[str] | None = None

    def read(self, index: int, data: Any) -> Record:
        """A record of decoded JSON. Raises Wrong with the first field that is not right."""
        if isinstance(data, Unread):
            raise Wrong(data.field, data.message)
        if not isinstance(data, Mapping):
            raise Wrong("", _("A row must be an object."))
        if not KNOWN.issuperset(data):
            raise Wrong(min(set(map(str, data)) - KNOWN), _("There is no such field."))
        record = Record(index)
        texts = record.texts
        for name, value in data.items():
            if name == "email" or name == "phone":
                texts[name] = self._handle(name, value, data)
            elif name in TEXTS:
                # Most texts are plain; what is printable holds no control character.
                is_plain = type(value) is str and len(value) <= TEXTS[name] and value.isprintable()
                texts[name] = value.strip() if is_plain else self._text(name, value)
            elif name in _READ:
                _READ[name](self, record, value)
        record.email = texts.get("email")
        return record

    def _handle(self, kind: str, value: Any, data: Mapping[str, Any]) -> str:
        if value is None or value == "":
            return ""
        if is_normal(kind, value):
            return value
        region = data.get("country")
        try:
            if kind == "phone" and isinstance(region, str) and _COUNTRY.fullmatch(region):
                return normalise("phone", value, region=region.upper())
            return normalise(kind, value)
        except ValueError as error:
            raise Wrong(kind, str(error)) from None

    def _text(self, name: str, value: Any) -> str:
        if value is None:
            return ""
        if not isinstance(value, str):
            raise Wrong(name, _("This must be a text."))
        if len(value) > TEXTS[name]:
            raise Wrong(name, _("This is longer than %(most)s characters.") % {"most": TEXTS[name]})
        if _CONTROL.search(value):
            raise Wrong(name, _("This contains control characters."))
        return value.strip()

    def _user_id(self, record: Record, value: Any) -> None:
        if value is None:
            record.user_id = ""
            return
        try:
            record.user_id = normalise("user_id", str(value) if type(value) is int else value)
        except ValueError as error:
            raise Wrong("user_id", str(error)) from None

    def _id(self, record: Record, value: Any) -> None:
        if type(value) is not int or not 0 < value < 2**63:
            raise Wrong("id", _("This must be the number of a contact."))
        record.contact_id = value

    def _language(self, record: Record, value: Any) -> None:
        if type(value) is str and len(value) == 2 and value.isascii() and value.isalpha():
            record.texts["language"] = value.lower()
            return
        if value and not (isinstance(value, str) and _LANGUAGE.fullmatch(value.strip())):
            raise Wrong("language", _("This must be a language code such as cs."))
        record.texts["language"] = re.split("[-_]", value.strip().lower())[0] if value else ""

    def _country(self, record: Record, value: Any) -> None:
        if type(value) is str and len(value) == 2 and value.isascii() and value.isalpha():
            record.texts["country"] = value.upper()
            return
        if value and not (isinstance(value, str) and _COUNTRY.fullmatch(value.strip())):
            raise Wrong("country", _("This must be an ISO code of two letters such as CZ."))
        record.texts["country"] = value.strip().upper() if value else ""

    def _company(self, record: Record, value: Any) -> None:
        """A name, a domain, or {id | name, domain}; `contacts.syncing` finds or makes it."""
        if value is None or value == "":
            record.company = False
            return
        if isinstance(value, str):
            is_domain = "." in value.strip(" .") and " " not in value.strip()
            value = {"domain": value} if is_domain else {"name": value}
        if not isinstance(value, Mapping) or not {"id", "name", "domain"}.issuperset(value):
            raise Wrong("company", _("This must be a name, a domain, or an object with id, name or domain."))
        if value.get("id") is not None:
            if type(value["id"]) is not int or not 0 < value["id"] < 2**63:
                raise Wrong("company.id", _("This must be the number of a company."))
            record.company = ("id", value["id"], "")
            return
        name, domain = value.get("name") or "", value.get("domain") or ""
        for key, text in (("name", name), ("domain", domain)):
            if not isinstance(text, str) or len(text) > 200 or _CONTROL.search(text):
                raise Wrong(f"company.{key}", _("This must be a text of at most 200 characters."))
        try:
            domain = normalise_domain(domain)
        except ValueError as error:
            raise Wrong("company.domain", str(error)) from None
        if domain in FREE_MAIL:
            if not name.strip():
                raise Wrong("company.domain", _("At this domain everybody may have an address; it is no company's."))
            domain = ""
        if not name.strip() and not domain:
            raise Wrong("company", _("This must be a name, a domain, or an object with id, name or domain."))
        record.company = ("domain", domain, name.strip() or domain) if domain else ("name", name.strip(), name.strip())

    def _owner(self, record: Record, value: Any) -> None:
        if value is None or value == "":
            record.owner_id = False
        elif not isinstance(value, str) or value not in self.users:
            raise Wrong("owner", _("There is no active user “%(name)s”.") % {"name": value})
        else:
            record.owner_id = self.users[value]

    def _attributes(self, record: Record, value: Any) -> None:
        if value is None:
            record.clears_attributes = True
            return
        if not isinstance(value, Mapping):
            raise Wrong("attributes", _("This must be an object."))
        for key, one in value.items():
            if not 1 <= len(key) <= 64 or _CONTROL.search(key):
                raise Wrong(f"attributes.{key[:64]}", _("A key has 1 to 64 characters."))
            if one is None:
                record.cleared.append(key)
            else:
                check = self.fields.get(key)
                record.attributes[key] = check(f"attributes.{key}", one) if check else one
        if record.attributes and len(dumps(record.attributes)) > LARGEST_ATTRIBUTES:
            raise Wrong("attributes", _("The custom fields of one contact may have at most 32 kB."))

    def _consents(self, record: Record, value: Any) -> None:
        """{topic: state} for e-mail, or a list of {topic, channel, state}."""
        if value is None:
            return
        if isinstance(value, Mapping):
            value = [{"topic": topic, "state": state} for topic, state in value.items()]
        if not isinstance(value, list) or len(value) > 100:
            raise Wrong("consents", _("This must be a list of topic, channel and state."))
        for one in value:
            if not isinstance(one, Mapping) or not {"topic", "channel", "state"}.issuperset(one):
                raise Wrong("consents", _("This must be a list of topic, channel and state."))
            topic, channel, state = one.get("topic", ""), one.get("channel", "email"), one.get("state")
            if (
                not isinstance(topic, str)
                or not isinstance(channel, str)
                or not channel
                or len(topic + channel) > 200
                or _CONTROL.search(topic + channel)
            ):
                raise Wrong("consents", _("Topic and channel must be texts."))
            if not isinstance(state, str) or state not in dict(Consent.STATES):
                raise Wrong(f"consents.{topic}", _("A state is granted, denied or pending."))
            if self.topics is None:
                self.topics = known_topics()
            if topic not in self.topics:
                raise Wrong(f"consents.{topic}", _("There is no topic “%(topic)s”.") % {"topic": topic})
            if channel not in CHANNELS:
                raise Wrong(f"consents.{topic}", _("There is no channel “%(channel)s”.") % {"channel": channel})
            record.consents[topic, channel] = state

    def _identities(self, record: Record, value: Any) -> None:
        try:
            record.identities = handles.read(value)
        except ValueError as error:
            raise Wrong(*error.args) from None

    def _updated_at(self, record: Record, value: Any) -> None:
        if value is None:
            return
        moment = _moment(value)
        if moment is None:
            raise Wrong("updated_at", _("This must be an ISO 8601 date and time."))
        if moment > self.latest:
            raise Wrong("updated_at", _("This lies in the future."))
        record.told_at = moment


_READ = {
    "user_id": Reader._user_id, "id": Reader._id, "language": Reader._language, "country": Reader._country,
    "company": Reader._company, "owner": Reader._owner, "attributes": Reader._attributes,
    "consents": Reader._consents, "identities": Reader._identities, "updated_at": Reader._updated_at,
}  # fmt: skip


# Custom fields -------------------------------------------------------------------------------------------------------


def _is_text(one: Field) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> Any:
        if not isinstance(value, str):
            raise Wrong(name, _("This must be a text."))
        return value

    return check


def _is_number(one: Field) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Wrong(name, _("This must be a number."))
        return value

    return check


def _is_boolean(one: Field) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> Any:
        if not isinstance(value, bool):
            raise Wrong(name, _("This must be true or false."))
        return value

    return check


def _is_date(one: Field) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> Any:
        try:
            return date.fromisoformat(value).isoformat()
        except (ValueError, TypeError):
            raise Wrong(name, _("This must be a date such as 2027-03-28.")) from None

    return check


def _is_datetime(one: Field) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> Any:
        moment = _moment(value)
        if moment is None:
            raise Wrong(name, _("This must be an ISO 8601 date and time."))
        return moment.isoformat()

    return check


def _is_choice(one: Field) -> Callable[[str, Any], Any]:
    keys = {choice["key"] if isinstance(choice, dict) else choice for choice in one.choices}

    def check(name: str, value: Any) -> Any:
        if not isinstance(value, str) or value not in keys:
            raise Wrong(name, _("This must be one of: %(names)s.") % {"names": ", ".join(sorted(keys))})
        return value

    return check


def _is_list(one: Field) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> Any:
        if not isinstance(value, list) or not all(isinstance(item, str | int | float | bool) for item in value):
            raise Wrong(name, _("This must be a list of texts or numbers."))
        return value

    return check


_CHECKS = {
    "text": _is_text, "number": _is_number, "boolean": _is_boolean, "date": _is_date, "datetime": _is_datetime,
    "choice": _is_choice, "list": _is_list,
}  # fmt: skip


def _moment(value: Any) -> datetime | None:
    """An instant of ISO 8601; without an offset it is wall time in the workspace's zone."""
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(settings.TIME_ZONE))).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None
