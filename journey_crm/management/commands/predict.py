"""`manage.py predict [CONTACT]`: writes everybody's prediction now, or says one contact's and why."""

import json

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from contacts.finding import find_contact
from contacts.models import Contact
from scoring import prediction, training
from scoring.models import PredictionModel


class Command(BaseCommand):
    help = "Writes how likely everybody is to become a customer, by the version in use; of one contact, says why."

    def add_arguments(self, parser) -> None:
        parser.add_argument("contact", metavar="CONTACT", nargs="?", help="id, e-mail address, user id or anonymous id")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, **options) -> None:
        now = timezone.now()
        if not PredictionModel.objects.live().exists():
            raise CommandError(training.why_none())
        if options["contact"] is None:
            people = prediction.predict(now)
            self.stdout.write(json.dumps({"people": people}) if options["json"] else f"{people} people.")
            return
        try:
            contact = find_contact(options["contact"])
        except Contact.DoesNotExist as error:
            raise CommandError(str(error)) from None
        found = prediction.prediction_of(contact, now)
        if found is None:
            raise CommandError("Nobody asks about this contact: a visitor, a customer, disqualified or churned.")
        if options["json"]:
            self.stdout.write(json.dumps(prediction.as_data(found), default=str, ensure_ascii=False))
            return
        self.stdout.write(found.says)
        for one in found.contributions:
            self.stdout.write(f"  {one}")
