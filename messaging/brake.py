"""The complaint brake: where too many of the last deliveries were complained of, all marketing waits for a person.

Mail providers punish the sender, not the journey: from 0.3 % complaints on they put everything we send into spam. The
fuse of a single journey (`campaigns.fuse`) may be far from blowing while ten of them together are over the limit.
"""

from datetime import datetime
from typing import Any

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.formats import localize
from django.utils.translation import gettext as _
from django.utils.translation import override

from contacts.sql import load
from messaging.alarms import tell_administrators
from messaging.models import Brake

SQL = load(__file__)
log = structlog.get_logger(__name__)

# Gmail and Yahoo: 0.3 % is the limit. Fewer than LEAST are chance.
LAST, LEAST, SHARE = 1_000, 3, 0.003


def pulled() -> Brake | None:
    """The brake while it holds marketing back, else None."""
    return Brake.objects.filter(released_at=None).select_related("pulled_by").first()


def watch(now: datetime, after: int, upto: int) -> int:
    """A step of the tick: looks where complaints came in, and pulls the brake at the limit; 1 where it did."""
    if after >= upto or not SQL["complained_in"].value(after=after, upto=upto) or pulled():
        return 0
    deliveries, complaints = SQL["count_complaints"].rows(now=now, last=LAST, least=LEAST)[0]
    if complaints < LEAST or complaints < SHARE * deliveries:
        return 0
    pull(now=now, by=None, complaints=complaints, deliveries=deliveries)
    log.error("marketing_held_back", complaints=complaints, deliveries=deliveries)
    return 1


def pull(
    *, now: datetime, by: Any, reason: str = "", complaints: int | None = None, deliveries: int | None = None
) -> Brake | None:
    """Holds all marketing back from here on; None where it was held already. What a worker has claimed still leaves."""
    try:
        with transaction.atomic():
            brake = Brake.objects.create(
                pulled_at=now, pulled_by=by, reason=reason, complaints=complaints, deliveries=deliveries,
                # Who pulls it knows.
                told_at=now if by else None,
            )  # fmt: skip
            SQL["ask_marketing_again"].run()
    except IntegrityError:
        return None
    return brake


def release(*, brake: Brake, by: Any, note: str, now: datetime) -> bool:
    """Lets marketing go again, through all gates; counted is from here on. False where somebody did before."""
    return bool(
        Brake.objects.filter(pk=brake.pk, released_at=None).update(released_at=now, released_by=by, note=note[:2000])
    )


def in_words(brake: Brake) -> str:
    """Why marketing is held back, as a sentence."""
    if brake.complaints is None or brake.deliveries is None:
        return brake.reason or _("Somebody holds all marketing back.")
    return _("%(complaints)d people complained about the last %(deliveries)d marketing mails (%(share)s %%).") % {
        "complaints": brake.complaints,
        "deliveries": brake.deliveries,
        "share": localize(round(100 * brake.complaints / (brake.deliveries or 1), 1)),
    }


def tell(*, now: datetime) -> bool:
    """Mails the administrators, once, that marketing is held back; whether they know it now. It is no step of the tick,
    for it touches the network; the home page and the health page say it all the same."""
    brake = Brake.objects.filter(told_at=None, released_at=None).first()
    if brake is None:
        return False
    with override(settings.LANGUAGE_CODE):
        is_told = tell_administrators(
            key=f"brake-{brake.pk}",
            subject=_("All marketing is held back: too many complaints"),
            paragraphs=[
                in_words(brake),
                _("Nothing is lost: what waits is asked again by all gates once somebody lets it go."),
            ],
            path="/admin/messaging/brake/",
            now=now,
        )
    if is_told:
        Brake.objects.filter(pk=brake.pk).update(told_at=now)
    return is_told
