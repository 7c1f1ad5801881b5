"""The database counts every change of a lead, by whatever way it is made, so that the stream can tell of each."""

from django.db import migrations

FUNCTION = """
CREATE FUNCTION count_lead_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := OLD.version + 1;
    RETURN NEW;
END
$$
"""
# What was told is no change of the lead, and would be told for ever.
TRIGGER = """
CREATE TRIGGER lead_changes BEFORE UPDATE ON leads_lead
FOR EACH ROW WHEN (NEW.told_version IS NOT DISTINCT FROM OLD.told_version AND NEW.* IS DISTINCT FROM OLD.*)
EXECUTE FUNCTION count_lead_change()
"""


class Migration(migrations.Migration):
    dependencies = [("leads", "0007_moves_notes_and_calls")]

    operations = [
        migrations.RunSQL(FUNCTION, "DROP FUNCTION count_lead_change()"),
        migrations.RunSQL(TRIGGER, "DROP TRIGGER lead_changes ON leads_lead"),
    ]
