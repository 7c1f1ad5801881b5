-- observations --
-- Who is looked at when, and what came of it. At each of “moments”: everybody who was known then and no customer. And
-- each person at their first hand-off to sales between “since” and “until”, where these are given. Won is who became a
-- customer within the window after the moment.
WITH looked AS (
    SELECT contact.id AS contact_id, look.at, coalesce(stood.stage, follows.stage, contact.stage) AS stage,
        coalesce(stood.since, contact.created_at) AS since
    FROM unnest(%(moments)s::timestamptz[]) AS look (at)
    JOIN contacts_contact contact ON contact.created_at <= look.at
        AND contact.merged_into_id IS NULL AND contact.erased_at IS NULL
        AND (%(first)s::bigint IS NULL OR contact.id BETWEEN %(first)s AND %(last)s)
    LEFT JOIN LATERAL (
        SELECT change.to_stage AS stage, change.changed_at AS since FROM scoring_stagechange change
        WHERE change.contact_id = contact.id AND change.changed_at <= look.at
        ORDER BY change.changed_at DESC, change.id DESC
        LIMIT 1
    ) stood ON true
    LEFT JOIN LATERAL (
        -- Whoever had not moved yet stood where the first move began.
        SELECT change.from_stage AS stage FROM scoring_stagechange change
        WHERE stood.stage IS NULL AND change.contact_id = contact.id AND change.changed_at > look.at
        ORDER BY change.changed_at, change.id
        LIMIT 1
    ) follows ON true
    UNION ALL
    SELECT * FROM (
        SELECT DISTINCT ON (told.contact_id) told.contact_id, told.received_at, 'qualified', told.received_at
        FROM contacts_touchpoint told
        JOIN contacts_contact contact ON contact.id = told.contact_id
            AND contact.merged_into_id IS NULL AND contact.erased_at IS NULL
        WHERE told.kind = 'lead.qualified' AND told.received_at >= %(since)s::timestamptz
            AND told.received_at <= %(until)s::timestamptz
        ORDER BY told.contact_id, told.received_at, told.id
    ) handed
)
SELECT looked.contact_id, looked.at, looked.stage, looked.since, EXISTS (
    SELECT FROM scoring_stagechange change
    WHERE change.contact_id = looked.contact_id AND change.to_stage = 'customer'
        AND change.changed_at > looked.at AND change.changed_at <= looked.at + %(window)s::interval
) OR EXISTS (
    SELECT FROM contacts_touchpoint told
    WHERE told.contact_id = looked.contact_id AND told.kind = 'lead.converted'
        AND told.occurred_at > looked.at AND told.occurred_at <= looked.at + %(window)s::interval
) AS is_won
FROM looked
WHERE looked.stage IN ('known', 'lead', 'qualified')

-- observed_scores --
-- The exact score of each of “observed” at the moment, by one score or by all: only what had happened and had been told
-- by then counts. What a cap left of an event stays as it was booked.
SELECT contact_id, at, model_id, sum(worth) AS score
FROM (
    SELECT observed.contact_id, observed.at, rule.model_id,
        worth(entry.day, entry.weight, entry.half_life, entry.occurred_ats, entry.event_points, observed.at) AS worth
    FROM observed
    JOIN scoring_scoreentry entry ON entry.contact_id = observed.contact_id
        AND entry.day <= (observed.at AT TIME ZONE 'UTC')::date
    JOIN scoring_scorerule rule ON rule.id = entry.rule_id
        AND (%(model)s::bigint IS NULL OR rule.model_id = %(model)s)
    UNION ALL
    -- Told only afterwards: nobody knew of it then.
    SELECT observed.contact_id, observed.at, rule.model_id,
        -faded(event.points, event.occurred_at, entry.half_life, observed.at)
    FROM observed
    JOIN contacts_touchpoint told ON told.contact_id = observed.contact_id
        AND told.occurred_at <= observed.at AND told.received_at > observed.at
    JOIN scoring_scoreentry entry ON entry.contact_id = told.contact_id
        AND entry.day = (told.occurred_at AT TIME ZONE 'UTC')::date AND told.id = ANY (entry.touchpoint_ids)
    JOIN scoring_scorerule rule ON rule.id = entry.rule_id
        AND (%(model)s::bigint IS NULL OR rule.model_id = %(model)s)
    CROSS JOIN LATERAL unnest(entry.touchpoint_ids, entry.occurred_ats, entry.event_points)
        AS event (id, occurred_at, points)
    WHERE event.id = told.id
) pieces
GROUP BY contact_id, at, model_id

