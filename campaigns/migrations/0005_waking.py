"""When somebody who has come to a wait goes on, in one place for moving, editing and rehearsing; branches of questions."""

from django.db import migrations

# `said` is what a wait for a date waits for: the contact's date, or one that the trigger told; none is no wait.
# A wall time that does not exist is the next one that does, one that comes twice is the first (`local_instant`).
WAKES_AT = """
CREATE FUNCTION wakes_at(kind text, config jsonb, since timestamptz, zone text, said jsonb) RETURNS timestamptz
LANGUAGE plpgsql STABLE AS $$
DECLARE
    local timestamp := since AT TIME ZONE zone;
    days int := coalesce((config->>'days')::int, 0);
    seconds interval := make_interval(secs => coalesce((config->>'seconds')::int, 0));
    wall timestamp;
    opens time; closes time;
BEGIN
    IF kind IN ('wait', 'wait_for') THEN
        -- `1 day` keeps the clock's time, `24 h` is elapsed.
        RETURN local_instant(local + make_interval(days => days), zone) + seconds;
    ELSIF kind <> 'wait_until' THEN
        RETURN since;
    ELSIF config ? 'field' OR config ? 'property' THEN
        wall := (instant_of(said, zone) AT TIME ZONE zone) + make_interval(days => days);
        IF wall IS NULL THEN
            RETURN since;
        ELSIF config ? 'local_time' THEN
            wall := wall::date + (config->>'local_time')::time;
        END IF;
        RETURN greatest(since, local_instant(wall, zone) + seconds);
    ELSIF config ? 'from' THEN
        opens := (config->>'from')::time;
        closes := (config->>'to')::time;
        -- The window that is open now may have begun yesterday.
        IF EXISTS (
            SELECT FROM generate_series(-1, 0) AS day, LATERAL (SELECT local::date + day AS date) AS a
            WHERE config->'weekdays' @> to_jsonb(extract(isodow FROM a.date)::int)
              AND local_instant(a.date + opens, zone) <= since
              AND since < local_instant(a.date + closes + CASE WHEN closes <= opens THEN interval '1 day'
                                                               ELSE interval '0' END, zone))
        THEN
            RETURN since;
        END IF;
        wall := local::date + opens;
    ELSE
        wall := local::date + (config->>'local_time')::time;
    END IF;
    RETURN (
        SELECT min(instant)
        FROM generate_series(0, 8) AS day, LATERAL local_instant(wall + make_interval(days => day), zone) AS instant
        WHERE instant >= since AND config->'weekdays' @> to_jsonb(extract(isodow FROM (wall::date + day))::int));
END
$$
"""
BRANCHES = """
UPDATE campaigns_node
SET config = jsonb_build_object('branches', jsonb_build_array(
    jsonb_build_object('label', 'then', 'rule', config->'rule')))
WHERE kind = 'ask' AND config ? 'rule'
"""


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0004_what_was_reached"), ("contacts", "0016_fitting_values")]

    operations = [
        migrations.RunSQL(WAKES_AT, "DROP FUNCTION wakes_at(text, jsonb, timestamptz, text, jsonb)"),
        migrations.RunSQL(BRANCHES, migrations.RunSQL.noop),
    ]
