from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("scoring", "0005_groups"),
    ]

    operations = [
        migrations.AddField(
            model_name="contactscore",
            name="rises_at",
            field=models.DateTimeField(null=True, verbose_name="rises over it"),
        ),
        migrations.AddIndex(
            model_name="contactscore",
            index=models.Index(
                condition=models.Q(("rises_at__isnull", False)), fields=["rises_at"], name="contact_score_rises"
            ),
        ),
    ]