-- count_outcomes --
-- How many of those who were looked at were won and lost, by moment.
SELECT at, count(*) FILTER (WHERE is_won), count(*) FILTER (WHERE NOT is_won)
FROM ({observations}) observed
GROUP BY at
ORDER BY at

-- backtest_curve --
-- What each threshold would have meant, the highest first: who had just this score, and who had it or more, of the won
-- and of the lost. Of all thresholds: the corners of the curve (thinned out where there are thousands), the one that
-- parts won and lost best, that of today, the lowest that hands over no more than “most” people, and one for each tenth
-- of all people. With each of them, for it is of all: twice the area under the curve times won times lost.
WITH observed AS MATERIALIZED (
    {observations}
), scored AS (
    -- Equal histories are equal scores, in whichever order they were added up.
    SELECT round(coalesce(points.score, 0)::numeric, 9)::float8 AS score, observed.is_won
    FROM observed
    LEFT JOIN ({observed_scores}) points USING (contact_id, at)
), steps AS (
    SELECT score, count(*) FILTER (WHERE is_won) AS won, count(*) FILTER (WHERE NOT is_won) AS lost
    FROM scored
    GROUP BY score
), walked AS (
    SELECT score, won, lost, sum(won) OVER upto AS won_over, sum(lost) OVER upto AS lost_over,
        sum(won) OVER () AS all_won, sum(lost) OVER () AS all_lost,
        lead(won) OVER falling AS next_won, lead(lost) OVER falling AS next_lost, lead(score) OVER falling AS below,
        row_number() OVER falling AS place
    FROM steps
    WINDOW falling AS (ORDER BY score DESC), upto AS (ORDER BY score DESC ROWS UNBOUNDED PRECEDING)
), weighed AS (
    SELECT *, won_over + lost_over AS people_over, all_won + all_lost AS people,
        won_over * all_lost - lost_over * all_won AS gain,
        sum(lost * (2 * (won_over - won) + won)) OVER () AS twice_area,
        place = 1 OR below IS NULL OR next_won <> won OR next_lost <> lost AS is_corner
    FROM walked
), marked AS (
    SELECT *, row_number() OVER (ORDER BY gain DESC, place) = 1 AS is_best,
        coalesce(score >= %(today)s::float8 AND (below IS NULL OR below < %(today)s::float8), false) AS is_today,
        coalesce(people_over <= %(most)s::bigint
            AND (below IS NULL OR people_over + next_won + next_lost > %(most)s::bigint), false) AS is_within,
        ARRAY(
            SELECT tenth FROM generate_series(1, 10) AS tenth
            WHERE people_over - won - lost < ceil(people * tenth / 10.0) AND people_over >= ceil(people * tenth / 10.0)
        ) AS tenths,
        count(*) FILTER (WHERE is_corner) OVER (ORDER BY place) AS corner,
        count(*) FILTER (WHERE is_corner) OVER () AS corners
    FROM weighed
)
SELECT score, below, won, lost, won_over::bigint, lost_over::bigint, is_corner, is_best, is_today, is_within, tenths,
    twice_area::float8
FROM marked
WHERE is_best OR is_today OR is_within OR cardinality(tenths) > 0 OR place = 1 OR below IS NULL
    OR is_corner AND (corners <= 1000 OR corner * 1000 / corners <> (corner - 1) * 1000 / corners)
ORDER BY score DESC
