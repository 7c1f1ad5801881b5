"""`manage.py reclassify`: judges clicks and opens anew by the rules of today."""

from django.core.management.base import BaseCommand
from django.utils import timezone

from messaging import machines
from messaging.hits import reclassify


class Command(BaseCommand):
    help = (
        "Judges anew which clicks and opens were made by programs, as far back as it is kept who made them. Scores and "
        "segments follow with the next tick. May be stopped and begun again."
    )

    def add_arguments(self, parser) -> None:
        parser.add_argument("--all", action="store_true", help="also what these rules have judged already")

    def handle(self, **options) -> None:
        changed = reclassify(timezone.now(), is_every=options["all"])
        self.stdout.write(f"{changed} changed sides by rules {machines.VERSION}.")
