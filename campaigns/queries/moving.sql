-- Moving people along journeys. `{due}`, `{arrive}` and the like are pieces that the engine puts in; where a piece is
-- a statement of this file, it has the same name.
-- What is asked of each person is a CASE over that person's row, not a join: the planner takes the people of a statement
-- for ten, and would compare each with each.

-- begin_round --
-- Bounds a round of moves: tokens that are made from now on wait for the next round.
SELECT set_config('journey.newest_token', (SELECT coalesce(max(id), 0) FROM campaigns_due)::text, true);

-- due --
-- The tokens of one kind of step that are due; what stands in a stopped journey does not move.
SELECT d.ctid FROM campaigns_due d
WHERE d.node_kind = ANY(%(kinds)s::text[]) AND d.due_at <= %(now)s AND d.node_id <> ALL(%(held)s::bigint[])
  -- A move makes a new token: whoever moved in this round moves no more in it (see begin_round).
  AND d.id <= (SELECT coalesce(nullif(current_setting('journey.newest_token', true), ''), '9223372036854775807')::bigint)
  AND d.node_id NOT IN (
    SELECT n.id FROM campaigns_node n
    JOIN campaigns_journeyversion v ON v.id = n.version_id
    JOIN campaigns_journey j ON j.id = v.journey_id
    WHERE j.state NOT IN ('live', 'closing'));

-- due_nodes --
-- The steps of one kind at which somebody is due.
SELECT DISTINCT d.node_id FROM campaigns_due d WHERE d.node_kind = ANY(%(kinds)s::text[]) AND d.due_at <= %(now)s;

-- waiting_nodes --
-- The steps at which somebody waits for something and is due, or was touched.
SELECT DISTINCT d.node_id FROM campaigns_due d
WHERE d.node_kind = ANY(%(kinds)s::text[]) AND d.due_at <= %(now)s
UNION
SELECT DISTINCT d.node_id FROM campaigns_due d JOIN campaigns_enrolment e ON e.id = d.enrolment_id
WHERE d.node_kind = ANY(%(kinds)s::text[]) AND e.state = 'open'
  AND e.contact_id IN (SELECT contact_id FROM contacts_touchpoint WHERE id > %(after)s AND id <= %(upto)s);

-- due_kinds --
-- The kinds of steps at which somebody is due.
SELECT kind FROM unnest(%(kinds)s::text[]) AS kind
WHERE EXISTS (SELECT FROM campaigns_due d WHERE d.node_kind = kind AND d.due_at <= %(now)s);

-- size_up --
-- For a crowd, hash joins and room for them; for few people, indexes. Touched people count as far as somebody waits.
SELECT set_config('enable_nestloop', CASE WHEN is_crowd THEN 'off' ELSE 'on' END, true),
       set_config('work_mem', CASE WHEN is_crowd THEN '64MB' ELSE current_setting('work_mem') END, true),
       set_config('jit', 'off', true)
FROM (SELECT count(*) >= %(crowd)s AS is_crowd FROM (
    SELECT FROM campaigns_due d
    WHERE d.node_kind = ANY(%(kinds)s::text[]) AND (d.due_at <= %(now)s OR %(touched)s >= %(crowd)s)
    LIMIT %(crowd)s) AS found) AS sized;

