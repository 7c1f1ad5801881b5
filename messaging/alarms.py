"""Mails to our own administrators when sending itself is in danger.

They are no messages of the outbox: they go to users, not to contacts, and past every gate. Nothing may answer them
(RFC 3834), and their empty return path lets nothing bounce into a circle.
"""

from collections.abc import Sequence
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import Q

from messaging.channels import Outgoing, choose
from messaging.headers import mailbox
from messaging.links import host
from messaging.models import Brand

_MOST = 50


def tell_administrators(*, key: str, subject: str, paragraphs: Sequence[str], path: str, now: datetime) -> bool:
    """Mails all administrators who have an address; False where it is worth another try.

    `key` names the news: a repeat has the same Message-ID. `path` is the page where something can be done. It touches
    the network, so no step of the tick calls it.
    """
    brand = Brand.objects.first()
    if brand is None:
        return False
    people = (
        get_user_model()
        .objects.filter(Q(is_superuser=True) | Q(groups__name="Administrator"), is_active=True)
        .exclude(email="").distinct().order_by("pk").values_list("pk", "email")[:_MOST]
    )  # fmt: skip
    mails = []
    line = " ".join(subject.split())
    for pk, email in people:
        if not (email.isascii() and email.isprintable()):
            continue
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = mailbox(brand.sender)[0], email, line
        mail["Date"], mail["Message-ID"] = format_datetime(now), f"<alarm.{key}.{pk}@{host()}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content("\n\n".join([*paragraphs, f"{settings.BASE_URL}{path}"]))
        # No message of the outbox has a number below 1.
        mails.append(Outgoing(-pk, "", email, mail.as_bytes(policy=SMTP)))
    results = list(choose(settings.EMAIL_URL)(mails)) if mails else []
    return not results or any(one.outcome in ("sent", "failed") for one in results)
