-- tell_moves --
-- Tells the stream of moves that can no longer be undone.
WITH final AS (
    UPDATE leads_leadmove SET told_at = %(now)s
    WHERE tells_at <= %(now)s AND told_at IS NULL AND undone_at IS NULL
    RETURNING id, contact_id, at, source, told
)
INSERT INTO contacts_touchpoint (contact_id, kind, channel, occurred_at, received_at, source, properties)
SELECT final.contact_id, final.told ->> 'kind', 'sales', final.at, %(now)s, final.source, final.told -> 'properties'
FROM final
JOIN contacts_contact contact ON contact.id = final.contact_id
    AND contact.merged_into_id IS NULL AND contact.erased_at IS NULL
ORDER BY final.id;

-- wake_leads --
-- Wakes the leads that slept until now.
WITH woken AS (
    UPDATE leads_lead SET snoozed_until = NULL, snooze_reason = '', updated_at = %(now)s
    WHERE snoozed_until <= %(now)s
    RETURNING id, contact_id
)
INSERT INTO contacts_touchpoint (contact_id, kind, channel, occurred_at, received_at, source, properties)
SELECT contact_id, 'lead.woken', 'sales', %(now)s, %(now)s, 'journey', jsonb_build_object('lead', id)
FROM woken ORDER BY id;

-- tell_leads --
-- Tells every lead that has changed, whole, as it is now; the highest version of a lead is the truth.
WITH changed AS (
    UPDATE leads_lead lead SET told_version = version
    FROM contacts_contact contact
    WHERE lead.told_version <> lead.version AND contact.id = lead.contact_id
        AND contact.merged_into_id IS NULL AND contact.erased_at IS NULL
    RETURNING lead.*
)
INSERT INTO contacts_touchpoint (contact_id, kind, channel, occurred_at, received_at, source, properties)
SELECT changed.contact_id, 'lead.updated', 'sales', %(now)s, %(now)s, 'journey', jsonb_build_object(
    'lead', changed.id, 'version', changed.version, 'state', changed.state, 'crm_id', changed.crm_id,
    'user_id', coalesce((SELECT identity.value FROM contacts_identity identity
        WHERE identity.contact_id = changed.contact_id AND identity.kind = 'user_id' ORDER BY identity.id LIMIT 1), ''),
    'team', coalesce(team.key, ''), 'owner', coalesce(owner.username, ''),
    'assigned_to', coalesce(assigned.username, ''), 'headline', changed.headline, 'score', changed.score,
    'reason', coalesce(reason.key, ''), 'value', changed.value::text, 'currency', changed.currency,
    'order_number', changed.order_number, 'snoozed_until', changed.snoozed_until, 'due_at', changed.due_at,
    'created_at', changed.created_at, 'assigned_at', changed.assigned_at, 'claimed_at', changed.claimed_at,
    'accepted_at', changed.accepted_at, 'ended_at', changed.ended_at, 'updated_at', changed.updated_at)
FROM changed
LEFT JOIN leads_team team ON team.id = changed.team_id
LEFT JOIN auth_user owner ON owner.id = changed.owner_id
LEFT JOIN auth_user assigned ON assigned.id = changed.assigned_to_id
LEFT JOIN leads_rejectreason reason ON reason.id = changed.reject_reason_id
ORDER BY changed.id
