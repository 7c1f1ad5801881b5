import json
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.timezone import localtime, now

from contacts import explaining
from contacts.finding import find_contact
from contacts.models import Contact


class Command(BaseCommand):
    help = "Says why, or why not, of one contact: a message, a journey, a segment, a score or a grade."

    def add_arguments(self, parser):
        parser.add_argument("contact", metavar="CONTACT", help="id, e-mail address, user id or anonymous id")
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--message", metavar="KEY", help="a message's or a template's key")
        what.add_argument("--journey", metavar="KEY")
        what.add_argument("--segment", metavar="KEY")
        what.add_argument("--score", metavar="KEY")
        what.add_argument("--grade", metavar="KEY", help="a grade matrix's key")
        parser.add_argument("--now", metavar="ISO", help="as of this moment; default: the clock")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args, **options):
        moment = _moment(options["now"])
        try:
            contact = find_contact(options["contact"])
            [(kind, key)] = [(kind, options[kind]) for kind in explaining.kinds() if options[kind]]
            answer = explaining.explain(kind, key, contact, moment)
        except (Contact.DoesNotExist, explaining.NothingThere) as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            self.stdout.write(json.dumps(answer, default=str, ensure_ascii=False))
        else:
            self._tell(answer)

    def _tell(self, value: Any, indent: int = 0) -> None:
        """Nested mappings and lists as indented lines."""
        space = "  " * indent
        for key, part in value.items() if isinstance(value, dict) else ((None, part) for part in value):
            label = f"{key}: " if key is not None else "- "
            if isinstance(part, dict) and key is None:
                self.stdout.write(f"{space}- " + " · ".join(f"{k}: {_plain(v)}" for k, v in part.items()))
            elif isinstance(part, dict | list) and part:
                self.stdout.write(f"{space}{label}")
                self._tell(part, indent + 1)
            else:
                self.stdout.write(f"{space}{label}{_plain(part)}")


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return localtime(value).isoformat(timespec="minutes")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value in (None, "", [], {}):
        return "–"
    return str(value)


def _moment(text: str | None) -> datetime:
    if text is None:
        return now()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"--now: {text!r} is not an ISO moment such as 2027-03-28T00:59:00Z.") from None
    if moment.tzinfo is None:
        raise CommandError(f"--now: {text!r} needs its zone, such as Z or +01:00.")
    return moment
