"""What the outbox holds of a person beside their messages: erased with them."""

from collections.abc import Mapping
from functools import partial, reduce
from operator import or_
from urllib.parse import quote

from django.conf import settings
from django.db import transaction
from django.db.models import F, Func, IntegerField, Q, Value
from django.db.models.lookups import GreaterThan

from contacts.erasure import Traces
from messaging.channels import maildir, sms
from messaging.models import (
    Feedback,
    Hit,
    Link,
    Message,
    ReturnedMail,
    Signup,
    Suppression,
    SuppressionChange,
    TrialMail,
)


def _quotes(text: str) -> GreaterThan:
    """The condition that the bytes of a dead letter hold a text."""
    place = Func(
        Value(text.encode()), F("raw"), template="position(%(expressions)s)", arg_joiner=" IN ",
        output_field=IntegerField(),
    )  # fmt: skip
    return GreaterThan(place, 0)


def forget_mail(traces: Traces) -> Mapping[str, int]:
    """Withdraws what has not left, and clears addresses, clicks not counted yet, personal links and mails on disk."""
    messages = list(Message.objects.filter(contact__in=traces.ids).values_list("pk", flat=True))
    Message.objects.filter(pk__in=messages, state__in=["pending", "ready"]).update(
        state="cancelled", reason="erased", finished_at=traces.now
    )
    addresses = traces.values("email")
    suppressed = [*addresses, *traces.values("phone")]
    spelt = {way for one in traces.texts for way in (one, quote(one), quote(one, safe=""))}
    links = reduce(or_, [Q(url__icontains=one) for one in spelt], Q(pk__in=[]))
    # Dead letters quote the person's address, or words of theirs.
    quoting = reduce(or_, [Q(_quotes(one)) for one in traces.texts], Q(pk__in=[]))
    letters = ReturnedMail.objects.exclude(raw=b"").filter(quoting)
    # What servers said is theirs; that it came back is counted.
    Feedback.objects.filter(message_id__in=messages).update(code="", detail="")
    kind, _colon, path = settings.EMAIL_URL.partition(":")
    if kind == "maildir":
        transaction.on_commit(partial(maildir.forget, path, messages))
    transaction.on_commit(partial(sms.forget, settings.SMS_URL, messages))
    trials = Q(shown_as__in=traces.ids) | Q(address__in=addresses)
    return {
        "messaging.hit": Hit.objects.filter(message_id__in=messages).delete()[0],
        "messaging.link": Link.objects.filter(links).delete()[0],
        "messaging.signup": Signup.objects.filter(contact=None, address__in=addresses).delete()[0],
        "messaging.trialmail": TrialMail.objects.filter(trials).delete()[0],
        "messaging.returnedmail": letters.delete()[0],
        "messaging.suppressionchange": SuppressionChange.objects.filter(address__in=addresses).delete()[0],
        "messaging.suppression": Suppression.objects.filter(address__in=suppressed).delete()[0],
    }
