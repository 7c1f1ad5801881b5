-- moves_of_period --
-- The moves of a period as they read, by stages or by phases (“stages” are read as “names” of “ranks”): from what to
-- what, up or down, after how many days, and where the move after it led. What was somebody else's before a merge is not
-- part of a contact's way. Put into the statements below as a piece.
SELECT change.id, change.contact_id, change.changed_at, change.reason, change.from_stage, change.to_stage,
    was.name AS from_name, came.name AS to_name, contact.source,
    to_char(change.changed_at AT TIME ZONE %(zone)s, 'YYYY-MM') AS month,
    CASE WHEN came.rank > was.rank THEN 'up' ELSE 'down' END AS direction,
    greatest(0, extract(epoch FROM change.changed_at - coalesce(before.changed_at, contact.created_at)) / 86400.0
        )::float8 AS days,
    after.went
FROM scoring_stagechange change
JOIN unnest(%(stages)s::text[], %(names)s::text[], %(ranks)s::int[]) AS was (stage, name, rank)
    ON was.stage = change.from_stage
JOIN unnest(%(stages)s::text[], %(names)s::text[], %(ranks)s::int[]) AS came (stage, name, rank)
    ON came.stage = change.to_stage
JOIN contacts_contact contact ON contact.id = change.contact_id
    AND contact.merged_into_id IS NULL AND contact.erased_at IS NULL
LEFT JOIN LATERAL (
    SELECT other.changed_at
    FROM scoring_stagechange other
    JOIN unnest(%(stages)s::text[], %(names)s::text[]) AS one (stage, name) ON one.stage = other.from_stage
    JOIN unnest(%(stages)s::text[], %(names)s::text[]) AS two (stage, name) ON two.stage = other.to_stage
    WHERE other.contact_id = change.contact_id AND other.merged_from_id IS NULL AND one.name <> two.name
        AND (other.changed_at, other.id) < (change.changed_at, change.id)
    ORDER BY other.changed_at DESC, other.id DESC LIMIT 1
) before ON true
LEFT JOIN LATERAL (
    SELECT CASE WHEN two.rank > one.rank THEN 'up' ELSE 'down' END AS went
    FROM scoring_stagechange other
    JOIN unnest(%(stages)s::text[], %(names)s::text[], %(ranks)s::int[]) AS one (stage, name, rank)
        ON one.stage = other.from_stage
    JOIN unnest(%(stages)s::text[], %(names)s::text[], %(ranks)s::int[]) AS two (stage, name, rank)
        ON two.stage = other.to_stage
    WHERE other.contact_id = change.contact_id AND other.merged_from_id IS NULL AND one.name <> two.name
        AND (other.changed_at, other.id) > (change.changed_at, change.id) AND other.changed_at <= %(now)s
    ORDER BY other.changed_at, other.id LIMIT 1
) after ON true
WHERE change.changed_at > %(since)s AND change.changed_at <= %(until)s AND change.merged_from_id IS NULL
    AND was.name <> came.name

-- count_velocity --
-- Of each stage or phase, in all and by month or source: how many entered, how many of these went up since, how many left
-- up and down, and the median and 90th percentile of the days that those who left had been there.
WITH moves AS MATERIALIZED (
    {moves_of_period}
), sides AS (
    SELECT to_name AS name, CASE WHEN %(by)s = 'source' THEN source ELSE month END AS part, true AS is_in, went,
        NULL::text AS direction, NULL::float8 AS days
    FROM moves
    UNION ALL
    SELECT from_name, CASE WHEN %(by)s = 'source' THEN source ELSE month END, false, NULL, direction, days FROM moves
)
SELECT name, part, grouping(part) = 1 AS is_all,
    count(*) FILTER (WHERE is_in), count(*) FILTER (WHERE is_in AND went = 'up'),
    count(*) FILTER (WHERE direction = 'up'), count(*) FILTER (WHERE direction = 'down'),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY days) FILTER (WHERE NOT is_in),
    percentile_cont(0.9) WITHIN GROUP (ORDER BY days) FILTER (WHERE NOT is_in)
FROM sides
GROUP BY GROUPING SETS ((name), (name, part))
ORDER BY name, part

-- list_moves --
-- The people behind one number of `count_velocity`, the newest first.
WITH moves AS (
    {moves_of_period}
)
SELECT moves.contact_id, moves.changed_at, moves.from_stage, moves.to_stage, moves.reason, moves.days,
    count(*) OVER () AS people
FROM moves
WHERE (%(part)s::text IS NULL OR %(part)s = CASE WHEN %(by)s = 'source' THEN source ELSE month END)
    AND CASE %(what)s
        WHEN 'entered' THEN to_name = %(name)s
        WHEN 'went_up' THEN to_name = %(name)s AND went = 'up'
        WHEN 'left_up' THEN from_name = %(name)s AND direction = 'up'
        WHEN 'left_down' THEN from_name = %(name)s AND direction = 'down'
        WHEN 'left' THEN from_name = %(name)s
        ELSE false
    END
ORDER BY moves.changed_at DESC, moves.id DESC
LIMIT %(limit)s OFFSET %(offset)s
