-- `{asked}` is a query of messages, stored or imagined; `{judged}` is `judge_messages` over them.

-- judge_messages --
-- Leads every message asked about through all gates in their order; the first gate that fails is its reason.
WITH policy AS MATERIALIZED (
    SELECT quiet_from, quiet_until, max_defer, per_day, per_week, per_month, global_holdout, drain_per_minute,
        greatest(drained_until, %(now)s) AS drained_until,
        -- When an open day begins after a closed one.
        CASE WHEN quiet_from > quiet_until OR quiet_from = '00:00' THEN quiet_until ELSE '00:00' END AS opens_at
    FROM (
        SELECT quiet_from, quiet_until, max_defer, per_day, per_week, per_month, global_holdout, drain_per_minute,
            drained_until
        FROM messaging_sendingpolicy
        UNION ALL
        SELECT '20:00', '08:00', '72 hours', 1, 3, 12, 0, 1000, NULL
        WHERE NOT EXISTS (SELECT FROM messaging_sendingpolicy)
    ) said
), asked AS MATERIALIZED (
    SELECT m.id, m.contact_id, m.template_id, m.message_class, m.channel, m.tier, m.due_at, m.valid_until, m.is_ghost,
        c.most_per_week, t.is_repeatable, topic.key AS topic,
        coalesce(m.wanted_at, m.due_at) AS first_due,
        CASE WHEN m.message_class = 'marketing' AND c.paused_until > %(now)s THEN c.paused_until END AS paused_until,
        -- Whoever is new to something is left in peace by promotions; the longest protection counts.
        CASE WHEN m.message_class = 'marketing' AND m.is_promotion THEN (
            SELECT max(r.until) FROM messaging_protection r WHERE r.contact_id = m.contact_id AND r.until > %(now)s
        ) END AS protected_until,
        -- Sales said so; the longest hold counts.
        CASE WHEN m.message_class = 'marketing' THEN (
            SELECT max(h.until) FROM messaging_hold h
            WHERE h.contact_id = m.contact_id AND h.released_at IS NULL AND h.until > %(now)s
        ) END AS held_until,
        coalesce(nullif(c.zone, ''), inferred.zone, {segment_zone}) AS own_zone,
        CASE WHEN c.zone <> '' THEN 'explicit' WHEN inferred.zone IS NOT NULL THEN 'inferred' ELSE 'segment' END
            AS own_zone_from,
        CASE WHEN upper(btrim(c.country)) = ANY(%(calendars)s::text[]) THEN upper(btrim(c.country))
             ELSE %(home)s END AS calendar,
        CASE WHEN m.message_class = 'transactional' THEN 'ignore'
             ELSE coalesce(j.quiet_hours, t.quiet_hours) END AS in_quiet_hours,
        {caps} AS caps,
        m.message_class = 'marketing' AND p.global_holdout > 0
            AND coalesce(held.is_held, bucket_of('holdout:global', c.id) < p.global_holdout) AS is_held_out,
        coalesce({refusal}, CASE
            WHEN m.message_class = 'marketing' AND NOT t.is_repeatable AND NOT m.is_ghost AND EXISTS (
                SELECT FROM messaging_message other
                WHERE other.template_id = m.template_id AND other.contact_id = m.contact_id AND other.id <> m.id
                  AND other.state IN ('ready', 'sending', 'sent', 'uncertain') AND NOT other.is_ghost) THEN 'already_sent'
            WHEN m.valid_until <= %(now)s THEN 'expired'
            -- First who gets no marketing at all, then who gets nothing from this journey, then not this message.
            WHEN m.message_class = 'marketing' AND p.global_holdout > 0
                AND coalesce(held.is_held, bucket_of('holdout:global', c.id) < p.global_holdout) THEN 'holdout'
            WHEN m.is_ghost THEN 'holdout'
            WHEN m.message_class = 'marketing' AND t.holdout > 0 AND coalesce((
                SELECT one.is_held FROM messaging_holdout one
                WHERE one.contact_id = m.contact_id AND one.scope = 'message:' || m.template_id
            ), bucket_of('holdout:message:' || m.template_id, c.id) < t.holdout) THEN 'holdout'
        END) AS failed
    FROM ({asked}) m
    CROSS JOIN policy p
    JOIN contacts_contact c ON c.id = m.contact_id
    JOIN messaging_template t ON t.id = m.template_id
    LEFT JOIN messaging_topic topic ON topic.id = t.topic_id
    LEFT JOIN contacts_consent veto ON veto.contact_id = c.id AND veto.channel = {consent} AND veto.topic = ''
    LEFT JOIN contacts_consent said ON said.contact_id = c.id AND said.channel = {consent} AND said.topic = topic.key
    LEFT JOIN messaging_suppression s ON s.address = {address}
    LEFT JOIN messaging_holdout held ON held.contact_id = c.id AND held.scope = 'global'
    LEFT JOIN ({journeys}) j ON j.key = m.journey_key
    LEFT JOIN unnest(%(countries)s::text[], %(zones)s::text[]) AS inferred(country, zone)
        ON c.zone = '' AND inferred.country = upper(btrim(c.country))
), clock AS MATERIALIZED (
    -- The hour is asked once for each zone and calendar, not for each person.
    SELECT z.zone, z.calendar, local_instant(here.wall::date::timestamp, z.zone) AS day_began,
        local_instant(CASE
            WHEN today.opens_on IS NOT NULL THEN today.opens_on + p.opens_at
            WHEN NOT CASE WHEN p.quiet_from > p.quiet_until
                     THEN here.wall::time >= p.quiet_from OR here.wall::time < p.quiet_until
                     ELSE here.wall::time >= p.quiet_from AND here.wall::time < p.quiet_until END THEN NULL
            WHEN here.wall::time < p.quiet_until THEN here.wall::date + p.quiet_until
            ELSE coalesce(tomorrow.opens_on, here.wall::date + 1) + p.quiet_until END, z.zone) AS quiet_end,
        local_instant(here.wall::date + 1 + p.quiet_until, z.zone) AS next_day,
        local_instant(coalesce(tomorrow.opens_on, here.wall::date + 1) + p.quiet_until, z.zone) AS next_open_day,
        today.opens_on IS NOT NULL AS is_closed
    FROM (SELECT DISTINCT coalesce(own_zone, %(zone)s) AS zone, calendar FROM asked) z
    CROSS JOIN policy p
    CROSS JOIN LATERAL (SELECT %(now)s AT TIME ZONE z.zone AS wall) here
    LEFT JOIN unnest(%(closed_calendars)s::text[], %(closed_days)s::date[], %(open_days)s::date[])
        AS today(calendar, day, opens_on) ON today.calendar = z.calendar AND today.day = here.wall::date
    LEFT JOIN unnest(%(closed_calendars)s::text[], %(closed_days)s::date[], %(open_days)s::date[])
        AS tomorrow(calendar, day, opens_on) ON tomorrow.calendar = z.calendar AND tomorrow.day = here.wall::date + 1
), had AS MATERIALIZED (
    -- How many of ours each had: today by their clock, in 7 days and in 30, under each cap.
    SELECT who.contact_id, {counts} AS counts
    FROM (
        SELECT DISTINCT a.contact_id, k.day_began
        FROM asked a JOIN clock k ON k.zone = coalesce(a.own_zone, %(zone)s) AND k.calendar = a.calendar
        WHERE a.failed IS NULL AND a.message_class = 'marketing'
    ) who
    JOIN messaging_message o ON o.contact_id = who.contact_id
    JOIN messaging_template ot ON ot.id = o.template_id
    CROSS JOIN LATERAL (SELECT CASE WHEN o.state IN ('ready', 'sending') THEN %(now)s
                                    ELSE coalesce(o.sent_at, o.claimed_at) END AS moment) at
    WHERE o.message_class IN ('marketing', 'operational') AND NOT o.is_ghost
      AND o.state IN ('ready', 'sending', 'sent', 'uncertain') AND o.id <> %(except)s
      AND moment > %(now)s - interval '30 days' AND moment <= %(now)s
      -- What waits on our website was not seen yet; it is asked again when it is.
      AND NOT (o.channel = 'onsite' AND o.state = 'ready')
    GROUP BY who.contact_id
), timed AS (
    SELECT a.*, k.next_day, k.next_open_day, k.is_closed, coalesce(a.own_zone, %(zone)s) AS contact_zone,
        CASE WHEN a.own_zone IS NULL THEN 'workspace' ELSE a.own_zone_from END AS zone_from,
        -- Whoever asked for a pause gets no marketing until it is over.
        CASE WHEN failed IS NULL THEN greatest(paused_until, protected_until, held_until) END AS pause_end,
        failed IS NULL AND protected_until > coalesce(greatest(paused_until, held_until), %(now)s) AS is_protected,
        failed IS NULL AND held_until > coalesce(paused_until, %(now)s) AS is_held_by_sales,
        -- Who is on our website is awake.
        CASE WHEN failed IS NULL AND in_quiet_hours <> 'ignore' AND a.channel <> 'onsite' THEN k.quiet_end END AS quiet_end
    FROM asked a JOIN clock k ON k.zone = coalesce(a.own_zone, %(zone)s) AND k.calendar = a.calendar
), walked AS (
    SELECT timed.*, had.counts, p.max_defer, p.drain_per_minute, p.drained_until,
        -- Who goes first where there is room for one: what is never capped, then tier, then what ends soonest, then
        -- what waits longest, then id. Each takes its place under all its caps or leaves it to the next.
        (places_taken(
            CASE WHEN failed IS NULL AND pause_end IS NULL AND quiet_end IS NULL AND message_class <> 'transactional'
                 THEN caps END,
            {rooms}, message_class <> 'marketing',
            CASE WHEN message_class = 'marketing' AND NOT is_repeatable THEN template_id END
        ) OVER rivals)[1] AS walk
    FROM timed CROSS JOIN policy p LEFT JOIN had ON had.contact_id = timed.contact_id
    WINDOW rivals AS (
        PARTITION BY timed.contact_id
        ORDER BY message_class = 'marketing', tier, valid_until NULLS LAST, first_due, id
        ROWS UNBOUNDED PRECEDING)
), drained AS (
    SELECT late.*, drained_until + (late_place - 1) * interval '1 minute' / drain_per_minute AS turn
    FROM (SELECT walked.*, {late} AS late_place FROM walked) late
), decided AS (
    SELECT drained.*, CASE
        WHEN failed IS NOT NULL THEN 'failed'
        WHEN is_protected THEN 'onboarding_protection'
        WHEN is_held_by_sales THEN 'held_by_sales'
        WHEN pause_end IS NOT NULL THEN 'paused'
        WHEN quiet_end IS NOT NULL THEN 'quiet_hours'
        WHEN message_class = 'marketing' AND walk = 0 THEN 'frequency'
        WHEN walk = 2 THEN 'twin'
        -- The late leave one after the other; what has its turn within a minute may go.
        WHEN turn >= %(now)s + interval '1 minute' THEN 'throttle'
        ELSE '' END AS stopped_by
    FROM drained
), put_off AS (
    -- The end of the night is spread, person by person: messages that compete for one place come up together.
    SELECT decided.*, CASE stopped_by
        WHEN 'onboarding_protection' THEN pause_end
        WHEN 'held_by_sales' THEN pause_end
        WHEN 'paused' THEN pause_end
        WHEN 'quiet_hours' THEN quiet_end
        WHEN 'frequency' THEN CASE WHEN in_quiet_hours = 'ignore' THEN next_day ELSE next_open_day END
        END + contact_id * 7919 %% 900 * interval '1 second' AS asked_again
    FROM decided
)
SELECT ended.*, CASE stopped_by
        WHEN 'failed' THEN failed
        WHEN 'twin' THEN 'already_sent'
        WHEN 'frequency' THEN 'capped'
        WHEN 'quiet_hours' THEN CASE in_quiet_hours WHEN 'skip' THEN 'quiet_hours' ELSE 'expired' END
        ELSE stopped_by END AS end_reason,
    CASE WHEN new_state <> 'pending' THEN due_at WHEN stopped_by = 'throttle' THEN turn ELSE asked_again END AS new_due
