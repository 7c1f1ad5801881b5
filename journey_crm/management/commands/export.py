from django.core.management.base import BaseCommand, CommandError

from contacts.definitions import DefinitionError
from journey_crm import as_code


class Command(BaseCommand):
    help = "Prints all definitions, or those with the given keys, as YAML that `apply` takes back."

    def add_arguments(self, parser):
        parser.add_argument("keys", nargs="*", metavar="KEY")

    def handle(self, *args, **options):
        try:
            self.stdout.write(as_code.write(as_code.export(options["keys"])), ending="")
        except DefinitionError as error:
            raise CommandError(str(error)) from None
