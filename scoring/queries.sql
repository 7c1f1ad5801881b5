-- book_points --
-- Books what the touchpoints in “hits” earned into the ledger, each on its own day; answers whose rows changed.
-- A day is always booked whole, in the order in which things happened: so the cap falls on the same events whatever
-- the order of arrival, and booking a touchpoint a second time changes nothing.
WITH seen AS (
    SELECT found.contact_id, hit.rule_id, found.id,
        -- Nothing is known before it is told: a clock that runs ahead earns nothing ahead.
        least(found.occurred_at, found.received_at) AS occurred_at
    FROM ({hits}) found
    JOIN contacts_contact contact ON contact.id = found.contact_id
        AND contact.merged_into_id IS NULL AND contact.erased_at IS NULL
    CROSS JOIN LATERAL unnest(array_remove(found.rule_ids, NULL)) AS hit (rule_id)
), fresh AS (
    SELECT contact_id, rule_id, (occurred_at AT TIME ZONE 'UTC')::date AS day, id, occurred_at FROM seen
), days AS (
    SELECT DISTINCT contact_id, rule_id, day FROM fresh
), events AS (
    SELECT contact_id, rule_id, day, id, occurred_at FROM fresh
    UNION
    SELECT entry.contact_id, entry.rule_id, entry.day, event.id, event.occurred_at
    FROM scoring_scoreentry entry
    JOIN days USING (contact_id, rule_id, day)
    CROSS JOIN LATERAL unnest(entry.touchpoint_ids, entry.occurred_ats) AS event (id, occurred_at)
), earned AS (
    SELECT events.contact_id, events.rule_id, events.day, events.id, events.occurred_at, rule.half_life,
        CASE WHEN rule.cap_per_day IS NULL THEN rule.points ELSE sign(rule.points) * greatest(0, least(
            abs(rule.points),
            rule.cap_per_day - abs(rule.points) * (row_number() OVER (
                PARTITION BY events.contact_id, events.rule_id, events.day ORDER BY events.occurred_at, events.id
            ) - 1)
        )) END AS points
    FROM events JOIN scoring_scorerule rule ON rule.id = events.rule_id
), booked AS (
    INSERT INTO scoring_scoreentry AS entry
        (contact_id, rule_id, day, points, weight, half_life, touchpoint_ids, occurred_ats, event_points)
    SELECT contact_id, rule_id, day, sum(points),
        sum(CASE WHEN half_life IS NULL THEN points ELSE points * power(2::float8,
            date_part('epoch', occurred_at - day::timestamp AT TIME ZONE 'UTC') / date_part('epoch', half_life)) END),
        half_life, array_agg(id ORDER BY occurred_at, id), array_agg(occurred_at ORDER BY occurred_at, id),
        array_agg(points ORDER BY occurred_at, id)
    FROM earned
    GROUP BY contact_id, rule_id, day, half_life
    ON CONFLICT (contact_id, rule_id, day) DO UPDATE SET
        points = excluded.points, weight = excluded.weight, half_life = excluded.half_life,
        touchpoint_ids = excluded.touchpoint_ids, occurred_ats = excluded.occurred_ats,
        event_points = excluded.event_points
    WHERE (entry.touchpoint_ids, entry.event_points, entry.half_life)
        IS DISTINCT FROM (excluded.touchpoint_ids, excluded.event_points, excluded.half_life)
    RETURNING contact_id
)
SELECT DISTINCT contact_id FROM booked

-- rejudged --
-- Touchpoints of which this window says that they turned from a program's into a person's, or back.
SELECT touched.id, touched.is_machine
FROM contacts_touchpoint news
JOIN contacts_touchpoint touched ON touched.contact_id = news.contact_id AND touched.id = CASE
    WHEN jsonb_typeof(news.properties -> 'touchpoint') = 'number' THEN (news.properties ->> 'touchpoint')::numeric END
WHERE news.id > %(after)s AND news.id <= %(upto)s AND news.kind = 'email.rejudged' AND news.source = 'email'
ORDER BY touched.id

