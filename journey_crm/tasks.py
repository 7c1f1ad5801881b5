"""The alarm clock's tasks. Each carries no data, may run twice at any time, and leaves alone what is not due.

The wall clock is read here, at the edge, and handed on as `now`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connections
from django.utils import timezone

from campaigns import candidates, fuse
from contacts import fieldindexes, fields, idempotency, importing, retention, sweeping, throttling, webhooks
from contacts.models import Heartbeat
from journey_crm import tick as ticker
from journey_crm.celery import app
from leads import digest, mails
from messaging import brake, delivery, hits, nightly, onsite, returning, signups, trials
from messaging.bounces.mailboxes import MailboxAway
from scoring import prediction, training

log = structlog.get_logger(__name__)


@contextmanager
def _alive(name: str) -> Iterator[None]:
    """Writes the heartbeat `name` when the work is done; a database that went away costs a line and this one run.

    Nothing is retried here: the next alarm finds the same work. Other errors go on to Celery, which logs them.
    """
    try:
        yield
        Heartbeat.objects.update_or_create(name=name, defaults={"beat_at": timezone.now()})
    except (OperationalError, InterfaceError) as error:
        log.error("database_away", task=name, error=str(error).strip())
        connections.close_all()


@app.task(is_idempotent=True)
def tick() -> None:
    """All steps once. Two at once: the second finds the lock taken and leaves."""
    with _alive("tick"):
        ticker.tick(timezone.now())


@app.task(is_idempotent=True)
def deliver() -> None:
    """Claims and sends what is due. Two at once share the messages; none is claimed twice."""
    with _alive("deliver"):
        trials.deliver_trials(timezone.now())
        delivery.deliver(now=timezone.now())


@app.task(is_idempotent=True)
def deliver_webhooks() -> None:
    """Tells other systems what is due. Two at once share the endpoints' lines; none is claimed twice."""
    with _alive("webhooks"):
        webhooks.deliver(clock=timezone.now)


@app.task(is_idempotent=True)
def tell_sales() -> None:
    """Mails reps of hot leads, and everybody's digest when their day begins. Two at once share the mails."""
    with _alive("sales"):
        digest.plan_digests(timezone.now())
        mails.deliver_mails(timezone.now())


@app.task(is_idempotent=True)
def sweep() -> None:
    """Settles claims whose worker died, and ends what waited too long on our website."""
    with _alive("sweep"):
        delivery.sweep(now=timezone.now())
        onsite.expire(timezone.now())


@app.task(is_idempotent=True)
def take_bounces() -> None:
    """Looks into the mailbox of bounces and reads what came in; tells administrators of pauses.

    Two at once are harmless: each mail is kept once, and read by one of them.
    """
    with _alive("bounces"):
        returning.read_waiting(now=timezone.now())
        brake.tell(now=timezone.now())
        fuse.tell(now=timezone.now())
    if not settings.BOUNCES_URL:
        Heartbeat.objects.filter(name="mailbox").delete()
        return
    try:
        # A mailbox that stays away falls silent, which the home page says.
        with _alive("mailbox"):
            returning.empty_mailbox(now=timezone.now())
    except MailboxAway as error:
        log.error("mailbox_away", error=str(error))


@app.task(is_idempotent=True)
def run_imports() -> None:
    """Imports the files that wait, and those whose worker died. Two at once never take the same file."""
    with _alive("imports"):
        importing.run_waiting(timezone.now())


@app.task(is_idempotent=True)
def tidy() -> None:
    """Forgets the answers to POSTs that nobody may ask for again, old imports' files, and what others were told."""
    with _alive("tidy"):
        idempotency.forget_answers(now=timezone.now())
        importing.tidy(timezone.now())
        throttling.forget(now=timezone.now())
        webhooks.forget(now=timezone.now())
        candidates.forget_candidates(timezone.now())
        trials.forget_trials(timezone.now())
        mails.forget_mails(timezone.now())
        returning.forget(now=timezone.now())


@app.task(is_idempotent=True)
def retain() -> None:
    """Goes on with what retention rules drop, with old sign-ups, with who clicked long ago, and with erasures."""
    with _alive("retain"):
        sweeping.sweep_others(timezone.now())
        retention.retain(timezone.now())
        signups.forget_signups(timezone.now())
        hits.forget_raw(timezone.now())


@app.task(is_idempotent=True)
def mind_fields() -> None:
    """Makes the indexes that rules need and drops the others; counts traits once an hour. Two at once: one leaves."""
    with _alive("fields"):
        fieldindexes.settle()
        fields.count_traits_if_due(timezone.now())


@app.task(is_idempotent=True)
def lint() -> None:
    """Looks at all live messages once a night, and asks their links. Two at once: the second finds the lock taken."""
    with _alive("lint"):
        nightly.lint_if_due(timezone.now())


@app.task(is_idempotent=True)
def predict() -> None:
    """Trains the prediction once a night, and at once when asked; writes everybody's anew once an hour.

    Two at once: of trainings the second finds the lock taken, and predictions are the same rows by the same numbers.
    """
    with _alive("predict"):
        training.train_if_due(timezone.now())
        prediction.predict_if_due(timezone.now())


@app.task(is_idempotent=True)
def heartbeat() -> None:
    """Only the scheduler sends this one: it shows that the scheduler, the broker and a worker do their work."""
    with _alive("scheduler"):
        pass
