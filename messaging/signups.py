"""Signing up: somebody asks for topics with an address; its owner confirms by one press in a mail (double opt-in).

Anybody may type any address into a form. So a sign-up only waits: what was told besides is kept apart, nobody's consent
falls or rises, and the mail to the address is one of at most three a day. The press is the proof, and it works once.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, override

from contacts.consent import keep_words, record_consent
from contacts.models import Consent, ConsentChange, Wording
from contacts.sql import load
from contacts.stream import put
from messaging.models import Signup, SignupForm, Template, Topic
from messaging.refusing import living

SQL = load(__file__)
VALID_FOR = timedelta(days=7)
# Nobody can defend the owner of an address but we: so many mails a day to one, and so many rows kept.
MOST_MAILS, MOST_KEPT = 3, 20
TEMPLATE = "confirm-sign-up"
_SUBJECT = gettext_noop("Please confirm: do you want to hear from us?")
_BODY = gettext_noop(
    "Somebody, we hope you, asked us to write to this address about: **{{ topics }}**.\n\n"
    "[Yes, it was me]({{ links.confirm }})\n\n"
    "The link works once and for seven days. If it was not you, do nothing, and you will hear no more of it."
)


def must_confirm(topic: str, channel: str) -> bool:
    """Does this topic demand that its reader confirms by mail?"""
    return channel == "email" and Topic.objects.filter(key=topic, is_double_opt_in=True).exists()


@transaction.atomic
def receive(
    *,
    form: SignupForm,
    address: str,
    traits: Mapping[str, Any],
    language: str,
    words: str,
    is_hasty: bool,
    ip_address: str | None,
    user_agent: str,
    now: datetime,
) -> None:
    """Takes in what somebody sent by a form; the tick does the rest. `address` is normalised already.

    Who sends `is_hasty`, faster than people type, must confirm by mail in any case.
    """
    if Signup.objects.filter(address=address, asked_at__gt=now - timedelta(days=1)).count() >= MOST_KEPT:
        return
    ensure_template(now)
    source = f"form:{form.key}"
    must = is_hasty or form.is_double_opt_in or form.topics.filter(is_double_opt_in=True).exists()
    signup = Signup.objects.create(
        form=form, address=address, topics=sorted(form.topics.values_list("key", flat=True)), traits=dict(traits),
        source=source, language=language, wording=keep_words(words, now), ip_address=ip_address,
        user_agent=user_agent, asked_at=now, expires_at=now + VALID_FOR, must_confirm=must,
    )  # fmt: skip
    put(
        kind="form.submitted", source=source, now=now, channel="web", email=address, message_id=f"signup:{signup.pk}",
        properties={"form": form.key, "topics": signup.topics},
    )  # fmt: skip


def ensure_template(now: datetime) -> Template:
    """The mail that asks for confirmation; made on first need, and a marketer may rewrite it."""
    found = Template.objects.filter(key=TEMPLATE).first()
    if found is not None:
        return found
    texts = {}
    for language in ("en", "cs", "pl"):
        with override(language):
            texts[language] = {"subject": _(_SUBJECT), "body": _(_BODY)}
    with override("en"):
        name = _("Confirmation of a sign-up")
    made, _is_new = Template.objects.get_or_create(
        key=TEMPLATE,
        defaults={
            "name": name, "message_class": "transactional", "language": "en", **texts.pop("en"),
            "translations": texts, "is_repeatable": True, "updated_at": now,
        },
    )  # fmt: skip
    return made


def live_template() -> list[tuple[str, str]]:
    """The mail that asks for confirmation, while a form is open, with who sends it."""
    return [(TEMPLATE, _("Sign-up forms"))] if SignupForm.objects.filter(is_active=True).exists() else []


def sign_up(now: datetime, after: int, upto: int) -> int:
    """The tick's step: finds the contacts of new sign-ups, notes that they await confirmation, and asks for it by mail.

    So it does for whom a client told as awaiting confirmation of a topic that demands one. How many were mailed.
    """
    ids = [pk for (pk,) in SQL["land_signups"].rows(now=now)]
    if upto > after:
        told = SQL["ask_pending"].rows(now=now, after=after, upto=upto, expires_at=now + VALID_FOR)
        ids += [pk for (pk,) in told]
    if not ids:
        return 0
    SQL["note_signups"].run(ids=ids, now=now)
    SQL["tell_signups"].run(ids=ids, now=now)
    return SQL["mail_signups"].run(ids=ids, now=now, template=ensure_template(now).pk, most=MOST_MAILS)


# The link ------------------------------------------------------------------------------------------------------------


def state_of(signup: Signup, now: datetime) -> str:
    """What its link is good for: `open`, `used`, `expired` (too old, or refused since), `gone` where the person is."""
    person = living(signup.contact_id)
    if person is None:
        return "gone"
    if signup.confirmed_at:
        return "used"
    refused = ConsentChange.objects.filter(
        contact=person, channel="email", state="denied", topic__in=["", *signup.topics], changed_at__gt=signup.asked_at
    )
    # A confirmation denies the rest of what was refused before, and we deny for the erased: no later word of theirs.
    if refused.exclude(source__startswith="form:").exclude(source="erasure").exists():
        return "expired"
    return "expired" if signup.expires_at <= now else "open"


@transaction.atomic
def confirm(*, signup: int, ip_address: str | None, user_agent: str, now: datetime) -> str:
    """The owner's yes: grants what was asked for and writes what was told; the state in which the link was found."""
    row = Signup.objects.select_for_update().filter(pk=signup).first()
    state = state_of(row, now) if row else "gone"
    person = living(row.contact_id) if row else None
    if row is None or person is None or state != "open":
        return state
    words = Wording.objects.filter(digest=row.wording).values_list("words", flat=True).first() or ""
    said: dict[str, Any] = {
        "contact": person, "channel": "email", "source": row.source, "wording": words, "ip_address": ip_address,
        "user_agent": user_agent, "is_proven": True, "now": now,
    }  # fmt: skip
    veto = Consent.objects.filter(contact=person, channel="email", topic="").values_list("state", flat=True).first()
    if veto == "denied":
        # All was refused once; the yes is to what was asked for and to nothing else.
        for topic in Topic.objects.exclude(key__in=row.topics).values_list("key", flat=True):
            record_consent(**said | {"topic": topic, "state": "denied"})
    if veto in ("denied", "pending"):
        record_consent(**said, topic="", state="granted")
    for topic in row.topics:
        record_consent(**said, topic=topic, state="granted")
    Signup.objects.filter(pk=row.pk).update(confirmed_at=now, traits={})
    traits = {**row.traits, **({"language": row.language} if row.language and not person.language else {})}
    put(
        kind="form.confirmed", source=row.source, now=now, contact_id=person.pk, channel="web", traits=traits or None,
        properties={"topics": row.topics},
    )  # fmt: skip
    return "open"


@transaction.atomic
def ask_anew(signup: int, now: datetime) -> bool:
    """Asks for another mail with a new link; whether there is anybody to send it to. The day's limit holds as ever."""
    row = Signup.objects.filter(pk=signup).first()
    if row is None or living(row.contact_id) is None:
        return False
    if Signup.objects.filter(address=row.address, asked_at__gt=now - timedelta(days=1)).count() < MOST_KEPT:
        row.pk, row.contact, row.mailed_at, row.confirmed_at = None, None, None, None
        row.asked_at, row.expires_at, row.must_confirm = now, now + VALID_FOR, True
        row._state.adding = True
        row.save()
    return True


def forget_signups(now: datetime) -> int:
    """Drops sign-ups that nobody confirmed and that are a month over; how many. The ledger keeps what was confirmed."""
    old = Signup.objects.filter(expires_at__lt=now - timedelta(days=30))
    return old.delete()[0]


def names_of(topics: Sequence[str], language: str) -> list[str]:
    """The topics' names in a language."""
    found = Topic.objects.filter(key__in=topics).order_by("key")
    return [one.name_in(language) for one in found]