-- unbook_points --
-- Takes what touchpoints earned out of the ledger and books the rest of their days anew; answers whose rows changed.
WITH gone AS (
    SELECT id, contact_id, (least(occurred_at, received_at) AT TIME ZONE 'UTC')::date AS day
    FROM contacts_touchpoint WHERE id = ANY (%(touchpoints)s::bigint[])
), touched AS (
    SELECT DISTINCT entry.id FROM scoring_scoreentry entry JOIN gone USING (contact_id, day)
    WHERE gone.id = ANY (entry.touchpoint_ids)
), earned AS (
    SELECT entry.id AS entry_id, entry.day, event.id, event.occurred_at, rule.half_life,
        CASE WHEN rule.cap_per_day IS NULL THEN rule.points ELSE sign(rule.points) * greatest(0, least(
            abs(rule.points),
            rule.cap_per_day - abs(rule.points) * (row_number() OVER (
                PARTITION BY entry.id ORDER BY event.occurred_at, event.id
            ) - 1)
        )) END AS points
    FROM touched
    JOIN scoring_scoreentry entry USING (id)
    JOIN scoring_scorerule rule ON rule.id = entry.rule_id
    CROSS JOIN LATERAL unnest(entry.touchpoint_ids, entry.occurred_ats) AS event (id, occurred_at)
    WHERE event.id <> ALL (%(touchpoints)s::bigint[])
), emptied AS (
    DELETE FROM scoring_scoreentry entry USING touched
    WHERE entry.id = touched.id AND NOT EXISTS (SELECT FROM earned WHERE earned.entry_id = entry.id)
    RETURNING entry.contact_id
), booked AS (
    UPDATE scoring_scoreentry entry SET
        points = again.points, weight = again.weight, half_life = again.half_life,
        touchpoint_ids = again.touchpoint_ids, occurred_ats = again.occurred_ats, event_points = again.event_points
    FROM (
        SELECT entry_id, half_life, sum(points) AS points,
            sum(CASE WHEN half_life IS NULL THEN points ELSE points * power(2::float8,
                date_part('epoch', occurred_at - day::timestamp AT TIME ZONE 'UTC') / date_part('epoch', half_life))
                END) AS weight,
            array_agg(id ORDER BY occurred_at, id) AS touchpoint_ids,
            array_agg(occurred_at ORDER BY occurred_at, id) AS occurred_ats,
            array_agg(points ORDER BY occurred_at, id) AS event_points
        FROM earned GROUP BY entry_id, day, half_life
    ) again
    WHERE entry.id = again.entry_id
    RETURNING entry.contact_id
)
SELECT contact_id FROM emptied UNION SELECT contact_id FROM booked

-- book_fit --
-- Keeps one row per fit rule that holds (“holding”) and drops those that no longer do, for the contacts in “asked”;
-- answers whose rows changed.
WITH asked AS (
    {asked}
), holding AS (
    {holding}
), gone AS (
    DELETE FROM scoring_scoreentry entry
    WHERE entry.rule_id = ANY(%(rules)s) AND entry.contact_id IN (SELECT id FROM asked)
        AND NOT EXISTS (SELECT FROM holding WHERE (holding.id, holding.rule_id) = (entry.contact_id, entry.rule_id))
    RETURNING contact_id
), booked AS (
    INSERT INTO scoring_scoreentry AS entry
        (contact_id, rule_id, day, points, weight, touchpoint_ids, occurred_ats, event_points)
    SELECT holding.id, rule.id, '1970-01-01', rule.points, rule.points, '{}', ARRAY[%(now)s], ARRAY[rule.points]
    FROM holding JOIN scoring_scorerule rule ON rule.id = holding.rule_id
    ON CONFLICT (contact_id, rule_id, day) DO UPDATE SET
        points = excluded.points, weight = excluded.weight, event_points = excluded.event_points
    WHERE entry.points <> excluded.points
    RETURNING contact_id
)
SELECT contact_id FROM gone UNION SELECT contact_id FROM booked

