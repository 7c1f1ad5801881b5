"""`manage.py export_person`: everything held about one person, as JSON, or as an archive for that person."""

from pathlib import Path

from django.core.management.base import BaseCommand, CommandError
from django.utils.timezone import now

from contacts.finding import find_contact
from contacts.models import Contact
from contacts.person_export import as_json, as_zip, everything_about


class Command(BaseCommand):
    help = "Prints everything that is held about one person, whatever the app that holds it, as JSON."

    def add_arguments(self, parser) -> None:
        parser.add_argument("contact", metavar="CONTACT", help="id, e-mail address, user id or anonymous id")
        parser.add_argument(
            "--output", metavar="FILE", help="write it there, readable by the owner alone; a name in .zip: an archive"
        )

    def handle(self, *, contact, output, **options) -> None:
        try:
            person = find_contact(contact)
        except Contact.DoesNotExist as error:
            raise CommandError(str(error)) from None
        told = everything_about(person, now())
        if output is None:
            self.stdout.write(as_json(told))
            return
        try:
            path = Path(output)
            path.touch(mode=0o600)
            path.write_bytes(as_zip(told) if path.suffix == ".zip" else (as_json(told) + "\n").encode())
        except OSError as error:
            raise CommandError(f"--output: cannot write {output}: {error.strerror}.") from None
        self.stdout.write(f"Written to {output}.")
