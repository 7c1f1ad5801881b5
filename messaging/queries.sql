-- The outbox's set moves. `{asked}` is a query of messages, stored or imagined; `{judged}` is `judge_messages` over them.

-- judge_messages --
-- Leads every message asked about through all gates in their order; the first gate that fails is its reason.
WITH asked AS (
    SELECT m.*, c.email, c.language AS contact_language, c.erased_at, c.merged_into_id,
        c.paused_until, c.most_per_week,
        coalesce(nullif(c.zone, ''), %(zone)s) AS contact_zone,
        t.is_repeatable, topic.key AS topic, coalesce(m.wanted_at, m.due_at) AS first_due,
        -- Whoever is new to something is left in peace by promotions; the longest protection counts.
        CASE WHEN m.is_promotion THEN (
            SELECT max(r.until) FROM messaging_protection r WHERE r.contact_id = m.contact_id AND r.until > %(now)s
        ) END AS protected_until,
        m.message_class = 'marketing' AND share.held_out > 0
        AND coalesce(held.is_held, bucket_of('holdout:global', c.id) < share.held_out) AS is_held_out,
        {refusal} AS refusal
    FROM ({asked}) m
    CROSS JOIN (SELECT coalesce(max(global_holdout), 0) AS held_out FROM messaging_sendingpolicy) share
    JOIN contacts_contact c ON c.id = m.contact_id
    JOIN messaging_template t ON t.id = m.template_id
    LEFT JOIN messaging_topic topic ON topic.id = t.topic_id
    LEFT JOIN contacts_consent veto ON veto.contact_id = c.id AND veto.channel = m.channel AND veto.topic = ''
    LEFT JOIN contacts_consent said ON said.contact_id = c.id AND said.channel = m.channel AND said.topic = topic.key
    LEFT JOIN messaging_suppression s ON s.address = lower(btrim(c.email))
    LEFT JOIN messaging_holdout held ON held.contact_id = c.id AND held.scope = 'global'
), single AS (
    SELECT asked.*, CASE
        WHEN refusal IS NOT NULL THEN refusal
        WHEN message_class = 'marketing' AND NOT is_repeatable AND NOT is_ghost AND EXISTS (
            SELECT FROM messaging_message other
            WHERE other.template_id = asked.template_id AND other.contact_id = asked.contact_id AND other.id <> asked.id
              AND other.state IN ('ready', 'sending', 'sent', 'uncertain') AND NOT other.is_ghost) THEN 'already_sent'
        WHEN valid_until <= %(now)s THEN 'expired'
        -- First who gets no marketing at all, then who gets nothing from this journey.
        WHEN is_held_out OR is_ghost THEN 'holdout'
        END AS failed,
        %(now)s AT TIME ZONE contact_zone AS local_now,
        (('x' || substr(md5(id::text), 1, 8))::bit(32)::bigint %% 900) * interval '1 second' AS spread
    FROM asked
), timed AS (
    SELECT single.*,
        -- Whoever asked for a pause gets no marketing until it is over.
        CASE WHEN failed IS NULL AND message_class = 'marketing'
             THEN greatest(CASE WHEN paused_until > %(now)s THEN paused_until END, protected_until) + spread
             END AS pause_end,
        failed IS NULL AND message_class = 'marketing'
            AND protected_until > coalesce(paused_until, %(now)s) AS is_protected,
        CASE WHEN failed IS NULL AND message_class <> 'transactional'
        AND CASE WHEN p.quiet_from > p.quiet_until
                 THEN local_now::time >= p.quiet_from OR local_now::time < p.quiet_until
                 ELSE local_now::time >= p.quiet_from AND local_now::time < p.quiet_until END
        THEN local_instant(local_now::date + p.quiet_until
                           + CASE WHEN local_now::time >= p.quiet_until THEN interval '1 day' ELSE interval '0' END,
                           contact_zone) + spread END AS quiet_end,
        p.quiet_until, p.max_defer, p.per_day, p.per_month,
        -- The person's own limit wins.
        least(p.per_week, most_per_week) AS per_week,
        -- Twins: the same content for the same person twice in one pass.
        row_number() OVER (PARTITION BY contact_id, template_id, failed IS NULL AND message_class = 'marketing'
            AND NOT is_repeatable ORDER BY tier, valid_until NULLS LAST, first_due, id) AS twin
    FROM single CROSS JOIN (
        SELECT quiet_from, quiet_until, max_defer, per_day, per_week, per_month FROM messaging_sendingpolicy
        UNION ALL
        SELECT '20:00', '08:00', '72 hours', 1, 3, 12 WHERE NOT EXISTS (SELECT FROM messaging_sendingpolicy)
    ) p
), had AS (
    SELECT who.contact_id,
        count(*) FILTER (WHERE (moment AT TIME ZONE contact_zone)::date = (%(now)s AT TIME ZONE contact_zone)::date) AS day,
        count(*) FILTER (WHERE moment > %(now)s - interval '7 days') AS week,
        count(*) AS month
    FROM (SELECT DISTINCT contact_id, contact_zone FROM timed
          WHERE failed IS NULL AND pause_end IS NULL AND quiet_end IS NULL AND message_class = 'marketing') who
    JOIN messaging_message o ON o.contact_id = who.contact_id
    CROSS JOIN LATERAL (SELECT CASE WHEN o.state IN ('ready', 'sending') THEN %(now)s
                                    ELSE coalesce(o.sent_at, o.claimed_at) END AS moment) at
    WHERE o.message_class IN ('marketing', 'operational') AND NOT o.is_ghost
      AND o.state IN ('ready', 'sending', 'sent', 'uncertain') AND moment > %(now)s - interval '30 days'
      AND o.id NOT IN (SELECT id FROM timed)
    GROUP BY who.contact_id
), placed AS (
    SELECT timed.*,
        least(per_day - coalesce(day, 0), per_week - coalesce(week, 0), per_month - coalesce(month, 0))
        - count(*) FILTER (WHERE failed IS NULL AND quiet_end IS NULL AND message_class = 'operational')
          OVER (PARTITION BY timed.contact_id) AS room,
        -- Who goes first where there is room for one: tier, then what ends soonest, then what waits longest, then id.
        row_number() OVER (
            PARTITION BY timed.contact_id,
                failed IS NULL AND pause_end IS NULL AND quiet_end IS NULL AND message_class = 'marketing'
                AND (is_repeatable OR twin = 1)
            ORDER BY tier, valid_until NULLS LAST, first_due, id) AS place,
        local_instant(local_now::date + 1 + quiet_until, contact_zone) + spread AS next_day,
        coalesce(day, 0) AS had_day, coalesce(week, 0) AS had_week, coalesce(month, 0) AS had_month
    FROM timed LEFT JOIN had ON had.contact_id = timed.contact_id
), decided AS (
    SELECT placed.*, CASE
        WHEN failed IS NOT NULL THEN 'skipped'
        WHEN pause_end IS NOT NULL THEN CASE
            -- A protection is no lack of room: what has no end of its own outlasts it.
            WHEN is_protected AND valid_until IS NULL THEN 'pending'
            WHEN pause_end >= coalesce(valid_until, first_due + interval '7 days') THEN 'skipped' ELSE 'pending' END
        WHEN quiet_end IS NOT NULL THEN CASE
            WHEN quiet_end >= valid_until OR quiet_end > due_at + max_defer AND quiet_end > %(now)s + max_defer THEN 'skipped'
            ELSE 'pending' END
        WHEN message_class <> 'marketing' THEN 'ready'
        WHEN NOT is_repeatable AND twin > 1 THEN 'twin'
        WHEN place <= room THEN 'ready'
        WHEN next_day >= coalesce(valid_until, first_due + interval '7 days') THEN 'skipped'
        ELSE 'pending' END AS verdict
    FROM placed
)
SELECT decided.*, CASE
        WHEN verdict <> 'twin' THEN verdict
        -- The other of two goes with the first: not again if that one leaves, else it waits as long.
        WHEN bool_or(verdict = 'ready') OVER (PARTITION BY contact_id, template_id) THEN 'skipped'
        ELSE 'pending' END AS new_state,
    CASE
        WHEN failed IS NOT NULL THEN failed
        WHEN verdict = 'twin' THEN CASE
            WHEN bool_or(verdict = 'ready') OVER (PARTITION BY contact_id, template_id) THEN 'already_sent' ELSE '' END
        WHEN verdict = 'skipped' THEN CASE WHEN pause_end IS NOT NULL AND is_protected THEN 'onboarding_protection'
            WHEN pause_end IS NOT NULL THEN 'paused'
            WHEN quiet_end IS NOT NULL THEN 'expired' ELSE 'capped' END
        ELSE '' END AS new_reason,
    CASE WHEN pause_end IS NOT NULL THEN pause_end WHEN quiet_end IS NOT NULL THEN quiet_end WHEN verdict IN ('pending', 'twin') THEN next_day ELSE due_at END AS new_due
