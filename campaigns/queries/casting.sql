-- Nurture tracks: the casts of streams. `{due}` and the like are pieces that the engine puts in (see moving.sql).

-- settle --
-- Whoever has just come to a stream is due as soon as entered, and waits for its next cast.
WITH p AS MATERIALIZED (
    SELECT d.ctid AS token, d.node_id, coalesce(nullif(c.zone, ''), %(zone)s) AS zone,
           CASE WHEN d.node_id = ANY(%(heeding)s::bigint[]) THEN upper(btrim(c.country)) ELSE '' END AS country
    FROM campaigns_due d JOIN contacts_contact c ON c.id = d.contact_id
    WHERE d.ctid = ANY(ARRAY({due})) AND d.due_at = d.entered_at
),
next_casts AS MATERIALIZED ({next_casts})
UPDATE campaigns_due d SET due_at = n.due_at
FROM p JOIN next_casts n ON n.node_id = p.node_id AND n.zone = p.zone AND n.country = p.country
WHERE d.ctid = p.token;

-- next_casts --
-- The first cast after now, once for each stream, time zone and country (told apart where holidays are heeded) of `p`.
SELECT z.node_id, z.zone, z.country, min(instant) AS due_at
FROM (SELECT DISTINCT node_id, zone, country FROM p) z
JOIN unnest(%(streams)s::bigint[], %(countries)s::text[], %(walls)s::timestamp[]) AS w(node_id, country, wall)
  ON w.node_id = z.node_id AND w.country = z.country
CROSS JOIN LATERAL local_instant(w.wall, z.zone) AS instant
WHERE instant > %(now)s
GROUP BY z.node_id, z.zone, z.country;

-- countries_of_due --
-- Where the members live who are due in streams that heed holidays.
SELECT DISTINCT d.node_id, upper(btrim(c.country))
FROM campaigns_due d JOIN contacts_contact c ON c.id = d.contact_id
WHERE d.node_kind = 'stream' AND d.due_at <= %(now)s AND d.node_id = ANY(%(heeding)s::bigint[]);

-- carry_on --
-- A track has no end: its members go on in the live version, in the stream of the same key, else in the first one.
WITH p AS MATERIALIZED (
    SELECT d.ctid AS token, d.enrolment_id, j.version_id AS live_id, coalesce(
        (SELECT m.id FROM campaigns_node m WHERE m.version_id = j.version_id AND m.kind = 'stream' AND m.key = n.key),
        (SELECT m.id FROM campaigns_node m WHERE m.version_id = j.version_id AND m.kind = 'stream'
         ORDER BY m.position LIMIT 1)) AS to_id
    FROM campaigns_due d
    JOIN campaigns_node n ON n.id = d.node_id
    JOIN campaigns_journeyversion v ON v.id = n.version_id
    JOIN campaigns_journey j ON j.id = v.journey_id
    WHERE d.ctid = ANY(ARRAY({due})) AND j.version_id <> v.id
),
carried AS (
    UPDATE campaigns_due d SET node_id = p.to_id FROM p WHERE d.ctid = p.token AND p.to_id IS NOT NULL
)
UPDATE campaigns_enrolment e SET version_id = p.live_id FROM p WHERE e.id = p.enrolment_id AND p.to_id IS NOT NULL;

-- change_stream --
-- Members go to another stream whose rule means them; where the cadence is the same, they are cast at once.
WITH p AS MATERIALIZED (
    SELECT d.ctid AS token, d.enrolment_id, d.contact_id, d.node_id, d.entered_at, d.due_at, d.visit
    FROM campaigns_due d
    WHERE d.ctid = ANY(ARRAY({due}))
),
chosen AS MATERIALIZED (
    SELECT * FROM (SELECT p.*, {target} AS to_id FROM p) AS one WHERE to_id IS NOT NULL
),
visits AS (
    INSERT INTO campaigns_visit (enrolment_id, node_id, visit, entered_at, left_at, outcome)
    SELECT c.enrolment_id, c.node_id, c.visit, c.entered_at, %(now)s, n.key
    FROM chosen c JOIN campaigns_node n ON n.id = c.to_id
)
UPDATE campaigns_due d
SET node_id = c.to_id,
    -- Due as soon as entered means: waits for the new stream's own cast (see settle).
    entered_at = CASE WHEN old.config->'cadence' = new.config->'cadence' THEN c.entered_at ELSE %(now)s END,
    due_at = CASE WHEN old.config->'cadence' = new.config->'cadence' THEN c.due_at ELSE %(now)s END
FROM chosen c
JOIN campaigns_node old ON old.id = c.node_id
JOIN campaigns_node new ON new.id = c.to_id
WHERE d.ctid = c.token;

