-- Clicks and opens: judged by the rules of today, and told.

-- agents_of_untold --
-- The clicks and opens that are old enough to be judged, by who made them; the rest waits for the next tick.
WITH ripe AS (
    SELECT id, method, user_agent, network, link_id IS NULL AS is_open, hit_at FROM messaging_hit
    -- Younger ones wait for what may still come; those dated ahead of the clock belong to a walk in virtual time.
    WHERE NOT is_told AND (hit_at <= %(now)s - interval '3 seconds' OR hit_at > %(now)s)
    ORDER BY id LIMIT 20000
)
SELECT method, user_agent, network, is_open, array_agg(id), min(hit_at), max(hit_at) FROM ripe
GROUP BY 1, 2, 3, 4 ORDER BY min(id) LIMIT %(limit)s;

-- agents_of_told --
-- Those judged before, behind an id: all of them, or those that other rules judged. What was forgotten stays as it is.
WITH kept AS (
    SELECT id, method, user_agent, network, link_id IS NULL AS is_open, hit_at FROM messaging_hit
    WHERE is_told AND method <> '' AND id > %(after)s AND (%(is_every)s OR rule_version <> %(version)s)
      AND (%(ids)s::bigint[] IS NULL OR id = ANY (%(ids)s::bigint[]))
    ORDER BY id LIMIT 20000
)
SELECT method, user_agent, network, is_open, array_agg(id), min(hit_at), max(hit_at) FROM kept GROUP BY 1, 2, 3, 4;

-- judge_hits --
-- These hits, each with its verdict: why it was a program, or nothing. “agents” says what shows from one alone.
SELECT h.id, h.message_id, h.link_id, h.hit_at, h.user_agent, h.machine_reason AS former, m.contact_id, m.journey_key,
    m.template_id, m.language, m.channel,
    m.channel || CASE WHEN h.link_id IS NULL THEN '.opened' ELSE '.clicked' END AS kind,
    CASE
        WHEN h.link_id = 0 THEN 'honeypot'
        WHEN EXISTS (
            SELECT FROM messaging_hit hidden
            WHERE hidden.message_id = h.message_id AND hidden.link_id = 0
              AND (hidden.hit_at BETWEEN h.hit_at - interval '2 seconds' AND h.hit_at + interval '2 seconds'
                   OR hidden.hit_at BETWEEN h.hit_at - interval '1 minute' AND h.hit_at
                      AND hidden.user_agent = h.user_agent)) THEN 'honeypot'
        WHEN agent.reason <> '' THEN agent.reason
        -- Its mail is still being handed over, or was a moment ago.
        WHEN m.channel = 'onsite' THEN ''  -- a person on our website may well be as quick
        WHEN m.state = 'sending' OR h.hit_at >= coalesce(m.claimed_at, m.sent_at)
            AND h.hit_at < coalesce(m.sent_at, m.claimed_at)
                + CASE WHEN h.link_id IS NULL THEN interval '5 seconds' ELSE interval '2 seconds' END THEN 'too_fast'
        WHEN h.link_id IS NOT NULL AND (v.link_counts ->> m.language)::int >= 2 AND EXISTS (
            SELECT FROM messaging_hit first
            WHERE first.message_id = h.message_id AND first.link_id <> 0
              AND first.hit_at BETWEEN h.hit_at - interval '2 seconds' AND h.hit_at
              AND (SELECT count(DISTINCT other.link_id) FROM messaging_hit other
                   WHERE other.message_id = h.message_id AND other.link_id <> 0
                     AND other.hit_at BETWEEN first.hit_at AND first.hit_at + interval '2 seconds')
                  >= (v.link_counts ->> m.language)::int) THEN 'all_links'
        WHEN crowd.second IS NOT NULL THEN 'crowd'
        ELSE ''
    END AS reason
FROM jsonb_to_recordset(%(agents)s::jsonb) AS agent (ids bigint[], reason text)
CROSS JOIN LATERAL unnest(agent.ids) AS asked (id)
JOIN messaging_hit h ON h.id = asked.id
JOIN messaging_message m ON m.id = h.message_id
LEFT JOIN messaging_templateversion v ON v.id = m.version_id
LEFT JOIN (
    -- Several people of one company, by one program, in one second: their gateway, not they.
    SELECT date_trunc('second', near.hit_at) AS second, split_part(to_whom.address, '@', 2) AS domain, near.user_agent,
        near.link_id IS NULL AS is_open
    FROM messaging_hit near JOIN messaging_message to_whom ON to_whom.id = near.message_id
    WHERE near.hit_at BETWEEN %(first_at)s::timestamptz - interval '1 second' AND %(last_at)s::timestamptz + interval '1 second'
      AND split_part(to_whom.address, '@', 2) <> ALL (%(free_mail)s::text[])
    GROUP BY 1, 2, 3, 4 HAVING count(DISTINCT to_whom.contact_id) >= 3
) crowd ON crowd.second = date_trunc('second', h.hit_at) AND crowd.domain = split_part(m.address, '@', 2)
    AND crowd.domain <> '' AND crowd.user_agent = h.user_agent AND crowd.is_open = (h.link_id IS NULL);