FROM decided;

-- draw_global_holdout --
-- Draws, once for each person, when the first marketing message is due: is this one of those who get none at all?
INSERT INTO messaging_holdout (scope, contact_id, is_held, decided_at)
SELECT 'global', m.contact_id, bucket_of('holdout:global', m.contact_id) < p.global_holdout, %(now)s
FROM messaging_sendingpolicy p
JOIN (SELECT DISTINCT contact_id FROM messaging_message
      WHERE state = 'pending' AND due_at <= %(now)s AND NOT is_held AND message_class = 'marketing') m ON true
WHERE p.global_holdout > 0
ON CONFLICT (contact_id, scope) DO NOTHING;

-- arbitrate_messages --
-- Sends every intent that is due through the gates: on to delivery, held back for one reason, or put off.
WITH judged AS (
    UPDATE messaging_message m
    SET state = j.new_state, reason = j.new_reason, due_at = j.new_due,
        -- Who waits for room is counted from the end of a protection.
        wanted_at = CASE WHEN j.new_state = 'pending' THEN CASE WHEN j.is_protected THEN j.new_due ELSE j.first_due END
                         ELSE m.wanted_at END,
        zone = j.contact_zone,
        finished_at = CASE WHEN j.new_state = 'skipped' THEN %(now)s END
    FROM ({judged}) j
    WHERE m.id = j.id AND m.state = 'pending'
    RETURNING m.id, m.contact_id, m.template_id, m.journey_key, m.channel, m.state, m.reason
), told AS (
    -- The tick alone writes touchpoints, and this is a step of it.
    INSERT INTO contacts_touchpoint (contact_id, kind, channel, occurred_at, received_at, source, properties)
    SELECT j.contact_id, 'email.skipped', j.channel, %(now)s, %(now)s, 'email', jsonb_build_object(
           'message', j.id, 'template', t.key, 'journey', j.journey_key, 'reason', j.reason)
    FROM judged j JOIN messaging_template t ON t.id = j.template_id
    WHERE j.state = 'skipped'
)
SELECT count(*) FROM judged;

