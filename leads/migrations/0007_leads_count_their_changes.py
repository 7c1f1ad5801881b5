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
# Of what is told (see `tell_leads`); the notes that routing makes for itself are nobody's news.
TOLD = [
    "contact_id", "state", "team_id", "owner_id", "assigned_to_id", "headline", "score", "reject_reason_id", "value",
    "currency", "order_number", "crm_id", "snoozed_until", "due_at", "created_at", "assigned_at", "claimed_at",
    "accepted_at", "ended_at", "updated_at",
]  # fmt: skip
TRIGGER = f"""
CREATE TRIGGER lead_changes BEFORE UPDATE ON leads_lead
FOR EACH ROW WHEN (
    NEW.version = OLD.version AND NEW.told_version = OLD.told_version
    AND ({", ".join(f"NEW.{name}" for name in TOLD)})
        IS DISTINCT FROM ({", ".join(f"OLD.{name}" for name in TOLD)})
)
EXECUTE FUNCTION count_lead_change()
"""


class Migration(migrations.Migration):
    dependencies = [("leads", "0006_moves_notes_and_calls")]

    operations = [
        migrations.RunSQL(FUNCTION, "DROP FUNCTION count_lead_change()"),
        migrations.RunSQL(TRIGGER, "DROP TRIGGER lead_changes ON leads_lead"),
    ]
