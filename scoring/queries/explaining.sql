-- curves --
-- Some scores of a contact from day to day, as they were and as they will be if nothing more happens. `since`, `until` and
-- the instants between them are a day of 24 hours apart.
SELECT rule.model_id, instant.at,
    sum(worth(entry.day, entry.weight, entry.half_life, entry.occurred_ats, entry.event_points, instant.at))
FROM generate_series(%(since)s::timestamptz, %(until)s::timestamptz, interval '24 hours') AS instant (at)
JOIN scoring_scoreentry entry ON entry.contact_id = %(contact)s
JOIN scoring_scorerule rule ON rule.id = entry.rule_id AND rule.model_id = ANY(%(models)s)
GROUP BY rule.model_id, instant.at
ORDER BY rule.model_id, instant.at

-- falls_under --
-- When scores of a contact that are above the line where they are lost fall under it, if nothing more happens.
WITH parts AS (
    SELECT rule.model_id, entry.half_life,
        sum(worth(entry.day, entry.weight, entry.half_life, entry.occurred_ats, entry.event_points, %(now)s)) AS worth
    FROM scoring_scoreentry entry
    JOIN scoring_scorerule rule ON rule.id = entry.rule_id
    WHERE entry.contact_id = %(contact)s AND rule.model_id = ANY(%(models)s)
    GROUP BY rule.model_id, entry.half_life
)
SELECT model.id, sum(parts.worth), falls_at(
    coalesce(sum(parts.worth) FILTER (WHERE parts.half_life IS NULL), 0),
    array_agg(parts.worth) FILTER (WHERE parts.half_life IS NOT NULL),
    array_agg(date_part('epoch', parts.half_life)) FILTER (WHERE parts.half_life IS NOT NULL),
    model.qualify_at - model.hysteresis,
    %(now)s
)
FROM parts JOIN scoring_scoremodel model ON model.id = parts.model_id
GROUP BY model.id
HAVING sum(parts.worth) >= model.qualify_at - model.hysteresis
