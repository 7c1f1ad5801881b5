"""The arithmetic of fading, once, for every statement that reads the ledger."""

from django.db import migrations

# PostgreSQL refuses results too small for a float; 500 half-lives are nothing either way.
FADED = """
CREATE FUNCTION faded(worth float8, since timestamptz, half_life interval, at timestamptz)
RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN half_life IS NULL THEN worth
        ELSE worth * power(2::float8, greatest(-500, -date_part('epoch', at - since) / date_part('epoch', half_life)))
    END
$$
"""

# What was earned by `at` on a day that is not over then: event by event.
WORTH_WITHIN_DAY = """
CREATE FUNCTION worth_within_day(
    half_life interval, occurred_ats timestamptz[], event_points float8[], at timestamptz
) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(sum(faded(points, occurred_at, half_life, at)), 0)
    FROM unnest(occurred_ats, event_points) AS event (occurred_at, points)
    WHERE occurred_at <= at
$$
"""

# One row of the ledger at any instant, past or to come: what had happened by then, faded to then. The second line
# is for fit rules, whose one row lies on the day 1970-01-01 and counts from the instant when the rule began to hold.
WORTH = """
CREATE FUNCTION worth(
    day date, weight float8, half_life interval, occurred_ats timestamptz[], event_points float8[], at timestamptz
) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN at < (day + 1)::timestamp AT TIME ZONE 'UTC'
            THEN worth_within_day(half_life, occurred_ats, event_points, at)
        WHEN occurred_ats[1] > at THEN 0
        ELSE faded(weight, day::timestamp AT TIME ZONE 'UTC', half_life, at)
    END
$$
"""

# The sum of what never fades (`lasting`) and of parts that fade with their own half-lives (seconds) is over `line` now;
# when does it fall under it? Newton's steps, with the slope of the positive parts alone: that line lies under the
# curve, so no step jumps over the answer, not even where negative points fade as well. A sum of positive parts takes
# a handful of steps. Null: not within a hundred years. After 1,000 steps the answer is early; who acts on it asks again.
FALLS_AT = """
CREATE FUNCTION falls_at(
    lasting float8, parts float8[], half_lives float8[], line float8, now timestamptz
) RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    horizon constant float8 := 100 * 365.25 * 86400;
    seconds float8 := 0;
    step float8;
    value float8;
    slope float8;
    part float8;
BEGIN
    FOR round IN 1..1000 LOOP
        value := lasting - line;
        slope := 0;
        FOR i IN 1..coalesce(array_length(parts, 1), 0) LOOP
            part := parts[i] * power(2::float8, greatest(-500, -seconds / half_lives[i]));
            value := value + part;
            IF part > 0 THEN
                slope := slope + part * ln(2::float8) / half_lives[i];
            END IF;
        END LOOP;
        -- Under the line, or so near that the next microsecond is.
        EXIT WHEN value < 0;
        IF slope < 1e-12 THEN
            RETURN NULL;
        END IF;
        step := greatest(value / slope, 1e-6);
        seconds := seconds + step;
        IF seconds > horizon THEN
            RETURN NULL;
        END IF;
    END LOOP;
    RETURN now + make_interval(secs => ceil(seconds * 1e6) / 1e6);
END
$$
"""


class Migration(migrations.Migration):
    dependencies = [("scoring", "0002_ledger_keeps_half_life")]

    operations = [
        migrations.RunSQL(FADED, "DROP FUNCTION faded(float8, timestamptz, interval, timestamptz)"),
        migrations.RunSQL(
            WORTH_WITHIN_DAY, "DROP FUNCTION worth_within_day(interval, timestamptz[], float8[], timestamptz)"
        ),
        migrations.RunSQL(WORTH, "DROP FUNCTION worth(date, float8, interval, timestamptz[], float8[], timestamptz)"),
        migrations.RunSQL(FALLS_AT, "DROP FUNCTION falls_at(float8, float8[], float8[], float8, timestamptz)"),
    ]
