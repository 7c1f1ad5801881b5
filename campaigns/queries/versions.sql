-- New versions: who stands where, and moving them. `{arrive}` is a statement of moving.sql that the engine puts in.

-- versions_inside --
-- The versions of a journey that somebody is on.
SELECT DISTINCT e.version_id FROM campaigns_enrolment e WHERE e.journey_id = %(journey)s AND e.state = 'open';

-- standing --
-- How many stand at each step of a journey, of all versions.
SELECT d.node_id, d.is_ghost, count(*)
FROM campaigns_due d
WHERE d.node_id IN (
    SELECT n.id FROM campaigns_node n JOIN campaigns_journeyversion v ON v.id = n.version_id
    WHERE v.journey_id = %(journey)s)
GROUP BY d.node_id, d.is_ghost;

-- passed --
-- Of whoever stands at a step: how many left which others before, whatever version those belonged to.
SELECT d.node_id, n.key, d.is_ghost, count(DISTINCT d.enrolment_id)
FROM campaigns_due d
JOIN campaigns_visit v ON v.enrolment_id = d.enrolment_id
JOIN campaigns_node n ON n.id = v.node_id
WHERE v.outcome NOT LIKE 'moved:%%' AND d.node_id IN (
    SELECT m.id FROM campaigns_node m JOIN campaigns_journeyversion w ON w.id = m.version_id
    WHERE w.journey_id = %(journey)s)
GROUP BY d.node_id, n.key, d.is_ghost;

-- take_intents_along --
-- Whoever waits for a message and is moved to another step that sends the same waits there for the same message.
UPDATE messaging_message m
SET key = 'enrolment:' || d.enrolment_id || ':' || x.to_key || ':' || d.visit, node_key = x.to_key
FROM unnest(%(froms)s::bigint[], %(from_keys)s::text[], %(to_keys)s::text[]) AS x(from_id, from_key, to_key)
JOIN campaigns_due d ON d.node_id = x.from_id
WHERE m.enrolment_id = d.enrolment_id AND m.key = 'enrolment:' || d.enrolment_id || ':' || x.from_key || ':' || d.visit
  AND NOT EXISTS (
    SELECT FROM messaging_message o WHERE o.key = 'enrolment:' || d.enrolment_id || ':' || x.to_key || ':' || d.visit);

