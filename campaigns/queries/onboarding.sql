-- Onboarding sequences: milestones, who stalls, whose time is up. `{due}`, `{arrive}`: see moving.sql.

-- entering_versions --
-- The versions that somebody has just come into.
SELECT DISTINCT n.version_id FROM campaigns_node n
WHERE n.id IN (SELECT d.node_id FROM campaigns_due d WHERE d.node_kind = 'entry' AND d.due_at <= %(now)s);

-- watch_entered --
-- Whoever has just come into an onboarding sequence is watched from now on.
INSERT INTO campaigns_watch (enrolment_id, stalls_at, ends_at)
SELECT e.id, e.enrolled_at + s.stall_after, e.enrolled_at + s.timeout
FROM campaigns_due d
JOIN campaigns_enrolment e ON e.id = d.enrolment_id
JOIN unnest(%(versions)s::bigint[], %(stalls)s::interval[], %(timeouts)s::interval[])
     AS s(version_id, stall_after, timeout) ON s.version_id = e.version_id
WHERE d.node_kind = 'entry' AND d.due_at <= %(now)s AND coalesce(s.stall_after, s.timeout) IS NOT NULL
ON CONFLICT (enrolment_id) DO NOTHING;

-- watch_moved --
-- Whoever is on a version just published is watched as it says, from when she entered, or got on last.
INSERT INTO campaigns_watch AS w (enrolment_id, stalls_at, ends_at)
SELECT e.id, greatest(e.enrolled_at, (
           SELECT max(a.reached_at) FROM campaigns_achievement a WHERE a.enrolment_id = e.id AND a.kind = 'milestone')
       ) + %(stall_after)s::interval, e.enrolled_at + %(timeout)s::interval
FROM campaigns_enrolment e
WHERE e.version_id = %(version)s AND e.state = 'open'
ON CONFLICT (enrolment_id) DO UPDATE SET ends_at = excluded.ends_at, stalls_at = CASE
    -- Who was nudged, or is somebody's task, is so once.
    WHEN w.nudged_at IS NULL AND w.asked_at IS NULL THEN excluded.stalls_at ELSE w.stalls_at END;

-- entered_protected --
-- Whoever has just come into an onboarding sequence, and until when other campaigns wait.
SELECT e.contact_id, 'enrolment:' || e.id AS source, e.enrolled_at + s.protection AS until
FROM campaigns_due d
JOIN campaigns_enrolment e ON e.id = d.enrolment_id
JOIN unnest(%(versions)s::bigint[], %(protections)s::interval[]) AS s(version_id, protection) ON s.version_id = e.version_id
WHERE d.node_kind = 'entry' AND d.due_at <= %(now)s AND s.protection IS NOT NULL;

-- open_versions_of --
-- Of the versions with milestones, those that these people are under way on.
SELECT DISTINCT version_id FROM campaigns_enrolment
WHERE contact_id IN ({people}) AND version_id = ANY(%(asking)s::bigint[]) AND state = 'open';

-- reach_milestones --
-- Writes down who reached which milestone, with the touchpoint that shows it, once for each enrolment; it tells the
-- stream, and whoever got on does not stall. Answers the enrolments.
WITH asked AS MATERIALIZED (
    SELECT e.id AS enrolment_id, e.contact_id, e.journey_id, e.version_id, m.place, m.key
    FROM campaigns_enrolment e
    JOIN unnest(%(versions)s::bigint[], %(places)s::int[], %(keys)s::text[]) AS m(version_id, place, key)
      ON m.version_id = e.version_id
    WHERE e.contact_id IN ({people}) AND e.version_id = ANY(%(versions)s::bigint[]) AND e.state = 'open'
      AND NOT EXISTS (
        SELECT FROM campaigns_achievement a WHERE a.enrolment_id = e.id AND a.kind = 'milestone' AND a.key = m.key)
),
met AS MATERIALIZED (
    SELECT p.*, {shown} AS touchpoint_id FROM asked p WHERE {met}
),
reached AS (
    INSERT INTO campaigns_achievement (enrolment_id, kind, key, reached_at, touchpoint_id)
    SELECT enrolment_id, 'milestone', key, %(now)s, touchpoint_id FROM met
    ON CONFLICT DO NOTHING
    RETURNING enrolment_id, key, touchpoint_id
),
told AS (
    INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
    SELECT m.contact_id, 'milestone.reached', %(now)s, %(now)s, 'journey', jsonb_build_object(
           'journey', j.key, 'milestone', m.key, 'enrolment', m.enrolment_id, 'touchpoint', m.touchpoint_id)
    FROM met m JOIN reached r ON r.enrolment_id = m.enrolment_id AND r.key = m.key
    JOIN campaigns_journey j ON j.id = m.journey_id
    ORDER BY m.enrolment_id, m.place
),
got_on AS (
    UPDATE campaigns_watch w SET stalls_at = %(now)s + s.stall_after
    FROM (SELECT DISTINCT m.enrolment_id, m.version_id FROM met m) m
    JOIN unnest(%(stalling)s::bigint[], %(stalls)s::interval[]) AS s(version_id, stall_after) ON s.version_id = m.version_id
    WHERE w.enrolment_id = m.enrolment_id AND w.stalls_at IS NOT NULL
)
SELECT DISTINCT enrolment_id FROM reached;

