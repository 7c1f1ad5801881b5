from django.db import migrations, models

import messaging.channels


class Migration(migrations.Migration):
    dependencies = [
        ("messaging", "0009_holdout"),
    ]

    operations = [
        migrations.AlterField(
            model_name="template",
            name="channel",
            field=models.TextField(choices=messaging.channels.choices, default="email", verbose_name="channel"),
        ),
        migrations.AlterField(
            model_name="template",
            name="subject",
            field=models.TextField(blank=True, db_default="", default="", verbose_name="subject"),
        ),
        migrations.AlterField(
            model_name="template",
            name="body_format",
            field=models.TextField(
                choices=[
                    ("markdown", "Markdown"),
                    ("mjml", "MJML"),
                    ("html", "HTML"),
                    ("blocks", "blocks"),
                    ("text", "plain text"),
                ],
                default="markdown",
                verbose_name="written in",
            ),
        ),
        migrations.RemoveIndex(model_name="message", name="message_ready"),
        migrations.AddIndex(
            model_name="message",
            index=models.Index(
                fields=["channel", "-message_class", "due_at", "id"],
                condition=models.Q(("state", "ready")),
                name="message_next",
            ),
        ),
    ]
