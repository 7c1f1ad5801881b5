"""What people decide about our mail without a log-in: refuse all, choose topics and channels, pause, limit."""

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from contacts.consent import consent_state, record_consent, set_limits
from contacts.models import Consent, Contact, Identity
from contacts.stream import put
from messaging.channels import CHANNELS as DOORS
from messaging.models import Message, Suppression, Topic
from messaging.outbox import ask_again, withdraw_refused

# What people allow and refuse, with its name; some doors ask for the consent of another (see `Channel.consent`).
CHANNELS = {one.consent: DOORS[one.consent].name for one in DOORS.values()}
# How often at most, as the page offers it.
LIMITS = [1, 2, 3, 5, 7]
# Why people leave, as the page asks; an answer is one of these, and words of their own if they like.
WHY = {
    "too-often": gettext_lazy("There are too many messages"),
    "not-relevant": gettext_lazy("They are not about what matters to me"),
    "never-asked": gettext_lazy("I never asked for them"),
    "other": gettext_lazy("Something else"),
}
LONGEST_COMMENT = 500
# How long one press takes a refusal of everything back; later the page with all choices does it.
TAKEN_BACK_WITHIN = timedelta(hours=1)
_BY_THEMSELVES = ("one-click", "unsubscribe-page", "preference-page")


def person_of(message: int, contact: int) -> Contact | None:
    """Whom a link in a mail belongs to by now: merges are followed; None for somebody erased or never there."""
    pk = Message.objects.filter(pk=message).values_list("contact_id", flat=True).first() or contact
    return living(pk)


def living(pk: int | None) -> Contact | None:
    """The contact, or whom they became; None for somebody erased or never there."""
    person = Contact.objects.filter(pk=pk or 0).first()
    while person is not None and person.merged_into_id:
        person = Contact.objects.filter(pk=person.merged_into_id).first()
    return None if person is None or person.erased_at else person


def readers_of(message: int, person: Contact, now: datetime) -> list[Contact]:
    """Who a word about a mail is said for: its person, and whoever has the address by now that it went to.

    An address that nobody has any more is theirs again: else it could be added anew without what they said.
    """
    # The telephone number of an SMS is no address here.
    address = Message.objects.filter(pk=message, channel="email").values_list("address", flat=True).first()
    if not address:
        return [person]
    handle, _is_new = Identity.objects.get_or_create(
        kind="email", value=address, defaults={"contact": person, "created_at": now}
    )
    owner = living(handle.contact_id)
    return [person] if owner is None or owner.pk == person.pk else [person, owner]


@transaction.atomic
def refuse_all(
    *,
    contact: Contact,
    source: str,
    now: datetime,
    wording: str = "",
    ip_address: str | None = None,
    user_agent: str = "",
) -> None:
    """From here on no marketing reaches this person on any channel; what waits is withdrawn. Again is harmless."""
    for channel in channels_of(contact):
        record_consent(
            contact=contact, topic="", channel=channel, state="denied", source=source, wording=wording,
            ip_address=ip_address, user_agent=user_agent, now=now,
        )  # fmt: skip
        withdraw_refused(contact=contact, channel=channel, topic="", now=now)


@transaction.atomic
def take_back(
    *, contact: Contact, wording: str, now: datetime, ip_address: str | None = None, user_agent: str = ""
) -> bool:
    """Undoes a refusal of everything that the person said within the last hour: on each channel what held before
    holds again, and no more than that. Whether there was one. What was withdrawn meanwhile stays withdrawn."""
    is_taken_back = False
    for channel in channels_of(contact):
        said = list(contact.consent_changes.filter(topic="", channel=channel).order_by("-changed_at", "-pk")[:20])
        refusals = list(takewhile(lambda one: one.state == "denied", said))
        is_recent = all(one.source in _BY_THEMSELVES and now - one.changed_at <= TAKEN_BACK_WITHIN for one in refusals)
        if not refusals or not is_recent:
            continue
        before = said[len(refusals)].state if len(refusals) < len(said) else "granted"
        record_consent(
            contact=contact, topic="", channel=channel, state=before, source="preference-page", wording=wording,
            ip_address=ip_address, user_agent=user_agent, is_proven=True, now=now,
        )  # fmt: skip
        is_taken_back = True
    return is_taken_back


