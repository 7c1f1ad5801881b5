-- The invariants: each statement counts what must not be. They read all apps, so they stand in the house.

-- invariant_i1 --
-- Nothing is due and unclaimed for more than two sweeps (a minute); what a paused journey or the complaint brake holds
-- back is not due, nor what waits on our website for its person.
SELECT (SELECT count(*) FROM messaging_message m
        WHERE m.state IN ('pending', 'ready') AND m.due_at < %(now)s - interval '60 seconds'
          AND NOT (m.state = 'ready' AND m.channel = 'onsite')
          AND NOT (m.message_class = 'marketing' AND EXISTS (SELECT FROM messaging_brake WHERE released_at IS NULL))
          AND NOT EXISTS (SELECT FROM campaigns_journey j WHERE j.key = m.journey_key AND j.state = 'paused'))
     + (SELECT count(*) FROM campaigns_due d JOIN campaigns_enrolment e ON e.id = d.enrolment_id
        JOIN campaigns_journey j ON j.id = e.journey_id
        WHERE d.due_at < %(now)s - interval '60 seconds' AND j.state IN ('live', 'closing'));

-- invariant_i2 --
-- Nothing is being sent past its lease (the sweep makes such rows uncertain).
SELECT count(*) FROM messaging_message WHERE state = 'sending' AND lease_until < %(now)s - interval '60 seconds';

-- invariant_i3 --
-- Every open enrolment has exactly one token, and so a moment at which it wakes; no other enrolment has any.
SELECT count(*) FROM campaigns_enrolment e
LEFT JOIN (SELECT enrolment_id, count(*) AS tokens FROM campaigns_due GROUP BY 1) d ON d.enrolment_id = e.id
WHERE coalesce(d.tokens, 0) <> CASE WHEN e.state = 'open' THEN 1 ELSE 0 END;

-- invariant_i4 --
-- No reason to write led to two sent messages; nor did two reasons send one person the same marketing twice.
SELECT (SELECT count(*) - count(DISTINCT key) FROM messaging_message WHERE state IN ('sent', 'uncertain'))
     + (SELECT count(*) FROM (
            SELECT FROM messaging_message m JOIN messaging_template t ON t.id = m.template_id
            WHERE m.state = 'sent' AND m.message_class = 'marketing' AND NOT t.is_repeatable AND NOT m.is_ghost
              -- What each of two got before we knew that they are one is not twice.
              AND m.id NOT IN (SELECT unnest(entry.keys)::bigint FROM contacts_mergeentry entry
                               WHERE entry.table_name = 'messaging_message')
            GROUP BY m.contact_id, m.template_id HAVING count(*) > 1) twice);

-- invariant_i5 --
-- No marketing was claimed for an address after that address was suppressed.
SELECT count(*) FROM messaging_message m JOIN messaging_suppression s ON s.address = lower(btrim(m.address))
WHERE m.message_class <> 'transactional' AND m.claimed_at > s.suppressed_at AND m.state IN ('sending', 'sent', 'uncertain');

-- invariant_i7 --
-- Of each finished occasion of a broadcast, the audience is the sum of what became of them: one message in an end state
-- for each person, or none for whoever left before; nobody is under way.
SELECT coalesce(sum(abs(o.audience - (
    SELECT count(*) FROM campaigns_enrolment e
    CROSS JOIN LATERAL (
        SELECT count(*) AS messages, count(*) FILTER (WHERE m.state IN ('pending', 'ready', 'sending')) AS open
        FROM messaging_message m WHERE m.enrolment_id = e.id) made
    WHERE e.sendout_id = o.id AND e.state <> 'open' AND made.open = 0
      AND (made.messages = 1 OR (made.messages = 0 AND e.exit_reason <> 'end'))))), 0)
FROM campaigns_sendout o WHERE o.state = 'finished';

-- invariant_i8 --
-- Nothing under way points at a contact that was merged into another or erased.
WITH gone AS (SELECT id FROM contacts_contact WHERE merged_into_id IS NOT NULL OR erased_at IS NOT NULL)
SELECT (SELECT count(*) FROM campaigns_enrolment WHERE state = 'open' AND contact_id IN (SELECT id FROM gone))
     + (SELECT count(*) FROM campaigns_due WHERE contact_id IN (SELECT id FROM gone))
     + (SELECT count(*) FROM contacts_identity WHERE contact_id IN (SELECT id FROM gone))
     + (SELECT count(*) FROM contacts_membership WHERE contact_id IN (SELECT id FROM gone))
     + (SELECT count(*) FROM contacts_touchpoint WHERE contact_id IN (SELECT id FROM gone))
     + (SELECT count(*) FROM scoring_contactscore WHERE contact_id IN (SELECT id FROM gone))
     + (SELECT count(*) FROM leads_lead
        WHERE state IN ('open', 'claimed', 'accepted') AND contact_id IN (SELECT id FROM gone))
     + (SELECT count(*) FROM messaging_message
        WHERE state IN ('pending', 'ready') AND contact_id IN (SELECT id FROM gone));

-- invariant_i9 --
-- Each intent is under way, sent, or ended for exactly one reason.
SELECT count(*) FROM messaging_message
WHERE NOT (state IN ('pending', 'ready', 'sending', 'uncertain')
           OR (state = 'sent' AND sent_at IS NOT NULL)
           OR (state IN ('skipped', 'failed', 'cancelled') AND reason <> ''));

-- invariant_i10 --
-- At most one open enrolment for each contact, journey and occasion.
SELECT count(*) FROM (
    SELECT FROM campaigns_enrolment WHERE state = 'open' GROUP BY contact_id, journey_id, entry_key HAVING count(*) > 1
) twice;
