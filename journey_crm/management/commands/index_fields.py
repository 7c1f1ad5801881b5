"""`manage.py index_fields`: the indexes of custom fields, made and dropped now instead of within a minute."""

from django.core.management.base import BaseCommand

from contacts import fieldindexes


class Command(BaseCommand):
    help = "Makes an index for each custom field that rules ask about, and drops those that nobody needs any more."

    def handle(self, **options) -> None:
        done = fieldindexes.settle(self.stdout.write)
        there = fieldindexes.found().values()
        self.stdout.write(f"{done} changed; {len(there)} there, {sum(one.size for one in there) // 1024:,} kB.")