def explain_leaving(*, contact: Contact, why: str, comment: str, now: datetime) -> None:
    """Keeps why somebody left, as a touchpoint; the same answer twice a day is one. Raises NotUnderstood."""
    if why not in WHY:
        raise NotUnderstood("why", _("Choose one of the answers."))
    comment = comment.strip().replace("\0", "")[:LONGEST_COMMENT]
    put(
        kind="consent.explained", source="preference-page", now=now, contact_id=contact.pk, channel="email",
        message_id=f"leaving:{contact.pk}:{now:%Y-%m-%d}:{why}",
        properties={"reason": why, **({"comment": comment} if comment else {})},
    )  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """A topic on the preference page, in the person's language."""

    topic: Topic
    name: str
    description: str
    is_allowed: bool
    awaits_confirmation: bool = False


def choices(contact: Contact, language: str) -> list[Choice]:
    """All topics with what holds now for this person; names in their language."""
    found = []
    for topic in Topic.objects.order_by("key"):
        state = consent_state(contact, topic.key, "email")
        is_allowed = state == "granted" if topic.is_opt_in else state not in ("denied", "pending")
        found.append(
            Choice(topic, topic.name_in(language), topic.description_in(language), is_allowed, state == "pending")
        )
    return found


@dataclass(frozen=True)
class Way:
    """A channel on the preference page."""

    key: str
    name: str
    address: str
    is_allowed: bool
    # What else comes and goes with it, such as messages on our website.
    others: tuple[str, ...] = ()


def channels_of(contact: Contact) -> list[str]:
    """The channels by which this person could be reached, or of which they said anything, as consents name them."""
    told = set(contact.consents.values_list("channel", flat=True))
    reached = {one.consent for one in DOORS.values() if one.address and _address(contact, one.address)}
    return ["email", *sorted((told | reached) - {"email"})]


def _address(contact: Contact, name: str) -> str:
    return str({"email": contact.email, "phone": contact.phone}.get(name, ""))


def ways(contact: Contact) -> list[Way]:
    """The channels of a person with what holds now."""
    refused = set(contact.consents.filter(topic="", state="denied").values_list("channel", flat=True))
    found = []
    for key in channels_of(contact):
        others = tuple(str(one.name) for one in DOORS.values() if one.consent == key != one.key and one.opener is None)
        address = _address(contact, DOORS[key].address) if key in DOORS else ""
        found.append(Way(key, str(CHANNELS.get(key, key)), address, key not in refused, others))
    return found


def is_suppressed(contact: Contact) -> bool:
    """Does no mail reach the address whatever is chosen (bounced, complained, blocked)?"""
    return Suppression.objects.filter(address=contact.email.strip().lower()).exclude(reason="unsubscribed").exists()


@transaction.atomic
def choose_topics(
    *,
    contact: Contact,
    allowed: set[str],
    now: datetime,
    language: str = "",
    source: str = "preference-page",
    ip_address: str | None = None,
    user_agent: str = "",
) -> None:
    """Exactly the topics in `allowed` may reach this person; all others are refused.

    Choosing any lifts a refusal of all. Who has the link reads the address's mail, so no confirmation is asked for.
    """
    say = partial(
        record_consent, contact=contact, channel="email", source=source, ip_address=ip_address, user_agent=user_agent,
        is_proven=True, now=now,
    )  # fmt: skip
    before = choices(contact, language)
    is_veto = Consent.objects.filter(contact=contact, topic="", channel="email").exclude(state="granted").exists()
    if is_veto and allowed:
        say(topic="", state="granted", wording=str(_("What you hear from us")))
    for one in before:
        key, words = one.topic.key, "\n".join(filter(None, [one.name, one.description]))
        if key in allowed and (not one.is_allowed or is_veto):
            say(topic=key, state="granted", wording=words)
        elif key not in allowed and (one.is_allowed or is_veto or one.awaits_confirmation):
            say(topic=key, state="denied", wording=words)
            withdraw_refused(contact=contact, channel="email", topic=key, now=now)


