-- Goals and exits: who reached what, and who leaves.

-- erased_people --
-- Contacts of whom a window says that they were erased.
SELECT contact_id FROM contacts_touchpoint WHERE id > %(after)s AND id <= %(upto)s AND kind = 'contact.erased';

-- people_of_archived --
-- Contacts who are still on a journey that was archived.
SELECT e.contact_id FROM campaigns_enrolment e
WHERE e.state = 'open' AND e.journey_id IN (SELECT id FROM campaigns_journey WHERE state = 'archived');

-- archive_closed --
-- A journey that was closing is archived once nobody is inside. Who holds it now (an editor) is not waited for.
UPDATE campaigns_journey SET state = 'archived'
WHERE id IN (
    SELECT j.id FROM campaigns_journey j
    WHERE j.state = 'closing'
      AND NOT EXISTS (SELECT FROM campaigns_enrolment e WHERE e.journey_id = j.id AND e.state = 'open')
    FOR NO KEY UPDATE SKIP LOCKED);

-- refuse_candidates --
-- Nobody is asked any more who waited for the entry filter of a journey that ended.
UPDATE campaigns_candidate k SET state = 'refused', reason = 'filter'
FROM campaigns_journey j
WHERE j.id = k.journey_id AND j.state IN ('closing', 'archived') AND k.state = 'waiting' AND k.until <= %(now)s;

-- touched --
-- The contacts whom something happened to in a window.
SELECT contact_id FROM contacts_touchpoint WHERE id > %(after)s AND id <= %(upto)s;

-- due_people --
-- The contacts who are about to move: their goals and exit rules are asked before. In a stopped journey nobody is.
SELECT d.contact_id FROM campaigns_due d
WHERE d.node_kind = ANY(%(kinds)s::text[]) AND d.due_at <= %(now)s AND d.node_id NOT IN (
    SELECT n.id FROM campaigns_node n
    JOIN campaigns_journeyversion v ON v.id = n.version_id
    JOIN campaigns_journey j ON j.id = v.journey_id
    WHERE j.state NOT IN ('live', 'closing'));

-- versions_of_people --
-- Of the versions that ask for a goal or an exit, those that these people are on, or may still reach the goal of.
SELECT DISTINCT version_id FROM campaigns_enrolment
WHERE contact_id IN ({people}) AND version_id = ANY(%(asking)s::bigint[])
  AND (state = 'open' OR version_id = ANY(%(late)s::bigint[]));

-- note_exposure --
-- When the first message of each enrolment left, as far as a window tells of it.
WITH told AS MATERIALIZED (
    SELECT CASE WHEN t.properties->>'message' ~ '^[0-9]{1,18}$' THEN (t.properties->>'message')::bigint END AS message_id,
        t.occurred_at
    FROM contacts_touchpoint t
    WHERE t.id > %(after)s AND t.id <= %(upto)s AND t.kind = ANY(%(sent)s::text[]) AND t.source = ANY(%(channels)s::text[])
), first AS (
    SELECT m.enrolment_id, min(told.occurred_at) AS sent_at
    FROM told JOIN messaging_message m ON m.id = told.message_id
    WHERE m.enrolment_id IS NOT NULL
    GROUP BY m.enrolment_id
)
UPDATE campaigns_enrolment e SET exposed_at = first.sent_at
FROM first WHERE e.id = first.enrolment_id AND e.exposed_at IS NULL;

-- reach_goals --
-- Writes down who reached which goal, under way or after it; each once for each enrolment. What was reached answers,
-- over `p`: enrolment, key of the goal, the touchpoint that shows it (or NULL), its window, and what it is worth.
WITH p AS MATERIALIZED (
    SELECT e.id AS enrolment_id, e.contact_id, e.version_id, e.state, e.enrolled_at, e.exposed_at, e.goal_at,
           least(e.enrolled_at, (SELECT f.occurred_at FROM contacts_touchpoint f WHERE f.id = e.touchpoint_id)) AS since,
           coalesce(e.touchpoint_id, 0) AS trigger_id
    FROM campaigns_enrolment e
    WHERE e.contact_id IN ({people}) AND e.version_id = ANY(%(versions)s::bigint[])
),
met AS MATERIALIZED (
    SELECT r.*, least(coalesce(t.occurred_at, %(now)s), %(now)s) AS reached_at
    FROM ({reached}) r LEFT JOIN contacts_touchpoint t ON t.id = r.touchpoint_id
),
kept AS (
    INSERT INTO campaigns_achievement (enrolment_id, kind, key, reached_at, touchpoint_id, value, is_after_exposure)
    SELECT m.enrolment_id, 'goal', m.key, m.reached_at, m.touchpoint_id, m.value, coalesce(
           m.reached_at >= p.exposed_at AND (m.in_time IS NULL OR m.reached_at <= p.exposed_at + m.in_time), false)
    FROM met m JOIN p ON p.enrolment_id = m.enrolment_id
    ON CONFLICT (enrolment_id, kind, key) DO NOTHING
    RETURNING enrolment_id, key, reached_at, value
),
own AS (
    UPDATE campaigns_enrolment e SET goal_at = k.reached_at
    FROM kept k WHERE e.id = k.enrolment_id AND k.key = '' AND e.goal_at IS NULL
    RETURNING e.id
)
INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
SELECT p.contact_id, 'journey.goal_reached', %(now)s, %(now)s, 'journey', jsonb_strip_nulls(jsonb_build_object(
       'journey', j.key, 'enrolment', k.enrolment_id, 'goal', nullif(k.key, ''), 'value', k.value))
