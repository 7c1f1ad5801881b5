"""`manage.py erase`: erasure of one person, with proof."""

import json
import sys

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.utils.timezone import now

from contacts.erasure import erase, erased_among, traces_of
from contacts.finding import find_contact
from contacts.models import Contact, Erasure, Identity


class Command(BaseCommand):
    help = "Erases one person everywhere, for good, and proves it. Totals stay, nameless."

    def add_arguments(self, parser) -> None:
        parser.add_argument("contact", metavar="CONTACT", help="id, e-mail address, user id or anonymous id")
        parser.add_argument("--yes", action="store_true", help="do not ask first; without a terminal nobody is asked")
        parser.add_argument("--json", action="store_true", help="print the proof as JSON")

    def handle(self, *, contact, yes, **options) -> None:
        try:
            person = find_contact(contact)
        except Contact.DoesNotExist as error:
            raise CommandError(str(error)) from None
        moment = now()
        traces = traces_of(person, moment)
        # Where nobody can answer, the command itself is the answer.
        if not yes and sys.stdin.isatty():
            answer = input(f"Erase {person.name} (contact {person.pk}) for good? Type yes: ")
            if answer.strip() != "yes":
                raise CommandError("Nothing was erased.")
        try:
            proof = erase(person, by=None, now=moment)
        except ValueError as error:
            raise CommandError(str(error)) from None
        if proof is None:
            raise CommandError(f"Contact {person.pk} was erased before.")
        left = Identity.objects.filter(contact__in=traces.ids).count()
        left += Identity.objects.filter(kind="email", value__in=traces.values("email")).count()
        hashes = len(erased_among(traces.values("email")))
        if options["json"]:
            self.stdout.write(json.dumps(proof.document(), indent=2, default=str))
        else:
            self.tell(proof, left, hashes)
        if left:
            raise CommandError("Some handles are still there: a writer was at work. Run it again.")

    def tell(self, proof: Erasure, left: int, hashes: int) -> None:
        self.stdout.write(
            f"Contact {proof.contact_number} was erased at {proof.erased_at.isoformat(timespec='seconds')}."
        )
        names = {model._meta.label_lower: str(model._meta.verbose_name_plural) for model in apps.get_models()}
        for label, rows in proof.counts.items():
            stays = f", {rows['kept']} kept without a name" if rows["kept"] else ""
            self.stdout.write(f"  {names.get(label, label)}: {rows['removed']} removed{stays}")
        self.stdout.write(f"  handles that still lead here: {left}")
        self.stdout.write(f"  keyed hashes that keep an import from bringing back the address: {hashes}")