-- arrive --
-- The end of each move, given `leaving`: the path grows, the token goes to the next node, or the enrolment ends.
-- A wait is timed here, once for each node, time zone and date waited for.
visits AS (
    INSERT INTO campaigns_visit (enrolment_id, node_id, visit, entered_at, left_at, outcome, inputs)
    SELECT enrolment_id, node_id, visit, entered_at, %(now)s, outcome, inputs FROM leaving
),
onward AS MATERIALIZED (
    SELECT l.enrolment_id, l.contact_id, l.is_ghost, l.visit + (l.outcome = 'jump')::int AS visit, n.id AS node_id, n.kind,
           l.outcome,
           CASE WHEN n.kind IN ('wait', 'wait_until') THEN (
                SELECT coalesce(nullif(c.zone, ''), %(zone)s) FROM contacts_contact c WHERE c.id = l.contact_id
           ) END AS zone,
           CASE WHEN n.config ? 'field' THEN (
                SELECT c.attributes->(n.config->>'field') FROM contacts_contact c WHERE c.id = l.contact_id
           ) WHEN n.config ? 'property' THEN (
                SELECT t.properties->(n.config->>'property')
                FROM campaigns_enrolment e JOIN contacts_touchpoint t ON t.id = e.touchpoint_id
                WHERE e.id = l.enrolment_id
           ) END AS said
    FROM leaving l
    LEFT JOIN campaigns_nodeexit x ON x.node_id = l.node_id AND x.label = l.outcome
    LEFT JOIN campaigns_node n ON n.id = x.target_id
),
wakes AS MATERIALIZED (
    SELECT w.node_id, w.zone, w.said, wakes_at(n.kind, n.config, %(now)s, w.zone, w.said) AS due_at
    FROM (SELECT DISTINCT node_id, zone, said FROM onward WHERE zone IS NOT NULL) w
    JOIN campaigns_node n ON n.id = w.node_id
),
tokens AS (
    INSERT INTO campaigns_due (enrolment_id, contact_id, node_id, node_kind, is_ghost, entered_at, due_at, visit)
    SELECT o.enrolment_id, o.contact_id, o.node_id, o.kind, o.is_ghost, %(now)s, coalesce(k.due_at, %(now)s), o.visit
    FROM onward o
    LEFT JOIN wakes k ON k.node_id = o.node_id AND k.zone = o.zone AND k.said IS NOT DISTINCT FROM o.said
    WHERE o.node_id IS NOT NULL
),
ended AS (
    -- No path of a fork can be called `not_sent`.
    UPDATE campaigns_enrolment e
    SET state = CASE o.outcome WHEN 'not_sent' THEN 'exited' ELSE 'finished' END,
        exit_reason = CASE o.outcome WHEN 'not_sent' THEN 'not_sent' ELSE 'end' END, ended_at = %(now)s
    FROM onward o WHERE o.node_id IS NULL AND e.id = o.enrolment_id
    RETURNING e.id, e.contact_id, e.journey_id, e.exit_reason
),
told AS (
    INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
    SELECT e.contact_id, 'journey.left', %(now)s, %(now)s, 'journey',
           jsonb_build_object('journey', j.key, 'reason', e.exit_reason, 'enrolment', e.id)
    FROM ended e JOIN campaigns_journey j ON j.id = e.journey_id
)
SELECT count(*) FROM leaving;

-- move_on --
-- Steps with one way on and nothing to do: the entry, a wait that is over, a goal that was marked.
WITH leaving AS (
    DELETE FROM campaigns_due WHERE ctid = ANY(ARRAY({due}))
    RETURNING enrolment_id, contact_id, node_id, is_ghost, entered_at, visit, 'next' AS outcome, NULL::jsonb AS inputs
),
{arrive};

-- move_at_goal --
-- Whoever reached a goal that leads to a step goes there.
WITH leaving AS (
    DELETE FROM campaigns_due WHERE ctid = ANY(ARRAY({due}))
    RETURNING enrolment_id, contact_id, node_id, is_ghost, entered_at, visit, 'goal' AS outcome, NULL::jsonb AS inputs
),
{arrive};

-- ask_waiting_again --
-- After a pause: whoever waits for something is asked as if just arrived, for it may have come in the meantime; and who
-- rests at a send, for the message may have ended.
UPDATE campaigns_due d SET due_at = d.entered_at
FROM campaigns_node n JOIN campaigns_journeyversion v ON v.id = n.version_id
WHERE d.node_kind IN ('wait_for', 'sending') AND d.node_id = n.id AND v.journey_id = %(journey)s AND d.due_at > %(now)s;

-- retime_dates --
-- Whose date was changed while they wait for it wait for the new one.
UPDATE campaigns_due d
SET due_at = wakes_at(n.kind, n.config, d.entered_at, coalesce(nullif(c.zone, ''), %(zone)s),
                      c.attributes->(n.config->>'field'))
