-- One-click unsubscribes as a set: the same as `refusing.refuse_all` of each reader, in two or three statements.

-- readers_of_presses --
-- Who each press speaks for: the person of its message, or whom they became, and whoever has its address by now. An
-- address that nobody has any more is theirs again; the telephone number of an SMS is no address here.
WITH RECURSIVE pressed AS (
    SELECT p.number, coalesce(m.contact_id, p.contact) AS contact_id, CASE m.channel WHEN 'email' THEN m.address ELSE '' END AS address
    FROM jsonb_to_recordset(%(presses)s::jsonb) AS p (number int, message bigint, contact bigint)
    LEFT JOIN messaging_message m ON m.id = p.message
), became AS (
    SELECT pressed.number, pressed.address, c.id, c.merged_into_id, c.erased_at
    FROM pressed JOIN contacts_contact c ON c.id = pressed.contact_id
    UNION ALL
    SELECT became.number, became.address, c.id, c.merged_into_id, c.erased_at
    FROM became JOIN contacts_contact c ON c.id = became.merged_into_id
), person AS (
    SELECT number, address, id FROM became WHERE merged_into_id IS NULL AND erased_at IS NULL
), handle AS (
    INSERT INTO contacts_identity (kind, value, contact_id, created_at)
    SELECT DISTINCT ON (address) 'email', address, id, %(now)s FROM person WHERE address <> '' ORDER BY address, number
    ON CONFLICT (kind, value) DO NOTHING
), owner AS (
    SELECT person.number, c.id, c.merged_into_id, c.erased_at
    FROM person
    JOIN contacts_identity i ON i.kind = 'email' AND i.value = person.address
    JOIN contacts_contact c ON c.id = i.contact_id
    UNION ALL
    SELECT owner.number, c.id, c.merged_into_id, c.erased_at
    FROM owner JOIN contacts_contact c ON c.id = owner.merged_into_id
), reader AS (
    SELECT id, min(number) AS number FROM (
        SELECT id, number FROM person
        UNION ALL
        SELECT id, number FROM owner WHERE merged_into_id IS NULL AND erased_at IS NULL
    ) AS either
    GROUP BY id
)
-- Two answers at once come one after the other.
SELECT c.id, reader.number FROM contacts_contact c JOIN reader ON reader.id = c.id ORDER BY c.id FOR NO KEY UPDATE OF c;

-- refuse_for_readers --
-- Refuses all for these people on each channel of theirs, in what holds, in the ledger and in the inbox, where that is
-- news; answers each person and channel, and whether anything still waits for them.
WITH reader AS (
    SELECT r.id, r.ip_address, r.user_agent, c.phone
    FROM jsonb_to_recordset(%(proofs)s::jsonb) AS r (id bigint, ip_address inet, user_agent text)
    JOIN contacts_contact c ON c.id = r.id AND c.merged_into_id IS NULL AND c.erased_at IS NULL
), said AS (
    SELECT reader.*, way.channel, before.state AS former
    FROM reader
    CROSS JOIN LATERAL (
        SELECT 'email' AS channel
        UNION SELECT 'sms' WHERE reader.phone <> ''
        UNION SELECT channel FROM contacts_consent WHERE contact_id = reader.id
    ) AS way
    LEFT JOIN contacts_consent before
        ON before.contact_id = reader.id AND before.topic = '' AND before.channel = way.channel
), fresh AS (
    SELECT * FROM said
    WHERE former IS DISTINCT FROM 'denied' OR coalesce((
        SELECT change.wording FROM contacts_consentchange change
        WHERE change.contact_id = said.id AND change.topic = '' AND change.channel = said.channel
        ORDER BY change.changed_at DESC, change.id DESC LIMIT 1), 'nothing') <> ''
), holding AS (
    INSERT INTO contacts_consent (contact_id, topic, channel, state, changed_at)
    SELECT id, '', channel, 'denied', %(now)s FROM fresh
    ON CONFLICT (contact_id, topic, channel) DO UPDATE SET state = excluded.state, changed_at = excluded.changed_at
), ledger AS (
    INSERT INTO contacts_consentchange
        (contact_id, topic, channel, state, source, wording, actor, ip_address, user_agent, changed_at)
    SELECT id, '', channel, 'denied', 'one-click', '', '', ip_address, user_agent, %(now)s FROM fresh
), news AS (
    INSERT INTO contacts_incoming (source, message_id, kind, channel, occurred_at, received_at, contact_id, properties)
    SELECT 'one-click', '', 'consent.changed', '', %(now)s, %(now)s, id, jsonb_build_object(
        'topic', '', 'channel', channel, 'state', 'denied', 'source', 'one-click')
    FROM fresh WHERE former IS DISTINCT FROM 'denied'
)
SELECT id, channel, EXISTS (
        SELECT FROM messaging_message m
        WHERE m.contact_id = said.id AND m.state IN ('pending', 'ready')
          AND m.message_class <> 'transactional')
FROM said ORDER BY id, channel;
