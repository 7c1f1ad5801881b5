"""Messages on our website: what waits for a visitor, and what became of it.

Such a message passes the gates like any other and waits, ready, until the browser of its person asks. All gates are
asked once more then, as of that moment. It has left when the page says that it is seen.
"""

from datetime import datetime, timedelta
from typing import Any

import orjson

from contacts.models import Identity
from contacts.sql import load
from contacts.wire import dumps
from messaging import delivery, outbox, tokens
from messaging.explaining import outlook
from messaging.models import Message
from messaging.writing import Claimed, Desk

SQL = load(__file__)
# How long a message without an end of its own waits for its person to come by.
PATIENCE = timedelta(days=30)


def reader(anonymous_id: str, user_id: str) -> int | None:
    """Whose browser this is, by its anonymous id; None where nobody is known by it, or the user id is another's.

    A user id alone opens nothing: it can be guessed, and the write key stands in public pages.
    """
    if "\0" in anonymous_id or "\0" in user_id:
        return None  # no identity of ours holds one, and PostgreSQL could not be asked for it
    rows = Identity.objects.filter(contact__erased_at=None, contact__merged_into=None)
    found = rows.filter(kind="anonymous_id", value=anonymous_id).values_list("contact", flat=True).first()
    if found is None or not user_id:
        return found
    return found if rows.filter(kind="user_id", value=user_id, contact=found).exists() else None


def next_for(contact: int, now: datetime) -> dict[str, Any] | None:
    """The next message for this person, ready to be shown: its token, language, title and text; None for none.

    What no longer may be shown is withdrawn; what has to wait (a pause, a cap) waits on.
    """
    for (pk,) in SQL["waiting_onsite"].rows(contact=contact, now=now, patience=PATIENCE):
        state, reason = outlook(pk, now)
        if state == "skipped":
            outbox.cancel(now=now, reason=reason, messages=Message.objects.filter(pk=pk))
        elif state == "ready" and (told := _write(pk, now)):
            return told
    return None


def _write(pk: int, now: datetime) -> dict[str, Any] | None:
    messages = [Claimed.read(row) for row in delivery.SQL["read_claimed"].rows(ids=[pk])]
    [written] = Desk(messages, now).write(messages)
    if written.mail is None:
        outbox.cancel(now=now, reason=written.reason, messages=Message.objects.filter(pk=pk))
        return None
    context = dumps(written.context or {}).decode()
    SQL["keep_onsite"].run(message=pk, version=written.version_id, language=written.language, context=context)
    return {"token": tokens.current().token(tokens.ONSITE, pk), **orjson.loads(written.mail.raw)}


def show(message: int, now: datetime) -> bool:
    """The page says that the message is seen; whether that was news."""
    return bool(SQL["show_onsite"].run(message=message, now=now))


def dismiss(message: int, now: datetime) -> bool:
    """The person closed the message; whether it had been shown."""
    return bool(SQL["dismiss_onsite"].run(message=message, now=now))


def expire(now: datetime) -> int:
    """Ends what nobody came by to see in time; how many."""
    return int(SQL["expire_onsite"].value(now=now, patience=PATIENCE))