FROM campaigns_node n, contacts_contact c
WHERE d.node_kind = 'wait_until' AND n.id = d.node_id AND n.config ? 'field' AND c.id = d.contact_id
  AND d.contact_id IN (
    SELECT contact_id FROM contacts_touchpoint
    WHERE id > %(after)s AND id <= %(upto)s AND kind = 'contact.updated');

-- quiet_hours_of_journeys --
-- What journeys say about quiet hours other than that their messages wait; the newest version counts for all of them.
SELECT j.key, v.definition->>'quiet_hours' AS quiet_hours
FROM campaigns_journey j JOIN campaigns_journeyversion v ON v.id = j.version_id
WHERE v.definition->>'quiet_hours' IN ('skip', 'ignore')

-- paused_journeys --
-- The journeys whose messages are held back.
SELECT j.key FROM campaigns_journey j WHERE j.state = 'paused'

-- move_send --
-- A send makes an intent, once for each visit; whoever it is for rests at the step until it has left, or will not leave.
WITH p AS MATERIALIZED (
    SELECT d.ctid AS token, d.enrolment_id, d.contact_id, d.node_id, d.is_ghost, d.visit
    FROM campaigns_due d WHERE d.ctid = ANY(ARRAY({due}))
),
letters AS MATERIALIZED (
    SELECT n.id AS node_id, n.key AS node_key, j.key AS journey_key, j.tier, t.id AS template_id, t.channel,
           t.message_class, j.kind IN ('cross_sell', 'broadcast') AS is_promotion, n.config ? 'is_dated' AS is_dated,
           CASE WHEN n.config ? 'valid_for' THEN %(now)s + make_interval(
                days => (n.config->'valid_for'->>'days')::int, secs => (n.config->'valid_for'->>'seconds')::int
           ) END AS valid_until
    FROM campaigns_node n
    JOIN campaigns_journeyversion v ON v.id = n.version_id
    JOIN campaigns_journey j ON j.id = v.journey_id
    JOIN messaging_template t ON t.key = n.config->>'template'
    WHERE n.id = ANY(%(nodes)s::bigint[])
),
intents AS (
    INSERT INTO messaging_message (key, contact_id, template_id, channel, message_class, source, journey_key,
        enrolment_id, node_key, is_ghost, tier, created_at, due_at, valid_until, is_promotion)
    SELECT 'enrolment:' || p.enrolment_id || ':' || x.node_key || ':' || p.visit, p.contact_id, x.template_id,
           x.channel, x.message_class, 'journey:' || x.journey_key, x.journey_key, p.enrolment_id, x.node_key,
           -- Only marketing is held back to measure it.
           p.is_ghost AND x.message_class = 'marketing', x.tier, %(now)s, %(now)s, CASE WHEN x.is_dated THEN (
               -- What a broadcast's occasion says, by this person's clock.
               SELECT local_instant(o.valid_wall::timestamp, coalesce(nullif(o.valid_zone, ''), nullif(c.zone, ''), %(zone)s))
               FROM campaigns_enrolment e
               JOIN campaigns_sendout o ON o.id = e.sendout_id AND o.valid_wall <> ''
               JOIN contacts_contact c ON c.id = e.contact_id
               WHERE e.id = p.enrolment_id) ELSE x.valid_until END, x.is_promotion
    FROM p JOIN letters x ON x.node_id = p.node_id
    ON CONFLICT (key) DO NOTHING
    RETURNING enrolment_id
),
resting AS (
    -- The alarm is for news that never comes; where there is no new message, the next round looks at the old one.
    UPDATE campaigns_due d SET node_kind = 'sending', due_at = CASE
        WHEN EXISTS (SELECT FROM intents i WHERE i.enrolment_id = p.enrolment_id) THEN %(now)s + interval '8 days'
        ELSE %(now)s END
    FROM p WHERE d.ctid = p.token
)
SELECT count(*) FROM p;