FROM (
    SELECT put_off.*, CASE
        WHEN stopped_by = '' THEN 'ready'
        WHEN stopped_by IN ('failed', 'twin') THEN 'skipped'
        WHEN stopped_by = 'throttle' THEN 'pending'
        WHEN stopped_by = 'quiet_hours' THEN CASE
            WHEN in_quiet_hours = 'skip' OR asked_again >= valid_until OR asked_again > %(now)s + max_defer THEN 'skipped'
            ELSE 'pending' END
        -- A protection is no lack of room: what has no end of its own outlasts it.
        WHEN stopped_by = 'onboarding_protection' AND valid_until IS NULL THEN 'pending'
        WHEN asked_again >= coalesce(valid_until, first_due + %(patience)s) THEN 'skipped'
        ELSE 'pending' END AS new_state
    FROM put_off
) ended;

-- any_holdout --
-- Is anybody held out of all marketing, or of a message?
SELECT EXISTS (SELECT FROM messaging_sendingpolicy WHERE global_holdout > 0)
    OR EXISTS (SELECT FROM messaging_template WHERE holdout > 0);

-- draw_holdouts --
-- Draws, once for each person, when the first marketing message is due: is this one of those who get none at all? And
-- when a message is due of which some are held out: is this one of them?
INSERT INTO messaging_holdout (scope, contact_id, is_held, decided_at)
SELECT DISTINCT s.scope, m.contact_id, bucket_of('holdout:' || s.scope, m.contact_id) < s.share, %(now)s::timestamptz
FROM (SELECT DISTINCT contact_id, template_id FROM messaging_message
      WHERE state = 'pending' AND due_at <= %(now)s AND NOT is_held AND message_class = 'marketing') m
