-- What comes back of messages that left: verdicts, and what follows from them. `told` is a list of verdicts as JSON.

-- settle_verdicts --
-- Writes what was told of messages, in whatever order it comes: earliest moments, gravest verdict; tells the inbox once of
-- each kind. Which messages it was about, and what each verdict is that anything follows from.
WITH told AS (
    SELECT * FROM jsonb_to_recordset(%(told)s::jsonb)
        AS t (message bigint, kind text, occurred_at timestamptz, code text, detail text)
), known AS MATERIALIZED (
    SELECT t.message, t.kind, least(t.occurred_at, %(now)s) AS occurred_at, m.contact_id, m.template_id, m.journey_key,
        m.channel, m.address, m.state,
        -- Whoever was erased stays forgotten.
        CASE WHEN m.key LIKE 'erased:%%' THEN '' ELSE t.code END AS code,
        CASE WHEN m.key LIKE 'erased:%%' THEN '' ELSE left(t.detail, 500) END AS detail,
        CASE t.kind WHEN 'hard' THEN 3 WHEN 'policy' THEN 2 WHEN 'soft' THEN 1 WHEN 'unknown' THEN 1 ELSE 0 END AS grade
    FROM told t JOIN messaging_message m ON m.id = t.message
    -- Nothing comes back of what never left.
    WHERE m.channel = 'email' AND NOT m.is_ghost
      AND (m.state IN ('sent', 'uncertain') OR m.claimed_at IS NOT NULL)
), summed AS (
    SELECT message,
        (array_agg(kind ORDER BY array_position(%(gravity)s::text[], kind) DESC))[1] AS verdict,
        min(occurred_at) FILTER (WHERE kind = 'delivered') AS delivered_at,
        min(occurred_at) FILTER (WHERE kind IN ('soft', 'unknown')) AS soft_at,
        min(occurred_at) FILTER (WHERE kind = 'policy') AS policy_at,
        min(occurred_at) FILTER (WHERE kind = 'hard') AS bounced_at,
        min(occurred_at) FILTER (WHERE kind = 'complaint') AS complained_at,
        coalesce((array_agg(code ORDER BY grade DESC, occurred_at, code, detail) FILTER (WHERE grade > 0))[1], '') AS code,
        coalesce((array_agg(detail ORDER BY grade DESC, occurred_at, code, detail) FILTER (WHERE grade > 0))[1], '') AS detail
    FROM known WHERE kind = ANY(%(gravity)s::text[]) GROUP BY message
), written AS (
    INSERT INTO messaging_feedback AS f (message_id, verdict, delivered_at, soft_at, policy_at, bounced_at, complained_at,
        code, detail)
    SELECT message, verdict, delivered_at, soft_at, policy_at, bounced_at, complained_at, code, detail
    FROM summed ORDER BY message
    ON CONFLICT (message_id) DO UPDATE SET
        verdict = CASE WHEN array_position(%(gravity)s::text[], excluded.verdict) > array_position(%(gravity)s::text[], f.verdict)
                       THEN excluded.verdict ELSE f.verdict END,
        delivered_at = least(f.delivered_at, excluded.delivered_at), soft_at = least(f.soft_at, excluded.soft_at),
        policy_at = least(f.policy_at, excluded.policy_at), bounced_at = least(f.bounced_at, excluded.bounced_at),
        complained_at = least(f.complained_at, excluded.complained_at),
        (code, detail) = (
            SELECT one.code, one.detail FROM (VALUES
                (f.bounced_at, f.policy_at, f.soft_at, f.code, f.detail),
                (excluded.bounced_at, excluded.policy_at, excluded.soft_at, excluded.code, excluded.detail)
            ) AS one (bounced_at, policy_at, soft_at, code, detail)
            ORDER BY one.bounced_at IS NULL, one.bounced_at, one.policy_at IS NULL, one.policy_at, one.soft_at, one.code,
                     one.detail LIMIT 1)
), left_after_all AS (
    -- Somebody has it, or had to send it back: it did leave. Who has it already does not get it again.
    UPDATE messaging_message m SET state = 'sent', sent_at = coalesce(m.sent_at, m.claimed_at, %(now)s),
        finished_at = coalesce(m.finished_at, %(now)s), reason = '', is_held = false
    FROM summed WHERE m.id = summed.message AND (m.state = 'uncertain'
        OR m.state IN ('pending', 'ready') AND summed.verdict IN ('delivered', 'complaint'))
    RETURNING m.id
), news AS (
    INSERT INTO contacts_incoming (source, message_id, kind, channel, occurred_at, received_at, contact_id, properties)
    SELECT 'email', k.told || ':' || k.message, k.event, k.channel, min(k.occurred_at), %(now)s, k.contact_id,
        jsonb_build_object('message', k.message, 'template', t.key, 'journey', k.journey_key)
        || CASE WHEN k.event = 'email.bounced'
                THEN jsonb_build_object('class', k.class, 'code', min(k.code)) ELSE '{}' END
    FROM (
        SELECT message, contact_id, template_id, journey_key, channel, occurred_at, code, kind AS class,
            CASE kind WHEN 'delivered' THEN 'delivered' WHEN 'complaint' THEN 'complained'
                      ELSE 'bounced:' || kind END AS told,
            CASE kind WHEN 'delivered' THEN 'email.delivered' WHEN 'complaint' THEN 'email.complained'
                      ELSE 'email.bounced' END AS event
        FROM known WHERE kind = ANY(%(gravity)s::text[])
        UNION ALL
        SELECT message, contact_id, template_id, journey_key, channel, occurred_at, '', '', 'sent', 'email.sent'
        FROM known WHERE message IN (SELECT id FROM left_after_all)
    ) k JOIN messaging_template t ON t.id = k.template_id
    GROUP BY k.told, k.message, k.event, k.class, k.channel, k.contact_id, t.key, k.journey_key
    ORDER BY k.message, k.told
)
SELECT DISTINCT message, kind, address FROM known ORDER BY message, kind;

