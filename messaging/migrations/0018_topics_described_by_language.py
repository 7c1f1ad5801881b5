"""Topics are described in each language."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("messaging", "0017_hits_are_kept")]

    operations = [
        migrations.AddField(
            model_name="topic",
            name="descriptions",
            field=models.JSONField(blank=True, db_default={}, default=dict, verbose_name="description by language"),
        ),
    ]