-- move_sending --
-- Whose message has ended goes on: by `next` where it left, or may have; else as the step's `on_skip` says. `wait` tries
-- the message again day by day for a week, where another day may help. Who woke too early sleeps on.
-- The news of a message leads to its token by numbers; only who is due by the alarm is looked up by the message's key.
WITH news AS MATERIALIZED (
    SELECT DISTINCT CASE WHEN t.properties->>'message' ~ '^[0-9]{1,18}$' THEN (t.properties->>'message')::bigint END AS id
    FROM contacts_touchpoint t
    WHERE t.id > %(after)s AND t.id <= %(upto)s AND t.kind = ANY(%(ended)s::text[])
),
p AS MATERIALIZED (
    SELECT d.ctid AS token, d.enrolment_id, d.contact_id, d.node_id, d.is_ghost, d.entered_at, d.visit,
           m.id AS message_id, m.state, m.reason, coalesce(n.config->>'on_skip', 'advance') AS on_skip
    FROM news
    JOIN messaging_message m ON m.id = news.id
    JOIN campaigns_due d ON d.enrolment_id = m.enrolment_id AND d.node_kind = 'sending'
    JOIN campaigns_node n ON n.id = d.node_id
    JOIN campaigns_journeyversion v ON v.id = n.version_id
    JOIN campaigns_journey j ON j.id = v.journey_id
    -- Not the news of what was sent at an earlier step, or in an earlier round of this one.
    WHERE j.state IN ('live', 'closing') AND m.key = 'enrolment:' || d.enrolment_id || ':' || n.key || ':' || d.visit
    UNION ALL
    SELECT d.ctid, d.enrolment_id, d.contact_id, d.node_id, d.is_ghost, d.entered_at, d.visit,
           m.id, m.state, m.reason, coalesce(n.config->>'on_skip', 'advance')
    FROM campaigns_due d
    JOIN campaigns_node n ON n.id = d.node_id
    LEFT JOIN messaging_message m ON m.key = 'enrolment:' || d.enrolment_id || ':' || n.key || ':' || d.visit
    WHERE d.ctid = ANY(ARRAY({due})) AND NOT EXISTS (SELECT FROM news WHERE news.id = m.id)
),
decided AS MATERIALIZED (
    SELECT p.*, CASE
        WHEN state IN ('pending', 'ready', 'sending') THEN 'rest'
        WHEN state IN ('sent', 'uncertain') OR is_ghost OR reason IN ('holdout', 'milestone_reached') THEN 'next'
        WHEN on_skip = 'wait' AND reason = ANY(%(passing)s::text[]) AND %(now)s < entered_at + interval '7 days' THEN 'again'
        WHEN on_skip = 'exit' THEN 'not_sent'
        ELSE 'next' END AS outcome
    FROM p
),
resting AS (
    UPDATE campaigns_due d SET due_at = %(now)s + CASE o.outcome WHEN 'rest' THEN interval '1 day' ELSE interval '8 days' END
    FROM decided o WHERE d.ctid = o.token AND o.outcome IN ('rest', 'again')
),
again AS (
    UPDATE messaging_message m
    SET state = 'pending', reason = '', due_at = %(now)s + interval '1 day', wanted_at = NULL, finished_at = NULL,
        valid_until = %(now)s + interval '2 days', attempts = 0
    FROM decided o WHERE m.id = o.message_id AND o.outcome = 'again'
),
taken AS (
    DELETE FROM campaigns_due
    WHERE ctid = ANY(ARRAY(SELECT token FROM decided WHERE outcome IN ('next', 'not_sent')))
    RETURNING enrolment_id
),
leaving AS MATERIALIZED (
    SELECT enrolment_id, contact_id, node_id, is_ghost, entered_at, visit, outcome,
           jsonb_build_object('message', message_id, 'state', coalesce(state, ''), 'reason', coalesce(reason, '')) AS inputs
    FROM decided WHERE outcome IN ('next', 'not_sent')
),
{arrive};

