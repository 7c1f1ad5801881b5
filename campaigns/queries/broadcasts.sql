-- Broadcasts: an occasion takes its audience once, waits for each one's moment, and is finished when all is settled.

-- instant_of_wall --
-- The instant of a wall time in a zone.
SELECT local_instant(%(wall)s::timestamp, %(zone)s::text);

-- take_audience --
-- Enrols whom the rule means now, each once, and gives each the moment: by her clock or by one for all; who is not
-- among the first waits behind them; and no more an hour than the pace allows, in the order of their moments.
WITH audience AS MATERIALIZED (
    SELECT c.id AS contact_id, coalesce(nullif(%(of_all)s, ''), nullif(c.zone, ''), %(zone)s) AS zone,
           c.zone = '' AND c.timezone <> '' AS is_unknown,
           CASE WHEN bucket_of(%(salt)s, c.id) < %(share)s THEN interval '0' ELSE %(wait)s::interval END AS behind
    FROM contacts_contact c
    WHERE c.id IN ({audience}) AND c.merged_into_id IS NULL AND c.erased_at IS NULL
),
moments AS MATERIALIZED (
    SELECT z.zone, greatest(local_instant(%(wall)s::timestamp, z.zone), %(now)s) AS instant
    FROM (SELECT DISTINCT zone FROM audience) z
),
entered AS (
    INSERT INTO campaigns_enrolment (contact_id, journey_id, version_id, entry_key, sendout_id, is_ghost, enrolled_at)
    SELECT contact_id, %(journey)s, %(version)s, %(key)s, %(occasion)s,
           %(holdout)s > 0 AND bucket_of('holdout:' || %(journey_key)s, contact_id) < %(holdout)s, %(now)s
    FROM audience
    ON CONFLICT (contact_id, journey_id, entry_key) WHERE state = 'open' DO NOTHING
    RETURNING id, contact_id, is_ghost
),
placed AS MATERIALIZED (
    SELECT e.*, m.instant + a.behind AS instant,
           row_number() OVER (ORDER BY m.instant + a.behind, e.contact_id) - 1 AS place
    FROM entered e JOIN audience a ON a.contact_id = e.contact_id JOIN moments m ON m.zone = a.zone
),
tokens AS (
    INSERT INTO campaigns_due (enrolment_id, contact_id, node_id, node_kind, is_ghost, entered_at, due_at)
    -- As in any queue: each leaves at her moment, or so long behind the one before her.
    SELECT id, contact_id, %(node)s, 'moment', is_ghost, %(now)s,
           max(instant - place * %(gap)s::interval) OVER (ORDER BY place) + place * %(gap)s::interval
    FROM placed
),
told AS (
    INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
    SELECT contact_id, 'journey.entered', %(now)s, %(now)s, 'journey', jsonb_build_object(
           'journey', %(journey_key)s::text, 'version', %(number)s::int, 'enrolment', id)
           -- As for any journey (see entering.sql).
           || CASE WHEN is_ghost THEN '{"held_out": true}'::jsonb ELSE '{}' END
    FROM entered
)
SELECT (SELECT count(*) FROM entered), (SELECT count(*) FROM audience WHERE is_unknown);

-- respace --
-- What is overdue since a pause or an outage drains at the broadcast's pace, from a little before now on.
WITH paced AS MATERIALIZED (
    SELECT n.id AS node_id, make_interval(secs => 3600.0 / (n.config->>'per_hour')::int) AS gap
    FROM campaigns_node n
    JOIN campaigns_journeyversion v ON v.id = n.version_id
    JOIN campaigns_journey j ON j.id = v.journey_id AND j.state IN ('live', 'closing')
    WHERE n.config ? 'per_hour' AND n.id IN (
        SELECT d.node_id FROM campaigns_due d
        WHERE d.node_kind = 'moment' AND d.due_at < %(now)s - %(burst)s::interval)
),
placed AS MATERIALIZED (
    SELECT d.id, d.node_id, p.gap, greatest(d.due_at, %(now)s - %(burst)s::interval) AS instant,
           row_number() OVER (PARTITION BY d.node_id ORDER BY d.due_at, d.id) - 1 AS place
    FROM campaigns_due d JOIN paced p ON p.node_id = d.node_id
    WHERE d.node_kind = 'moment'
)
UPDATE campaigns_due d SET due_at = s.due_at
FROM (SELECT id, max(instant - place * gap) OVER (PARTITION BY node_id ORDER BY place) + place * gap AS due_at
      FROM placed) s