-- stand --
-- Says anew where contacts stand: those named, those who are due to fall, and everybody of the models named; one
-- touchpoint for each who is on the other side of a threshold than before. Counts the crossings.
WITH asked AS (
    SELECT unnest(%(contacts)s::bigint[]) AS id
    UNION
    SELECT contact_id FROM scoring_contactscore WHERE falls_at <= %(now)s
    UNION
    SELECT contact_id FROM scoring_contactscore WHERE model_id = ANY(%(models)s)
    UNION
    SELECT contact_id FROM scoring_scoreentry
    WHERE rule_id IN (SELECT id FROM scoring_scorerule WHERE model_id = ANY(%(models)s))
), parts AS (
    SELECT entry.contact_id, rule.model_id, entry.half_life,
        sum(worth(entry.day, entry.weight, entry.half_life, entry.occurred_ats, entry.event_points, %(now)s)) AS worth
    FROM asked
    JOIN scoring_scoreentry entry ON entry.contact_id = asked.id
    JOIN scoring_scorerule rule ON rule.id = entry.rule_id
    GROUP BY entry.contact_id, rule.model_id, entry.half_life
    UNION ALL
    -- Whoever has lost all points stands at nothing.
    SELECT score.contact_id, score.model_id, NULL, 0 FROM scoring_contactscore score JOIN asked ON asked.id = score.contact_id
), sums AS (
    SELECT contact_id, model_id, sum(worth) AS value, coalesce(sum(worth) FILTER (WHERE half_life IS NULL), 0) AS lasting,
        array_agg(worth) FILTER (WHERE half_life IS NOT NULL) AS parts,
        array_agg(date_part('epoch', half_life)) FILTER (WHERE half_life IS NOT NULL) AS half_lives
    FROM parts
    GROUP BY contact_id, model_id
), stood AS (
    SELECT sums.*, model.key, model.qualify_at, model.qualify_at - model.hysteresis AS line,
        coalesce(before.is_over, false) AS was_over,
        CASE
            WHEN model.qualify_at IS NULL THEN false
            WHEN before.is_over THEN sums.value >= model.qualify_at - model.hysteresis
            ELSE sums.value >= model.qualify_at
        END AS is_over
    FROM sums
    JOIN scoring_scoremodel model ON model.id = sums.model_id
    LEFT JOIN scoring_contactscore before USING (contact_id, model_id)
), written AS (
    INSERT INTO scoring_contactscore AS score (contact_id, model_id, value, computed_at, is_over, falls_at)
    SELECT contact_id, model_id, value, %(now)s, is_over,
        CASE WHEN is_over THEN falls_at(lasting, parts, half_lives, line, %(now)s) END
    FROM stood
    ON CONFLICT (contact_id, model_id) DO UPDATE SET
        value = excluded.value, computed_at = excluded.computed_at, is_over = excluded.is_over,
        falls_at = excluded.falls_at
)
INSERT INTO contacts_touchpoint (contact_id, kind, channel, occurred_at, received_at, source, properties)
SELECT contact_id, 'score.crossed', '', %(now)s, %(now)s, 'journey', jsonb_build_object(
    'score', key, 'direction', CASE WHEN is_over THEN 'up' ELSE 'down' END, 'value', round(value::numeric, 3),
    'threshold', coalesce(CASE WHEN is_over THEN qualify_at ELSE line END, 0))
FROM stood
WHERE is_over <> was_over
ORDER BY contact_id, model_id

-- drop_entries --
-- Takes every engagement entry of a model out of the ledger, before all touchpoints are booked anew.
DELETE FROM scoring_scoreentry
WHERE rule_id IN (SELECT id FROM scoring_scorerule WHERE model_id = %(model)s)

-- scores_at --
-- The score of each contact with a ledger row, or of those named, at any instant.
SELECT entry.contact_id,
    sum(worth(entry.day, entry.weight, entry.half_life, entry.occurred_ats, entry.event_points, %(at)s))
FROM scoring_scoreentry entry
JOIN scoring_scorerule rule ON rule.id = entry.rule_id
WHERE rule.model_id = %(model)s AND (%(contacts)s::bigint[] IS NULL OR entry.contact_id = ANY(%(contacts)s))
GROUP BY entry.contact_id

