-- settle_ledger --
-- In a merge: books a day on which several of those who become one earned points, by one rule or by rules of one group,
-- as the one day it is, into rows of the one who stays; the others' are dropped by the merge itself.
WITH pots AS (
    SELECT id AS rule_id, coalesce(-group_id, id) AS pot FROM scoring_scorerule
), mine AS MATERIALIZED (
    SELECT coalesce(pair.survivor, entry.contact_id) AS contact_id, entry.contact_id AS whose, entry.rule_id, pots.pot,
        entry.day, entry.touchpoint_ids, entry.occurred_ats
    FROM scoring_scoreentry entry
    JOIN pots USING (rule_id)
    LEFT JOIN pair ON pair.loser = entry.contact_id
    WHERE entry.contact_id IN (SELECT loser FROM pair UNION SELECT survivor FROM pair)
        AND cardinality(entry.touchpoint_ids) > 0
), shared AS (
    SELECT contact_id, pot, day FROM mine GROUP BY contact_id, pot, day HAVING min(whose) < max(whose)
), events AS (
    SELECT DISTINCT contact_id, mine.rule_id, day, event.id, event.occurred_at
    FROM shared
    JOIN mine USING (contact_id, pot, day)
    CROSS JOIN LATERAL unnest(mine.touchpoint_ids, mine.occurred_ats) AS event (id, occurred_at)
), {book_days}
SELECT count(*) FROM booked

-- settle_scores --
-- In a merge: adds up the one ledger that several become, in the row that stays, and lets the next tick look at the
-- threshold. Who was over the line stays over it: a merge is no crossing.
WITH mine AS (
    SELECT coalesce(pair.survivor, score.contact_id) AS contact_id, score.model_id,
        (array_agg(score.id ORDER BY pair.loser IS NOT NULL, score.id))[1] AS keeper, bool_or(score.is_over) AS is_over
    FROM scoring_contactscore score
    LEFT JOIN pair ON pair.loser = score.contact_id
    WHERE score.contact_id IN (SELECT loser FROM pair UNION SELECT survivor FROM pair)
    GROUP BY 1, 2
    HAVING count(*) > 1
), ledger AS (
    -- Of clashing rows the one that stays, as `settle_ledger` and the merge choose it.
    SELECT DISTINCT ON (mine.contact_id, entry.rule_id, entry.day) mine.keeper,
        worth(entry.day, entry.weight, entry.half_life, entry.occurred_ats, entry.event_points, %(now)s) AS worth
    FROM mine
    JOIN scoring_scorerule rule USING (model_id)
    JOIN LATERAL (
        SELECT entry.*, entry.contact_id <> mine.contact_id AS is_loser
        FROM scoring_scoreentry entry
        WHERE entry.rule_id = rule.id AND (
            entry.contact_id = mine.contact_id
            OR entry.contact_id IN (SELECT loser FROM pair WHERE pair.survivor = mine.contact_id)
        )
    ) entry ON true
    ORDER BY mine.contact_id, entry.rule_id, entry.day, entry.is_loser, entry.id
), sums AS (
    SELECT mine.keeper, mine.is_over, coalesce(sum(ledger.worth), 0) AS value
    FROM mine LEFT JOIN ledger USING (keeper)
    GROUP BY mine.keeper, mine.is_over
)
UPDATE scoring_contactscore score
SET value = sums.value, computed_at = %(now)s, is_over = sums.is_over,
    falls_at = CASE WHEN sums.is_over THEN %(now)s END, rises_at = CASE WHEN NOT sums.is_over THEN %(now)s END
FROM sums
WHERE score.id = sums.keeper

-- part_ledger --
-- In an undone merge: gives each event of the two to whom its touchpoint belongs, and books their days anew where that
-- changes them. An event whose touchpoint is gone stays with whose row had it.
WITH pots AS (
    SELECT id AS rule_id, coalesce(-group_id, id) AS pot FROM scoring_scorerule
), mine AS MATERIALIZED (
    SELECT entry.id, entry.contact_id, entry.rule_id, pots.pot, entry.day, entry.touchpoint_ids, entry.occurred_ats,
        pair.loser, pair.survivor
    FROM pair
    JOIN scoring_scoreentry entry ON entry.contact_id IN (pair.loser, pair.survivor)
    JOIN pots USING (rule_id)
    WHERE cardinality(entry.touchpoint_ids) > 0
), parted AS MATERIALIZED (
    SELECT mine.rule_id, mine.pot, mine.day, event.id, min(event.occurred_at) AS occurred_at,
        coalesce(
            min(touchpoint.contact_id) FILTER (WHERE touchpoint.contact_id IN (mine.loser, mine.survivor)),
            min(mine.loser) FILTER (WHERE mine.contact_id = mine.loser),
            min(mine.survivor)
        ) AS contact_id
    FROM mine
    CROSS JOIN LATERAL unnest(mine.touchpoint_ids, mine.occurred_ats) AS event (id, occurred_at)
    LEFT JOIN contacts_touchpoint touchpoint ON touchpoint.id = event.id
    GROUP BY mine.rule_id, mine.pot, mine.day, event.id
), rows AS (
    SELECT contact_id, rule_id, pot, day, array_agg(id ORDER BY occurred_at, id) AS touchpoint_ids
    FROM parted GROUP BY contact_id, rule_id, pot, day
), days AS (
    -- A row that came or went changes what the rest of its group may give.
    SELECT DISTINCT contact_id, pot, day
    FROM rows FULL JOIN mine USING (contact_id, rule_id, pot, day)
    WHERE mine.touchpoint_ids IS DISTINCT FROM rows.touchpoint_ids
), gone AS (
    DELETE FROM scoring_scoreentry USING mine
    WHERE scoring_scoreentry.id = mine.id AND NOT EXISTS (
        SELECT FROM rows WHERE (rows.contact_id, rows.rule_id, rows.day) = (mine.contact_id, mine.rule_id, mine.day))
), events AS (
    SELECT contact_id, rule_id, day, id, occurred_at FROM parted JOIN days USING (contact_id, pot, day)
), {book_days}
SELECT count(*) FROM booked

-- part_scores --
-- In an undone merge: says anew where each of the two stands, and lets the next tick look at the threshold.
WITH people AS (
    SELECT loser AS contact_id FROM pair UNION SELECT survivor FROM pair
), parts AS (
    SELECT entry.contact_id, rule.model_id,
        worth(entry.day, entry.weight, entry.half_life, entry.occurred_ats, entry.event_points, %(now)s) AS worth
    FROM people
    JOIN scoring_scoreentry entry USING (contact_id)
    JOIN scoring_scorerule rule ON rule.id = entry.rule_id
    UNION ALL
    SELECT contact_id, model_id, 0 FROM scoring_contactscore JOIN people USING (contact_id)
)
INSERT INTO scoring_contactscore AS score (contact_id, model_id, value, computed_at, falls_at)
SELECT contact_id, model_id, sum(worth), %(now)s, %(now)s FROM parts GROUP BY contact_id, model_id
ON CONFLICT (contact_id, model_id) DO UPDATE SET
    value = excluded.value, computed_at = excluded.computed_at, falls_at = excluded.falls_at
