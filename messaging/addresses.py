"""Where a message goes, by its channel: pieces of SQL over a message `m` and its contact `c`, and the same for one."""

from collections.abc import Callable
from email.utils import parseaddr

from contacts.models import Contact
from contacts.sql import Fragment
from messaging.channels import CHANNELS, Channel
from messaging.models import Brand

# Who looks after the contact, else where answers to the brand's mails go.
_TEAM = """coalesce(
        (SELECT nullif(lower(btrim(u.email)), '') FROM auth_user u WHERE u.id = c.owner_id AND u.is_active),
        (SELECT nullif(lower(btrim(coalesce(substring(b.reply_to FROM '<([^<>]+)>'), b.reply_to))), '')
         FROM messaging_brand b LIMIT 1))"""
# As addresses are compared, kept with a message and listed as suppressed.
_WRITTEN = {"email": "lower(btrim(c.email))", "phone": "btrim(c.phone)", "team": _TEAM, "": "NULL"}
_WRONG = {
    # The short pattern lets nearly everybody through; the whole one takes twenty times as long.
    "email": r"""CASE
            WHEN length(c.email) <= 60 AND c.email ~ '^[A-Za-z0-9._+-]+@([A-Za-z0-9]+\.)+[A-Za-z]+$' THEN NULL
            WHEN btrim(c.email) = '' THEN 'no_address'
            WHEN length(c.email) > 254
              OR btrim(c.email) !~ ('^[A-Za-z0-9.!#$%%&''*+/=?^_`{|}~-]{1,64}@'
                || '([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]$')
            THEN 'invalid_address' END""",
    # E.164: a plus, the country, and at most fifteen digits in all.
    "phone": r"""CASE
            WHEN btrim(c.phone) = '' THEN 'no_address'
            WHEN btrim(c.phone) !~ '^\+[1-9][0-9]{6,14}$' THEN 'invalid_address' END""",
    "team": f"CASE WHEN {_TEAM} IS NULL THEN 'no_address' END",
    "": "NULL",
}


def _by_channel(piece: Callable[[Channel], str]) -> Fragment:
    cases = " ".join(f"WHEN '{one.key}' THEN {piece(one)}" for one in CHANNELS.values())
    return Fragment(f"CASE m.channel {cases} END")


# `address`: what it goes to, NULL where it needs none. `consent`: the channel whose consents count for it.
PIECES = {
    "address": _by_channel(lambda one: _WRITTEN[one.address]),
    "consent": _by_channel(lambda one: f"'{one.consent}'"),
}
# Why it can not go there, or NULL: asked after consent, for all classes.
WRONG = _by_channel(lambda one: _WRONG[one.address])


def address_of(contact: Contact, channel: str) -> str:
    """What a message of this channel goes to; "" where there is nothing, or nothing is needed."""
    if CHANNELS[channel].address == "phone":
        return contact.phone.strip()
    if CHANNELS[channel].address == "team":
        owner, brand = contact.owner, Brand.objects.first()
        own = owner.email.strip().lower() if owner and owner.is_active else ""
        return own or parseaddr(brand.reply_to if brand else "")[1].lower()
    return contact.email.strip().lower() if CHANNELS[channel].address == "email" else ""
