-- due_messages --
-- The messages of one channel that are next, transactional ones first (the classes' names are in that order). Marketing
-- that became ready while the complaint brake was being pulled, or came back from a dead worker, waits here, too.
SELECT id, contact_id, template_id, message_class, channel, enrolment_id, due_at FROM messaging_message
WHERE state = 'ready' AND channel = %(channel)s AND due_at <= %(now)s AND NOT is_held
  AND (message_class <> 'marketing' OR NOT EXISTS (SELECT FROM messaging_brake WHERE released_at IS NULL))
ORDER BY message_class DESC, due_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED;

-- allowed_messages --
-- Those of them that no limit holds back.
SELECT id, contact_id, template_id, message_class, channel, enrolment_id, due_at FROM messaging_message
WHERE id = ANY(%(allowed)s);

-- claim_messages --
-- Takes ready messages for one worker; asks consent, suppression, erasure and the journey once more, at the door.
-- Whoever refused meanwhile, or left the journey, gets nothing, which the inbox is told.
WITH due AS ({due}), asked AS (
    SELECT m.id, {address} AS address, {refusal} AS refusal
    FROM due m
    JOIN contacts_contact c ON c.id = m.contact_id
    JOIN messaging_template t ON t.id = m.template_id
    LEFT JOIN messaging_topic topic ON topic.id = t.topic_id
    LEFT JOIN contacts_consent veto ON veto.contact_id = c.id AND veto.channel = {consent} AND veto.topic = ''
    LEFT JOIN contacts_consent said ON said.contact_id = c.id AND said.channel = {consent} AND said.topic = topic.key
    LEFT JOIN messaging_suppression s ON s.address = {address}
), claimed AS (
    UPDATE messaging_message m
    SET state = CASE WHEN asked.refusal IS NULL THEN 'sending' ELSE 'cancelled' END,
        reason = coalesce(asked.refusal, ''),
        finished_at = CASE WHEN asked.refusal IS NULL THEN NULL ELSE %(now)s END,
        claimed_by = CASE WHEN asked.refusal IS NULL THEN %(worker)s ELSE '' END,
        claimed_at = CASE WHEN asked.refusal IS NULL THEN %(now)s END,
        lease_until = CASE WHEN asked.refusal IS NULL THEN %(lease_until)s END,
        attempts = m.attempts + CASE WHEN asked.refusal IS NULL THEN 1 ELSE 0 END,
        address = CASE WHEN asked.refusal IS NULL THEN coalesce(asked.address, '') ELSE m.address END
    FROM asked
    WHERE m.id = asked.id
    RETURNING m.id, m.state, m.reason, m.contact_id, m.template_id, m.journey_key, m.channel
), news AS (
    INSERT INTO contacts_incoming (source, message_id, kind, channel, occurred_at, received_at, contact_id, properties)
    SELECT m.channel, '', m.channel || '.skipped', m.channel, %(now)s, %(now)s, m.contact_id,
        jsonb_build_object('message', m.id, 'template', t.key, 'journey', m.journey_key, 'reason', m.reason)
    FROM claimed m JOIN messaging_template t ON t.id = m.template_id
    WHERE m.state = 'cancelled' AND m.reason NOT IN ('erased', 'merged')
)
SELECT id, state FROM claimed;

-- read_claimed --
-- What a worker needs to write the mails that it claimed.
SELECT m.id, m.contact_id, m.template_id, m.version_id, m.message_class, m.address, m.attempts, m.journey_key, m.context,
    CASE m.channel WHEN 'email' THEN m.address ELSE lower(btrim(c.email)) END AS email, c.first_name, c.last_name, c.salutation, c.language, c.country, c.job_title, c.attributes, company.name AS company
FROM messaging_message m
JOIN contacts_contact c ON c.id = m.contact_id
LEFT JOIN contacts_company company ON company.id = c.company_id
WHERE m.id = ANY(%(ids)s)
ORDER BY m.message_class DESC, m.due_at, m.id;

-- begin_messages --
-- Notes that a worker now hands these over; only what is still its own, within its lease, may leave. One row for all of
-- them: an update of each would cost as much as its mark. (`|| ''`: they are found by their ids, never by their state.)
WITH ours AS (
    SELECT id FROM messaging_message
    WHERE id = ANY(%(ids)s) AND state || '' = 'sending' AND claimed_by = %(worker)s AND lease_until > %(asked_at)s
    -- The sweep takes the same rows first, so it sees either the lease or the note.
    FOR NO KEY UPDATE
), noted AS (
    INSERT INTO messaging_handover (worker, begun_at, messages)
    SELECT %(worker)s, %(now)s, array_agg(id) FROM ours HAVING count(*) > 0
)
SELECT id FROM ours;

-- end_handovers --
-- Forgets what a worker noted, once all of it has a result.
DELETE FROM messaging_handover h
WHERE h.worker = %(worker)s AND NOT EXISTS (
    SELECT FROM messaging_message m WHERE m.id = ANY(h.messages) AND m.state || '' = 'sending' AND m.claimed_by = h.worker);

-- forget_handovers --
-- Forgets what workers noted whose claims are all over.
DELETE FROM messaging_handover h
WHERE NOT EXISTS (SELECT FROM messaging_message m WHERE m.state = 'sending' AND m.claimed_by = h.worker);

-- mark_messages --
-- Writes what became of messages, and tells the inbox of those that left.
WITH told AS (
    SELECT * FROM jsonb_to_recordset(%(told)s::jsonb) AS t (
        id bigint, state text, reason text, response text, due_at timestamptz, attempts int, subject text, language text,
        version_id bigint, context jsonb)
), marked AS (
    UPDATE messaging_message m
    SET state = t.state, reason = t.reason,
        response = CASE WHEN m.key LIKE 'erased:%%' THEN '' ELSE t.response END,
        due_at = coalesce(t.due_at, m.due_at),
        wanted_at = CASE WHEN t.due_at IS NOT NULL THEN coalesce(m.wanted_at, m.due_at) ELSE m.wanted_at END,
        language = t.language, version_id = t.version_id, attempts = t.attempts,
        -- Whoever was erased while their mail was on its way stays forgotten.
        context = CASE WHEN m.key LIKE 'erased:%%' THEN '{}' ELSE t.context END,
        sent_at = CASE WHEN t.state = 'sent' THEN %(now)s END,
        finished_at = CASE WHEN t.state IN ('sent', 'failed') THEN %(now)s END,
        claimed_by = '', lease_until = NULL
    FROM told t
    WHERE m.id = t.id AND m.state || '' = 'sending' AND m.claimed_by = %(worker)s
    RETURNING m.id, m.state, m.reason, m.contact_id, m.template_id, m.journey_key, m.channel, t.subject
), news AS (
    INSERT INTO contacts_incoming (source, message_id, kind, channel, occurred_at, received_at, contact_id, properties)
    SELECT marked.channel, CASE marked.state WHEN 'sent' THEN 'sent:' || marked.id ELSE '' END,
        marked.channel || CASE marked.state WHEN 'sent' THEN '.sent' ELSE '.failed' END, marked.channel,
        %(now)s, %(now)s, marked.contact_id,
        jsonb_build_object('message', marked.id, 'template', t.key, 'journey', marked.journey_key)
        || CASE marked.state WHEN 'sent' THEN jsonb_build_object('subject', marked.subject)
                ELSE jsonb_build_object('reason', coalesce(nullif(marked.reason, ''), marked.state)) END
    FROM marked JOIN messaging_template t ON t.id = marked.template_id
    WHERE marked.state IN ('sent', 'failed', 'uncertain')
)
SELECT id FROM marked;

-- suppress_bounced --
-- Nobody writes again to addresses that do not exist. Whoever only unsubscribed could still be sent transactional mail.
INSERT INTO messaging_suppression AS s (address, channel, reason, detail, suppressed_at)
SELECT DISTINCT ON (lower(btrim(address))) lower(btrim(address)), channel, 'bounced', left(response, 500), %(now)s
FROM messaging_message
WHERE id = ANY(%(ids)s) AND address <> ''
ORDER BY lower(btrim(address)), id
ON CONFLICT (address) DO UPDATE SET reason = excluded.reason, detail = excluded.detail
WHERE s.reason = 'unsubscribed';

-- lock_lapsed --
-- Takes the claims whose lease is over: whoever is about to note that it hands some of them over has done so by then.
SELECT id FROM messaging_message WHERE state = 'sending' AND lease_until <= %(now)s FOR UPDATE;

-- sweep_messages --
-- Ends claims whose lease is over: what was not begun goes back, what may have left is uncertain, transactional mail goes
-- again under the same Message-ID. What is uncertain is told. Of a journey that was paused meanwhile nothing goes again
-- before the gates have seen it.
WITH over AS (
    SELECT m.id, EXISTS (SELECT FROM messaging_handover h WHERE h.worker = m.claimed_by AND m.id = ANY(h.messages)) AS is_begun,
        CASE WHEN EXISTS (SELECT FROM ({paused}) p WHERE p.key = m.journey_key) THEN 'pending' ELSE 'ready' END AS again
    FROM messaging_message m WHERE m.state = 'sending' AND m.lease_until <= %(now)s
), swept AS (
    UPDATE messaging_message m
    SET state = CASE WHEN NOT is_begun THEN again
                     WHEN message_class <> 'transactional' THEN 'uncertain'
                     WHEN attempts < %(most_attempts)s THEN again
                     ELSE 'uncertain' END,
        attempts = CASE WHEN NOT is_begun THEN greatest(attempts - 1, 0) ELSE attempts END,
        claimed_by = '', lease_until = NULL
    FROM over WHERE over.id = m.id AND m.state = 'sending' AND m.lease_until <= %(now)s
    RETURNING m.id, state, contact_id, template_id, journey_key, channel
), news AS (
    INSERT INTO contacts_incoming (source, message_id, kind, channel, occurred_at, received_at, contact_id, properties)
    SELECT m.channel, '', m.channel || '.failed', m.channel, %(now)s, %(now)s, m.contact_id,
        jsonb_build_object('message', m.id, 'template', t.key, 'journey', m.journey_key, 'reason', 'uncertain')
    FROM swept m JOIN messaging_template t ON t.id = m.template_id
    WHERE m.state = 'uncertain'
)
SELECT count(*) FROM swept;
