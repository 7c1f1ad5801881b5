-- due --
-- Who crosses by the clock alone about now.
SELECT contact_id FROM scoring_contactscore WHERE falls_at <= %(now)s
UNION
SELECT contact_id FROM scoring_contactscore WHERE rises_at <= %(now)s

-- everybody --
-- Who has or had points in some models.
SELECT contact_id AS id FROM scoring_contactscore WHERE model_id = ANY(%(models)s)
UNION
SELECT contact_id FROM scoring_scoreentry
WHERE rule_id IN (SELECT id FROM scoring_scorerule WHERE model_id = ANY(%(models)s))

-- stand --
-- Says anew where the contacts in “asked” stand, “due” those of them who were to cross by the clock alone; one touchpoint
-- for each who is on the other side of a threshold than before. Counts the crossings.
WITH asked AS MATERIALIZED (
    {asked}
), sums AS (
    SELECT entry.contact_id, rule.model_id,
        sum(worth(entry.day, entry.weight, entry.half_life, entry.occurred_ats, entry.event_points, %(now)s)) AS value,
        sum(worth(entry.day, entry.weight, entry.half_life, entry.occurred_ats, entry.event_points, %(now)s))
            FILTER (WHERE entry.half_life IS NULL) AS lasting,
        sum(worth(entry.day, entry.weight, entry.half_life, entry.occurred_ats, entry.event_points, %(now)s))
            FILTER (WHERE entry.weight < 0 AND entry.half_life IS NOT NULL) AS fading_penalty
    FROM asked
    JOIN scoring_scoreentry entry ON entry.contact_id = asked.id
    JOIN scoring_scorerule rule ON rule.id = entry.rule_id
    GROUP BY entry.contact_id, rule.model_id
), before AS (
    SELECT score.contact_id, score.model_id, score.is_over, score.falls_at, score.rises_at
    FROM asked JOIN scoring_contactscore score ON score.contact_id = asked.id
), stood AS MATERIALIZED (
    -- Whoever has lost all points stands at nothing.
    SELECT contact_id, model_id, coalesce(sums.value, 0) AS value, coalesce(sums.lasting, 0) AS lasting,
        model.key, model.qualify_at, model.qualify_at - model.hysteresis AS line,
        coalesce(before.is_over, false) AS was_over, before.falls_at, before.rises_at,
        CASE
            WHEN model.qualify_at IS NULL THEN false
            WHEN before.is_over THEN coalesce(sums.value, 0) >= model.qualify_at - model.hysteresis
            ELSE coalesce(sums.value, 0) >= model.qualify_at
        END AS is_over,
        -- Up by the clock alone: only where the points, without what takes from them today, are enough.
        sums.fading_penalty < 0 AND sums.value - sums.fading_penalty >= model.qualify_at AS may_rise
    FROM sums
    FULL JOIN before USING (contact_id, model_id)
    JOIN scoring_scoremodel model ON model.id = model_id
), written AS (
    INSERT INTO scoring_contactscore AS score
        (contact_id, model_id, value, computed_at, is_over, falls_at, rises_at)
    SELECT contact_id, model_id, value, %(now)s, is_over,
        CASE side WHEN 1 THEN falls_at(lasting, parts, half_lives, line, %(now)s) END,
        CASE side WHEN -1 THEN falls_at(-lasting, parts, half_lives, -qualify_at, %(now)s) END
    FROM (SELECT *, CASE WHEN is_over THEN 1 WHEN may_rise THEN -1 END AS side FROM stood) turning
    CROSS JOIN LATERAL (
        SELECT array_agg(side * worth) AS parts, array_agg(date_part('epoch', half_life)) AS half_lives
        FROM (
            SELECT entry.half_life, sum(worth(
                entry.day, entry.weight, entry.half_life, entry.occurred_ats, entry.event_points, %(now)s)) AS worth
            FROM scoring_scoreentry entry
            JOIN scoring_scorerule rule ON rule.id = entry.rule_id AND rule.model_id = turning.model_id
            WHERE entry.contact_id = turning.contact_id AND entry.half_life IS NOT NULL AND side IS NOT NULL
            GROUP BY entry.half_life
        ) one
    ) fading
    ON CONFLICT (contact_id, model_id) DO UPDATE SET
        value = excluded.value, computed_at = excluded.computed_at, is_over = excluded.is_over,
        falls_at = excluded.falls_at, rises_at = excluded.rises_at
)
INSERT INTO contacts_touchpoint (contact_id, kind, channel, occurred_at, received_at, source, properties)
SELECT contact_id, 'score.crossed', '',
    -- Who crosses by the clock alone did so then, not when the tick came.
    least(%(now)s, CASE WHEN contact_id = ANY (%(due)s::bigint[]) THEN
        CASE WHEN is_over THEN rises_at ELSE falls_at END END),
    %(now)s, 'journey', jsonb_build_object(
    'score', key, 'direction', CASE WHEN is_over THEN 'up' ELSE 'down' END, 'value', round(value::numeric, 3),
    'threshold', coalesce(CASE WHEN is_over THEN qualify_at ELSE line END, 0))
FROM stood
WHERE is_over <> was_over
ORDER BY contact_id, model_id

-- scores_at --
-- The score of each contact with a ledger row, or of those named, at any instant.
SELECT entry.contact_id,
    sum(worth(entry.day, entry.weight, entry.half_life, entry.occurred_ats, entry.event_points, %(at)s))
FROM scoring_scoreentry entry
JOIN scoring_scorerule rule ON rule.id = entry.rule_id
WHERE rule.model_id = %(model)s AND (%(contacts)s::bigint[] IS NULL OR entry.contact_id = ANY(%(contacts)s))
GROUP BY entry.contact_id

-- waterfall --
-- Why a contact's scores are what they are: each row of the ledger, as far as it had happened at an instant, with what is
-- left of it then, the most first.
SELECT rule.model_id, rule.key, coalesce(nullif(rule.name, ''), rule.key), entry.day, entry.occurred_ats[1],
    entry.occurred_ats[had.events], entry.touchpoint_ids[:had.events], had.points,
    worth(entry.day, entry.weight, entry.half_life, entry.occurred_ats, entry.event_points, %(now)s) AS worth,
    entry.half_life
FROM scoring_scoreentry entry
JOIN scoring_scorerule rule ON rule.id = entry.rule_id
CROSS JOIN LATERAL (
    SELECT count(*)::int AS events, sum(event.points) AS points
    FROM unnest(entry.occurred_ats, entry.event_points) AS event (at, points)
    WHERE event.at <= %(now)s
) had
WHERE rule.model_id = ANY(%(models)s) AND entry.contact_id = %(contact)s AND had.events > 0
ORDER BY worth DESC, entry.day DESC, rule.key

-- count_wrong_scores --
-- Invariant I6: scores that differ from the sum of their ledger at the moment for which they were computed.
SELECT count(*) FROM (
    SELECT FROM scoring_contactscore score
    LEFT JOIN scoring_scorerule rule ON rule.model_id = score.model_id
    LEFT JOIN scoring_scoreentry entry ON entry.rule_id = rule.id AND entry.contact_id = score.contact_id
    GROUP BY score.id
    HAVING abs(score.value - coalesce(sum(worth(entry.day, entry.weight, entry.half_life, entry.occurred_ats,
        entry.event_points, score.computed_at)), 0)) > 1e-6
) wrong
