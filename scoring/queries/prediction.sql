-- feature_values --
-- What was known of each of “observed” at the moment, as numbers by name; what is nothing stands nowhere. Counts are
-- ln(1 + n), so that the tenth time says less than the first.
WITH acts AS (
    SELECT observed.contact_id, observed.at, 'did ' || told.kind AS name, told.occurred_at
    FROM observed
    JOIN contacts_touchpoint told ON told.contact_id = observed.contact_id
        AND told.occurred_at > observed.at - interval '90 days' AND told.occurred_at <= observed.at
        AND told.received_at <= observed.at AND NOT told.is_machine
    -- What they did, and not what we did or concluded: the outcome would foretell itself.
    WHERE split_part(told.kind, '.', 1) <> ALL (%(own_nouns)s::text[])
        AND split_part(told.kind, '.', 2) <> ALL (%(own_verbs)s::text[])
    UNION ALL
    SELECT observed.contact_id, observed.at, 'rule ' || model.key || '/' || rule.key, event.occurred_at
    FROM observed
    JOIN scoring_scoreentry entry ON entry.contact_id = observed.contact_id
        AND entry.day >= ((observed.at - interval '90 days') AT TIME ZONE 'UTC')::date
        AND entry.day <= (observed.at AT TIME ZONE 'UTC')::date
    JOIN scoring_scorerule rule ON rule.id = entry.rule_id
    JOIN scoring_scoremodel model ON model.id = rule.model_id
    CROSS JOIN LATERAL unnest(entry.touchpoint_ids, entry.occurred_ats) AS event (id, occurred_at)
    LEFT JOIN contacts_touchpoint told ON told.id = event.id
    WHERE event.occurred_at > observed.at - interval '90 days' AND event.occurred_at <= observed.at
        AND (told.id IS NULL OR told.received_at <= observed.at)
), counted AS (
    SELECT contact_id, at, name, count(*) AS times,
        count(*) FILTER (WHERE occurred_at > at - interval '14 days') AS lately,
        max(occurred_at) AS last_at
    FROM acts
    GROUP BY contact_id, at, name
)
SELECT contact_id, at, name || ' 14' AS name, ln(1 + lately)::float8 AS value FROM counted WHERE lately > 0
UNION ALL
SELECT contact_id, at, name || ' 90', ln(1 + times)::float8 FROM counted
UNION ALL
-- Nothing for 90 days is nothing; the fresher, the more.
SELECT contact_id, at, 'fresh', ln(91) - ln(1 + date_part('epoch', at - max(last_at)) / 86400)
FROM counted
GROUP BY contact_id, at
UNION ALL
SELECT points.contact_id, points.at, 'score ' || model.key, sign(points.score) * ln(1 + abs(points.score))
FROM ({observed_scores}) points
JOIN scoring_scoremodel model ON model.id = points.model_id
UNION ALL
SELECT contact_id, at, 'stage ' || stage, 1 FROM observed WHERE stage <> 'known'
UNION ALL
SELECT contact_id, at, 'in stage', ln(1 + date_part('epoch', at - since) / 86400) FROM observed
UNION ALL
SELECT observed.contact_id, observed.at, 'age', ln(1 + date_part('epoch', observed.at - contact.created_at) / 86400)
FROM observed
JOIN contacts_contact contact ON contact.id = observed.contact_id
UNION ALL
-- Where the first hit came from never changes; other fields of today would tell what came later.
SELECT observed.contact_id, observed.at, 'source ' || left(contact.source, 60), 1
FROM observed
JOIN contacts_contact contact ON contact.id = observed.contact_id
WHERE contact.source <> ''

-- training_rows --
-- Each of those who were looked at, with what was known then and what came of it, by moment; of very many people a
-- share (in ten thousand), always the same ones.
WITH observed AS MATERIALIZED (
    SELECT * FROM ({observations}) every
    WHERE mod(abs(hashint8(every.contact_id)::bigint), 10000) < %(share)s
)
SELECT observed.at, observed.is_won, array_agg(known.name ORDER BY known.name), array_agg(known.value ORDER BY known.name)
FROM observed
JOIN ({feature_values}) known USING (contact_id, at)
GROUP BY observed.contact_id, observed.at, observed.is_won
ORDER BY observed.at, observed.contact_id

-- contact_features --
-- What is known of one contact at a moment, as numbers by name.
WITH observed AS MATERIALIZED (
    {observations}
)
SELECT name, value FROM ({feature_values}) known

-- store_predictions --
-- Writes how likely some contacts are to become customers, by the weights of one version, and takes it from those among
-- them who are asked no more. Far from even the logistic curve is flat: beyond 500 it would outgrow a float.
WITH observed AS MATERIALIZED (
    {observations}
), weighed AS (
    SELECT name, weight FROM unnest(%(names)s::text[], %(weights)s::float8[]) AS given (name, weight)
), figures AS (
    SELECT observed.contact_id, %(base)s::float8 + coalesce(sum(known.value * weighed.weight), 0) AS figure
    FROM observed
    LEFT JOIN ({feature_values}) known USING (contact_id, at)
    LEFT JOIN weighed USING (name)
    GROUP BY observed.contact_id
), gone AS (
    DELETE FROM scoring_contactprediction
    WHERE contact_id BETWEEN %(first)s AND %(last)s AND contact_id NOT IN (SELECT contact_id FROM observed)
)
INSERT INTO scoring_contactprediction AS prediction (contact_id, model_id, value, computed_at)
SELECT contact_id, %(version)s, 1 / (1 + exp(-greatest(-500, least(500, figure)))), %(now)s
FROM figures
ORDER BY contact_id
ON CONFLICT (contact_id) DO UPDATE SET
    model_id = excluded.model_id, value = excluded.value, computed_at = excluded.computed_at

-- drop_predictions_of_the_gone --
-- Who was merged or erased while predictions were written keeps none.
DELETE FROM scoring_contactprediction prediction
USING contacts_contact contact
WHERE prediction.contact_id BETWEEN %(first)s AND %(last)s AND contact.id = prediction.contact_id
    AND (contact.merged_into_id IS NOT NULL OR contact.erased_at IS NOT NULL)
