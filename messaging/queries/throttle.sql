-- How fast providers may be written to. `asked_limits` is a part, over messages `picked` (id, is_urgent, address, place,
-- is_busy).

-- is_throttled --
-- Does anything limit mails right now? Mostly nothing does, and then nothing else here is asked.
SELECT EXISTS (SELECT FROM messaging_domainlimit WHERE is_active) OR EXISTS (SELECT FROM messaging_pace);

-- lock_limits --
-- One claim at a time counts, for what two of them read at once both would take.
SELECT pg_advisory_xact_lock(%(lock)s);

-- asked_limits --
-- Each of the messages picked with every limit that it falls under: of its provider (a group of domains, or the domain
-- by itself), of all mail, and of a provider that said "later"; for the minute, hour and day, and for how many at once.
WITH provided AS (
    SELECT p.id, p.is_urgent, p.place, p.is_busy, split_part(p.address, '@', 2) AS domain,
        CASE WHEN f.is_active THEN f.id END AS limit_id, coalesce(f.name, split_part(p.address, '@', 2)) AS provider
    FROM picked p
    LEFT JOIN LATERAL (
        SELECT l.id, l.name, l.is_active FROM messaging_domainlimit l
        WHERE l.scope = 'domains' AND split_part(p.address, '@', 2) = ANY(l.domains) ORDER BY l.is_active DESC, l.id LIMIT 1
    ) f ON true
), spans (span, begins_at, ends_at, length) AS (
    SELECT 'minute', date_trunc('minute', %(now)s), date_trunc('minute', %(now)s) + interval '1 minute', interval '1 minute'
    UNION ALL
    SELECT 'hour', date_trunc('hour', %(now)s), date_trunc('hour', %(now)s) + interval '1 hour', interval '1 hour'
    UNION ALL
    SELECT 'day', d.day::timestamp AT TIME ZONE %(zone)s, (d.day + 1)::timestamp AT TIME ZONE %(zone)s, interval '1 day'
    FROM (SELECT (%(now)s AT TIME ZONE %(zone)s)::date AS day) d
    UNION ALL
    SELECT 'once', %(now)s, %(now)s + interval '10 seconds', interval '10 seconds'
), caps AS (
    SELECT l.id AS limit_id, l.scope, '' AS provider, v.span, v.capacity,
        greatest(v.capacity - ceil(v.capacity * l.reserved / 100.0), 1)::bigint AS bulk_capacity
    FROM messaging_domainlimit l
    CROSS JOIN LATERAL (SELECT (%(now)s AT TIME ZONE %(zone)s)::date - l.warm_up_from AS day) w
    CROSS JOIN LATERAL (VALUES
        ('minute', l.per_minute::bigint), ('hour', l.per_hour), ('once', l.at_once),
        -- A warm-up ends after two months, or where it meets the limit of every day.
        ('day', least(l.per_day, CASE WHEN w.day BETWEEN 0 AND 60
            THEN least(floor(l.warm_up_first * power(1 + l.warm_up_growth / 100.0, w.day)), 1000000000)::bigint END))
    ) AS v (span, capacity)
    WHERE l.is_active AND v.capacity IS NOT NULL
    UNION ALL
    SELECT NULL, 'pace', p.key, 'minute', e.capacity, greatest(e.capacity - ceil(e.capacity * 0.1), 1)::bigint
    FROM messaging_pace p
    CROSS JOIN LATERAL (SELECT p.per_minute + floor(extract(epoch FROM %(now)s - p.slowed_at) / 60)::bigint
                            * greatest(p.before / 10, 1) AS capacity) e
    WHERE e.capacity < p.before
)
SELECT p.id, p.is_urgent, p.place, p.is_busy, s.span, s.begins_at, s.ends_at, s.length, c.capacity, c.bulk_capacity,
    CASE c.scope WHEN 'all' THEN 'all' WHEN 'each' THEN 'each:' || p.domain WHEN 'domains' THEN 'limit:' || c.limit_id
        ELSE 'pace:' || p.provider END AS key
FROM provided p
JOIN caps c ON c.scope = 'all' OR (c.scope = 'domains' AND c.limit_id = p.limit_id)
    OR (c.scope = 'each' AND p.limit_id IS NULL) OR (c.scope = 'pace' AND c.provider = p.provider)
JOIN spans s ON s.span = c.span
WHERE NOT p.is_busy OR c.span = 'once';