-- claim_messages --
-- Takes ready messages for one worker; asks consent, suppression, erasure and the journey once more, at the door.
-- Whoever refused meanwhile, or left the journey, gets nothing, which the inbox is told.
WITH due AS (
    SELECT id, contact_id, template_id, message_class, channel, enrolment_id FROM messaging_message
    WHERE state = 'ready' AND due_at <= %(now)s AND NOT is_held
    ORDER BY due_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), asked AS (
    SELECT m.id, c.email, {refusal} AS refusal
    FROM due m
    JOIN contacts_contact c ON c.id = m.contact_id
    JOIN messaging_template t ON t.id = m.template_id
    LEFT JOIN messaging_topic topic ON topic.id = t.topic_id
    LEFT JOIN contacts_consent veto ON veto.contact_id = c.id AND veto.channel = m.channel AND veto.topic = ''
    LEFT JOIN contacts_consent said ON said.contact_id = c.id AND said.channel = m.channel AND said.topic = topic.key
    LEFT JOIN messaging_suppression s ON s.address = lower(btrim(c.email))
), claimed AS (
    UPDATE messaging_message m
    SET state = CASE WHEN asked.refusal IS NULL THEN 'sending' ELSE 'cancelled' END,
        reason = coalesce(asked.refusal, ''),
        finished_at = CASE WHEN asked.refusal IS NULL THEN NULL ELSE %(now)s END,
        claimed_by = CASE WHEN asked.refusal IS NULL THEN %(worker)s ELSE '' END,
        claimed_at = CASE WHEN asked.refusal IS NULL THEN %(now)s END,
        lease_until = CASE WHEN asked.refusal IS NULL THEN %(lease_until)s END,
        begun_at = NULL,
        attempts = m.attempts + CASE WHEN asked.refusal IS NULL THEN 1 ELSE 0 END,
        address = CASE WHEN asked.refusal IS NULL THEN lower(btrim(asked.email)) ELSE m.address END
    FROM asked
    WHERE m.id = asked.id
    RETURNING m.id, m.state, m.reason, m.contact_id, m.template_id, m.journey_key, m.channel
), news AS (
    INSERT INTO contacts_incoming (source, message_id, kind, channel, occurred_at, received_at, contact_id, properties)
    SELECT 'email', '', 'email.skipped', m.channel, %(now)s, %(now)s, m.contact_id,
        jsonb_build_object('message', m.id, 'template', t.key, 'journey', m.journey_key, 'reason', m.reason)
    FROM claimed m JOIN messaging_template t ON t.id = m.template_id
    WHERE m.state = 'cancelled' AND m.reason NOT IN ('erased', 'merged')
)
SELECT id, state FROM claimed;

