-- tell_hits --
-- Judges the clicks and opens that are old enough to be judged, and puts them into the inbox.
WITH ripe AS (
    SELECT h.id, h.message_id, h.link_id, h.hit_at, h.user_agent, h.machine_reason FROM messaging_hit h
    -- Younger ones wait for what may still come; those dated ahead of the clock belong to a walk in virtual time.
    WHERE NOT h.is_told AND (h.hit_at <= %(now)s - interval '3 seconds' OR h.hit_at > %(now)s)
    ORDER BY h.id LIMIT 20000 FOR UPDATE SKIP LOCKED
), told AS (
    UPDATE messaging_hit h SET is_told = true FROM ripe WHERE h.id = ripe.id
), judged AS (
    SELECT ripe.*, m.contact_id, m.journey_key, m.channel, t.key AS template, l.url, CASE
        WHEN ripe.machine_reason <> '' THEN ripe.machine_reason
        WHEN m.state = 'sending' THEN 'too_fast'
        -- On our website a person may well be as quick.
        WHEN m.channel <> 'onsite' AND ripe.hit_at >= m.sent_at AND ripe.hit_at < m.sent_at
            + CASE WHEN ripe.link_id IS NULL THEN interval '5 seconds' ELSE interval '2 seconds' END THEN 'too_fast'
        WHEN ripe.link_id IS NOT NULL AND (v.link_counts ->> m.language)::int >= 2 AND EXISTS (
            SELECT FROM messaging_hit first
            WHERE first.message_id = ripe.message_id AND first.link_id IS NOT NULL
              AND first.hit_at BETWEEN ripe.hit_at - interval '2 seconds' AND ripe.hit_at
              AND (SELECT count(DISTINCT other.link_id) FROM messaging_hit other
                   WHERE other.message_id = ripe.message_id
                     AND other.hit_at BETWEEN first.hit_at AND first.hit_at + interval '2 seconds')
                  >= (v.link_counts ->> m.language)::int) THEN 'all_links'
        ELSE '' END AS reason
    FROM ripe
    JOIN messaging_message m ON m.id = ripe.message_id
    JOIN messaging_template t ON t.id = m.template_id
    LEFT JOIN messaging_templateversion v ON v.id = m.version_id
    LEFT JOIN messaging_link l ON l.id = ripe.link_id
)
INSERT INTO contacts_incoming (source, message_id, kind, channel, occurred_at, received_at, contact_id, properties)
SELECT channel, 'hit:' || id, channel || CASE WHEN link_id IS NULL THEN '.opened' ELSE '.clicked' END, channel, hit_at,
    %(now)s, contact_id, jsonb_strip_nulls(jsonb_build_object(
        'message', message_id, 'template', template, 'journey', journey_key, 'url', url, 'user_agent', user_agent,
        'machine_reason', nullif(reason, '')))
FROM judged;

-- forget_hits --
-- Drops what was judged and can no longer be part of a burst.
DELETE FROM messaging_hit WHERE is_told AND hit_at NOT BETWEEN %(now)s - interval '1 minute' AND %(now)s + interval '1 minute';
