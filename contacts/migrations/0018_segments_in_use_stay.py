"""A segment that another one asks about cannot go or change its key, by whatever way: not by raw SQL either."""

from django.db import migrations

FUNCTION = """
CREATE FUNCTION keep_segment_in_use() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    users text;
BEGIN
    SELECT string_agg(name, ', ' ORDER BY name) INTO users FROM contacts_segment
    WHERE rule IS NOT NULL
        AND jsonb_path_exists(rule, '$.**.in_segment ? (@ == $key)', jsonb_build_object('key', OLD.key));
    IF users IS NOT NULL AND NOT EXISTS (SELECT FROM contacts_segment WHERE key = OLD.key) THEN
        RAISE EXCEPTION 'segment "%" is used by: %', OLD.key, users USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END
$$
"""
# After the whole statement, so that a segment may go together with those that ask about it.
TRIGGER = """
CREATE TRIGGER segment_in_use AFTER DELETE OR UPDATE OF key ON contacts_segment
FOR EACH ROW EXECUTE FUNCTION keep_segment_in_use()
"""


class Migration(migrations.Migration):
    dependencies = [("contacts", "0017_fewer_indexes_of_contacts")]

    operations = [
        migrations.RunSQL(FUNCTION, "DROP FUNCTION keep_segment_in_use()"),
        migrations.RunSQL(TRIGGER, "DROP TRIGGER segment_in_use ON contacts_segment"),
    ]