JOIN (
    SELECT 'global' AS scope, global_holdout AS share, NULL::bigint AS template_id FROM messaging_sendingpolicy
    UNION ALL SELECT 'message:' || id, holdout, id FROM messaging_template
) s ON s.share > 0 AND (s.template_id IS NULL OR s.template_id = m.template_id)
ON CONFLICT (contact_id, scope) DO NOTHING;

-- size_up_judging --
-- For a crowd, hash joins and room for them; for few messages, indexes.
SELECT set_config('enable_nestloop', CASE WHEN is_crowd THEN 'off' ELSE 'on' END, true),
       set_config('work_mem', CASE WHEN is_crowd THEN '64MB' ELSE current_setting('work_mem') END, true),
       set_config('jit', 'off', true)
FROM (SELECT count(*) >= %(crowd)s AS is_crowd FROM (
    SELECT FROM messaging_message WHERE state = 'pending' AND due_at <= %(now)s LIMIT %(crowd)s) AS found) AS sized;

-- hold_stragglers --
-- Holds back what a worker put off while its journey was being paused, and so escaped the pause.
UPDATE messaging_message m SET is_held = true FROM ({paused}) p
WHERE m.journey_key = p.key AND m.state = 'pending' AND m.due_at <= %(now)s AND NOT m.is_held;