-- pointless_messages --
-- Messages that have not left and lead to a milestone which their enrolment has reached by now, or nudge whoever got on.
SELECT m.id
FROM messaging_message m
JOIN campaigns_enrolment e ON e.id = m.enrolment_id
JOIN campaigns_node n ON n.version_id = e.version_id AND n.key = m.node_key
JOIN campaigns_achievement a ON a.enrolment_id = e.id AND a.kind = 'milestone' AND a.key = n.config->>'milestone'
WHERE m.enrolment_id = ANY(%(enrolments)s::bigint[]) AND m.state IN ('pending', 'ready')
UNION
SELECT id FROM messaging_message
WHERE enrolment_id = ANY(%(enrolments)s::bigint[]) AND state IN ('pending', 'ready') AND node_key = ':nudge';

-- tell_activated --
-- Tells of those who have reached all required milestones, with the time that it took.
INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
SELECT p.contact_id, 'onboarding.activated', %(now)s, %(now)s, 'journey', jsonb_build_object(
       'journey', j.key, 'enrolment', p.enrolment_id, 'seconds', extract(epoch FROM %(now)s - p.enrolled_at)::bigint)
FROM (SELECT e.id AS enrolment_id, e.contact_id, e.version_id, e.journey_id, e.enrolled_at FROM campaigns_enrolment e
      WHERE e.contact_id IN ({people}) AND e.state = 'open') p
JOIN campaigns_journey j ON j.id = p.journey_id
WHERE ({ending}) = 'activated';

-- is_bound --
-- Whether somebody is due at a step of this kind that leads to a milestone.
SELECT EXISTS (
    SELECT FROM campaigns_node n
    WHERE n.kind = %(kind)s AND n.config ? 'milestone' AND EXISTS (
        SELECT FROM campaigns_due d WHERE d.node_kind = n.kind AND d.due_at <= %(now)s AND d.node_id = n.id));

-- skip_done --
-- Whoever has reached the milestone that a step leads to passes the step by.
WITH leaving AS MATERIALIZED (
    DELETE FROM campaigns_due d
    WHERE d.ctid = ANY(ARRAY({due})) AND EXISTS (
        SELECT FROM campaigns_node n
        JOIN campaigns_achievement a
          ON a.enrolment_id = d.enrolment_id AND a.kind = 'milestone' AND a.key = n.config->>'milestone'
        WHERE n.id = d.node_id)
    RETURNING enrolment_id, contact_id, node_id, is_ghost, entered_at, visit, 'next' AS outcome,
              '{"skipped": "milestone_reached"}'::jsonb AS inputs
),
{arrive};

