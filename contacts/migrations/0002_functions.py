"""Two functions that statements everywhere use, and the time zones that both PostgreSQL and Python know."""

from zoneinfo import available_timezones

from django.db import migrations

BUCKET = """
CREATE FUNCTION bucket_of(salt text, contact bigint) RETURNS int LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    -- 0 … 99, sticky: the first 32 bits of md5("salt:contact"), as contacts.rules.bucket_of computes it in Python.
    SELECT (('x' || substr(md5(salt || ':' || contact), 1, 8))::bit(32)::bigint % 100)::int
$$
"""

# A wall time that the clock jumps over means the first minute after the jump; one that comes twice means the first.
LOCAL_INSTANT = """
CREATE FUNCTION local_instant(wall timestamp, zone text) RETURNS timestamptz LANGUAGE plpgsql STABLE STRICT AS $$
DECLARE
    instant timestamptz := wall AT TIME ZONE zone;
    shift interval;
BEGIN
    IF instant AT TIME ZONE zone = wall THEN
        FOREACH shift IN ARRAY ARRAY[interval '2 hours', interval '1 hour', interval '30 minutes'] LOOP
            IF (instant - shift) AT TIME ZONE zone = wall THEN
                RETURN instant - shift;
            END IF;
        END LOOP;
        RETURN instant;
    END IF;
    WHILE instant AT TIME ZONE zone < wall LOOP
        instant := instant + interval '1 minute';
    END LOOP;
    WHILE (instant - interval '1 minute') AT TIME ZONE zone >= wall LOOP
        instant := instant - interval '1 minute';
    END LOOP;
    RETURN date_trunc('minute', instant);
END
$$
"""


def fill_zones(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_timezone_names")
        known = {name for (name,) in cursor.fetchall()}
    zones = apps.get_model("contacts", "Zone").objects
    zones.bulk_create([zones.model(name=name) for name in sorted(known & available_timezones())])


class Migration(migrations.Migration):
    dependencies = [("contacts", "0001_initial")]

    operations = [
        migrations.RunSQL(BUCKET, "DROP FUNCTION bucket_of(text, bigint)"),
        migrations.RunSQL(LOCAL_INSTANT, "DROP FUNCTION local_instant(timestamp, text)"),
        migrations.RunPython(fill_zones, migrations.RunPython.noop),
    ]