-- suppress_verdicts --
-- Nobody writes again to addresses that do not exist, nor to people who complained; a complaint outweighs a bounce, and
-- what a person wrote by hand stays.
INSERT INTO messaging_suppression AS s (address, channel, reason, detail, suppressed_at, message_id)
SELECT DISTINCT ON (m.address) m.address, 'email', CASE WHEN f.complained_at IS NULL THEN 'bounced' ELSE 'complained' END,
    CASE WHEN f.complained_at IS NULL THEN left(concat_ws(' ', nullif(f.code, ''), f.detail), 500) ELSE '' END, %(now)s, m.id
FROM messaging_message m JOIN messaging_feedback f ON f.message_id = m.id
WHERE m.id = ANY(%(messages)s::bigint[]) AND m.address <> '' AND (f.bounced_at IS NOT NULL OR f.complained_at IS NOT NULL)
ORDER BY m.address, f.complained_at IS NULL, m.id
ON CONFLICT (address) DO UPDATE SET reason = excluded.reason, detail = excluded.detail, message_id = excluded.message_id
WHERE s.reason = 'unsubscribed' OR s.reason = 'bounced' AND excluded.reason = 'complained';

-- suppress_worn_out --
-- Suppresses addresses that sent mail back again and again, with nothing delivered in between.
WITH asked AS (
    SELECT DISTINCT contact_id, address FROM messaging_message WHERE id = ANY(%(messages)s::bigint[]) AND address <> ''
), back AS (
    SELECT m.id, a.address, f.soft_at, f.delivered_at,
        max(f.delivered_at) OVER (PARTITION BY a.address) AS last_delivered_at
    FROM asked a
    JOIN messaging_message m ON m.contact_id = a.contact_id AND m.address = a.address
         AND m.sent_at > %(now)s - 2 * %(within)s::interval
    JOIN messaging_feedback f ON f.message_id = m.id
)
INSERT INTO messaging_suppression AS s (address, channel, reason, detail, suppressed_at, message_id)
SELECT address, 'email', 'bounced', %(detail)s, %(now)s, max(id)
FROM back
WHERE soft_at > %(now)s - %(within)s::interval AND soft_at > coalesce(last_delivered_at, '-infinity')
GROUP BY address HAVING count(*) >= %(times)s
ORDER BY address
ON CONFLICT (address) DO UPDATE SET reason = excluded.reason, detail = excluded.detail, message_id = excluded.message_id
WHERE s.reason = 'unsubscribed';

