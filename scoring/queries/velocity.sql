-- moves_of_period --
-- The moves of a period as they read, by stages or by phases (“stages” are read as “names” of “ranks”): from what to
-- what, up or down, after how many days, and where the move after it led. What was somebody else's before a merge is not
-- part of a contact's way. Put into the statements below as a piece.
SELECT moved.*, contact.source, to_char(moved.changed_at AT TIME ZONE %(zone)s, 'YYYY-MM') AS month,
    greatest(0, extract(epoch FROM moved.changed_at - coalesce(moved.began_at, contact.created_at)) / 86400.0
        )::float8 AS days
FROM (
    SELECT read.*, lag(read.changed_at) OVER way AS began_at, lead(read.direction) OVER way AS went
    FROM (
        SELECT change.id, change.contact_id, change.changed_at, change.reason, change.from_stage, change.to_stage,
            was.name AS from_name, came.name AS to_name,
            CASE WHEN came.rank > was.rank THEN 'up' ELSE 'down' END AS direction
        FROM scoring_stagechange change
        JOIN unnest(%(stages)s::text[], %(names)s::text[], %(ranks)s::int[]) AS was (stage, name, rank)
            ON was.stage = change.from_stage
        JOIN unnest(%(stages)s::text[], %(names)s::text[], %(ranks)s::int[]) AS came (stage, name, rank)
            ON came.stage = change.to_stage
        -- All moves of whoever moved in the period: the one before it began the stay, the one after it ended the next.
        WHERE change.contact_id IN (
                SELECT contact_id FROM scoring_stagechange WHERE changed_at > %(since)s AND changed_at <= %(until)s)
            AND change.changed_at <= %(now)s AND change.merged_from_id IS NULL AND was.name <> came.name
    ) read
    WINDOW way AS (PARTITION BY read.contact_id ORDER BY read.changed_at, read.id)
) moved
JOIN contacts_contact contact ON contact.id = moved.contact_id
    AND contact.merged_into_id IS NULL AND contact.erased_at IS NULL
WHERE moved.changed_at > %(since)s AND moved.changed_at <= %(until)s

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
