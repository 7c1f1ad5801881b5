"""The walk by which leads are given to reps, and when nobody was found for one."""

from django.db import migrations, models

# Leads come in the order in which they are given out, each with the places that could take it (`nos`) and how well
# (`ranks`, the lowest first). `persons` and `capacities` are by number of the place, `held` and `turns` by person.
TAKE_TURNS = """
CREATE FUNCTION take_turns(
    leads bigint[], nos int[], ranks int[], persons int[], capacities int[], held int[], turns bigint[]
) RETURNS TABLE (lead_id bigint, place_no int, turn bigint) LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    pair record;
    person int;
    best int;
    best_person int;
    best_rank int;
    latest bigint := coalesce((SELECT max(one) FROM unnest(turns) AS one), 0);
BEGIN
    FOR pair IN
        SELECT pairs.lead, pairs.no, pairs.rank,
            lead(pairs.lead) OVER (ORDER BY pairs.nth) IS DISTINCT FROM pairs.lead AS is_last
        FROM unnest(leads, nos, ranks) WITH ORDINALITY AS pairs(lead, no, rank, nth)
        ORDER BY pairs.nth
    LOOP
        person := persons[pair.no];
        IF held[person] < coalesce(capacities[pair.no], 2147483647) AND (best IS NULL
            OR (pair.rank, turns[person], person) < (best_rank, turns[best_person], best_person))
        THEN
            best := pair.no;
            best_person := person;
            best_rank := pair.rank;
        END IF;
        IF pair.is_last THEN
            IF best IS NOT NULL THEN
                latest := latest + 1;
                held[best_person] := held[best_person] + 1;
                turns[best_person] := latest;
                lead_id := pair.lead;
                place_no := best;
                turn := latest;
                RETURN NEXT;
            END IF;
            best := NULL;
        END IF;
    END LOOP;
END
$$
"""


class Migration(migrations.Migration):
    dependencies = [("leads", "0004_reps_and_assignment")]

    operations = [
        migrations.AlterModelOptions(
            name="lead",
            options={
                "ordering": ["-created_at", "-pk"],
                "permissions": [
                    ("work_lead", "Can work on own and unclaimed leads"),
                    ("route_lead", "Can hand leads over to others"),
                ],
                "verbose_name": "lead",
                "verbose_name_plural": "leads",
            },
        ),
        migrations.AddField("lead", "asked_at", models.DateTimeField(blank=True, editable=False, null=True)),
        migrations.RunSQL(
            TAKE_TURNS, "DROP FUNCTION take_turns(bigint[], int[], int[], int[], int[], int[], bigint[])"
        ),
    ]