-- cast --
-- A cast: each member gets the first item that is offered to her, and waits for the next cast; nobody is passed over
-- because an item before was not for her. Whom nothing is left for is exhausted, which is told once; she waits for what
-- is new, or goes where the stream says: to another stream (at once, if it casts as this one), to another track, out.
WITH p AS MATERIALIZED (
    SELECT d.ctid AS token, d.enrolment_id, d.contact_id, d.node_id, d.is_ghost, d.entered_at, d.due_at, d.visit,
           coalesce(nullif(c.zone, ''), %(zone)s) AS zone,
           CASE WHEN d.node_id = ANY(%(heeding)s::bigint[]) THEN upper(btrim(c.country)) ELSE '' END AS country
    FROM campaigns_due d JOIN contacts_contact c ON c.id = d.contact_id
    WHERE d.ctid = ANY(ARRAY({due}))
),
next_casts AS MATERIALIZED ({next_casts}),
tracks AS MATERIALIZED (
    SELECT n.id AS node_id, n.key AS node_key, j.key AS journey_key, j.tier, onward.id AS to_id, onward.key AS to_key,
           coalesce(onward.config->'cadence' = n.config->'cadence', false) AS is_same_cadence,
           n.config->'exhausted'->>'start' AS to_journey,
           coalesce(n.config->'exhausted' ?| ARRAY['start', 'exit'], false) AS is_end
    FROM campaigns_node n
    JOIN campaigns_journeyversion v ON v.id = n.version_id
    JOIN campaigns_journey j ON j.id = v.journey_id
    LEFT JOIN campaigns_node onward ON onward.version_id = n.version_id AND onward.kind = 'stream'
         AND onward.key = n.config->'exhausted'->>'stream'
    WHERE n.id = ANY(%(nodes)s::bigint[])
),
chosen AS MATERIALIZED (
    SELECT p.*, {offer} AS place FROM p
),
items AS MATERIALIZED (
    SELECT * FROM unnest(%(places)s::int[], %(items)s::text[], %(templates)s::bigint[]) AS i(place, item, template_id)
),
intents AS (
    INSERT INTO messaging_message (key, contact_id, template_id, channel, message_class, source, journey_key,
        enrolment_id, node_key, is_ghost, tier, created_at, due_at, valid_until)
    SELECT 'item:' || k.journey_key || ':' || i.item || ':' || c.contact_id, c.contact_id, t.id, t.channel,
           t.message_class, 'journey:' || k.journey_key, k.journey_key, c.enrolment_id, k.node_key,
           c.is_ghost AND t.message_class = 'marketing', k.tier,
           %(now)s, %(now)s, %(now)s + (n.due_at - %(now)s) / 2
    FROM chosen c
    JOIN items i ON i.place = c.place
    JOIN tracks k ON k.node_id = c.node_id
    JOIN messaging_template t ON t.id = i.template_id
    JOIN next_casts n ON n.node_id = c.node_id AND n.zone = c.zone AND n.country = c.country
    -- Held back for want of room at an earlier cast, or withdrawn: the same intent is tried again.
    ON CONFLICT (key) DO UPDATE
    SET state = 'pending', reason = '', due_at = excluded.due_at, wanted_at = NULL, valid_until = excluded.valid_until,
        enrolment_id = excluded.enrolment_id, node_key = excluded.node_key, is_ghost = excluded.is_ghost,
        finished_at = NULL
    WHERE messaging_message.state IN ('skipped', 'cancelled')
),
exhausted AS MATERIALIZED (
    SELECT c.*, k.journey_key, k.node_key, k.to_id, k.to_key, k.is_same_cadence, k.to_journey, k.is_end,
           'exhausted' IS DISTINCT FROM (
                SELECT v.outcome FROM campaigns_visit v
                WHERE v.enrolment_id = c.enrolment_id AND v.outcome NOT IN ('superseded', 'resumed')
                ORDER BY v.id DESC LIMIT 1) AS is_news
    FROM chosen c JOIN tracks k ON k.node_id = c.node_id
    WHERE c.place IS NULL
),
visits AS (
    INSERT INTO campaigns_visit (enrolment_id, node_id, visit, entered_at, left_at, outcome)
    SELECT c.enrolment_id, c.node_id, c.visit, c.due_at, %(now)s, 'item:' || i.item
    FROM chosen c JOIN items i ON i.place = c.place
    UNION ALL
    SELECT x.enrolment_id, x.node_id, x.visit, x.due_at, %(now)s, 'exhausted' || coalesce(':' || x.to_key, '')
    FROM exhausted x WHERE x.is_news OR x.to_id IS NOT NULL OR x.is_end
),
resting AS (
    UPDATE campaigns_due d SET due_at = n.due_at
    FROM p JOIN next_casts n ON n.node_id = p.node_id AND n.zone = p.zone AND n.country = p.country
    WHERE d.ctid = p.token AND NOT EXISTS (
        SELECT FROM exhausted x WHERE x.enrolment_id = p.enrolment_id AND (x.to_id IS NOT NULL OR x.is_end))
),
onward AS (
    UPDATE campaigns_due d
    SET node_id = x.to_id, entered_at = CASE WHEN x.is_same_cadence THEN d.entered_at ELSE %(now)s END,
        due_at = CASE WHEN x.is_same_cadence THEN d.due_at ELSE %(now)s END
    FROM exhausted x WHERE d.ctid = x.token AND x.to_id IS NOT NULL
),
taken AS (
    DELETE FROM campaigns_due WHERE ctid = ANY(ARRAY(SELECT token FROM exhausted WHERE is_end))
),
ended AS (
    UPDATE campaigns_enrolment e SET state = 'finished', exit_reason = 'exhausted', ended_at = %(now)s
    FROM exhausted x WHERE e.id = x.enrolment_id AND x.is_end
),
told AS (
    INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
    SELECT x.contact_id, news.kind, %(now)s, %(now)s, 'journey', news.properties
    FROM exhausted x CROSS JOIN LATERAL (VALUES
        (1, x.is_news, 'track.exhausted',
         jsonb_build_object('journey', x.journey_key, 'stream', x.node_key, 'enrolment', x.enrolment_id)),
        (2, x.is_end, 'journey.left',
         jsonb_build_object('journey', x.journey_key, 'reason', 'exhausted', 'enrolment', x.enrolment_id)),
        (3, x.is_end AND x.to_journey IS NOT NULL AND NOT x.is_ghost, 'journey.requested',
         jsonb_build_object('journey', x.to_journey, 'by', 'journey:' || x.journey_key, 'entry_key', ''))
    ) AS news(place, is_told, kind, properties)
    WHERE news.is_told
    ORDER BY x.enrolment_id, news.place
)
SELECT count(*) FROM p;