-- arbitrate_messages --
-- Sends every intent that is due through the gates: on to delivery, held back for one reason, or put off.
WITH verdicts AS MATERIALIZED (
    -- Few columns: each row of what an UPDATE reads is kept whole.
    SELECT id, new_state, end_reason, new_due, stopped_by, first_due, contact_zone, zone_from, late_place
    FROM ({judged}) AS judged
), judged AS (
    UPDATE messaging_message m
    SET state = j.new_state, reason = CASE WHEN j.new_state = 'skipped' THEN j.end_reason ELSE '' END,
        due_at = j.new_due, waits_for = CASE WHEN j.new_state = 'pending' THEN j.stopped_by ELSE '' END,
        -- Who waits for room is counted from the end of a protection.
        wanted_at = CASE WHEN j.new_state = 'pending' THEN
                         CASE WHEN j.stopped_by = 'onboarding_protection' THEN j.new_due ELSE j.first_due END
                         ELSE m.wanted_at END,
        zone = j.contact_zone, zone_from = j.zone_from,
        finished_at = CASE WHEN j.new_state = 'skipped' THEN %(now)s END
    FROM verdicts j
    WHERE m.id = j.id AND m.state = 'pending'
    RETURNING m.id, m.contact_id, m.template_id, m.journey_key, m.channel, m.state, m.reason, j.late_place
), told AS (
    -- The tick alone writes touchpoints, and this is a step of it.
    INSERT INTO contacts_touchpoint (contact_id, kind, channel, occurred_at, received_at, source, properties)
    SELECT j.contact_id, j.channel || '.skipped', j.channel, %(now)s, %(now)s, j.channel, jsonb_build_object(
           'message', j.id, 'template', t.key, 'journey', j.journey_key, 'reason', j.reason)
    FROM judged j JOIN messaging_template t ON t.id = j.template_id
    -- Of whoever is gone nothing is told.
    WHERE j.state = 'skipped' AND j.reason NOT IN ('erased', 'merged')
), queue AS (
    UPDATE messaging_sendingpolicy p
    SET drained_until = greatest(p.drained_until, %(now)s) + late.number * interval '1 minute' / p.drain_per_minute
    FROM (SELECT count(late_place) AS number FROM judged) late
    WHERE late.number > 0 AND p.drain_per_minute IS NOT NULL
)
SELECT count(*) FROM judged;

-- read_judged --
-- What the gates say of each of these messages; who takes the place of whom shows in their order.
SELECT id, template_id, topic, failed, quiet_end, is_closed, contact_zone, zone_from, calendar, counts, caps, walk,
    new_state, end_reason, new_due, valid_until, message_class, stopped_by, paused_until, protected_until, held_until,
    most_per_week, is_held_out, in_quiet_hours
FROM ({judged}) j ORDER BY message_class = 'marketing', tier, valid_until NULLS LAST, first_due, id;

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
