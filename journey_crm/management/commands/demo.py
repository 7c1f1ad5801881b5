import sys
import time

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from contacts.models import Contact
from journey_crm.demo_company import LOGINS, world


class Command(BaseCommand):
    help = "Makes the demo company: people, 90 days lived through the real engine, journeys in every state."

    def add_arguments(self, parser):
        parser.add_argument("--reset", action="store_true", help="first empty the database of contacts and definitions")
        parser.add_argument("--contacts", type=int, default=world.COUNT, help=f"how many people ({world.COUNT})")
        parser.add_argument("--days", type=int, default=world.DAYS, help=f"how many days back ({world.DAYS})")

    def handle(self, *args, **options):
        if options["contacts"] < 1 or options["days"] < 1:
            raise CommandError("--contacts and --days must be at least 1.")
        if options["reset"]:
            world.reset()
        elif Contact.objects.exists():
            raise CommandError("There are contacts already. `make demo` (or --reset) empties the database first.")
        begin, shown = time.monotonic(), -1

        def say(share: float, text: str) -> None:
            nonlocal shown
            step = int(share * (50 if sys.stdout.isatty() else 20))
            if step != shown:
                shown = step
                self.stdout.write(f"  demo company: {share:4.0%}  {text}")
                self.stdout.flush()

        world.build(now=timezone.now(), count=options["contacts"], days=options["days"], say=say)
        self.stdout.write(f"{Contact.objects.count():,} contacts in {time.monotonic() - begin:.0f} s. Log in as:")
        for username, password, _, role in LOGINS:
            self.stdout.write(f"  {username} / {password}  ({role})")