-- move_ask --
-- Each asks its rule of whoever is due there.
WITH p AS MATERIALIZED (
    DELETE FROM campaigns_due WHERE ctid = ANY(ARRAY({due}))
    RETURNING enrolment_id, contact_id, node_id, is_ghost, entered_at, visit
),
leaving AS MATERIALIZED (
    SELECT p.*, {branch} AS outcome, {inputs} AS inputs FROM p
),
{arrive};

-- move_wait_for --
-- A wait for something ends when it happened, or by its timeout. Asked on arrival, of touched people, at the timeout.
-- Whoever has just arrived is due as soon as entered; if it did not happen yet, the alarm is set to the timeout.
WITH p AS MATERIALIZED (
    SELECT d.ctid AS token, d.*,
           least(e.enrolled_at, (SELECT f.occurred_at FROM contacts_touchpoint f WHERE f.id = e.touchpoint_id)) AS since,
           coalesce(e.touchpoint_id, 0) AS trigger_id
    FROM campaigns_due d JOIN campaigns_enrolment e ON e.id = d.enrolment_id
    WHERE d.ctid = ANY(ARRAY(
        {due}
        UNION
        SELECT d.ctid FROM campaigns_due d
        JOIN campaigns_enrolment e ON e.id = d.enrolment_id
        JOIN campaigns_journey j ON j.id = e.journey_id
        WHERE d.node_kind = 'wait_for' AND e.state = 'open' AND j.state IN ('live', 'closing') AND d.node_id <> ALL(%(held)s::bigint[])
          AND e.contact_id IN (
            SELECT contact_id FROM contacts_touchpoint WHERE id > %(after)s AND id <= %(upto)s)))
),
decided AS MATERIALIZED (
    SELECT p.*, CASE WHEN {met} THEN 'then'
                     WHEN p.due_at <= %(now)s AND p.due_at > p.entered_at THEN 'else' END AS outcome
    FROM p
),
resting AS (
    UPDATE campaigns_due d
    SET due_at = wakes_at(n.kind, n.config, d.entered_at, coalesce(nullif(c.zone, ''), %(zone)s), NULL)
    FROM decided o
    JOIN campaigns_node n ON n.id = o.node_id
    JOIN contacts_contact c ON c.id = o.contact_id
    WHERE d.ctid = o.token AND o.outcome IS NULL AND o.due_at = o.entered_at
),
taken AS (
    DELETE FROM campaigns_due WHERE ctid = ANY(ARRAY(SELECT token FROM decided WHERE outcome IS NOT NULL))
    RETURNING enrolment_id
),
leaving AS MATERIALIZED (
    SELECT enrolment_id, contact_id, node_id, is_ghost, entered_at, visit, outcome,
           CASE outcome WHEN 'else' THEN '{"timeout": true}'::jsonb END AS inputs
    FROM decided WHERE outcome IS NOT NULL
),
{arrive};

