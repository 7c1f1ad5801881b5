import sys
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError
from django.utils.timezone import now

from contacts.definitions import DefinitionError
from journey_crm import as_code


class Command(BaseCommand):
    help = "Applies definitions from YAML files, all or nothing, and prints what changed by name."

    def add_arguments(self, parser):
        parser.add_argument("files", nargs="+", metavar="FILE", help="YAML files; - reads standard input")
        parser.add_argument("--plan", action="store_true", help="only show what would change")
        parser.add_argument("--publish", action="store_true", help="publish the journeys whose drafts changed")

    def handle(self, *args, **options):
        try:
            documents = [as_code.read(_text(name), name) for name in options["files"]]
            changes = as_code.apply(documents, is_plan=options["plan"], is_publish=options["publish"], now=now())
        except DefinitionError as error:
            raise CommandError(f"{error} Nothing was changed.") from None
        for change in changes:
            self.stdout.write(str(change))
            for sentence in change.foreseen:
                self.stdout.write(f"          {sentence}")
        count = sum(change.what != "unchanged" for change in changes)
        word = "would change" if options["plan"] else "changed"
        self.stdout.write(f"{count} of {len(changes)} {word}." if changes else "The files define nothing.")


def _text(name: str) -> str:
    if name == "-":
        return sys.stdin.read()
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{name}: cannot be read: {error}.") from None
