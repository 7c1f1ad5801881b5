-- land_signups --
-- Finds the contacts of sign-ups, which ingest has made by now; answers which.
UPDATE messaging_signup s SET contact_id = c.id
FROM contacts_identity i JOIN contacts_contact c ON c.id = i.contact_id
WHERE s.contact_id IS NULL AND s.asked_at <= %(now)s AND i.kind = 'email' AND i.value = s.address
    AND c.erased_at IS NULL AND c.merged_into_id IS NULL
RETURNING s.id;

-- ask_pending --
-- Makes a sign-up of each consent that a client told as awaiting confirmation, where the topic demands one.
INSERT INTO messaging_signup (contact_id, address, topics, traits, source, language, wording, user_agent, asked_at,
                              expires_at, must_confirm)
SELECT c.id, i.value, to_jsonb(array_agg(DISTINCT topic.key)), '{}', min(t.source), c.language,
    coalesce((SELECT l.wording FROM contacts_consentchange l
              WHERE l.contact_id = c.id AND l.channel = 'email' AND l.state = 'pending'
              ORDER BY l.changed_at DESC, l.id DESC LIMIT 1), ''), '', %(now)s, %(expires_at)s, true
FROM contacts_touchpoint t
JOIN contacts_contact c ON c.id = t.contact_id AND c.erased_at IS NULL AND c.merged_into_id IS NULL
JOIN contacts_identity i ON i.contact_id = c.id AND i.kind = 'email' AND i.value = c.email
JOIN messaging_topic topic ON topic.key = t.properties->>'topic' AND topic.is_double_opt_in
JOIN contacts_consent now_holds ON now_holds.contact_id = c.id AND now_holds.channel = 'email'
    AND now_holds.topic = topic.key AND now_holds.state = 'pending'
WHERE t.id > %(after)s AND t.id <= %(upto)s AND t.kind = 'consent.changed' AND t.properties->>'state' = 'pending'
    AND t.properties->>'channel' = 'email' AND t.source NOT LIKE 'form:%%'
GROUP BY c.id, i.value, c.language
RETURNING id;

-- note_signups --
-- Notes what sign-ups ask for: awaiting confirmation, or granted where none is needed and nothing was refused. What
-- holds already is not touched; an address that nobody knew before gets nothing at all until it is confirmed.
WITH asked AS (
    SELECT DISTINCT ON (s.contact_id, wanted.topic) s.*, wanted.topic, CASE
        WHEN s.must_confirm OR wanted.topic = '' OR EXISTS (
            SELECT FROM contacts_consent refused WHERE refused.contact_id = s.contact_id AND refused.channel = 'email'
              AND refused.state = 'denied' AND (refused.topic = '' OR s.topics ? refused.topic)) THEN 'pending'
        ELSE 'granted' END AS state
    FROM messaging_signup s
    JOIN contacts_contact c ON c.id = s.contact_id
    CROSS JOIN LATERAL (
        SELECT jsonb_array_elements_text(s.topics) AS topic
        UNION ALL
        SELECT '' WHERE s.must_confirm AND c.source = s.source AND c.created_at >= s.asked_at
    ) wanted
    WHERE s.id = ANY(%(ids)s)
    ORDER BY s.contact_id, wanted.topic, s.must_confirm, s.id
), written AS (
    INSERT INTO contacts_consent AS held (contact_id, topic, channel, state, changed_at)
    SELECT contact_id, topic, 'email', state, %(now)s FROM asked ORDER BY contact_id, topic
    ON CONFLICT (contact_id, topic, channel) DO UPDATE SET state = excluded.state, changed_at = excluded.changed_at
        WHERE held.state = 'pending' AND excluded.state = 'granted'
    RETURNING held.contact_id, held.topic
), proof AS (
    INSERT INTO contacts_consentchange
        (contact_id, topic, channel, state, source, wording, actor, ip_address, user_agent, changed_at)
    SELECT contact_id, topic, 'email', state, source, wording, '', ip_address, user_agent, %(now)s
    FROM asked JOIN written USING (contact_id, topic)
)
INSERT INTO contacts_incoming (source, kind, occurred_at, received_at, contact_id, properties)
SELECT source, 'consent.changed', %(now)s, %(now)s, contact_id,
    jsonb_build_object('topic', topic, 'channel', 'email', 'state', state, 'source', source)
FROM asked JOIN written USING (contact_id, topic);

-- tell_signups --
-- Whom a form without confirmation made known may say the rest of it at once; about anybody else it waits for their yes.
WITH known AS (
    UPDATE messaging_signup s SET confirmed_at = %(now)s, traits = '{}'
    FROM messaging_signup was JOIN contacts_contact c ON c.id = was.contact_id
    WHERE s.id = was.id AND s.id = ANY(%(ids)s) AND NOT s.must_confirm AND NOT EXISTS (
        SELECT FROM jsonb_array_elements_text(was.topics) AS wanted(topic)
        LEFT JOIN contacts_consent held ON held.contact_id = was.contact_id AND held.channel = 'email'
            AND held.topic = wanted.topic
        WHERE held.state IS DISTINCT FROM 'granted')
    RETURNING was.contact_id, was.source, was.language,
        CASE WHEN c.source = was.source AND c.created_at >= was.asked_at THEN was.traits ELSE '{}' END AS traits
)
INSERT INTO contacts_incoming (source, kind, occurred_at, received_at, contact_id, traits)
SELECT source, 'contact.identified', %(now)s, %(now)s, contact_id, traits FROM known WHERE traits <> '{}';

-- mail_signups --
-- Asks for confirmation by mail: nobody whose every topic is granted already, one mail per address and form, and no
-- more a day to one address than it bears.
WITH asked AS (
    SELECT s.id, s.contact_id, s.address, s.topics, s.language, s.source,
        row_number() OVER (PARTITION BY s.address, s.source ORDER BY s.id) AS place
    FROM messaging_signup s
    WHERE s.id = ANY(%(ids)s) AND s.confirmed_at IS NULL AND EXISTS (
        SELECT FROM jsonb_array_elements_text(s.topics) AS wanted(topic)
        LEFT JOIN contacts_consent held ON held.contact_id = s.contact_id AND held.channel = 'email'
            AND held.topic = wanted.topic
        LEFT JOIN contacts_consent veto ON veto.contact_id = s.contact_id AND veto.channel = 'email' AND veto.topic = ''
        WHERE held.state IS DISTINCT FROM 'granted' OR veto.state IN ('denied', 'pending'))
), few AS (
    SELECT asked.*, row_number() OVER (PARTITION BY address ORDER BY id)
        + (SELECT count(*) FROM messaging_signup had
           WHERE had.address = asked.address AND had.mailed_at > %(now)s - interval '24 hours') AS number
    FROM asked WHERE place = 1
), mailed AS (
    UPDATE messaging_signup s SET mailed_at = %(now)s FROM few WHERE few.id = s.id AND few.number <= %(most)s
    RETURNING s.id
)
INSERT INTO messaging_message (key, contact_id, template_id, message_class, source, created_at, due_at, context)
SELECT 'signup:' || few.id, few.contact_id, %(template)s, 'transactional', few.source, %(now)s, %(now)s,
    jsonb_build_object('signup', few.id, 'language', few.language, 'topics', coalesce((
        SELECT string_agg(coalesce(nullif(topic.names->>few.language, ''), topic.name), ', ' ORDER BY topic.key)
        FROM messaging_topic topic WHERE few.topics ? topic.key), ''))
FROM few JOIN mailed ON mailed.id = few.id
ON CONFLICT (key) DO NOTHING;