-- space_sends --
-- Puts off what was intended at this moment until the gap after the last marketing message of the enrolment is over.
WITH fresh AS MATERIALIZED (
    SELECT m.id, m.enrolment_id, m.created_at, g.gap
    FROM messaging_message m
    JOIN campaigns_enrolment e ON e.id = m.enrolment_id
    JOIN unnest(%(versions)s::bigint[], %(gaps)s::interval[]) AS g(version_id, gap) ON g.version_id = e.version_id
    WHERE m.state = 'pending' AND m.due_at = %(now)s AND m.created_at = %(now)s AND m.message_class = 'marketing'
),
spaced AS (
    SELECT f.id, max(coalesce(o.sent_at, o.claimed_at, o.due_at)) + f.gap AS due_at
    FROM fresh f JOIN messaging_message o ON o.enrolment_id = f.enrolment_id AND o.id <> f.id
    WHERE o.message_class = 'marketing' AND (
        o.state IN ('ready', 'sending', 'sent', 'uncertain')
        OR o.state = 'pending' AND (o.created_at < f.created_at OR o.id < f.id)
        -- Whoever is held out walks the same way.
        OR o.is_ghost AND o.state = 'skipped')
    GROUP BY f.id, f.gap
)
UPDATE messaging_message m SET due_at = s.due_at, valid_until = m.valid_until + (s.due_at - %(now)s)
FROM spaced s WHERE m.id = s.id AND s.due_at > %(now)s;

-- gaps --
-- What versions, or the versions of steps, say of the gap between messages.
SELECT v.id, v.definition->>'kind', v.definition->>'min_gap'
FROM campaigns_journeyversion v
WHERE v.id = ANY(%(versions)s::bigint[])
   OR v.id IN (SELECT n.version_id FROM campaigns_node n WHERE n.id = ANY(%(nodes)s::bigint[]));

-- move_task --
-- Asks a person to do something, by a touchpoint; nobody is asked to do anything for whoever is held out.
WITH leaving AS MATERIALIZED (
    DELETE FROM campaigns_due WHERE ctid = ANY(ARRAY({due}))
    RETURNING enrolment_id, contact_id, node_id, is_ghost, entered_at, visit, 'next' AS outcome, NULL::jsonb AS inputs
),
announced AS (
    INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
    SELECT l.contact_id, 'task.requested', %(now)s, %(now)s, 'journey', jsonb_build_object(
           'assign', n.config->>'assign', 'title', n.config->>'title', 'journey', j.key, 'step', n.key,
           'enrolment', l.enrolment_id, 'due_at', %(now)s + make_interval(
                days => (n.config->'due'->>'days')::int, secs => (n.config->'due'->>'seconds')::int))
    FROM leaving l
    JOIN campaigns_node n ON n.id = l.node_id
    JOIN campaigns_journeyversion v ON v.id = n.version_id
    JOIN campaigns_journey j ON j.id = v.journey_id
    WHERE n.id = ANY(%(nodes)s::bigint[]) AND NOT l.is_ghost
),
{arrive};

-- watched_versions --
-- The versions of those whom the clock has come for; who left meanwhile is watched no more.
WITH gone AS (
    DELETE FROM campaigns_watch w USING campaigns_enrolment e
    WHERE (w.stalls_at <= %(now)s OR w.ends_at <= %(now)s) AND e.id = w.enrolment_id AND e.state <> 'open'
)
SELECT DISTINCT e.version_id
FROM campaigns_watch w
JOIN campaigns_enrolment e ON e.id = w.enrolment_id AND e.state = 'open'
JOIN campaigns_journey j ON j.id = e.journey_id AND j.state IN ('live', 'closing')
WHERE w.stalls_at <= %(now)s OR w.ends_at <= %(now)s;

-- time_up --
-- Tells of those whose time is up, and asks for the journey that takes them on; answers their enrolments.
WITH up AS MATERIALIZED (
    SELECT e.id, e.contact_id, e.is_ghost, j.key AS journey_key, v.definition->'on_timeout'->>'start' AS following
    FROM campaigns_watch w
    JOIN campaigns_enrolment e ON e.id = w.enrolment_id AND e.state = 'open'
    JOIN campaigns_journey j ON j.id = e.journey_id AND j.state IN ('live', 'closing')
    JOIN campaigns_journeyversion v ON v.id = e.version_id
    WHERE w.ends_at <= %(now)s
),
told AS (
    INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
    SELECT contact_id, 'onboarding.timed_out', %(now)s, %(now)s, 'journey',
           jsonb_build_object('journey', journey_key, 'enrolment', id)
    FROM up
),
asked AS (
    INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
    SELECT contact_id, 'journey.requested', %(now)s, %(now)s, 'journey',
           jsonb_build_object('journey', following, 'by', 'journey:' || journey_key, 'entry_key', '')
    FROM up WHERE following IS NOT NULL AND NOT is_ghost
)
SELECT id FROM up ORDER BY id;

