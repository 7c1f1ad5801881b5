"""`manage.py train`: trains the prediction now; exit 1 with a sentence where it is refused."""

import json
from datetime import timedelta

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from scoring import prediction, training


class Command(BaseCommand):
    help = "Trains who is likely to become a customer from our own history, and writes everybody's prediction."

    def add_arguments(self, parser) -> None:
        parser.add_argument(
            "--days", type=int, help="won is who became a customer within so many days; default: as last"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, **options) -> None:
        days = options["days"]
        if days is not None and not 1 <= days <= 3650:
            raise CommandError("--days: a whole number from 1 to 3650.")
        now = timezone.now()
        try:
            made = training.train(now, window=None if days is None else timedelta(days=days))
        except (training.Refused, training.Busy) as error:
            raise CommandError(str(error)) from None
        people = prediction.predict(now) if made.state == "live" else 0
        told = {
            "version": made.version, "state": made.state, "won": made.won, "lost": made.lost, "auc": made.auc,
            "brier": made.brier, "log_loss": made.log_loss, "people": people,
        }  # fmt: skip
        if options["json"]:
            self.stdout.write(json.dumps(told))
        else:
            self.stdout.write(
                f"Version {made.version} ({made.get_state_display()}): AUC {made.auc:.3f}, Brier score "
                f"{made.brier:.3f}, log loss {made.log_loss:.3f}; {made.won} won, {made.lost} lost; {people} people."
            )
