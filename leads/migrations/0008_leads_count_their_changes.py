"""The database counts every change of a lead, by whatever way it is made, so that the stream can tell of each.

And a lead that is in nobody's hands any more does not sleep, whoever took it out of them.
"""

from django.db import migrations

FUNCTION = """
CREATE FUNCTION count_lead_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := OLD.version + 1;
    IF NEW.state NOT IN ('claimed', 'accepted') THEN
        NEW.snoozed_until := NULL;
        NEW.snooze_reason := '';
    END IF;
    RETURN NEW;
END
$$
"""
# That it was told is no change of the lead, or it would be told for ever.
TRIGGER = """
CREATE TRIGGER lead_changes BEFORE UPDATE ON leads_lead
FOR EACH ROW WHEN (
    NEW.version = OLD.version AND NEW.told_version = OLD.told_version AND NEW.* IS DISTINCT FROM OLD.*
)
EXECUTE FUNCTION count_lead_change()
"""


class Migration(migrations.Migration):
    dependencies = [("leads", "0007_moves_notes_and_calls")]

    operations = [
        migrations.RunSQL(FUNCTION, "DROP FUNCTION count_lead_change()"),
        migrations.RunSQL(TRIGGER, "DROP TRIGGER lead_changes ON leads_lead"),
    ]
