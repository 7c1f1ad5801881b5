-- The fuse: what a journey sent and what came back, in pulses of ten minutes, and when it is too much.

-- note_pulses --
-- Adds up what a window tells of journeys' messages: sent, came back, complained of. The journeys it is about.
WITH news AS (
    SELECT t.kind, t.occurred_at, t.properties->>'journey' AS journey_key
    FROM contacts_touchpoint t
    -- Only what is told of a message of ours counts; anybody may report an event.
    JOIN messaging_message m ON m.id = CASE WHEN t.properties->>'message' ~ '^[0-9]{1,18}$'
                                            THEN (t.properties->>'message')::bigint END
                            AND m.journey_key = t.properties->>'journey' AND m.contact_id = t.contact_id
    WHERE t.id > %(after)s AND t.id <= %(upto)s AND m.journey_key <> ''
      AND (t.kind IN ('email.sent', 'email.bounced', 'email.complained')
           OR t.kind = 'email.failed' AND t.properties->>'reason' = 'bounced')
      -- One mail that is reported as late, then as undeliverable, came back once.
      AND NOT (t.kind = 'email.bounced' AND EXISTS (
          SELECT FROM contacts_touchpoint before
          WHERE before.contact_id = t.contact_id AND before.kind = t.kind AND before.id < t.id
            AND before.properties->>'message' = t.properties->>'message'))
),
noted AS (
    INSERT INTO campaigns_pulse (journey_id, begun_at, sent, bounced, complained)
    -- What came back at the door was tried, too.
    SELECT j.id, a.begun_at, count(*) FILTER (WHERE n.kind IN ('email.sent', 'email.failed')),
           count(*) FILTER (WHERE n.kind IN ('email.bounced', 'email.failed')),
           count(*) FILTER (WHERE n.kind = 'email.complained')
    FROM news n
    JOIN campaigns_journey j ON j.key = n.journey_key
    CROSS JOIN LATERAL (SELECT date_bin('10 minutes', n.occurred_at, 'epoch') AS begun_at) b
    -- A journey that a person let go on begins a pulse of its own then: nothing before counts again.
    CROSS JOIN LATERAL (SELECT CASE WHEN n.occurred_at >= j.armed_at THEN greatest(b.begun_at, j.armed_at)
                                    ELSE b.begun_at END AS begun_at) a
    GROUP BY j.id, a.begun_at
    ON CONFLICT (journey_id, begun_at) DO UPDATE
    SET sent = campaigns_pulse.sent + excluded.sent, bounced = campaigns_pulse.bounced + excluded.bounced,
        complained = campaigns_pulse.complained + excluded.complained
    RETURNING journey_id
)
SELECT DISTINCT journey_id FROM noted;

-- forget_pulses --
-- Drops the pulses of these journeys that nothing looks at any more.
DELETE FROM campaigns_pulse WHERE journey_id = ANY(%(journeys)s::bigint[]) AND begun_at < %(now)s - interval '15 days';

-- read_pulses --
-- Of journeys under way that sent just now, since they were armed: sent in an hour; the median of the hours in which they
-- sent, in two weeks; deliveries, bounces and complaints among the last so many.
WITH watched AS (
    SELECT j.id, coalesce(j.armed_at, '-infinity') AS armed_at, j.kind
    FROM campaigns_journey j WHERE j.id = ANY(%(journeys)s::bigint[]) AND j.state IN ('live', 'closing')
),
hours AS (
    SELECT w.id, ceil(extract(epoch FROM %(now)s - p.begun_at) / 3600) AS ago, sum(p.sent) AS sent
    FROM watched w JOIN campaigns_pulse p ON p.journey_id = w.id
    WHERE p.begun_at <= %(now)s AND p.begun_at > %(now)s - interval '14 days' AND p.sent > 0
    GROUP BY w.id, ago
),
latest AS (
    SELECT w.id, p.sent, p.bounced, p.complained,
           sum(p.sent) OVER (PARTITION BY w.id ORDER BY p.begun_at DESC) - p.sent AS sent_after
    FROM watched w JOIN campaigns_pulse p ON p.journey_id = w.id AND p.begun_at >= w.armed_at
)
SELECT w.id, w.kind,
       (SELECT coalesce(sum(p.sent), 0) FROM campaigns_pulse p
        WHERE p.journey_id = w.id AND p.begun_at >= w.armed_at AND p.begun_at > %(now)s - interval '1 hour'),
       (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY h.sent) FROM hours h WHERE h.id = w.id AND h.ago > 1),
       (SELECT coalesce(sum(l.sent), 0) FROM latest l WHERE l.id = w.id AND l.sent_after < %(last)s),
       (SELECT coalesce(sum(l.bounced), 0) FROM latest l WHERE l.id = w.id AND l.sent_after < %(last)s),
       (SELECT coalesce(sum(l.complained), 0) FROM latest l WHERE l.id = w.id AND l.sent_after < %(last)s)
FROM watched w ORDER BY w.id;

-- count_expected --
-- Of how many people it was known that they may get something now: who was on the journey an hour ago, and whom it was
-- asked to let in since: by hand, by the API, or because they matched at its publish.
SELECT (SELECT count(*) FROM campaigns_enrolment e
        WHERE e.journey_id = %(journey)s AND e.enrolled_at <= %(now)s - interval '1 hour'
          AND (e.state = 'open' OR e.ended_at > %(now)s - interval '2 hours'))
     + (SELECT count(*) FROM campaigns_enrolment e
        JOIN contacts_touchpoint t ON t.id = e.touchpoint_id AND t.kind = 'journey.requested'
             AND t.properties->>'by' NOT LIKE 'journey:%%'
        WHERE e.journey_id = %(journey)s AND e.enrolled_at > %(now)s - interval '1 hour');

-- most_for_one --
-- Of those who just got something of these journeys: the most that one person got of one of them in 24 hours.
WITH lately AS (
    SELECT DISTINCT t.contact_id, m.journey_key
    FROM contacts_touchpoint t
    JOIN messaging_message m ON m.id = CASE WHEN t.properties->>'message' ~ '^[0-9]{1,18}$'
                                            THEN (t.properties->>'message')::bigint END
    JOIN campaigns_journey j ON j.key = m.journey_key
    WHERE t.id > %(after)s AND t.id <= %(upto)s AND t.kind = ANY(%(sent)s::text[]) AND j.id = ANY(%(journeys)s::bigint[])
)
SELECT j.id, max(had.messages)
FROM lately l
JOIN campaigns_journey j ON j.key = l.journey_key
CROSS JOIN LATERAL (
    SELECT count(*) AS messages FROM messaging_message m
    WHERE m.contact_id = l.contact_id AND m.journey_key = l.journey_key AND m.state IN ('sent', 'uncertain')
      AND coalesce(m.sent_at, m.claimed_at) > greatest(%(now)s - interval '24 hours', coalesce(j.armed_at, '-infinity'))
) had
GROUP BY j.id;