WHERE d.id = s.id AND d.due_at <> s.due_at;

-- bad_news --
-- Did mail come back, or did somebody complain, in a window?
SELECT EXISTS (SELECT FROM contacts_touchpoint
               WHERE id > %(after)s AND id <= %(upto)s AND kind IN ('email.failed', 'email.bounced', 'email.complained'));

-- canary_outcome --
-- Of the first share of an occasion: how many people nothing holds back, of how many it came back, how many complained.
SELECT count(*), count(*) FILTER (WHERE m.reason = 'bounced' OR EXISTS (
           SELECT FROM contacts_touchpoint t WHERE t.contact_id = m.contact_id AND t.kind = 'email.bounced'
             AND t.occurred_at >= o.snapshot_at AND t.properties->>'message' = m.id::text)),
       count(*) FILTER (WHERE EXISTS (
           SELECT FROM contacts_touchpoint t WHERE t.contact_id = m.contact_id AND t.kind = 'email.complained'
             AND t.occurred_at >= o.snapshot_at AND t.properties->>'message' = m.id::text))
FROM campaigns_sendout o
JOIN campaigns_enrolment e ON e.sendout_id = o.id
LEFT JOIN messaging_message m ON m.enrolment_id = e.id
WHERE o.id = %(occasion)s AND bucket_of(%(salt)s, e.contact_id) < %(share)s
  AND coalesce(m.state, '') NOT IN ('skipped', 'cancelled') AND (m.id IS NOT NULL OR e.state = 'open');

-- end_canaries --
-- The first share has been waited for: the rest is on its way.
UPDATE campaigns_sendout SET state = 'sending' WHERE state = 'canary' AND canary_until <= %(now)s;

-- finish_occasions --
-- An occasion is finished when nobody is under way any more and no message of it is open.
UPDATE campaigns_sendout o SET state = 'finished', finished_at = %(now)s
WHERE o.state IN ('canary', 'sending')
  AND NOT EXISTS (SELECT FROM campaigns_enrolment e WHERE e.sendout_id = o.id AND e.state = 'open')
  AND NOT EXISTS (
    SELECT FROM campaigns_enrolment e JOIN messaging_message m ON m.enrolment_id = e.id
    WHERE e.sendout_id = o.id AND m.state IN ('pending', 'ready', 'sending'));

-- stop_occasions --
-- What an archived broadcast had still to do does not happen any more; one that is closing begins nothing, and what it
-- had begun may have come to its end.
UPDATE campaigns_sendout o
SET finished_at = %(now)s, state = CASE
        WHEN o.state = 'scheduled' OR EXISTS (
            SELECT FROM campaigns_enrolment e WHERE e.sendout_id = o.id AND e.exit_reason = 'archived') THEN 'stopped'
        ELSE 'finished' END
FROM campaigns_journey j
WHERE j.id = o.journey_id AND (j.state = 'archived' AND o.state IN ('scheduled', 'canary', 'sending')
                               OR j.state = 'closing' AND o.state = 'scheduled');

-- occasion_outcomes --
-- What became of the audiences of occasions, by occasion, state and reason: their sum is the audience.
SELECT e.sendout_id, CASE
           WHEN m.id IS NULL THEN CASE e.state WHEN 'open' THEN 'waiting' ELSE 'left' END
           WHEN m.state IN ('pending', 'ready', 'sending') THEN 'waiting'
           ELSE m.state END AS outcome,
       CASE WHEN m.id IS NULL THEN e.exit_reason ELSE m.reason END AS reason, count(*)
FROM campaigns_enrolment e
LEFT JOIN messaging_message m ON m.enrolment_id = e.id
WHERE e.sendout_id = ANY(%(occasions)s::bigint[])
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3;

-- occasion_answers --
-- Of occasions of these journeys: how many people clicked, and how many opened. Programs do not count.
SELECT e.sendout_id, count(DISTINCT m.contact_id) FILTER (WHERE h.link_id IS NOT NULL) AS clicked,
    count(DISTINCT m.contact_id) FILTER (WHERE h.link_id IS NULL) AS opened
FROM messaging_hit h
JOIN messaging_message m ON m.id = h.message_id
JOIN campaigns_enrolment e ON e.id = m.enrolment_id
WHERE h.is_told AND h.machine_reason = '' AND h.journey_key <> '' AND h.journey_key = ANY (%(journeys)s::text[])
  AND e.sendout_id = ANY (%(occasions)s::bigint[])
GROUP BY 1;