-- waterfall --
-- Why a contact's score is what it is: each row of the ledger with what is left of it, the most first.
SELECT rule.key, coalesce(nullif(rule.name, ''), rule.key), entry.day, entry.occurred_ats[1],
    entry.occurred_ats[cardinality(entry.occurred_ats)], entry.touchpoint_ids, entry.points,
    worth(entry.day, entry.weight, entry.half_life, entry.occurred_ats, entry.event_points, %(now)s) AS worth,
    entry.half_life
FROM scoring_scoreentry entry
JOIN scoring_scorerule rule ON rule.id = entry.rule_id
WHERE rule.model_id = %(model)s AND entry.contact_id = %(contact)s
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

-- stage_falls --
-- Who goes down: the lead was rejected by sales, or the only order was taken back.
SELECT told.contact_id, 'disqualified' AS to_stage,
    'lead.rejected ' || coalesce(told.properties ->> 'reason', '') AS reason, told.id AS touchpoint_id
FROM contacts_touchpoint told
JOIN contacts_contact contact ON contact.id = told.contact_id
WHERE told.id > %(after)s AND told.id <= %(upto)s AND told.kind = 'lead.rejected'
    AND (told.properties ->> 'is_final')::boolean AND contact.stage IN ('visitor', 'known', 'lead', 'qualified')
UNION ALL
SELECT told.contact_id, 'lead', 'lead.rejected ' || coalesce(told.properties ->> 'reason', ''), told.id
FROM contacts_touchpoint told
JOIN contacts_contact contact ON contact.id = told.contact_id
WHERE told.id > %(after)s AND told.id <= %(upto)s AND told.kind = 'lead.rejected' AND contact.stage = 'qualified'
UNION ALL
SELECT told.contact_id, 'lead', told.kind, told.id
FROM contacts_touchpoint told
JOIN contacts_contact contact ON contact.id = told.contact_id
WHERE told.id > %(after)s AND told.id <= %(upto)s AND told.kind IN ('order.refunded', 'order.cancelled')
    AND contact.stage = 'customer' AND NOT EXISTS (
        SELECT FROM contacts_touchpoint kept
        WHERE kept.contact_id = told.contact_id AND kept.kind = 'order.placed' AND kept.id <= %(upto)s
            AND NOT EXISTS (
                SELECT FROM contacts_touchpoint back
                WHERE back.contact_id = kept.contact_id AND back.kind IN ('order.refunded', 'order.cancelled')
                    AND back.id <= %(upto)s AND back.properties ->> 'number' = kept.properties ->> 'number'
            )
    )
UNION ALL
-- A journey said so, last.
SELECT * FROM (
    SELECT DISTINCT ON (told.contact_id) told.contact_id, told.properties ->> 'to' AS to_stage,
        'journey ' || coalesce(told.properties ->> 'journey', '') AS reason, told.id
    FROM contacts_touchpoint told
    WHERE told.id > %(after)s AND told.id <= %(upto)s AND told.kind = 'stage.requested' AND told.source = 'journey'
        AND told.properties ->> 'to' = ANY(%(order)s::text[])
    ORDER BY told.contact_id, told.id DESC
) requested

