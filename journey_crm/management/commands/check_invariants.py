import json
import sys

from django.core.management.base import BaseCommand
from django.utils.timezone import now

from journey_crm import invariants


class Command(BaseCommand):
    help = "Counts what breaks the invariants I1–I11; exits 1 if anything does."

    def add_arguments(self, parser):
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args, **options):
        counts = invariants.check(invariants.last_tick() or now())
        if options["json"]:
            self.stdout.write(json.dumps(counts))
        else:
            for name, count in counts.items():
                self.stdout.write(f"{name:>3}  {count:>6}  {invariants.MEANINGS[name]}")
        if any(counts.values()):
            sys.exit(1)
