"""`manage.py deliver`: what a delivery worker does, once."""

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from contacts import webhooks
from journey_crm.management.commands.tick import read_moment
from messaging.delivery import deliver, sweep
from messaging.failpoints import FailpointError
from messaging.trials import deliver_trials


class Command(BaseCommand):
    help = "Claims and sends until nothing is due; first ends the claims of workers that did not come back."

    def add_arguments(self, parser) -> None:
        parser.add_argument("--now", metavar="ISO", help="the moment to run at (2026-11-10T09:00); else the clock")
        parser.add_argument("--limit", type=int, metavar="N", help="claim at most N messages")

    def handle(self, *, now, limit, **options) -> None:
        if limit is not None and limit < 1:
            raise CommandError("--limit: must be at least 1.")
        moment = read_moment("--now", now) if now else timezone.now()
        try:
            swept = sweep(moment)
            deliver_trials(moment)
            sent = deliver(now=moment, limit=limit)
            told = webhooks.deliver(clock=lambda: moment)
        except (ImproperlyConfigured, FailpointError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(
            f"{moment.isoformat()}: sent {sent}"
            + (f", told {told} events to webhooks" if told else "")
            + (f", ended {swept} old claims" if swept else "")
        )
