-- Messages on our website: they passed the gates and wait until their person comes by.

-- waiting_onsite --
-- What waits for one person, in the order in which it is shown.
SELECT id FROM messaging_message
WHERE contact_id = %(contact)s AND channel = 'onsite' AND state = 'ready' AND NOT is_held AND due_at <= %(now)s
  -- As at the door of the workers.
  AND (message_class <> 'marketing' OR NOT EXISTS (SELECT FROM messaging_brake WHERE released_at IS NULL))
  AND coalesce(valid_until, due_at + %(patience)s) > %(now)s
ORDER BY message_class DESC, tier, valid_until NULLS LAST, due_at, id LIMIT 5;

-- keep_onsite --
-- Notes with what a message was filled in; it waits on until the page says that it is seen.
UPDATE messaging_message SET version_id = %(version)s, language = %(language)s, context = %(context)s::jsonb
WHERE id = %(message)s AND state = 'ready' AND key NOT LIKE 'erased:%%';

-- show_onsite --
-- The page says that a message is seen: it has left now, and the inbox is told, once.
WITH shown AS (
    UPDATE messaging_message SET state = 'sent', sent_at = %(now)s, claimed_at = %(now)s, finished_at = %(now)s
    WHERE id = %(message)s AND channel = 'onsite' AND state = 'ready' AND version_id IS NOT NULL
    RETURNING id, contact_id, template_id, journey_key
)
INSERT INTO contacts_incoming (source, message_id, kind, channel, occurred_at, received_at, contact_id, properties)
SELECT 'onsite', 'shown:' || shown.id, 'onsite.shown', 'onsite', %(now)s, %(now)s, shown.contact_id,
    jsonb_build_object('message', shown.id, 'template', t.key, 'journey', shown.journey_key)
FROM shown JOIN messaging_template t ON t.id = shown.template_id;

-- dismiss_onsite --
-- The person closed a message that was shown; the inbox takes it once.
INSERT INTO contacts_incoming (source, message_id, kind, channel, occurred_at, received_at, contact_id, properties)
SELECT 'onsite', 'dismissed:' || m.id, 'onsite.dismissed', 'onsite', %(now)s, %(now)s, m.contact_id,
    jsonb_build_object('message', m.id, 'template', t.key, 'journey', m.journey_key)
FROM messaging_message m JOIN messaging_template t ON t.id = m.template_id
WHERE m.id = %(message)s AND m.channel = 'onsite' AND m.state = 'sent' AND m.key NOT LIKE 'erased:%%';

-- expire_onsite --
-- Ends what nobody came by to see in time, and tells the inbox, for a journey may wait for it.
WITH expired AS (
    UPDATE messaging_message SET state = 'skipped', reason = 'expired', finished_at = %(now)s
    WHERE state = 'ready' AND channel = 'onsite' AND coalesce(valid_until, due_at + %(patience)s) <= %(now)s
    RETURNING id, contact_id, template_id, journey_key
), news AS (
    INSERT INTO contacts_incoming (source, message_id, kind, channel, occurred_at, received_at, contact_id, properties)
    SELECT 'onsite', '', 'onsite.skipped', 'onsite', %(now)s, %(now)s, m.contact_id,
        jsonb_build_object('message', m.id, 'template', t.key, 'journey', m.journey_key, 'reason', 'expired')
    FROM expired m JOIN messaging_template t ON t.id = m.template_id
)
SELECT count(*) FROM expired;
