"""`manage.py tick`: the tick without Celery, at any moment of time."""

from datetime import datetime, timedelta

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from contacts.durations import parse_duration
from contacts.models import StepCursor
from journey_crm.tick import tick, walk


def read_moment(option: str, text: str) -> datetime:
    """A moment in ISO 8601; without a zone it is meant in TIME_ZONE. Raises CommandError naming the option."""
    try:
        moment = parse_datetime(text)
        if moment is None and len(text) == 10:
            moment = parse_datetime(f"{text}T00:00")
    except ValueError as error:
        raise CommandError(f"{option}: {text!r} is no moment: {error}.") from None
    if moment is None:
        raise CommandError(f"{option}: {text!r} is no moment. Write it as 2026-11-10T09:00 or 2026-11-10T09:00+01:00.")
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)


class Command(BaseCommand):
    help = "Runs every step of the tick once, or walks a virtual clock with --until."

    def add_arguments(self, parser) -> None:
        parser.add_argument("--now", metavar="ISO", help="the moment, such as 2026-11-10T09:00; else the clock")
        parser.add_argument("--until", metavar="ISO", help="tick again and again on a virtual clock until this moment")
        parser.add_argument("--every", metavar="DURATION", default="1m", help="how far apart those ticks are (1m)")

    def handle(self, *, now, until, every, verbosity, **options) -> None:
        start = read_moment("--now", now) if now else timezone.now()
        if until is None:
            self.report(start, tick(start))
        else:
            self.walk(start, read_moment("--until", until), self.read_step(every), verbosity)
        failed = dict(StepCursor.objects.exclude(failed_at=None).values_list("step", "error"))
        if failed:
            reasons = "\n".join(f"  {step}: {error.splitlines()[0]}" for step, error in failed.items())
            raise CommandError(f"These steps failed and stay where they stood:\n{reasons}")

    def read_step(self, every: str) -> timedelta:
        try:
            return parse_duration(every)
        except ValueError as error:
            raise CommandError(f"--every: {error}") from None

    def walk(self, start: datetime, until: datetime, every: timedelta, verbosity: int) -> None:
        if until < start:
            raise CommandError("--until: this moment is before --now.")
        total = (until - start) // every + 1
        is_live = self.stderr.isatty() and verbosity > 0
        sums: dict[str, int] = {}
        for number, (moment, done) in enumerate(walk(start, until, every), start=1):
            for step, count in done.items():
                sums[step] = sums.get(step, 0) + count
            if is_live and (number % 20 == 0 or number == total):
                self.stderr.write(f"\r{moment:%Y-%m-%d %H:%M} · {number} of {total} ticks", ending="")
            elif verbosity > 0 and not is_live and number % max(1, total // 20) == 0:
                self.stderr.write(f"{moment:%Y-%m-%d %H:%M} · {number} of {total} ticks")
        if is_live:
            self.stderr.write("")
        self.report(until, sums)

    def report(self, moment: datetime, done: dict[str, int]) -> None:
        what = ", ".join(f"{step} {count}" for step, count in done.items()) or "there are no steps"
        self.stdout.write(f"{moment.isoformat()}: {what}")