-- stage_rises --
-- Who may go up, to what and why; “ruled” holds the contacts for whom a stage rule holds. A person who was qualified
-- once is qualified again by a new crossing only, so that what sales gave back does not return by itself.
WITH ruled AS (
    {ruled}
), told AS MATERIALIZED (
    -- Few of the window's touchpoints move anybody, so what is joined below stays small.
    SELECT id, contact_id, kind, properties FROM contacts_touchpoint
    WHERE id > %(after)s AND id <= %(upto)s AND kind IN (
        'score.crossed', 'lead.rejected', 'order.placed', 'lead.converted', 'order.refunded', 'order.cancelled',
        'contact.merged', 'contact.unmerged')
), asked AS MATERIALIZED (
    SELECT contact.id, contact.stage, contact.highest_stage,
        contact.stage <> 'visitor' OR EXISTS (
            SELECT FROM contacts_identity identity
            WHERE identity.contact_id = contact.id AND identity.kind IN ('email', 'user_id')
        ) AS is_known
    FROM contacts_contact contact
    WHERE contact.id IN (
        SELECT contact_id FROM contacts_touchpoint WHERE id > %(after)s AND id <= %(upto)s
        UNION SELECT id FROM ruled)
)
SELECT id AS contact_id, 'known' AS to_stage, 'contact.identified' AS reason, NULL::bigint AS touchpoint_id
FROM asked
WHERE stage = 'visitor' AND is_known
UNION ALL
SELECT asked.id, 'qualified', 'score.crossed ' || model.key, told.id
FROM asked
JOIN told ON told.contact_id = asked.id AND told.kind = 'score.crossed' AND told.properties ->> 'direction' = 'up'
JOIN scoring_scoremodel model ON model.key = told.properties ->> 'score' AND model.qualify_at IS NOT NULL
WHERE asked.is_known AND asked.stage IN ('visitor', 'known', 'lead') AND NOT EXISTS (
    SELECT FROM told rejected
    WHERE rejected.contact_id = asked.id AND rejected.kind = 'lead.rejected' AND rejected.id > told.id
)
UNION ALL
-- Who was over the line before we knew who it is.
SELECT asked.id, 'qualified', 'score.crossed ' || model.key, NULL
FROM asked
JOIN scoring_contactscore score ON score.contact_id = asked.id AND score.is_over
JOIN scoring_scoremodel model ON model.id = score.model_id AND model.qualify_at IS NOT NULL
WHERE asked.is_known AND asked.stage IN ('visitor', 'known', 'lead')
    AND asked.highest_stage IN ('visitor', 'known', 'lead')
UNION ALL
SELECT asked.id, 'customer', told.kind, told.id
FROM asked
JOIN told ON told.contact_id = asked.id AND told.kind IN ('order.placed', 'lead.converted')
WHERE asked.stage NOT IN ('customer', 'ambassador') AND NOT EXISTS (
    SELECT FROM told back
    WHERE back.contact_id = asked.id AND back.kind IN ('order.refunded', 'order.cancelled') AND back.id > told.id
        AND back.properties ->> 'number' = told.properties ->> 'number'
)
UNION ALL
SELECT asked.id, loser.stage, told.kind, told.id
FROM asked
JOIN told ON told.contact_id = asked.id AND told.kind = 'contact.merged'
JOIN contacts_contact loser ON loser.id = (told.properties ->> 'from')::bigint AND loser.merged_into_id = asked.id
WHERE array_position(%(order)s::text[], loser.stage) > array_position(%(order)s::text[], asked.stage)
    AND NOT (loser.stage = 'churned' AND asked.stage IN ('customer', 'ambassador'))
UNION ALL
-- A stage that only a merge brought goes with it, unless it was left since.
SELECT asked.id, last.from_stage, told.kind, told.id
FROM asked
JOIN told ON told.contact_id = asked.id AND told.kind = 'contact.unmerged'
CROSS JOIN LATERAL (
    SELECT change.* FROM scoring_stagechange change WHERE change.contact_id = asked.id ORDER BY change.id DESC LIMIT 1
) last
JOIN contacts_touchpoint merged ON merged.id = last.touchpoint_id AND merged.kind = 'contact.merged'
WHERE last.to_stage = asked.stage AND merged.properties ->> 'from' = told.properties ->> 'from'
UNION ALL
SELECT asked.id, ruled.stage, 'rule', NULL
FROM asked
JOIN ruled ON ruled.id = asked.id
WHERE CASE ruled.stage
    WHEN 'known' THEN asked.stage = 'visitor'
    WHEN 'lead' THEN asked.is_known AND asked.stage IN ('visitor', 'known')
    WHEN 'qualified' THEN asked.is_known AND asked.stage IN ('visitor', 'known', 'lead')
        AND asked.highest_stage IN ('visitor', 'known', 'lead')
    WHEN 'disqualified' THEN asked.stage IN ('visitor', 'known', 'lead', 'qualified')
    WHEN 'customer' THEN asked.stage IN ('visitor', 'known', 'lead', 'qualified')
    WHEN 'ambassador' THEN asked.stage = 'customer'
    WHEN 'churned' THEN asked.stage IN ('customer', 'ambassador')
    ELSE false
END