-- readers_of --
-- Whom a word about messages is said for: their people, merges followed, and whoever has the address by now.
WITH RECURSIVE asked AS (
    SELECT contact_id, address FROM messaging_message WHERE id = ANY(%(messages)s::bigint[])
), path AS (
    SELECT contact_id FROM asked
    UNION
    SELECT i.contact_id FROM asked JOIN contacts_identity i ON i.kind = 'email' AND i.value = asked.address
    UNION
    SELECT c.merged_into_id FROM path JOIN contacts_contact c ON c.id = path.contact_id
    WHERE c.merged_into_id IS NOT NULL
)
SELECT c.id FROM path JOIN contacts_contact c ON c.id = path.contact_id
WHERE c.merged_into_id IS NULL AND c.erased_at IS NULL ORDER BY c.id;

-- count_reports --
-- Counts what providers told, by what became of it.
INSERT INTO messaging_reportcount AS r (source, outcome, day, count)
SELECT %(source)s, outcome, %(day)s, number FROM jsonb_each_text(%(outcomes)s::jsonb) AS o (outcome, told),
    LATERAL (SELECT told::int AS number) n
ORDER BY outcome
ON CONFLICT (source, outcome, day) DO UPDATE SET count = r.count + excluded.count;

-- take_returned --
-- Takes mails that nobody has read yet, and those whose reader died, for one reader; each a few times at most.
UPDATE messaging_returnedmail r SET begun_at = %(now)s, attempts = r.attempts + 1
FROM (
    SELECT id FROM messaging_returnedmail
    WHERE state = 'waiting' AND attempts < %(most)s AND (begun_at IS NULL OR begun_at < %(now)s - interval '10 minutes')
    ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) taken
WHERE r.id = taken.id
RETURNING r.id, r.raw, r.received_at, r.source;

-- settle_returned --
-- Writes what became of mails that were read; the text is kept of the dead alone.
UPDATE messaging_returnedmail r
SET state = t.state, kind = t.kind, reason = left(t.reason, 500), handled_at = %(now)s,
    raw = CASE WHEN t.state = 'dead' THEN r.raw ELSE '' END
FROM jsonb_to_recordset(%(told)s::jsonb) AS t (id bigint, state text, kind text, reason text)
WHERE r.id = t.id AND r.state = 'waiting';

-- bury_returned --
-- Puts aside what several readers died of.
UPDATE messaging_returnedmail SET state = 'dead', reason = %(reason)s, handled_at = %(now)s
WHERE state = 'waiting' AND attempts >= %(most)s AND begun_at < %(now)s - interval '10 minutes';

-- mark_doubtful_sent --
-- Somebody knows that these did leave: they count as sent, which the inbox is told.
WITH marked AS (
    UPDATE messaging_message SET state = 'sent', sent_at = coalesce(sent_at, claimed_at, %(now)s), finished_at = %(now)s
    WHERE id = ANY(%(messages)s::bigint[]) AND state = 'uncertain'
    RETURNING id, contact_id, template_id, journey_key, channel, sent_at
), news AS (
    INSERT INTO contacts_incoming (source, message_id, kind, channel, occurred_at, received_at, contact_id, properties)
    SELECT m.channel, 'sent:' || m.id, m.channel || '.sent', m.channel, m.sent_at, %(now)s, m.contact_id,
        jsonb_build_object('message', m.id, 'template', t.key, 'journey', m.journey_key)
    FROM marked m JOIN messaging_template t ON t.id = m.template_id
)
SELECT id FROM marked;
