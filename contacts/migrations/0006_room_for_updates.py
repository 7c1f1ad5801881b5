"""Leaves room in each page of contacts, so that a new moment of being seen need not touch the indexes."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("contacts", "0005_erased_addresses")]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE contacts_contact SET (fillfactor = 80)", "ALTER TABLE contacts_contact RESET (fillfactor)"
        ),
    ]
