-- count_grades --
-- How many of the people have which letter (1 is A) and which number; who never earned a point stands at nothing.
WITH people AS (
    {people}
), earned AS (
    SELECT entry.contact_id,
        sum(worth.now) FILTER (WHERE rule.model_id = %(fit)s) AS fit,
        sum(worth.now) FILTER (WHERE rule.model_id = %(engagement)s) AS engagement
    FROM scoring_scoreentry entry
    JOIN scoring_scorerule rule ON rule.id = entry.rule_id AND rule.model_id IN (%(fit)s, %(engagement)s)
    CROSS JOIN LATERAL (
        SELECT worth(entry.day, entry.weight, entry.half_life, entry.occurred_ats, entry.event_points, %(now)s) AS now
    ) worth
    GROUP BY entry.contact_id
)
SELECT
    cardinality(%(fit_from)s::float8[]) + 1
        - width_bucket(coalesce(earned.fit, 0)::numeric, %(fit_from)s::numeric[]) AS letter,
    cardinality(%(engagement_from)s::float8[]) + 1
        - width_bucket(coalesce(earned.engagement, 0)::numeric, %(engagement_from)s::numeric[]) AS number,
    count(*)
FROM people LEFT JOIN earned ON earned.contact_id = people.id
GROUP BY 1, 2
