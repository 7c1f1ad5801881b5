-- withdraw_messages --
-- Withdraws what has not been claimed yet, for one reason, and tells the inbox, for somebody may wait for it.
WITH withdrawn AS (
    UPDATE messaging_message SET state = 'cancelled', reason = %(reason)s, finished_at = %(now)s
    WHERE state IN ('pending', 'ready') AND {which}
    RETURNING id, contact_id, template_id, journey_key, channel, reason
), news AS (
    INSERT INTO contacts_incoming (source, message_id, kind, channel, occurred_at, received_at, contact_id, properties)
    SELECT m.channel, '', m.channel || '.skipped', m.channel, %(now)s, %(now)s, m.contact_id,
        jsonb_build_object('message', m.id, 'template', t.key, 'journey', m.journey_key, 'reason', m.reason)
    FROM withdrawn m JOIN messaging_template t ON t.id = m.template_id
    WHERE m.reason <> 'erased'
)
SELECT count(*) FROM withdrawn;

-- hold_messages --
-- A pause: keeps a journey's unclaimed messages from gates and workers, or lets them go again.
UPDATE messaging_message SET is_held = %(is_held)s,
    -- What waited over a pause is asked again by every gate.
    state = 'pending'
WHERE state IN ('pending', 'ready') AND journey_key = %(journey)s AND is_held <> %(is_held)s;
