"""What rules read out of JSON: each function answers a value of one type, or NULL where there is none; none can fail."""

from django.db import migrations, models

DATE = (
    "(?!0000)[0-9]{4}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)"
    "|(?:0[13578]|1[02])-31)"
    "|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)-02-29"
)
CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.][0-9]{1,9})?)?"
OFFSET = "(?:Z|[+-](?:0[0-9]|1[0-4]):?[0-5][0-9])"

TEXT_OF = """
CREATE FUNCTION text_of(value jsonb) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN jsonb_typeof(value) IN ('string', 'number', 'boolean') THEN value #>> '{}' END
$$
"""
NUMBER_OF = """
CREATE FUNCTION number_of(value jsonb) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN jsonb_typeof(value) = 'number' THEN (value #>> '{}')::numeric
        WHEN jsonb_typeof(value) = 'string' AND (value #>> '{}') ~ '^-?[0-9]{1,30}([.][0-9]{1,30})?$'
            THEN (value #>> '{}')::numeric
    END
$$
"""
BOOLEAN_OF = """
CREATE FUNCTION boolean_of(value jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE value WHEN 'true' THEN true WHEN 'false' THEN false WHEN '"true"' THEN true WHEN '"false"' THEN false END
$$
"""
DATE_OF = f"""
CREATE FUNCTION date_of(value jsonb) RETURNS date LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN jsonb_typeof(value) = 'string' AND (value #>> '{{}}') ~ '^(?:{DATE})(?:[T ]|$)'
            THEN left(value #>> '{{}}', 10)::date
    END
$$
"""
# A moment without an offset is wall time in the workspace's zone.
INSTANT_OF = f"""
CREATE FUNCTION instant_of(value jsonb, zone text) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN jsonb_typeof(value) <> 'string' THEN NULL
        WHEN (value #>> '{{}}') ~ '^(?:{DATE})[T ]{CLOCK}{OFFSET}$' THEN (value #>> '{{}}')::timestamptz
        WHEN (value #>> '{{}}') ~ '^(?:{DATE})([T ]{CLOCK})?$' THEN local_instant((value #>> '{{}}')::timestamp, zone)
    END
$$
"""
HAS_VALUE = """
CREATE FUNCTION has_value(value jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT value IS NOT NULL AND value NOT IN ('null', '""', '[]', '{}')
$$
"""
LIST_HAS = """
CREATE FUNCTION list_has(list jsonb, element jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT jsonb_typeof(list) = 'array' AND list @> jsonb_build_array(element)
$$
"""


class Migration(migrations.Migration):
    dependencies = [("contacts", "0002_functions")]

    operations = [
        migrations.RunSQL(TEXT_OF, "DROP FUNCTION text_of(jsonb)"),
        migrations.RunSQL(NUMBER_OF, "DROP FUNCTION number_of(jsonb)"),
        migrations.RunSQL(BOOLEAN_OF, "DROP FUNCTION boolean_of(jsonb)"),
        migrations.RunSQL(DATE_OF, "DROP FUNCTION date_of(jsonb)"),
        migrations.RunSQL(INSTANT_OF, "DROP FUNCTION instant_of(jsonb, text)"),
        migrations.RunSQL(HAS_VALUE, "DROP FUNCTION has_value(jsonb)"),
        migrations.RunSQL(LIST_HAS, "DROP FUNCTION list_has(jsonb, jsonb)"),
        migrations.AddIndex(
            model_name="membershipoverride",
            index=models.Index(
                condition=models.Q(("expires_at__isnull", False)), fields=["expires_at"], name="override_expires"
            ),
        ),
    ]