-- move_split --
-- A split sends each person the way that was drawn for her at her first visit, by a salted hash. Whoever has none yet
-- takes the path that won, where one did. A path that is gone cannot be kept: it is drawn anew.
WITH p AS MATERIALIZED (
    DELETE FROM campaigns_due WHERE ctid = ANY(ARRAY({due}))
    RETURNING enrolment_id, contact_id, node_id, is_ghost, entered_at, visit
),
paths AS MATERIALIZED (
    SELECT n.id AS node_id, j.key || ':' || n.key AS salt, b.label, b.lower, b.upper, b.label = said.winner AS is_winner
    FROM campaigns_node n
    JOIN campaigns_journeyversion v ON v.id = n.version_id
    JOIN campaigns_journey j ON j.id = v.journey_id
    LEFT JOIN campaigns_verdict said ON said.journey_id = j.id AND said.node_key = n.key AND said.outcome = 'winner'
    CROSS JOIN LATERAL jsonb_to_recordset(n.config->'branches') AS b(label text, lower numeric, upper numeric)
    WHERE n.id = ANY(%(nodes)s::bigint[])
),
chosen AS MATERIALIZED (
    SELECT p.*, 'split:' || s.salt AS scope, bucket, kept.label AS kept, won.label AS won,
           coalesce(kept.label, won.label, x.label) AS path
    FROM p
    JOIN (SELECT DISTINCT node_id, salt FROM paths) s ON s.node_id = p.node_id
    CROSS JOIN LATERAL bucket_of(s.salt, p.contact_id) AS bucket
    JOIN paths x ON x.node_id = p.node_id AND bucket >= x.lower AND bucket < x.upper
    LEFT JOIN campaigns_assignment a ON a.contact_id = p.contact_id AND a.scope = 'split:' || s.salt
    LEFT JOIN paths kept ON kept.node_id = p.node_id AND kept.label = a.variant
    LEFT JOIN paths won ON won.node_id = p.node_id AND won.is_winner
),
drawn AS (
    INSERT INTO campaigns_assignment (scope, contact_id, variant, is_drawn, decided_at)
    SELECT DISTINCT ON (contact_id, scope) scope, contact_id, path, won IS NULL, %(now)s
    FROM chosen WHERE kept IS NULL
    ON CONFLICT (contact_id, scope) DO UPDATE
    SET variant = excluded.variant, is_drawn = excluded.is_drawn, decided_at = excluded.decided_at
),
leaving AS MATERIALIZED (
    SELECT enrolment_id, contact_id, node_id, is_ghost, entered_at, visit, path AS outcome, jsonb_build_object(
           'bucket', bucket, 'by', CASE WHEN kept IS NOT NULL THEN 'kept' WHEN won IS NOT NULL THEN 'verdict' ELSE 'draw' END
           ) AS inputs
    FROM chosen
),
{arrive};

-- move_set --
-- Sets fields, elements of lists and segments of contacts, and asks for stages and points by touchpoints; whoever is held
-- out walks by unchanged.
WITH leaving AS MATERIALIZED (
    DELETE FROM campaigns_due WHERE ctid = ANY(ARRAY({due}))
    RETURNING enrolment_id, contact_id, node_id, is_ghost, entered_at, visit, 'next' AS outcome, NULL::jsonb AS inputs
),
said AS MATERIALIZED (
    SELECT l.contact_id, l.enrolment_id, n.config, j.key AS journey_key, n.key AS node_key
    FROM leaving l
    JOIN campaigns_node n ON n.id = l.node_id
    JOIN campaigns_journeyversion v ON v.id = n.version_id
    JOIN campaigns_journey j ON j.id = v.journey_id
    WHERE NOT l.is_ghost
),
changes AS (
    SELECT s.contact_id, jsonb_object_agg(s.config->>'field', CASE
        WHEN s.config ? 'value' THEN s.config->'value'
        ELSE (
            SELECT coalesce(jsonb_agg(element ORDER BY place), '[]') FROM (
                SELECT element, place FROM jsonb_array_elements(
                    CASE WHEN jsonb_typeof(c.attributes->(s.config->>'field')) = 'array'
                         THEN c.attributes->(s.config->>'field') ELSE '[]' END) WITH ORDINALITY AS old(element, place)
                WHERE element NOT IN (coalesce(s.config->'remove', 'null'), coalesce(s.config->'add', 'null'))
                UNION ALL
                SELECT s.config->'add', 1000000 WHERE s.config ? 'add') AS elements)
        END ORDER BY s.enrolment_id) AS attributes
    FROM said s JOIN contacts_contact c ON c.id = s.contact_id
    WHERE s.config ? 'field'
    GROUP BY s.contact_id
),
written AS (
    UPDATE contacts_contact c SET attributes = jsonb_strip_nulls(c.attributes || x.attributes), updated_at = %(now)s
    FROM changes x JOIN contacts_contact was ON was.id = x.contact_id
    WHERE c.id = x.contact_id AND c.attributes <> jsonb_strip_nulls(c.attributes || x.attributes)
    RETURNING c.id, x.attributes, was.attributes AS before
),
members AS (
    INSERT INTO contacts_membershipoverride (segment_id, contact_id, is_member, made_at)
    SELECT DISTINCT ON (g.id, s.contact_id) g.id, s.contact_id, (s.config->>'in')::boolean, %(now)s::timestamptz
    FROM said s JOIN contacts_segment g ON g.key = s.config->>'segment'
    ORDER BY g.id, s.contact_id, s.enrolment_id DESC
    ON CONFLICT (segment_id, contact_id) DO UPDATE
    SET is_member = excluded.is_member, made_at = excluded.made_at, expires_at = NULL, made_by_id = NULL
    RETURNING segment_id, contact_id
),
turns AS (
    -- The next tick asks them.
    INSERT INTO contacts_turn (segment_id, contact_id, turns_at) SELECT segment_id, contact_id, %(at_once)s FROM members
    ON CONFLICT (contact_id, segment_id) DO UPDATE SET turns_at = excluded.turns_at
),
announced AS (
    INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
    SELECT w.id, 'contact.updated', %(now)s, %(now)s, 'journey',
           jsonb_strip_nulls(jsonb_build_object(
               'fields', (SELECT jsonb_agg(key) FROM jsonb_object_keys(w.attributes) AS key),
               'former', (SELECT jsonb_object_agg(one.key, one.value) FROM jsonb_each(w.before) one
                          WHERE w.attributes ? one.key AND has_value(one.value))))
    FROM written w
    UNION ALL
    SELECT s.contact_id, CASE WHEN s.config ? 'stage' THEN 'stage.requested' ELSE 'score.granted' END, %(now)s, %(now)s,
           'journey', jsonb_build_object('journey', s.journey_key, 'step', s.node_key)
           || CASE WHEN s.config ? 'stage' THEN jsonb_build_object('to', s.config->>'stage')
                   ELSE jsonb_build_object('grant', s.config->>'grant') END
    FROM said s WHERE s.config ?| ARRAY['stage', 'grant']
),
{arrive};

