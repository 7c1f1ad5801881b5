from typing import Any

from django.db import migrations, models
from django.db.models.functions import Lower, Trim

from contacts.identity import normalise


def normalise_addresses(apps: Any, schema_editor: Any) -> None:
    """Writes every address as contacts have theirs; of two that were one, the stricter and older says what holds."""
    rows = apps.get_model("messaging", "Suppression").objects
    wanted: dict[str, Any] = {}
    # One that refuses only marketing must not take the place of one that refuses everything.
    for row in sorted(rows.iterator(), key=lambda row: (row.reason == "unsubscribed", row.suppressed_at, row.pk)):
        try:
            address = normalise("email", row.address)
        except ValueError:
            address = row.address.strip().lower()
        wanted.setdefault(address, row)
    kept = {row.pk for row in wanted.values()}
    rows.exclude(pk__in=kept).delete()
    for address, row in wanted.items():
        if address != row.address:
            rows.filter(pk=row.pk).update(address=address)


class Migration(migrations.Migration):
    dependencies = [
        ("messaging", "0004_fewer_indexes"),
    ]

    operations = [
        migrations.RunPython(normalise_addresses, migrations.RunPython.noop, elidable=True),
        migrations.AddConstraint(
            model_name="suppression",
            constraint=models.CheckConstraint(
                condition=models.Q(("address", Lower(Trim("address")))), name="suppressed_addresses_are_normalised"
            ),
        ),
    ]
