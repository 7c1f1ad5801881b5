-- size_up --
-- Room for a crowd, and the tables of ours that have doubled since the planner last looked at them.
SELECT relation.oid::regclass::text
FROM (SELECT set_config('jit', 'off', true), set_config('work_mem', '64MB', true)) room
JOIN pg_class relation ON relation.oid IN ('scoring_scoreentry'::regclass, 'scoring_contactscore'::regclass)
    AND pg_relation_size(relation.oid) > 2 * greatest(relation.relpages, 8) * current_setting('block_size')::bigint

-- book_points --
-- Books what the touchpoints in “hits” earned into the ledger, each on its own day; answers whose rows changed.
-- Booking a touchpoint a second time changes nothing.
WITH pots AS MATERIALIZED (
    SELECT id AS rule_id, coalesce(-group_id, id) AS pot FROM scoring_scorerule
), fresh AS MATERIALIZED (
    SELECT found.contact_id, hit.rule_id, (told.at AT TIME ZONE 'UTC')::date AS day, found.id, told.at AS occurred_at
    FROM ({hits}) found
    -- Nothing is known before it is told: a clock that runs ahead earns nothing ahead.
    CROSS JOIN LATERAL (SELECT least(found.occurred_at, found.received_at) AS at) told
    CROSS JOIN LATERAL unnest(array_remove(found.rule_ids, NULL)) AS hit (rule_id)
    -- Looked up and not joined: without statistics the planner takes living people for few and begins with them.
    WHERE (
        SELECT contact.merged_into_id IS NULL AND contact.erased_at IS NULL
        FROM contacts_contact contact WHERE contact.id = found.contact_id
    )
), days AS (
    SELECT DISTINCT contact_id, day FROM fresh
), known AS (
    SELECT entry.contact_id, entry.rule_id, entry.day, event.id, event.occurred_at
    FROM days
    JOIN scoring_scoreentry entry USING (contact_id, day)
    JOIN pots USING (rule_id)
    CROSS JOIN LATERAL unnest(entry.touchpoint_ids, entry.occurred_ats) AS event (id, occurred_at)
    WHERE (entry.contact_id, entry.day, pots.pot) IN (
        SELECT fresh.contact_id, fresh.day, asked.pot FROM fresh JOIN pots asked USING (rule_id))
), events AS (
    SELECT contact_id, rule_id, day, id, occurred_at FROM fresh
    UNION ALL
    SELECT contact_id, rule_id, day, id, occurred_at FROM known
    WHERE NOT EXISTS (SELECT FROM fresh WHERE (fresh.id, fresh.rule_id) = (known.id, known.rule_id))
), {book_days}
SELECT DISTINCT contact_id FROM booked

-- book_days --
-- The end of every booking: `events (contact_id, rule_id, day, id, occurred_at)` holds whole days of whole pots, and
-- becomes rows of the ledger. A pot is a group of rules, or a rule that is in none. As its day is always booked whole, in
-- the order in which things happened, the caps fall on the same events whatever the order of arrival. `booked` says whose
-- rows changed.
capped AS (
    SELECT events.contact_id, events.rule_id, events.day, events.id, events.occurred_at, rule.key, rule.half_life,
        rule.group_id, shared.cap_per_day AS shared_cap,
        CASE WHEN rule.cap_per_day IS NULL THEN rule.points ELSE sign(rule.points) * greatest(0, least(
            abs(rule.points),
            rule.cap_per_day - abs(rule.points) * (row_number() OVER (
                PARTITION BY events.contact_id, events.rule_id, events.day ORDER BY events.occurred_at, events.id
            ) - 1)
        )) END AS points
    FROM events
    JOIN scoring_scorerule rule ON rule.id = events.rule_id
    LEFT JOIN scoring_scoregroup shared ON shared.id = rule.group_id
), earned AS (
    SELECT contact_id, rule_id, day, id, occurred_at, half_life, points FROM capped WHERE shared_cap IS NULL
    UNION ALL
    -- What is left in the pot, for points and for penalties each; what happens at once goes by the rule's key.
    SELECT contact_id, rule_id, day, id, occurred_at, half_life, sign(points) * greatest(0, least(
        abs(points),
        shared_cap - coalesce(sum(abs(points)) OVER (
            PARTITION BY contact_id, group_id, day, sign(points) ORDER BY occurred_at, key COLLATE "C", id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0)
    ))
    FROM capped WHERE shared_cap IS NOT NULL
), booked AS (
    INSERT INTO scoring_scoreentry AS entry
        (contact_id, rule_id, day, points, weight, half_life, touchpoint_ids, occurred_ats, event_points)
    SELECT contact_id, rule_id, day, sum(points ORDER BY occurred_at, id),
        sum(CASE WHEN half_life IS NULL THEN points ELSE points * power(2::float8,
            date_part('epoch', occurred_at - day::timestamp AT TIME ZONE 'UTC') / date_part('epoch', half_life)) END
            ORDER BY occurred_at, id),
        half_life, array_agg(id ORDER BY occurred_at, id), array_agg(occurred_at ORDER BY occurred_at, id),
        array_agg(points ORDER BY occurred_at, id)
    FROM earned
    GROUP BY contact_id, rule_id, day, half_life
    ON CONFLICT (contact_id, day, rule_id) DO UPDATE SET
        points = excluded.points, weight = excluded.weight, half_life = excluded.half_life,
        touchpoint_ids = excluded.touchpoint_ids, occurred_ats = excluded.occurred_ats,
        event_points = excluded.event_points
    WHERE (entry.touchpoint_ids, entry.event_points, entry.half_life)
        IS DISTINCT FROM (excluded.touchpoint_ids, excluded.event_points, excluded.half_life)
    RETURNING contact_id
)

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
), pots AS (
    SELECT id AS rule_id, coalesce(-group_id, id) AS pot FROM scoring_scorerule
), days AS (
    SELECT DISTINCT entry.contact_id, pots.pot, entry.day
    FROM gone JOIN scoring_scoreentry entry USING (contact_id, day) JOIN pots USING (rule_id)
    WHERE gone.id = ANY (entry.touchpoint_ids)
), events AS (
    SELECT entry.contact_id, entry.rule_id, entry.day, event.id, event.occurred_at
    FROM days
    JOIN pots USING (pot)
    JOIN scoring_scoreentry entry USING (contact_id, rule_id, day)
    CROSS JOIN LATERAL unnest(entry.touchpoint_ids, entry.occurred_ats) AS event (id, occurred_at)
    WHERE event.id <> ALL (%(touchpoints)s::bigint[])
), emptied AS (
    DELETE FROM scoring_scoreentry entry USING days, pots
    WHERE (entry.contact_id, entry.rule_id, entry.day) = (days.contact_id, pots.rule_id, days.day)
        AND pots.pot = days.pot AND entry.touchpoint_ids <@ %(touchpoints)s::bigint[]
    RETURNING entry.contact_id
), {book_days}
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

-- drop_entries --
-- Takes every engagement entry of a model out of the ledger, before all touchpoints are booked anew.
DELETE FROM scoring_scoreentry
WHERE rule_id IN (SELECT id FROM scoring_scorerule WHERE model_id = %(model)s)