-- tell_hits --
-- Notes the verdicts and puts the clicks and opens into the inbox. One whose message is gone is noted and not told.
WITH judged AS (
    {judge_hits}
), noted AS (
    UPDATE messaging_hit h
    SET is_told = true, machine_reason = coalesce(judged.reason, ''), rule_version = %(version)s,
        template_id = judged.template_id, journey_key = coalesce(judged.journey_key, ''),
        language = coalesce(judged.language, '')
    FROM unnest(%(hits)s::bigint[]) AS asked (id) LEFT JOIN judged ON judged.id = asked.id
    WHERE h.id = asked.id
)
INSERT INTO contacts_incoming (source, message_id, kind, channel, occurred_at, received_at, contact_id, properties)
SELECT judged.channel, 'hit:' || judged.id, kind, judged.channel, hit_at, %(now)s, contact_id, jsonb_strip_nulls(jsonb_build_object(
        'message', message_id, 'template', t.key, 'journey', journey_key, 'url', l.url, 'user_agent', user_agent,
        'machine_reason', nullif(reason, ''), 'rule_version', %(version)s, 'hit', judged.id))
FROM judged
JOIN messaging_template t ON t.id = judged.template_id
LEFT JOIN messaging_link l ON l.id = judged.link_id
ORDER BY judged.id;

-- change_verdicts --
-- Notes the verdicts of today beside what was seen, and tells of each touchpoint that changed sides; how many did.
WITH judged AS (
    {judge_hits}
), noted AS (
    UPDATE messaging_hit h SET machine_reason = judged.reason, rule_version = %(version)s
    FROM judged WHERE h.id = judged.id
), waiting AS (
    -- What the inbox still holds is told right at once.
    UPDATE contacts_incoming i SET properties = (i.properties - 'machine_reason') || jsonb_strip_nulls(jsonb_build_object(
        'machine_reason', nullif(judged.reason, ''), 'rule_version', %(version)s))
    FROM judged WHERE i.source = judged.channel AND i.message_id = 'hit:' || judged.id
), known AS (
    SELECT t.id AS touchpoint_id, t.is_machine, judged.*
    FROM judged
    JOIN contacts_touchpoint t ON t.contact_id = judged.contact_id AND t.kind = judged.kind
        AND t.properties ->> 'hit' = judged.id::text
), turned AS (
    UPDATE contacts_touchpoint t
    SET is_machine = known.reason <> '', properties = (t.properties - 'machine_reason') || jsonb_strip_nulls(
        jsonb_build_object('machine_reason', nullif(known.reason, ''), 'rule_version', %(version)s))
    FROM known WHERE t.id = known.touchpoint_id
), news AS (
    INSERT INTO contacts_incoming (source, message_id, kind, channel, occurred_at, received_at, contact_id, properties)
    SELECT 'email', '', 'email.rejudged', 'email', %(now)s, %(now)s, known.contact_id,
        jsonb_strip_nulls(jsonb_build_object(
            'touchpoint', known.touchpoint_id, 'kind', known.kind, 'message', known.message_id, 'template', t.key,
            'journey', known.journey_key, 'machine_reason', nullif(known.reason, ''),
            'former', nullif(known.former, ''), 'rule_version', %(version)s))
    FROM known JOIN messaging_template t ON t.id = known.template_id
    WHERE known.is_machine <> (known.reason <> '')
    ORDER BY known.touchpoint_id
)
SELECT count(*) FROM judged WHERE (reason <> '') <> (former <> '');

-- forget_hits --
-- Forgets who made clicks and opens, when nobody will judge them again; their verdicts and what they count for stay.
WITH old AS (
    SELECT id FROM messaging_hit WHERE is_told AND method <> '' AND hit_at < %(before)s LIMIT 20000
)
UPDATE messaging_hit h SET method = '', user_agent = '', network = '' FROM old WHERE h.id = old.id;
