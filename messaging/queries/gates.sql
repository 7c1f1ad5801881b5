-- `{asked}` is a query of messages, stored or imagined; `{judged}` is `judge_messages` over them.

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
    LEFT JOIN contacts_consent veto ON veto.contact_id = c.id AND veto.channel = {consent} AND veto.topic = ''
    LEFT JOIN contacts_consent said ON said.contact_id = c.id AND said.channel = {consent} AND said.topic = topic.key
    LEFT JOIN messaging_suppression s ON s.address = {address}
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
        -- Who is on our website is awake.
        CASE WHEN failed IS NULL AND message_class <> 'transactional' AND channel <> 'onsite'
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
      -- What waits on our website was not seen yet; it is asked again when it is.
      AND NOT (o.channel = 'onsite' AND o.state = 'ready')
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
    SELECT j.contact_id, j.channel || '.skipped', j.channel, %(now)s, %(now)s, j.channel, jsonb_build_object(
           'message', j.id, 'template', t.key, 'journey', j.journey_key, 'reason', j.reason)
    FROM judged j JOIN messaging_template t ON t.id = j.template_id
    WHERE j.state = 'skipped'
)
SELECT count(*) FROM judged;

-- read_judged --
-- What the gates say of one message.
SELECT id, email, topic, refusal, failed, is_repeatable, quiet_end, contact_zone, per_day, per_week, per_month, had_day,
    had_week, had_month, room, place, new_state, new_reason, new_due, valid_until, is_ghost, message_class,
    pause_end, paused_until, most_per_week, is_protected, protected_until, is_held_out
FROM ({judged}) j WHERE id = %(message)s;

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
