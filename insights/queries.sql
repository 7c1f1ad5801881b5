-- What people really do, as counts. Nothing here writes.

-- count_funnel --
-- Of the people whose first hit fell into a period: how many came to each rung of the ladder or above it, by now, and
-- the median days from the first hit until they did.
WITH cohort AS (
    SELECT c.id, c.created_at, coalesce(array_position(%(ladder)s::text[], c.highest_stage), 1) AS rank
    FROM contacts_contact c
    WHERE c.created_at >= %(since)s AND c.created_at <= %(now)s AND c.merged_into_id IS NULL AND c.erased_at IS NULL
), climbed AS (
    SELECT r.rank, c.id, min(s.changed_at) - c.created_at AS took
    FROM cohort c
    JOIN scoring_stagechange s ON s.contact_id = c.id
    JOIN generate_series(2, cardinality(%(ladder)s::text[])) AS r(rank)
        ON array_position(%(ladder)s::text[], s.to_stage) >= r.rank
    GROUP BY 1, 2, c.created_at
)
SELECT r.rank,
       (SELECT count(*) FROM cohort c WHERE c.rank >= r.rank),
       (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM m.took) / 86400.0)
        FROM climbed m WHERE m.rank = r.rank)
FROM generate_series(1, cardinality(%(ladder)s::text[])) AS r(rank)
ORDER BY r.rank;