-- move_webhook --
-- Tells other systems, by a touchpoint that webhooks listen to; of whoever is held out nobody is told.
WITH leaving AS MATERIALIZED (
    DELETE FROM campaigns_due WHERE ctid = ANY(ARRAY({due}))
    RETURNING enrolment_id, contact_id, node_id, is_ghost, entered_at, visit, 'next' AS outcome, NULL::jsonb AS inputs
),
announced AS (
    INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
    SELECT l.contact_id, 'journey.called', %(now)s, %(now)s, 'journey', jsonb_build_object(
           'name', n.config->>'name', 'journey', j.key, 'step', n.key, 'enrolment', l.enrolment_id)
    FROM leaving l
    JOIN campaigns_node n ON n.id = l.node_id
    JOIN campaigns_journeyversion v ON v.id = n.version_id
    JOIN campaigns_journey j ON j.id = v.journey_id
    WHERE NOT l.is_ghost
),
{arrive};

-- move_handoff --
-- Tells sales, by a touchpoint; whoever is held out is not handed over.
WITH leaving AS MATERIALIZED (
    DELETE FROM campaigns_due WHERE ctid = ANY(ARRAY({due}))
    RETURNING enrolment_id, contact_id, node_id, is_ghost, entered_at, visit, 'next' AS outcome, NULL::jsonb AS inputs
),
announced AS (
    INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
    SELECT l.contact_id, 'handoff.requested', %(now)s, %(now)s, 'journey', jsonb_build_object(
           'reason', n.config->>'reason', 'team', n.config->>'team', 'journey', j.key, 'enrolment', l.enrolment_id)
    FROM leaving l
    JOIN campaigns_node n ON n.id = l.node_id
    JOIN campaigns_journeyversion v ON v.id = n.version_id
    JOIN campaigns_journey j ON j.id = v.journey_id
    WHERE NOT l.is_ghost
),
{arrive};