-- meet_stalled --
-- Whoever has not got on for too long is nudged once; who still does not is a task for a person. Counts both.
WITH stalled AS MATERIALIZED (
    SELECT w.id AS watch_id, e.id AS enrolment_id, e.contact_id, e.is_ghost, j.key AS journey_key, j.tier, s.*,
           w.nudged_at IS NULL AND s.nudge IS NOT NULL AS is_nudge
    FROM campaigns_watch w
    JOIN campaigns_enrolment e ON e.id = w.enrolment_id AND e.state = 'open'
    JOIN campaigns_journey j ON j.id = e.journey_id AND j.state IN ('live', 'closing')
    JOIN unnest(%(versions)s::bigint[], %(stalls)s::interval[], %(nudges)s::text[], %(tasks)s::jsonb[])
         AS s(version_id, stall_after, nudge, task) ON s.version_id = e.version_id
    WHERE w.stalls_at <= %(now)s
),
nudges AS (
    INSERT INTO messaging_message (key, contact_id, template_id, channel, message_class, source, journey_key,
        enrolment_id, node_key, is_ghost, tier, created_at, due_at)
    SELECT 'nudge:' || s.enrolment_id, s.contact_id, t.id, t.channel, t.message_class, 'journey:' || s.journey_key,
           s.journey_key, s.enrolment_id, ':nudge', s.is_ghost AND t.message_class = 'marketing', s.tier, %(now)s, %(now)s
    FROM stalled s JOIN messaging_template t ON t.key = s.nudge
    WHERE s.is_nudge
    ON CONFLICT (key) DO NOTHING
),
asked AS (
    INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
    SELECT s.contact_id, 'task.requested', %(now)s, %(now)s, 'journey', jsonb_build_object(
           'assign', s.task->>'assign', 'title', s.task->>'title', 'journey', s.journey_key, 'step', '',
           'enrolment', s.enrolment_id, 'due_at', %(now)s + make_interval(
                days => (s.task->'due'->>'days')::int, secs => (s.task->'due'->>'seconds')::int))
    FROM stalled s WHERE NOT s.is_nudge AND s.task IS NOT NULL AND NOT s.is_ghost
),
noted AS (
    UPDATE campaigns_watch w
    SET nudged_at = CASE WHEN s.is_nudge THEN %(now)s ELSE w.nudged_at END,
        asked_at = CASE WHEN NOT s.is_nudge AND s.task IS NOT NULL THEN %(now)s ELSE w.asked_at END,
        stalls_at = CASE WHEN s.is_nudge AND s.task IS NOT NULL THEN %(now)s + s.stall_after END
    FROM stalled s WHERE w.id = s.watch_id
)
SELECT count(*) FROM stalled;

-- unwatch_left --
-- Whoever left is watched no more.
DELETE FROM campaigns_watch w USING contacts_touchpoint t
WHERE t.id > %(after)s AND t.id <= %(upto)s AND t.kind = 'journey.left'
  AND w.enrolment_id = (t.properties->>'enrolment')::bigint;

-- sources_left --
-- The onboardings that ended in a window: they protect nobody any more.
SELECT 'enrolment:' || (properties->>'enrolment') FROM contacts_touchpoint
WHERE id > %(after)s AND id <= %(upto)s AND kind = 'journey.left';

-- milestone_numbers --
-- Of a journey: how many entered, were activated or ran out of time, and the median time to activation.
SELECT count(*), count(*) FILTER (WHERE exit_reason = 'activated'), count(*) FILTER (WHERE exit_reason = 'timed_out'),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY ended_at - enrolled_at) FILTER (WHERE exit_reason = 'activated')
FROM campaigns_enrolment WHERE journey_id = %(journey)s AND NOT is_ghost;

-- milestones_reached --
-- Of a journey: how many reached each milestone, and the median time until then.
SELECT a.key, count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY a.reached_at - e.enrolled_at)
FROM campaigns_achievement a JOIN campaigns_enrolment e ON e.id = a.enrolment_id
WHERE e.journey_id = %(journey)s AND a.kind = 'milestone' AND NOT e.is_ghost
GROUP BY a.key;