-- move_people --
-- Moves whoever stands at a step of an old version to one of the new, or to the end; how many from where. The path grows
-- by how they left; a wait goes on from when it began, in its new length. What lies ahead and was done already, or says
-- what the person heard already, is noted: they pass it by.
WITH plan AS MATERIALIZED (
    SELECT * FROM unnest(%(froms)s::bigint[], %(tos)s::bigint[], %(outcomes)s::text[], %(kept)s::boolean[],
                         %(retimed)s::boolean[]) AS p(from_id, to_id, outcome, is_kept, is_retimed)
),
taken AS MATERIALIZED (
    DELETE FROM campaigns_due d USING plan p WHERE d.node_id = p.from_id
    RETURNING d.enrolment_id, d.contact_id, d.is_ghost, d.visit, d.entered_at AS came_at, d.due_at AS was_due,
        d.node_kind AS was_kind, p.*
),
visits AS (
    INSERT INTO campaigns_visit (enrolment_id, node_id, visit, entered_at, left_at, outcome)
    SELECT enrolment_id, from_id, visit, came_at, %(now)s, outcome FROM taken
),
landed AS MATERIALIZED (
    SELECT t.*, CASE WHEN t.is_kept THEN t.came_at ELSE %(now)s END AS entered_at,
           -- Who rests at a send goes on resting, and whose track gave way to another still stands still.
           CASE WHEN t.is_kept OR t.was_kind = 'superseded' THEN t.was_kind ELSE n.kind END AS kind
    FROM taken t JOIN campaigns_node n ON n.id = t.to_id
),
tokens AS (
    INSERT INTO campaigns_due (enrolment_id, contact_id, node_id, node_kind, is_ghost, entered_at, due_at, visit)
    SELECT l.enrolment_id, l.contact_id, l.to_id, l.kind, l.is_ghost, l.entered_at, CASE
        WHEN l.is_kept AND NOT l.is_retimed OR l.kind = 'superseded' THEN l.was_due
        WHEN n.kind IN ('wait', 'wait_until') THEN wakes_at(
            n.kind, n.config, l.entered_at, coalesce(nullif(c.zone, ''), %(zone)s),
            CASE WHEN n.config ? 'property' THEN (
                SELECT t.properties->(n.config->>'property')
                FROM campaigns_enrolment e JOIN contacts_touchpoint t ON t.id = e.touchpoint_id
                WHERE e.id = l.enrolment_id)
            ELSE c.attributes->(n.config->>'field') END)
        -- Due as soon as entered means just arrived: a wait for something asks again, and times itself from its start.
        ELSE l.entered_at END, l.visit
    FROM landed l JOIN campaigns_node n ON n.id = l.to_id JOIN contacts_contact c ON c.id = l.contact_id
),
ahead AS MATERIALIZED (
    SELECT l.enrolment_id, l.contact_id, l.visit, n.id AS node_id, n.key, n.kind, n.config->>'template' AS template,
           -- Where she waits for the very message.
           l.is_kept AND n.id = l.to_id AS is_resting
    FROM landed l
    JOIN unnest(%(stands)s::bigint[], %(aheads)s::bigint[]) AS r(stand_id, ahead_id) ON r.stand_id = l.to_id
    JOIN campaigns_node n ON n.id = r.ahead_id
    -- A stream is never behind: who left it may be led back.
    WHERE n.kind NOT IN ('entry', 'jump_to', 'stream')
),
forgotten AS (
    DELETE FROM campaigns_behind b USING taken t WHERE b.enrolment_id = t.enrolment_id
),
noted AS (
    INSERT INTO campaigns_behind (enrolment_id, node_id, visit, outcome)
    SELECT a.enrolment_id, a.node_id, a.visit, v.outcome
    FROM ahead a
    JOIN campaigns_visit v ON v.enrolment_id = a.enrolment_id AND v.visit = a.visit
    JOIN campaigns_node o ON o.id = v.node_id AND o.key = a.key AND o.kind = a.kind
    JOIN campaigns_nodeexit x ON x.node_id = a.node_id AND x.label = v.outcome
    UNION
    SELECT a.enrolment_id, a.node_id, a.visit, 'next'
    FROM ahead a JOIN messaging_template t ON t.key = a.template
    WHERE a.kind = 'send' AND NOT a.is_resting AND EXISTS (
        SELECT FROM messaging_message m
        WHERE m.contact_id = a.contact_id AND m.template_id = t.id AND (
            -- On this way, in this round.
            (m.key = 'enrolment:' || a.enrolment_id || ':' || m.node_key || ':' || a.visit
             AND (m.is_ghost OR m.state IN ('pending', 'ready', 'sending', 'sent', 'uncertain')))
            OR (t.message_class = 'marketing' AND NOT t.is_repeatable AND NOT m.is_ghost
                AND m.state IN ('ready', 'sending', 'sent', 'uncertain')))
        OFFSET 0)
    ON CONFLICT DO NOTHING
),
changed AS (
    UPDATE campaigns_enrolment e
    SET version_id = %(version)s,
        state = CASE WHEN t.to_id IS NULL THEN 'finished' ELSE 'open' END,
        exit_reason = CASE WHEN t.to_id IS NULL THEN 'end' ELSE '' END,
        ended_at = CASE WHEN t.to_id IS NULL THEN %(now)s END
    FROM taken t WHERE e.id = t.enrolment_id
    RETURNING e.id, e.contact_id, e.journey_id, e.state
),
told AS (
    INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
    SELECT e.contact_id, 'journey.left', %(now)s, %(now)s, 'journey',
           jsonb_build_object('journey', j.key, 'reason', 'end', 'enrolment', e.id)
    FROM changed e JOIN campaigns_journey j ON j.id = e.journey_id WHERE e.state = 'finished'
)
SELECT from_id, is_ghost, count(*) FROM taken GROUP BY from_id, is_ghost;

-- people_at --
-- The contacts who stand at these steps.
SELECT d.contact_id FROM campaigns_due d WHERE d.node_id = ANY(%(nodes)s::bigint[]) AND d.is_ghost = %(is_ghost)s;

-- forget_behind --
-- What was noted for people who are under way no more.
DELETE FROM campaigns_behind b
WHERE NOT EXISTS (SELECT FROM campaigns_enrolment e WHERE e.id = b.enrolment_id AND e.state = 'open');

-- anybody_behind --
-- Whether anybody was moved to where steps lie ahead that they did already.
SELECT EXISTS (SELECT FROM campaigns_behind);

-- pass_by --
-- Passes whoever came to a step that they did in another version, by the same way out as then.
WITH leaving AS MATERIALIZED (
    DELETE FROM campaigns_due d USING campaigns_behind b, campaigns_node n, campaigns_journeyversion v, campaigns_journey j
    WHERE b.enrolment_id = d.enrolment_id AND b.node_id = d.node_id AND b.visit = d.visit
      AND n.id = d.node_id AND v.id = n.version_id AND j.id = v.journey_id AND j.state IN ('live', 'closing')
    RETURNING d.enrolment_id, d.contact_id, d.node_id, d.is_ghost, d.entered_at, d.visit, b.outcome,
        '{"passed": true}'::jsonb AS inputs
),
used AS (
    DELETE FROM campaigns_behind b USING leaving l
    WHERE b.enrolment_id = l.enrolment_id AND b.node_id = l.node_id AND b.visit = l.visit
),
{arrive};