-- move_start --
-- Asks for another journey; its own re-entry rule decides in the next tick.
WITH leaving AS MATERIALIZED (
    DELETE FROM campaigns_due WHERE ctid = ANY(ARRAY({due}))
    RETURNING enrolment_id, contact_id, node_id, is_ghost, entered_at, visit, 'next' AS outcome, NULL::jsonb AS inputs
),
announced AS (
    INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
    SELECT l.contact_id, 'journey.requested', %(now)s, %(now)s, 'journey', jsonb_build_object(
           'journey', n.config->>'journey', 'by', 'journey:' || j.key, 'entry_key', '')
    FROM leaving l
    JOIN campaigns_node n ON n.id = l.node_id
    JOIN campaigns_journeyversion v ON v.id = n.version_id
    JOIN campaigns_journey j ON j.id = v.journey_id
    WHERE NOT l.is_ghost
),
{arrive};

-- move_jump --
-- Jumps back so many times at most, then goes on; a jump begins the next round, so that messages get keys of their own.
WITH p AS MATERIALIZED (
    DELETE FROM campaigns_due WHERE ctid = ANY(ARRAY({due}))
    RETURNING enrolment_id, contact_id, node_id, is_ghost, entered_at, visit
),
leaving AS MATERIALIZED (
    SELECT p.*, CASE WHEN (SELECT count(*) FROM campaigns_visit v JOIN campaigns_node o ON o.id = v.node_id
                           -- By its key: jumps made in another version count.
                           WHERE v.enrolment_id = p.enrolment_id AND o.key = n.key AND v.outcome = 'jump')
                          < (n.config->>'max')::int THEN 'jump' ELSE 'next' END AS outcome, NULL::jsonb AS inputs
    FROM p JOIN campaigns_node n ON n.id = p.node_id
),
{arrive};

-- mark_goals --
-- A goal step is reached by coming to it.
WITH reached AS (
    UPDATE campaigns_enrolment e SET goal_at = %(now)s
    FROM campaigns_due d
    WHERE d.ctid = ANY(ARRAY({due})) AND e.id = d.enrolment_id AND e.goal_at IS NULL
    RETURNING e.id, e.contact_id, e.journey_id, e.exposed_at, d.node_id
),
kept AS (
    INSERT INTO campaigns_achievement (enrolment_id, kind, key, reached_at, is_after_exposure)
    SELECT id, 'goal', '', %(now)s, coalesce(exposed_at <= %(now)s, false) FROM reached
    ON CONFLICT (enrolment_id, kind, key) DO NOTHING
)
INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
SELECT r.contact_id, 'journey.goal_reached', %(now)s, %(now)s, 'journey',
       jsonb_build_object('journey', j.key, 'enrolment', r.id, 'goal', n.config->>'goal')
FROM reached r JOIN campaigns_journey j ON j.id = r.journey_id JOIN campaigns_node n ON n.id = r.node_id;

-- leave_by_step --
-- An exit step ends the enrolment. What was sent before it still goes out: the path meant it.
WITH taken AS MATERIALIZED (
    DELETE FROM campaigns_due WHERE ctid = ANY(ARRAY({due}))
    RETURNING enrolment_id, node_id, entered_at, visit
),
visits AS (
    INSERT INTO campaigns_visit (enrolment_id, node_id, visit, entered_at, left_at, outcome)
    SELECT enrolment_id, node_id, visit, entered_at, %(now)s, 'exit' FROM taken
),
ended AS (
    UPDATE campaigns_enrolment e SET state = 'exited', exit_reason = 'exit', ended_at = %(now)s
    FROM taken t WHERE e.id = t.enrolment_id
    RETURNING e.id, e.contact_id, e.journey_id, t.node_id
),
told AS (
    INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
    SELECT e.contact_id, 'journey.left', %(now)s, %(now)s, 'journey', jsonb_build_object(
           'journey', j.key, 'reason', 'exit', 'note', n.config->>'reason', 'enrolment', e.id)
    FROM ended e JOIN campaigns_journey j ON j.id = e.journey_id JOIN campaigns_node n ON n.id = e.node_id
)
SELECT count(*) FROM taken;