-- move_stages --
-- Carries out “moves”, the highest for each contact: the contact, the ledger of stages and one touchpoint. Counts moves.
-- Who moves is found once: read again for each contact, which is what the planner does on a database that was never
-- analysed, it would take hours for a first import.
WITH moves AS MATERIALIZED (
    {moves}
), best AS (
    SELECT DISTINCT ON (contact.id) contact.id AS contact_id, contact.stage AS from_stage, moves.to_stage, moves.reason,
        moves.touchpoint_id
    FROM moves
    JOIN contacts_contact contact ON contact.id = moves.contact_id
        AND contact.merged_into_id IS NULL AND contact.erased_at IS NULL
    WHERE contact.stage <> moves.to_stage
    ORDER BY contact.id, array_position(%(order)s::text[], moves.to_stage) DESC, moves.touchpoint_id DESC NULLS LAST
), moved AS (
    UPDATE contacts_contact contact
    SET stage = best.to_stage, stage_changed_at = %(now)s, updated_at = %(now)s,
        highest_stage = CASE
            WHEN array_position(%(ladder)s::text[], best.to_stage)
                > coalesce(array_position(%(ladder)s::text[], contact.highest_stage), 0) THEN best.to_stage
            ELSE contact.highest_stage
        END
    FROM best
    WHERE contact.id = best.contact_id
), written AS (
    INSERT INTO scoring_stagechange (contact_id, from_stage, to_stage, reason, touchpoint_id, changed_at)
    SELECT contact_id, from_stage, to_stage, trim(reason), touchpoint_id, %(now)s FROM best
)
INSERT INTO contacts_touchpoint (contact_id, kind, channel, occurred_at, received_at, source, properties)
SELECT contact_id, 'stage.changed', '', %(now)s, %(now)s, 'journey',
    jsonb_build_object('from', from_stage, 'to', to_stage, 'reason', trim(reason))
FROM best
ORDER BY contact_id

-- settle_ledger --
-- In a merge: books a day on which several of those who become one earned points by one rule as the one day it is, into
-- the row that stays; the others are dropped by the merge itself.
WITH mine AS (
    SELECT entry.id, coalesce(pair.survivor, entry.contact_id) AS contact_id, entry.rule_id, entry.day,
        entry.touchpoint_ids, entry.occurred_ats, pair.loser IS NOT NULL AS is_loser
    FROM scoring_scoreentry entry
    LEFT JOIN pair ON pair.loser = entry.contact_id
    WHERE entry.contact_id IN (SELECT loser FROM pair UNION SELECT survivor FROM pair)
        AND cardinality(entry.touchpoint_ids) > 0
), clashing AS (
    SELECT contact_id, rule_id, day, (array_agg(id ORDER BY is_loser, id))[1] AS keeper
    FROM mine
    GROUP BY contact_id, rule_id, day
    HAVING count(*) > 1
), events AS (
    SELECT DISTINCT clashing.keeper, clashing.rule_id, clashing.day, event.id, event.occurred_at
    FROM clashing
    JOIN mine USING (contact_id, rule_id, day)
    CROSS JOIN LATERAL unnest(mine.touchpoint_ids, mine.occurred_ats) AS event (id, occurred_at)
), earned AS (
    SELECT events.keeper, events.day, events.id, events.occurred_at, rule.half_life,
        CASE WHEN rule.cap_per_day IS NULL THEN rule.points ELSE sign(rule.points) * greatest(0, least(
            abs(rule.points),
            rule.cap_per_day - abs(rule.points) * (row_number() OVER (
                PARTITION BY events.keeper ORDER BY events.occurred_at, events.id
            ) - 1)
        )) END AS points
    FROM events JOIN scoring_scorerule rule ON rule.id = events.rule_id
), booked AS (
    SELECT keeper, sum(points) AS points,
        sum(CASE WHEN half_life IS NULL THEN points ELSE points * power(2::float8,
            date_part('epoch', occurred_at - day::timestamp AT TIME ZONE 'UTC') / date_part('epoch', half_life)) END
        ) AS weight,
        half_life, array_agg(id ORDER BY occurred_at, id) AS touchpoint_ids,
        array_agg(occurred_at ORDER BY occurred_at, id) AS occurred_ats,
        array_agg(points ORDER BY occurred_at, id) AS event_points
    FROM earned
    GROUP BY keeper, half_life
)
UPDATE scoring_scoreentry entry
SET points = booked.points, weight = booked.weight, half_life = booked.half_life,
    touchpoint_ids = booked.touchpoint_ids, occurred_ats = booked.occurred_ats, event_points = booked.event_points
