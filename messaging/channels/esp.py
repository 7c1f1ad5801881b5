"""Mail by way of a provider (ESP), through django-anymail: `anymail+<provider>://KEY@domain?setting=value`.

The mail that leaves is the one that SMTP would carry, taken apart for the provider's own API: each is a call of its
own, for each says something else, and many are under way at once. Its Message-ID goes along as metadata, too, so that
the provider's news finds it whatever Message-ID the provider makes.
"""

import email
import email.policy
import re
from collections import deque
from collections.abc import Iterable, Iterator
from email.message import EmailMessage as Parsed
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote

import requests
from anymail.exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailError,
    AnymailImproperlyInstalled,
    AnymailRecipientsRefused,
)
from anymail.message import AnymailMessage
from django.core.exceptions import ImproperlyConfigured
from django.core.mail.backends.base import BaseEmailBackend
from django.utils.module_loading import import_string

from messaging.channels.contract import Outgoing, Result, Send
from messaging.channels.web import judged, outcome_of, spread
from messaging.failpoints import FailpointError, hit

# What stands before the @, in this order, as django-anymail calls it; all else is told as ?setting=value.
KEYS = {
    "brevo": ("api_key",), "mailersend": ("api_token",), "mailgun": ("api_key",), "mailjet": ("api_key", "secret_key"),
    "mailtrap": ("api_token",), "mandrill": ("api_key",), "postal": ("api_key",), "postmark": ("server_token",),
    "resend": ("api_key",), "scaleway": ("secret_key",), "sendgrid": ("api_key",), "ses": (), "sparkpost": ("api_key",),
    "unisender_go": ("api_key",),
}  # fmt: skip
# What the host means where it means anything.
_HOSTS = {"mailgun": "sender_domain", "scaleway": "project_id"}
_MODULES = {"ses": "amazon_ses"}
# Headers that a provider writes itself, or is told in another way.
_OTHERWISE = {"from", "to", "subject", "reply-to", "date", "mime-version"}
# Providers that put a Message-ID of their own in place of ours unless they are asked not to.
_KEEP_ID = {"postmark": {"X-PM-KeepID": "true"}}


class _Strict(BaseEmailBackend):
    """Stands behind a provider's backend: a setting that nobody took is a mistake."""

    def __init__(self, fail_silently: bool = False, **unknown: Any) -> None:
        if unknown:
            raise ImproperlyConfigured(f"unknown parameter {sorted(unknown)[0]!r}.")
        super().__init__(fail_silently=fail_silently)


def channel(scheme: str, parts: SplitResult) -> Send:
    """The channel that a URL names. Raises ImproperlyConfigured with what is wrong with it, without the URL itself."""
    provider = scheme.removeprefix("anymail+")
    if provider not in KEYS:
        raise ImproperlyConfigured(f"anymail+{provider}: the providers are {', '.join(KEYS)}.")
    options = _options(provider, parts)
    try:
        connections, timeout = int(options.pop("connections", 8)), float(options.pop("timeout", 30))
    except ValueError:
        raise ImproperlyConfigured("connections and timeout must be numbers.") from None
    if not 1 <= connections <= 100 or not 0 < timeout <= 600:
        raise ImproperlyConfigured("connections must be 1 to 100 and timeout up to 600 seconds.")
    try:
        module = import_string(f"anymail.backends.{_MODULES.get(provider, provider)}.EmailBackend")
        backend = type("Backend", (module, _Strict), {})
        if provider != "ses":
            options["timeout"] = timeout

        def connect() -> Any:
            made = backend(**options)
            made.open()
            return made

        if provider != "ses":
            backend(**options)
    except AnymailImproperlyInstalled:
        raise ImproperlyConfigured(f"{provider} needs a package that is not installed (boto3).") from None
    except AnymailConfigurationError as error:
        raise ImproperlyConfigured(f"{provider} needs {_missing(str(error))}.") from None
    idle: deque[Any] = deque()

    def send(messages: Iterable[Outgoing]) -> Iterator[Result]:
        yield from spread(messages, connections, idle, connect, lambda session, one: _hand_over(provider, session, one))

    return send


