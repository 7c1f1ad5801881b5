"""The walk along one person's messages: each takes its place under all caps that hold for it, or does not."""

from django.db import migrations

# The state is [what became of this one, the room left under each cap, …, the contents that went before, …].
# What became of it: 1 goes, 0 waits for room, 2 its content goes with an earlier one, NULL it was no candidate.
STEP = """
CREATE FUNCTION take_place(state bigint[], caps int[], rooms int[], is_sure boolean, content bigint) RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    cap int;
BEGIN
    IF state IS NULL THEN
        state := ARRAY[NULL::bigint] || rooms::bigint[];
    END IF;
    state[1] := NULL;
    IF caps IS NULL THEN
        RETURN state;
    END IF;
    IF content = ANY(state[cardinality(rooms) + 2:]) THEN
        state[1] := 2;
        RETURN state;
    END IF;
    IF NOT is_sure THEN
        FOREACH cap IN ARRAY caps LOOP
            IF state[cap + 1] <= 0 THEN
                state[1] := 0;
                RETURN state;
            END IF;
        END LOOP;
    END IF;
    FOREACH cap IN ARRAY caps LOOP
        state[cap + 1] := state[cap + 1] - 1;
    END LOOP;
    state[1] := 1;
    IF content IS NOT NULL THEN
        state := state || content;
    END IF;
    RETURN state;
END
$$
"""
WALK = """
CREATE AGGREGATE places_taken(int[], int[], boolean, bigint) (SFUNC = take_place, STYPE = bigint[], PARALLEL = SAFE)
"""


class Migration(migrations.Migration):
    dependencies = [("messaging", "0014_limits_and_quiet_days")]

    operations = [
        migrations.RunSQL(STEP, "DROP FUNCTION take_place(bigint[], int[], int[], boolean, bigint)"),
        migrations.RunSQL(WALK, "DROP AGGREGATE places_taken(int[], int[], boolean, bigint)"),
    ]