FROM booked
WHERE entry.id = booked.keeper

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
    falls_at = CASE WHEN sums.is_over THEN %(now)s END
FROM sums
WHERE score.id = sums.keeper

-- part_ledger --
-- In an undone merge: gives each event of the two to whom its touchpoint belongs, and books their days anew where that
-- changes them. An event whose touchpoint is gone stays with whose row had it.
WITH mine AS MATERIALIZED (
    SELECT entry.id, entry.contact_id, entry.rule_id, entry.day, entry.touchpoint_ids, entry.occurred_ats,
        pair.loser, pair.survivor
    FROM pair JOIN scoring_scoreentry entry ON entry.contact_id IN (pair.loser, pair.survivor)
    WHERE cardinality(entry.touchpoint_ids) > 0
), events AS (
    SELECT mine.rule_id, mine.day, event.id, min(event.occurred_at) AS occurred_at,
        coalesce(
            min(touchpoint.contact_id) FILTER (WHERE touchpoint.contact_id IN (mine.loser, mine.survivor)),
            min(mine.loser) FILTER (WHERE mine.contact_id = mine.loser),
            min(mine.survivor)
        ) AS contact_id
    FROM mine
    CROSS JOIN LATERAL unnest(mine.touchpoint_ids, mine.occurred_ats) AS event (id, occurred_at)
    LEFT JOIN contacts_touchpoint touchpoint ON touchpoint.id = event.id
    GROUP BY mine.rule_id, mine.day, event.id
), parted AS (
    SELECT contact_id, rule_id, day, array_agg(id ORDER BY occurred_at, id) AS touchpoint_ids
    FROM events GROUP BY contact_id, rule_id, day
), fresh AS (
    SELECT parted.contact_id, parted.rule_id, parted.day
    FROM parted LEFT JOIN mine USING (contact_id, rule_id, day)
    WHERE mine.touchpoint_ids IS DISTINCT FROM parted.touchpoint_ids
), gone AS (
    DELETE FROM scoring_scoreentry USING mine
    WHERE scoring_scoreentry.id = mine.id AND NOT EXISTS (
        SELECT FROM parted
        WHERE (parted.contact_id, parted.rule_id, parted.day) = (mine.contact_id, mine.rule_id, mine.day))
), earned AS (
    SELECT events.contact_id, events.rule_id, events.day, events.id, events.occurred_at, rule.half_life,
        CASE WHEN rule.cap_per_day IS NULL THEN rule.points ELSE sign(rule.points) * greatest(0, least(
            abs(rule.points),
            rule.cap_per_day - abs(rule.points) * (row_number() OVER (
                PARTITION BY events.contact_id, events.rule_id, events.day ORDER BY events.occurred_at, events.id
            ) - 1)
        )) END AS points
    FROM events
    JOIN fresh USING (contact_id, rule_id, day)
    JOIN scoring_scorerule rule ON rule.id = events.rule_id
)
INSERT INTO scoring_scoreentry AS entry
    (contact_id, rule_id, day, points, weight, half_life, touchpoint_ids, occurred_ats, event_points)
SELECT contact_id, rule_id, day, sum(points),
    sum(CASE WHEN half_life IS NULL THEN points ELSE points * power(2::float8,
        date_part('epoch', occurred_at - day::timestamp AT TIME ZONE 'UTC') / date_part('epoch', half_life)) END),
    half_life, array_agg(id ORDER BY occurred_at, id), array_agg(occurred_at ORDER BY occurred_at, id),
    array_agg(points ORDER BY occurred_at, id)
FROM earned
GROUP BY contact_id, rule_id, day, half_life
ON CONFLICT (contact_id, rule_id, day) DO UPDATE SET
    points = excluded.points, weight = excluded.weight, half_life = excluded.half_life,
    touchpoint_ids = excluded.touchpoint_ids, occurred_ats = excluded.occurred_ats,
    event_points = excluded.event_points

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