-- read_claimed --
-- What a worker needs to write the mails that it claimed.
SELECT m.id, m.contact_id, m.template_id, m.version_id, m.message_class, m.address, m.attempts, m.journey_key, m.context,
    c.first_name, c.last_name, c.salutation, c.language, c.country, c.job_title, c.attributes, company.name AS company
FROM messaging_message m
JOIN contacts_contact c ON c.id = m.contact_id
LEFT JOIN contacts_company company ON company.id = c.company_id
WHERE m.id = ANY(%(ids)s)
ORDER BY m.due_at, m.id;

-- begin_messages --
-- Notes that a worker now hands these over; only what is still its own, within its lease, may leave.
UPDATE messaging_message SET begun_at = %(now)s
WHERE id = ANY(%(ids)s) AND state = 'sending' AND claimed_by = %(worker)s AND lease_until > %(asked_at)s
RETURNING id;

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
    WHERE m.id = t.id AND m.state = 'sending' AND m.claimed_by = %(worker)s
    RETURNING m.id, m.state, m.reason, m.contact_id, m.template_id, m.journey_key, t.subject
), news AS (
    INSERT INTO contacts_incoming (source, message_id, kind, channel, occurred_at, received_at, contact_id, properties)
    SELECT 'email', CASE marked.state WHEN 'sent' THEN 'sent:' || marked.id ELSE '' END,
        CASE marked.state WHEN 'sent' THEN 'email.sent' ELSE 'email.failed' END, 'email', %(now)s, %(now)s,
        marked.contact_id,
        jsonb_build_object('message', marked.id, 'template', t.key, 'journey', marked.journey_key)
        || CASE marked.state WHEN 'sent' THEN jsonb_build_object('subject', marked.subject)
                ELSE jsonb_build_object('reason', coalesce(nullif(marked.reason, ''), marked.state)) END
    FROM marked JOIN messaging_template t ON t.id = marked.template_id
    WHERE marked.state IN ('sent', 'failed', 'uncertain')
)
SELECT id FROM marked;

-- suppress_bounced --
-- Nobody writes again to addresses that do not exist.
INSERT INTO messaging_suppression (address, channel, reason, detail, suppressed_at)
SELECT lower(btrim(address)), 'email', 'bounced', left(response, 500), %(now)s FROM messaging_message
WHERE id = ANY(%(ids)s) AND address <> ''
ON CONFLICT (address) DO NOTHING;

-- sweep_messages --
-- Ends claims whose lease is over: what was not begun goes back, what may have left is uncertain, transactional mail goes
-- again under the same Message-ID. What is uncertain is told.
WITH swept AS (
    UPDATE messaging_message
    SET state = CASE WHEN begun_at IS NULL THEN 'ready'
                     WHEN message_class <> 'transactional' THEN 'uncertain'
                     WHEN attempts < %(most_attempts)s THEN 'ready'
                     ELSE 'uncertain' END,
        attempts = CASE WHEN begun_at IS NULL THEN greatest(attempts - 1, 0) ELSE attempts END,
        claimed_by = '', lease_until = NULL
    WHERE state = 'sending' AND lease_until <= %(now)s
    RETURNING id, state, contact_id, template_id, journey_key, channel
), news AS (
    INSERT INTO contacts_incoming (source, message_id, kind, channel, occurred_at, received_at, contact_id, properties)
    SELECT 'email', '', 'email.failed', m.channel, %(now)s, %(now)s, m.contact_id,
        jsonb_build_object('message', m.id, 'template', t.key, 'journey', m.journey_key, 'reason', 'uncertain')
    FROM swept m JOIN messaging_template t ON t.id = m.template_id
    WHERE m.state = 'uncertain'
)
SELECT count(*) FROM swept;