FROM kept k JOIN p ON p.enrolment_id = k.enrolment_id
JOIN campaigns_journeyversion v ON v.id = p.version_id JOIN campaigns_journey j ON j.id = v.journey_id
WHERE k.key <> '' OR EXISTS (SELECT FROM own WHERE own.id = k.enrolment_id);

-- jump_at_goal --
-- Whoever reached a goal that leads to a step stands at the entry once more, to go on from there by the edge `goal`; a
-- jump begins the next round, so that messages get keys of their own. The enrolments.
WITH taken AS MATERIALIZED (
    DELETE FROM campaigns_due d USING campaigns_enrolment e
    WHERE e.id = d.enrolment_id AND e.contact_id IN ({people}) AND e.version_id = ANY(%(versions)s::bigint[])
      AND e.state = 'open' AND e.goal_at IS NOT NULL
      AND NOT EXISTS (SELECT FROM campaigns_visit v WHERE v.enrolment_id = e.id AND v.outcome = 'goal')
    RETURNING d.enrolment_id, d.contact_id, d.node_id, d.is_ghost, d.entered_at, d.visit, e.version_id
),
visits AS (
    INSERT INTO campaigns_visit (enrolment_id, node_id, visit, entered_at, left_at, outcome)
    SELECT enrolment_id, node_id, visit, entered_at, %(now)s, 'goal' FROM taken
),
tokens AS (
    INSERT INTO campaigns_due (enrolment_id, contact_id, node_id, node_kind, is_ghost, entered_at, due_at, visit)
    SELECT t.enrolment_id, t.contact_id, n.id, 'goal_jump', t.is_ghost, %(now)s, %(now)s, t.visit + 1
    FROM taken t JOIN campaigns_node n ON n.version_id = t.version_id AND n.key = ''
)
SELECT enrolment_id FROM taken;

-- refusing_versions --
-- The versions on which somebody is who refused mail since the enrolment.
SELECT DISTINCT e.version_id
FROM contacts_consent s JOIN campaigns_enrolment e ON e.contact_id = s.contact_id AND e.state = 'open'
WHERE s.state = 'denied' AND s.changed_at > e.enrolled_at AND s.contact_id IN ({people});

-- anybody_suppressed --
-- Is the address of any of these people, who are on a journey, closed to us?
SELECT EXISTS (
    SELECT FROM messaging_suppression s JOIN contacts_contact c ON lower(btrim(c.email)) = s.address
    WHERE s.reason <> 'unsubscribed' AND c.id IN ({people})
      AND EXISTS (SELECT FROM campaigns_enrolment e WHERE e.contact_id = c.id AND e.state = 'open'));

-- end_enrolments --
-- Takes people out of journeys at once, wherever they stand: token, path, touchpoint; the enrolments that ended.
WITH p AS MATERIALIZED (
    SELECT e.id AS enrolment_id, e.contact_id, e.version_id, e.goal_at, e.enrolled_at,
           (SELECT d.node_id FROM campaigns_due d WHERE d.enrolment_id = e.id) AS node_id,
           least(e.enrolled_at, (SELECT f.occurred_at FROM contacts_touchpoint f WHERE f.id = e.touchpoint_id)) AS since,
           coalesce(e.touchpoint_id, 0) AS trigger_id
    FROM campaigns_enrolment e
    WHERE e.contact_id IN ({people}) AND e.state = 'open'
),
ending AS MATERIALIZED (
    SELECT * FROM (SELECT p.enrolment_id, {ending} AS reason FROM p) AS one WHERE reason IS NOT NULL
),
ended AS (
    UPDATE campaigns_enrolment e SET state = 'exited', exit_reason = ending.reason, ended_at = %(now)s
    FROM ending WHERE e.id = ending.enrolment_id
    RETURNING e.id, e.contact_id, e.journey_id, e.exit_reason
),
taken AS (
    DELETE FROM campaigns_due d USING ending WHERE d.enrolment_id = ending.enrolment_id
    RETURNING d.enrolment_id, d.node_id, d.entered_at, d.visit, ending.reason
),
visits AS (
    INSERT INTO campaigns_visit (enrolment_id, node_id, visit, entered_at, left_at, outcome)
    SELECT enrolment_id, node_id, visit, entered_at, %(now)s, reason FROM taken
),
told AS (
    INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
    SELECT e.contact_id, 'journey.left', %(now)s, %(now)s, 'journey',
           jsonb_build_object('journey', j.key, 'reason', e.exit_reason, 'enrolment', e.id)
    FROM ended e JOIN campaigns_journey j ON j.id = e.journey_id
)
SELECT id, exit_reason FROM ended;
