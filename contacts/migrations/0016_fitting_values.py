"""Values that fit their fields and those that do not, and the keys that nobody made a field yet."""

import importlib

import django.db.models.deletion
from django.db import migrations, models


DATE = importlib.import_module("contacts.migrations.0003_rule_values").DATE

# As in 0003, of parts that never depend on a setting, so that an index may stand on it.
DATE_OF = f"""
CREATE OR REPLACE FUNCTION date_of(value jsonb) RETURNS date LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN jsonb_typeof(value) = 'string' AND (value #>> '{{}}') ~ '^(?:{DATE})(?:[T ]|$)'
            THEN make_date(left(value #>> '{{}}', 4)::int, substr(value #>> '{{}}', 6, 2)::int,
                           substr(value #>> '{{}}', 9, 2)::int)
    END
$$
"""
# What was told, in the one form in which a field of this type is stored; NULL where it is none of that type.
FITTED = """
CREATE FUNCTION fitted(value jsonb, type text, choices text[], zone text) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT CASE type
        WHEN 'text' THEN to_jsonb(text_of(value))
        WHEN 'number' THEN to_jsonb(number_of(value))
        WHEN 'boolean' THEN to_jsonb(boolean_of(value))
        WHEN 'date' THEN to_jsonb(date_of(value))
        WHEN 'datetime' THEN
            to_jsonb((to_jsonb(instant_of(value, zone) AT TIME ZONE 'UTC') #>> '{}') || '+00:00')
        WHEN 'choice' THEN CASE WHEN text_of(value) = ANY (choices) THEN to_jsonb(text_of(value)) END
        WHEN 'list' THEN CASE
            WHEN jsonb_typeof(value) = 'array' AND NOT jsonb_path_exists(
                value, 'strict $[*] ? (@.type() == "object" || @.type() == "array" || @.type() == "null")')
                THEN value
            END
    END
$$
"""


class Migration(migrations.Migration):
    dependencies = [
        ("contacts", "0015_turns"),
    ]

    operations = [
        migrations.CreateModel(
            name="Trait",
            fields=[
                ("key", models.TextField(primary_key=True, serialize=False, verbose_name="key")),
                ("people", models.PositiveIntegerField(verbose_name="people")),
                ("types", models.JSONField(verbose_name="types")),
                ("samples", models.JSONField(verbose_name="samples")),
                ("counted_at", models.DateTimeField(verbose_name="counted")),
            ],
            options={
                "verbose_name": "unregistered trait",
                "verbose_name_plural": "unregistered traits",
                "ordering": ["-people", "key"],
            },
        ),
        migrations.CreateModel(
            name="UnfitValue",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("value", models.JSONField(verbose_name="value")),
                ("told_at", models.DateTimeField(verbose_name="told")),
                (
                    "contact",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="unfit_values",
                        to="contacts.contact",
                        verbose_name="contact",
                    ),
                ),
                (
                    "field",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="unfit_values",
                        to="contacts.field",
                        verbose_name="custom field",
                    ),
                ),
            ],
            options={
                "verbose_name": "value that does not fit",
                "verbose_name_plural": "values that do not fit",
                "constraints": [models.UniqueConstraint(fields=("field", "contact"), name="unfit_value_once")],
            },
        ),
        migrations.RunSQL(DATE_OF, migrations.RunSQL.noop),
        migrations.RunSQL(FITTED, "DROP FUNCTION fitted(jsonb, text, text[], text)"),
    ]