-- withdraw_messages --
-- Withdraws what has not been claimed yet, for one reason, and tells the inbox, for somebody may wait for it.
WITH withdrawn AS (
    UPDATE messaging_message SET state = 'cancelled', reason = %(reason)s, finished_at = %(now)s
    WHERE state IN ('pending', 'ready') AND {which}
    RETURNING id, contact_id, template_id, journey_key, channel, reason
), news AS (
    INSERT INTO contacts_incoming (source, message_id, kind, channel, occurred_at, received_at, contact_id, properties)
    SELECT 'email', '', 'email.skipped', m.channel, %(now)s, %(now)s, m.contact_id,
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

-- protect_people --
-- Holds promotions back from people for a while; `rows` says from whom, because of what, and until when.
INSERT INTO messaging_protection (contact_id, source, until)
{rows}
ON CONFLICT (source) DO NOTHING;

-- end_protection --
-- Ends protections by what they came from; answers whom they protected.
DELETE FROM messaging_protection WHERE source IN ({sources}) RETURNING contact_id;

-- ask_promotions_again --
-- Promotions that waited for the end of a protection are asked again by all gates, as if they were due only now.
UPDATE messaging_message SET due_at = %(now)s, wanted_at = NULL
WHERE contact_id = ANY(%(contacts)s::bigint[]) AND is_promotion AND state = 'pending' AND due_at > %(now)s
  AND wanted_at IS NOT NULL;

-- read_judged --
-- What the gates say of one message.
SELECT id, email, topic, refusal, failed, is_repeatable, quiet_end, contact_zone, per_day, per_week, per_month, had_day,
    had_week, had_month, room, place, new_state, new_reason, new_due, valid_until, is_ghost, message_class,
    pause_end, paused_until, most_per_week, is_protected, protected_until, is_held_out
FROM ({judged}) j WHERE id = %(message)s;

-- tell_hits --
-- Judges the clicks and opens that are old enough to be judged, and puts them into the inbox.
WITH ripe AS (
    SELECT h.id, h.message_id, h.link_id, h.hit_at, h.user_agent, h.machine_reason FROM messaging_hit h
    -- Younger ones wait for what may still come; those dated ahead of the clock belong to a walk in virtual time.
    WHERE NOT h.is_told AND (h.hit_at <= %(now)s - interval '3 seconds' OR h.hit_at > %(now)s)
    ORDER BY h.id LIMIT 20000 FOR UPDATE SKIP LOCKED
), told AS (
    UPDATE messaging_hit h SET is_told = true FROM ripe WHERE h.id = ripe.id
), judged AS (
    SELECT ripe.*, m.contact_id, m.journey_key, t.key AS template, l.url, CASE
        WHEN ripe.machine_reason <> '' THEN ripe.machine_reason
        WHEN m.state = 'sending' THEN 'too_fast'
        WHEN ripe.hit_at >= m.sent_at AND ripe.hit_at < m.sent_at
            + CASE WHEN ripe.link_id IS NULL THEN interval '5 seconds' ELSE interval '2 seconds' END THEN 'too_fast'
        WHEN ripe.link_id IS NOT NULL AND (v.link_counts ->> m.language)::int >= 2 AND EXISTS (
            SELECT FROM messaging_hit first
            WHERE first.message_id = ripe.message_id AND first.link_id IS NOT NULL
              AND first.hit_at BETWEEN ripe.hit_at - interval '2 seconds' AND ripe.hit_at
              AND (SELECT count(DISTINCT other.link_id) FROM messaging_hit other
                   WHERE other.message_id = ripe.message_id
                     AND other.hit_at BETWEEN first.hit_at AND first.hit_at + interval '2 seconds')
                  >= (v.link_counts ->> m.language)::int) THEN 'all_links'
        ELSE '' END AS reason
    FROM ripe
    JOIN messaging_message m ON m.id = ripe.message_id
    JOIN messaging_template t ON t.id = m.template_id
    LEFT JOIN messaging_templateversion v ON v.id = m.version_id
    LEFT JOIN messaging_link l ON l.id = ripe.link_id
)
INSERT INTO contacts_incoming (source, message_id, kind, channel, occurred_at, received_at, contact_id, properties)
SELECT 'email', 'hit:' || id, CASE WHEN link_id IS NULL THEN 'email.opened' ELSE 'email.clicked' END, 'email', hit_at,
    %(now)s, contact_id, jsonb_strip_nulls(jsonb_build_object(
        'message', message_id, 'template', template, 'journey', journey_key, 'url', url, 'user_agent', user_agent,
        'machine_reason', nullif(reason, '')))
FROM judged;

-- forget_hits --
-- Drops what was judged and can no longer be part of a burst.
DELETE FROM messaging_hit WHERE is_told AND hit_at NOT BETWEEN %(now)s - interval '1 minute' AND %(now)s + interval '1 minute';

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
