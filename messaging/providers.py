"""What e-mail providers tell of our mail, read by django-anymail's webhook views and turned into verdicts.

The views are asked to check and to parse, not to send Django's signal for each event: a call is one set, settled in one
transaction. Opens and clicks are counted by our own pixel and links, so the provider's are not counted again.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from importlib import import_module
from typing import Any

from anymail.exceptions import AnymailConfigurationError, AnymailError, AnymailImproperlyInstalled
from anymail.signals import EventType, RejectReason
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.http import HttpRequest
from django.utils.timezone import is_naive

from contacts.sql import load
from messaging import tokens
from messaging.bounces.codes import HARD, POLICY, SOFT, UNKNOWN, class_of
from messaging.bounces.reading import COMPLAINT, DELIVERED, UNSUBSCRIBED
from messaging.bounces.returnpath import message_among
from messaging.verdicts import Verdict, settle

SQL = load(__file__)

# Each with its view in anymail and, where it signs its calls, the name under which the view takes the signing key.
PROVIDERS = {
    "amazon_ses": ("AmazonSESTrackingWebhookView", ""),
    "brevo": ("BrevoTrackingWebhookView", ""),
    "mailersend": ("MailerSendTrackingWebhookView", "signing_secret"),
    "mailgun": ("MailgunTrackingWebhookView", "webhook_signing_key"),
    "mailjet": ("MailjetTrackingWebhookView", ""),
    "mailtrap": ("MailtrapTrackingWebhookView", "signing_secret"),
    "mandrill": ("MandrillCombinedWebhookView", "webhook_key"),
    "postal": ("PostalTrackingWebhookView", "webhook_key"),
    "postmark": ("PostmarkTrackingWebhookView", ""),
    "resend": ("ResendTrackingWebhookView", "signing_secret"),
    "sendgrid": ("SendGridTrackingWebhookView", "tracking_webhook_verification_key"),
    "sparkpost": ("SparkPostTrackingWebhookView", ""),
    "unisender_go": ("UnisenderGoTrackingWebhookView", "api_key"),
}

_REFUSED = {EventType.BOUNCED, EventType.REJECTED, EventType.FAILED}
_REASONS = {
    RejectReason.INVALID: HARD, RejectReason.BOUNCED: HARD, RejectReason.BLOCKED: POLICY, RejectReason.SPAM: POLICY,
    RejectReason.TIMED_OUT: SOFT, RejectReason.UNSUBSCRIBED: UNSUBSCRIBED,
}  # fmt: skip


class NotSetUp(Exception):
    """There is no such provider, or what its calls are checked with is missing."""


class NotUnderstood(ValueError):
    """A call whose caller is right and whose content is not."""


def events(provider: str, request: HttpRequest) -> list[Any]:
    """The events of a call, in anymail's one form. The caller's password was checked before.

    Raises NotSetUp; django's SuspiciousOperation where the provider's own signature is wrong; NotUnderstood.
    """
    if provider not in PROVIDERS:
        raise NotSetUp(provider)
    name, key = PROVIDERS[provider]
    options = {key: settings.ESP_WEBHOOK_SIGNING_KEY} if key and settings.ESP_WEBHOOK_SIGNING_KEY else {}
    try:
        view = getattr(import_module(f"anymail.webhooks.{provider}"), name)(
            webhook_secret=settings.ESP_WEBHOOK_SECRET, **options
        )
    except (AnymailConfigurationError, AnymailImproperlyInstalled) as error:
        raise NotSetUp(str(error)) from error
    view.setup(request)
    view.run_validators(request)
    try:
        return view.parse_events(request)
    except (AnymailError, ImproperlyConfigured, ValueError, TypeError, AttributeError, LookupError) as error:
        raise NotUnderstood(f"{type(error).__name__}") from error


@transaction.atomic
def take(provider: str, told: Iterable[Any], *, now: datetime) -> Counter[str]:
    """Settles the events of one call; how many came to what. Again, in any order, is harmless.

    `settled` · `unknown` are of no message of ours · `unused` need nothing done.
    """
    verdicts, outcomes, signer = [], Counter[str](), tokens.first()
    for event in told:
        kind, code, answer = judge(event)
        if not kind:
            outcomes["unused"] += 1
            continue
        message = message_among(_references(event), signer)
        if message is None:
            outcomes["unknown"] += 1
            continue
        verdicts.append(Verdict(message, kind, _moment(event.timestamp, now), code, answer[:500]))
    known = settle(verdicts, source=f"esp:{provider}", now=now)
    outcomes["settled"] += sum(one.message in known for one in verdicts)
    outcomes["unknown"] += sum(one.message not in known for one in verdicts)
    counted = {outcome: number for outcome, number in outcomes.items() if number}
    if counted:
        SQL["count_reports"].run(source=provider, day=now.date(), outcomes=json.dumps(counted))
    return Counter(counted)


def judge(event: Any) -> tuple[str, str, str]:
    """(kind, code, answer) of an event; the kind is "" where nothing follows from it."""
    answer = str(event.mta_response or event.description or "")
    if event.event_type == EventType.DELIVERED:
        return DELIVERED, "", ""
    if event.event_type == EventType.COMPLAINED:
        return COMPLAINT, "", ""
    if event.event_type == EventType.UNSUBSCRIBED:
        return UNSUBSCRIBED, "", ""
    if event.event_type not in _REFUSED:
        return "", "", ""
    kind, code = class_of(answer)
    if kind == UNKNOWN:
        kind = SOFT if _is_soft(event.esp_event) else _REASONS.get(event.reject_reason, UNKNOWN)
    return kind, code, answer


def _is_soft(told: Any) -> bool:
    """Providers say in a word of their own what anymail calls bounced either way."""
    try:
        words = [str(told.get(name, "")).lower() for name in ("Type", "type", "event", "bounce_type", "bounceType")]
    except AttributeError:
        return False
    return any("soft" in word or "transient" in word for word in words)


def _references(event: Any) -> Iterator[str]:
    metadata = event.metadata if isinstance(event.metadata, dict) else {}
    for value in [*metadata.values(), event.message_id]:
        if isinstance(value, str):
            yield value.strip().removeprefix("<").partition("@")[0]


def _moment(told: Any, now: datetime) -> datetime:
    return told if isinstance(told, datetime) and not is_naive(told) else now