def _options(provider: str, parts: SplitResult) -> dict[str, Any]:
    """The settings of a provider's backend, as the URL tells them."""
    who, at, host = parts.netloc.rpartition("@")
    if not at:
        # A key alone: anymail+postmark://TOKEN
        who, host = host, ""
    told = [unquote(one) for one in who.split(":")] if who else []
    names = KEYS[provider]
    if len(told) > len(names):
        raise ImproperlyConfigured(f"before the @ stand {' and '.join(names) or 'no keys'} of {provider}.")
    options: dict[str, Any] = dict(zip(names, told, strict=False))
    if host:
        if provider not in _HOSTS:
            raise ImproperlyConfigured(f"{provider} has no host; write anymail+{provider}://KEY.")
        options[_HOSTS[provider]] = unquote(host)
    for name, value in parse_qsl(parts.query):
        options[name.lower()] = {"true": True, "false": False}.get(value.lower(), value)
    return options


def _missing(said: str) -> str:
    """The setting that django-anymail misses: it speaks of Django's settings, which are not where ours stand."""
    found = re.search(r"'([A-Z_]+)'", said)
    return found[1].lower().split("_", 1)[1] if found else said


def _taken_apart(provider: str, mail: Outgoing) -> AnymailMessage:
    """The mail as django-anymail wants it."""
    parsed = email.message_from_bytes(mail.raw, policy=email.policy.default)
    assert isinstance(parsed, Parsed)
    text, html = parsed.get_body(("plain",)), parsed.get_body(("html",))
    message = AnymailMessage(
        subject=str(parsed["Subject"] or ""),
        body=text.get_content() if text else "",
        from_email=str(parsed["From"] or mail.sender),
        to=[mail.recipient],
        reply_to=[str(parsed["Reply-To"])] if parsed["Reply-To"] else None,
        headers={
            name: str(value)
            for name, value in parsed.items()
            if name.lower() not in _OTHERWISE and not name.lower().startswith("content-")
        }
        | _KEEP_ID.get(provider, {}),
        metadata={"message": mail.key or str(parsed["Message-ID"] or "").strip("<>")},
    )
    if html:
        message.attach_alternative(html.get_content(), "text/html")
    return message


def _hand_over(provider: str, backend: Any, mail: Outgoing) -> Result:
    is_handed_over = False
    try:
        message = _taken_apart(provider, mail)
        hit("before_data")
        is_handed_over = True
        backend.send_messages([message])
        hit("after_data")
    except AnymailRecipientsRefused as error:
        return Result(mail.id, "failed", _of_recipient(error))
    except AnymailAPIError as error:
        return Result(mail.id, _outcome(error), _said(error))
    except AnymailError as error:
        # It could not be put into the provider's words at all.
        return Result(mail.id, "failed", _said(error))
    except FailpointError as error:
        return Result(mail.id, "uncertain" if "after" in str(error) else "later", str(error))
    except requests.RequestException as error:
        return Result(mail.id, outcome_of(error), _said(error))
    except Exception as error:
        return Result(mail.id, "uncertain" if is_handed_over else "later", f"{type(error).__name__}: {error}"[:500])
    statuses = message.anymail_status.status or {"unknown"}
    [status] = statuses if len(statuses) == 1 else ["unknown"]
    outcome = {"sent": "sent", "queued": "sent", "unknown": "uncertain"}.get(status, "failed")
    return Result(mail.id, outcome, f"{backend.esp_name}: {status} {message.anymail_status.message_id or ''}".strip())


def _outcome(error: AnymailAPIError) -> str:
    status = error.status_code
    if status is None:
        return outcome_of(error)
    if 200 <= status < 300 or status in (502, 504):
        # It was taken and the answer can not be read, or may have been taken by somebody behind the one who answered.
        return "uncertain"
    return judged(status)


def _of_recipient(error: AnymailRecipientsRefused) -> str:
    """With the code that a mail server would say, so that what is no address is not written to again."""
    statuses = error.email_message.anymail_status.status or set()
    return f"{'550 5.1.3' if statuses == {'invalid'} else '550 5.7.1'} {_said(error)}"[:500]


def _said(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error) or type(error).__name__).strip()[:500]
