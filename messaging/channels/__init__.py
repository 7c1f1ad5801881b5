"""The ways out. A channel is one function: `send(messages) -> results`, one result for each message, in any order.

`send` never raises for what one message or the other side does; it says so in the message's result. The shared contract
test in `tests/messaging/test_channel_contract.py` holds every channel to this. `CHANNELS` says what each is otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from messaging.channels import esp, maildir, sms, smtp, webhook
from messaging.channels.contract import Outgoing, Result, Send

__all__ = ["CHANNELS", "Channel", "Outgoing", "Result", "Send", "choices", "choose", "kinds", "openers"]


@dataclass(frozen=True)
class Channel:
    """One way to reach people. Messages and templates name it by its key."""

    key: str
    name: Any
    # What it writes to: "email" or "phone" of the contact, "team" for who looks after them, "" for nothing.
    address: str
    # The channel whose consents count for it, as people give and refuse them.
    consent: str
    # Makes its `send` as the settings say, or raises ImproperlyConfigured. None: messages are fetched, not sent.
    opener: Callable[[], Send] | None
    # How the news that a message left is called.
    sent: str = "sent"


CHANNELS: dict[str, Channel] = {
    one.key: one
    for one in (
        Channel("email", _("E-mail"), "email", "email", lambda: choose(settings.EMAIL_URL)),
        Channel("sms", _("SMS"), "phone", "sms", lambda: sms.choose(settings.SMS_URL)),
        # Nobody is asked about these by name: what somebody refuses by mail comes by no other door.
        Channel("webhook", _("Webhook"), "", "email", webhook.channel),
        # To the team about a person: mail, too, but by no consent of theirs, for it does not reach them.
        Channel("alert", _("Alert to the team"), "team", "email", lambda: choose(settings.EMAIL_URL)),
        Channel("onsite", _("On our website"), "", "email", None, sent="shown"),
    )
}


def choices() -> list[tuple[str, Any]]:
    """The channels as choices of a form: key and name."""
    return [(one.key, one.name) for one in CHANNELS.values()]


def openers() -> dict[str, Callable[[], Send]]:
    """What makes the `send` of each channel that workers deliver by, by the channel's key."""
    return {one.key: one.opener for one in CHANNELS.values() if one.opener}


def kinds(*verbs: str) -> list[str]:
    """The kinds of touchpoints that tell of messages: `kinds("sent")` is email.sent, sms.sent, …, onsite.shown."""
    return [f"{one.key}.{one.sent if verb == 'sent' else verb}" for one in CHANNELS.values() for verb in verbs]


def _bad(reason: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"EMAIL_URL: {reason}")


def choose(url: str) -> Send:
    """The way for mail that EMAIL_URL names. Raises ImproperlyConfigured saying what is wrong with it.

    `smtp://user:password@host:port?tls=no|starttls&connections=8&timeout=30` · `smtps://…` · `maildir:<path>`
    · `anymail+<provider>://KEY@domain?setting=value`
    """
    scheme, _, rest = url.partition(":")
    if scheme == "maildir":
        if not rest.removeprefix("//"):
            raise _bad("maildir: needs a folder, such as maildir:/var/mail/journey.")
        return maildir.channel(rest.removeprefix("//"))
    if scheme.startswith("anymail+"):
        try:
            return esp.channel(scheme, urlsplit(url))
        except (ImproperlyConfigured, ValueError) as error:
            raise _bad(str(error)) from None
    if scheme not in ("smtp", "smtps"):
        raise _bad(f"it must begin with smtp://, smtps://, anymail+… or maildir:, not {scheme or url!r}.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _bad(f"{error}.") from None
    if not parts.hostname:
        raise _bad("it names no host; write smtp://host:port.")
    query = dict(parse_qsl(parts.query))
    if unknown := set(query) - {"tls", "connections", "timeout"}:
        raise _bad(f"unknown parameter {sorted(unknown)[0]!r}; known are tls, connections, timeout.")
    tls = "smtps" if scheme == "smtps" else query.get("tls", "no")
    if tls not in ("no", "starttls", "smtps"):
        raise _bad(f"tls must be no or starttls, not {tls!r}.")
    try:
        connections, timeout = int(query.get("connections", 8)), float(query.get("timeout", 30))
    except ValueError:
        raise _bad("connections and timeout must be numbers.") from None
    if not 1 <= connections <= 500 or not 0 < timeout <= 600:
        raise _bad("connections must be 1 to 500 and timeout up to 600 seconds.")
    return smtp.channel(
        smtp.Server(
            host=parts.hostname,
            port=port or (465 if tls == "smtps" else 25),
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            tls=tls,
            connections=connections,
            timeout=timeout,
        )
    )