-- hold_back --
-- Of the messages that a worker would claim, puts off what is over a limit, to the first minute, hour or day that has
-- room for it; by then all gates are asked again. Bulk leaves a share of each limit to transactional mail.
WITH due AS ({due_messages}), picked AS (
    SELECT m.id, m.message_class = 'transactional' AS is_urgent, lower(btrim(c.email)) AS address,
        row_number() OVER (ORDER BY m.message_class DESC, m.due_at, m.id) AS place, false AS is_busy
    FROM due m JOIN contacts_contact c ON c.id = m.contact_id
    UNION ALL
    -- Before them those that are under way.
    SELECT id, message_class = 'transactional', address, 0, true FROM messaging_message
    WHERE state = 'sending' AND channel = 'email'
      AND EXISTS (SELECT FROM messaging_domainlimit WHERE is_active AND at_once IS NOT NULL)
), asked AS ({asked_limits}), ranked AS (
    SELECT a.*,
        coalesce(d.number, 0) + count(*) OVER (PARTITION BY a.key, a.span ORDER BY a.place ROWS UNBOUNDED PRECEDING) AS nth,
        coalesce(d.bulk, 0) + count(*) FILTER (WHERE NOT a.is_urgent)
            OVER (PARTITION BY a.key, a.span ORDER BY a.place ROWS UNBOUNDED PRECEDING) AS nth_bulk
    FROM asked a LEFT JOIN messaging_departure d ON d.key = a.key AND d.span = a.span AND d.begins_at = a.begins_at
), waits AS (
    -- Spread over the minutes or hours to come; the next day may have room for more.
    SELECT id, max(ends_at + CASE WHEN span = 'day' THEN interval '0' ELSE length END * least(greatest((nth - capacity - 1) / capacity,
        CASE WHEN NOT is_urgent THEN (nth_bulk - bulk_capacity - 1) / bulk_capacity ELSE 0 END, 0), 59)) AS until
    FROM ranked
    WHERE NOT is_busy AND (nth > capacity OR (NOT is_urgent AND nth_bulk > bulk_capacity))
    GROUP BY id
), put_off AS (
    UPDATE messaging_message m
    SET state = 'pending', reason = 'throttled', wanted_at = coalesce(m.wanted_at, m.due_at), due_at = waits.until
    FROM waits WHERE m.id = waits.id
    RETURNING m.id
)
SELECT due.id, put_off.id IS NOT NULL FROM due LEFT JOIN put_off ON put_off.id = due.id;

-- note_departures --
-- Counts what was claimed under each limit.
WITH picked AS (
    SELECT id, message_class = 'transactional' AS is_urgent, address, 0 AS place, false AS is_busy
    FROM messaging_message WHERE id = ANY(%(ids)s)
)
INSERT INTO messaging_departure (key, span, begins_at, number, bulk)
SELECT key, span, begins_at, count(*), count(*) FILTER (WHERE NOT is_urgent)
FROM ({asked_limits}) a WHERE span <> 'once' GROUP BY key, span, begins_at
ON CONFLICT (key, span, begins_at) DO UPDATE
SET number = messaging_departure.number + excluded.number, bulk = messaging_departure.bulk + excluded.bulk;

-- slow_down --
-- Providers that said "later" get half of what they got, once a minute at most; it grows by a tenth of what they got
-- before with each minute in which they do not say so again.
INSERT INTO messaging_pace AS p (key, per_minute, before, slowed_at, said)
SELECT coalesce(f.name, t.domain), greatest(sum(t.number) / 2, 1), greatest(sum(t.number), 1), %(now)s, max(t.said)
FROM unnest(%(domains)s::text[], %(numbers)s::int[], %(said)s::text[]) AS t (domain, number, said)
LEFT JOIN LATERAL (
    SELECT l.name FROM messaging_domainlimit l WHERE l.scope = 'domains' AND t.domain = ANY(l.domains)
    ORDER BY l.is_active DESC, l.id LIMIT 1
) f ON true
GROUP BY 1
ON CONFLICT (key) DO UPDATE
SET per_minute = greatest(least(p.per_minute + floor(extract(epoch FROM %(now)s - p.slowed_at) / 60)
                                    * greatest(p.before / 10, 1), p.before) / 2, 1),
    slowed_at = excluded.slowed_at, said = excluded.said
WHERE p.slowed_at <= %(now)s - interval '1 minute';

-- forget_paces --
-- Forgets providers that are as fast again as before.
DELETE FROM messaging_pace
WHERE per_minute + floor(extract(epoch FROM %(now)s - slowed_at) / 60) * greatest(before / 10, 1) >= before;

-- forget_departures --
-- Forgets counts that no limit asks for any more.
DELETE FROM messaging_departure WHERE begins_at < %(now)s - interval '2 days';
