"""The ways out. A channel is one function: `send(messages) -> results`, one result for each message, in any order.

`send` never raises for what one message or the other side does; it says so in the message's result. The shared contract
test in `tests/messaging/test_channels.py` holds every channel to this.
"""

from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from messaging.channels import maildir, smtp
from messaging.channels.contract import Outgoing, Result, Send

__all__ = ["Outgoing", "Result", "Send", "choose"]


def _bad(reason: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"EMAIL_URL: {reason}")


def choose(url: str) -> Send:
    """The channel that EMAIL_URL names. Raises ImproperlyConfigured saying what is wrong with it.

    `smtp://user:password@host:port?tls=no|starttls&connections=8&timeout=30` · `smtps://…` · `maildir:<path>`
    """
    scheme, _, rest = url.partition(":")
    if scheme == "maildir":
        if not rest.removeprefix("//"):
            raise _bad("maildir: needs a folder, such as maildir:/var/mail/journey.")
        return maildir.channel(rest.removeprefix("//"))
    if scheme not in ("smtp", "smtps"):
        raise _bad(f"it must begin with smtp://, smtps:// or maildir:, not {scheme or url!r}.")
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