@transaction.atomic
def choose_channels(
    *, contact: Contact, allowed: set[str], now: datetime, ip_address: str | None = None, user_agent: str = ""
) -> None:
    """Exactly the channels in `allowed` may carry marketing to this person."""
    for way in ways(contact):
        if way.is_allowed == (way.key in allowed):
            continue
        record_consent(
            contact=contact, topic="", channel=way.key, state="denied" if way.is_allowed else "granted",
            source="preference-page", wording=way.name, ip_address=ip_address, user_agent=user_agent, is_proven=True,
            now=now,
        )  # fmt: skip
        if way.is_allowed:
            withdraw_refused(contact=contact, channel=way.key, topic="", now=now)


class NotUnderstood(ValueError):
    """An answer on the preference page that nobody could follow; `name` is the field's."""

    def __init__(self, name: str, sentence: str):
        super().__init__(sentence)
        self.name = name


def end_of_pause(choice: str, day: str, contact: Contact, now: datetime) -> datetime | None:
    """Until when: `1w`, `1m`, `3m`, or `date` with a day, which begins where the person lives; None for no pause.

    Raises NotUnderstood for anything else, for a day that is over, and for one more than five years away.
    """
    if choice == "none":
        return None
    if choice == "1w":
        return now + timedelta(weeks=1)
    if choice in ("1m", "3m"):
        return _months_later(now, int(choice[0]))
    try:
        first_day = date.fromisoformat(day) if choice == "date" else None
    except ValueError:
        first_day = None
    if first_day is None:
        raise NotUnderstood("pause", _("Say until which day the pause lasts."))
    until = datetime.combine(first_day, time(), ZoneInfo(contact.zone or settings.TIME_ZONE))
    if not now < until < now + timedelta(days=5 * 366):
        raise NotUnderstood("pause", _("A pause ends on a day to come, within five years."))
    return until.astimezone(UTC)


def _months_later(moment: datetime, months: int) -> datetime:
    year, month = divmod(moment.month - 1 + months, 12)
    year, month = moment.year + year, month + 1
    return moment.replace(year=year, month=month, day=min(moment.day, monthrange(year, month)[1]))


def most_a_week(choice: str) -> int | None:
    """How many at most: a number, or "" for no limit of their own. Raises NotUnderstood."""
    if choice == "":
        return None
    if not (choice.isascii() and choice.isdigit() and len(choice) < 4 and 1 <= int(choice) <= 100):
        raise NotUnderstood("most", _("A limit is from 1 to 100 messages in 7 days."))
    return int(choice)


@transaction.atomic
def choose_limits(*, contact: Contact, now: datetime, **limits: Any) -> None:
    """Writes a pause and a limit as the person wants them, and asks anew of all that waits for them."""
    set_limits(contact=contact, source="preference-page", may_raise=True, now=now, **limits)
    ask_again(contact=contact, now=now)


@transaction.atomic
def choose_language(*, contact: Contact, language: str, now: datetime) -> None:
    """From now on we write to them in this language. Raises NotUnderstood for one that we do not speak."""
    if language not in dict(settings.LANGUAGES):
        raise NotUnderstood("language", _("We do not speak this language."))
    if contact.language.split("-")[0] != language:
        Contact.objects.filter(pk=contact.pk).update(language=language, updated_at=now)
        former = {"former": {"language": contact.language}} if contact.language else {}
        contact.language = language
        put(
            kind="contact.updated", source="preference-page", now=now, contact_id=contact.pk,
            properties={"fields": ["language"], **former},
        )  # fmt: skip
