-- Triggers by date: each date fires once for each person whom it concerns.

-- due_walls --
-- Which wall times have come, in which time zone and at which instant. One before `since` is late: it concerns only
-- those who moved to another zone meanwhile. An instant is the same everywhere.
SELECT z.name, w.number, local.instant, local.instant <= %(since)s AS is_late
FROM (SELECT name::text FROM contacts_zone UNION SELECT %(zone)s::text) z
CROSS JOIN unnest(%(numbers)s::int[], %(walls)s::timestamp[], %(instants)s::timestamptz[]) AS w(number, wall, instant)
CROSS JOIN LATERAL (SELECT coalesce(w.instant, local_instant(w.wall, z.name)) AS instant) local
WHERE local.instant > %(floor)s AND local.instant <= %(now)s;

-- told_of_fields --
-- Whom a window says something of that may move a date: the field, the time zone, or that they are there at all.
SELECT contact_id FROM contacts_touchpoint
WHERE id > %(after)s AND id <= %(upto)s AND (
    kind IN ('contact.created', 'contact.identified', 'contact.merged', 'contact.erased')
    OR kind = 'contact.updated' AND jsonb_exists_any(properties->'fields', %(fields)s::text[]));

-- reach_walls --
-- Wall times that have come, for whom they mean: written down once, and told.
WITH due AS MATERIALIZED (
    SELECT * FROM unnest(%(zones)s::text[], %(keys)s::text[], %(instants)s::timestamptz[], %(late)s::boolean[])
        AS d(zone, key, instant, is_late)
),
p AS MATERIALIZED (
    SELECT c.id AS contact_id, due.key, due.instant
    FROM contacts_contact c JOIN due ON due.zone = coalesce(nullif(c.zone, ''), %(zone)s)
    WHERE c.merged_into_id IS NULL AND c.erased_at IS NULL AND (NOT due.is_late OR c.id IN ({moved}))
),
reached AS (
    INSERT INTO campaigns_occasion (journey_id, contact_id, key, occurred_at)
    SELECT %(journey)s, p.contact_id, p.key, p.instant FROM p WHERE {who}
    ON CONFLICT (journey_id, contact_id, key) DO NOTHING
    RETURNING contact_id, key, occurred_at
)
INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
SELECT contact_id, 'date.reached', occurred_at, %(now)s, 'journey',
       jsonb_build_object('journey', %(journey_key)s::text, 'place', %(place)s::int, 'date', key)
FROM reached ORDER BY occurred_at, contact_id;

-- reach_fields --
-- Days of a field that have come, by each person's clock: written down once for each value, and told.
WITH p AS MATERIALIZED (
    SELECT d.id AS contact_id, d.day, local.instant
    FROM ({dated}) d
    CROSS JOIN LATERAL (SELECT coalesce(nullif(d.zone, ''), %(zone)s) AS zone) z
    CROSS JOIN LATERAL (
        SELECT local_instant(({wall}) + make_interval(days => %(days)s), z.zone) + make_interval(secs => %(seconds)s)
            AS instant
    ) local
    WHERE {only} AND local.instant > %(floor)s AND local.instant <= %(until)s
      AND (local.instant > %(since)s OR d.id IN ({moved}))
),
reached AS (
    INSERT INTO campaigns_occasion (journey_id, contact_id, key, occurred_at)
    SELECT %(journey)s, p.contact_id, %(name)s || p.day, p.instant FROM p WHERE {who}
    ON CONFLICT (journey_id, contact_id, key) DO NOTHING
    RETURNING contact_id, key, occurred_at
)
INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
SELECT contact_id, 'date.reached', occurred_at, %(now)s, 'journey', jsonb_build_object(
       'journey', %(journey_key)s::text, 'place', %(place)s::int, 'date', substr(key, length(%(name)s) + 1))
FROM reached ORDER BY occurred_at, contact_id;
