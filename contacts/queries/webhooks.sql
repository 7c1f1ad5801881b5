-- Outgoing webhooks: the outbox, its claims and marks, and the breaker of each endpoint.

-- tell_webhooks --
-- Puts the touchpoints of a window into the outbox, once for each endpoint that wants them and did not cause them.
INSERT INTO contacts_webhookdelivery (webhook_id, touchpoint_id, contact_id, kind, payload, state, created_at, due_at)
SELECT webhook.id, told.id, told.contact_id, told.kind, told.payload, 'waiting', %(now)s, %(now)s
FROM (
    SELECT touchpoint.id, touchpoint.contact_id, touchpoint.kind, touchpoint.source, jsonb_build_object(
        'type', touchpoint.kind,
        'timestamp', to_char(touchpoint.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'data', jsonb_build_object(
            'id', touchpoint.id, 'contact', touchpoint.contact_id, 'channel', touchpoint.channel,
            'source', touchpoint.source, 'is_machine', touchpoint.is_machine,
            -- What is long is fetched by whoever wants it; where somebody was and with what is nobody's business.
            'properties', CASE
                WHEN jsonb_typeof(touchpoint.properties) = 'object' AND octet_length(touchpoint.properties::text) < 16000
                THEN (touchpoint.properties - %(private)s::text[]) #- '{context,ip}' #- '{context,user_agent}' END)
    ) AS payload
    FROM contacts_touchpoint touchpoint
    WHERE touchpoint.id > %(after)s AND touchpoint.id <= %(upto)s
) told
JOIN contacts_webhook webhook ON webhook.is_active
    AND (webhook.kinds = '{}' OR told.kind = ANY (webhook.kinds) OR split_part(told.kind, '.', 1) || '.*' = ANY (webhook.kinds))
    -- Exactly what the doors of REST write: `segment:1` is a write key, `form:shop` a form, and no system's own words.
    AND (webhook.origin = '' OR told.source NOT IN ('sync:' || webhook.origin, 'rest:' || webhook.origin))
-- An erasure in this very moment took the person away; nobody is told of them.
JOIN contacts_contact contact ON contact.id = told.contact_id AND contact.erased_at IS NULL
ORDER BY told.id, webhook.id
ON CONFLICT (webhook_id, touchpoint_id) DO NOTHING;

-- free_webhook_claims --
-- Ends the claims of workers that did not come back; what they sent may go again, with the same id.
UPDATE contacts_webhookdelivery SET state = 'waiting', claimed_by = '', lease_until = NULL
WHERE state = 'sending' AND lease_until <= %(now)s;

-- choose_webhook --
-- The endpoint whose turn it is: something is due, its breaker lets it, and it has the fewest lines open of its share.
SELECT webhook.id FROM contacts_webhook webhook
CROSS JOIN LATERAL (
    SELECT count(DISTINCT claimed_by) AS lines FROM contacts_webhookdelivery busy
    WHERE busy.state = 'sending' AND busy.webhook_id = webhook.id
) open
WHERE webhook.is_active AND (webhook.retry_at IS NULL OR webhook.retry_at <= %(now)s)
  -- One that fails, or has never answered yet, gets one line until it does well.
  AND open.lines < CASE WHEN webhook.failures = 0 AND webhook.succeeded_at IS NOT NULL THEN %(lines)s ELSE 1 END
  AND EXISTS (SELECT FROM contacts_webhookdelivery d
              WHERE d.state = 'waiting' AND d.webhook_id = webhook.id AND d.due_at <= %(now)s)
ORDER BY open.lines, webhook.failures, webhook.succeeded_at NULLS FIRST, webhook.id
LIMIT 1
FOR NO KEY UPDATE OF webhook SKIP LOCKED;

-- claim_webhook_deliveries --
-- Takes what is due for one endpoint, the oldest first; of one whose breaker is open a single trial.
WITH due AS (
    SELECT id FROM contacts_webhookdelivery
    WHERE state = 'waiting' AND webhook_id = %(webhook)s AND due_at <= %(now)s
    ORDER BY due_at, id
    LIMIT CASE WHEN (SELECT failures FROM contacts_webhook WHERE id = %(webhook)s) = 0 THEN %(size)s ELSE 1 END
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE contacts_webhookdelivery d
    SET state = 'sending', claimed_by = %(worker)s, lease_until = %(lease_until)s
    FROM due WHERE d.id = due.id
    RETURNING d.id, d.touchpoint_id, d.payload::text, d.attempts
)
SELECT id, touchpoint_id, payload, attempts FROM claimed ORDER BY id;

-- mark_webhook_deliveries --
-- Writes what became of one line's deliveries; those it did not come to wait again as if nothing had been.
UPDATE contacts_webhookdelivery d
SET state = t.state, status_code = coalesce(t.status_code, d.status_code),
    error = CASE WHEN t.is_tried THEN t.error ELSE d.error END,
    attempts = d.attempts + t.is_tried::int, due_at = coalesce(t.due_at, d.due_at),
    tried_at = CASE WHEN t.is_tried THEN %(now)s ELSE d.tried_at END,
    finished_at = CASE WHEN t.state <> 'waiting' THEN %(now)s END,
    claimed_by = '', lease_until = NULL
FROM jsonb_to_recordset(%(told)s::jsonb) AS t (
    id bigint, state text, status_code int, error text, due_at timestamptz, is_tried boolean)
WHERE d.id = t.id AND d.state = 'sending' AND d.claimed_by = %(worker)s;

-- forget_webhook_deliveries --
-- Drops what was told, or given up, long ago, and what waited too long for an endpoint to be switched on again.
DELETE FROM contacts_webhookdelivery WHERE id IN (
    SELECT id FROM contacts_webhookdelivery
    WHERE state <> 'sending' AND created_at < %(before)s
      AND (finished_at < %(before)s OR created_at < %(long_before)s)
    ORDER BY created_at LIMIT 10000);

-- count_webhooks --
-- For the health page: what waits, what was given up in a day, which breakers are open, who was switched off for failing.
SELECT (SELECT count(*) FROM contacts_webhookdelivery d JOIN contacts_webhook w ON w.id = d.webhook_id AND w.is_active
        WHERE d.state IN ('waiting', 'sending')) AS waiting,
    (SELECT count(*) FROM contacts_webhookdelivery
     WHERE state IN ('failed', 'refused') AND created_at > %(now)s - interval '1 day') AS failed,
    count(*) FILTER (WHERE is_active AND retry_at IS NOT NULL) AS open_breakers,
    count(*) FILTER (WHERE disabled_reason IN ('gone', 'failing')) AS switched_off
FROM contacts_webhook;
