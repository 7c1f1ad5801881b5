-- The closed loop: what became of the leads that were handed over in a period. “loop_leads” is the one reading of a
-- lead that every number and every list behind a number takes.

-- loop_leads --
-- The leads of a period (and team), each with how it ended and where its person came from.
SELECT lead.id, lead.contact_id, lead.state, lead.team_id, lead.created_at, lead.claimed_at, lead.accepted_at,
    lead.ended_at, lead.due_at, lead.reject_reason_id, lead.value, lead.currency, lead.score,
    coalesce(lead.accepted_by_id, lead.claimed_by_id) AS rep_id,
    lead.state = 'converted' AS is_won, lead.state = 'rejected' AS is_rejected,
    CASE WHEN lead.score IS NULL THEN -1 WHEN lead.score >= 200 THEN 200 WHEN lead.score < 0 THEN 0
        WHEN lead.score >= 100 THEN 50 * floor(lead.score / 50) ELSE 25 * floor(lead.score / 25) END::int AS band
FROM leads_lead lead
WHERE lead.created_at >= %(since)s AND lead.created_at < %(until)s
    AND (%(team)s::bigint IS NULL OR lead.team_id = %(team)s)

-- loop_funnel --
-- How far the leads of a period came: handed over, claimed, accepted, won, its value in each currency, rejected, in hand,
-- and unanswered.
SELECT coalesce(sum(leads), 0)::bigint, coalesce(sum(claimed), 0)::bigint, coalesce(sum(accepted), 0)::bigint,
    coalesce(sum(won), 0)::bigint, jsonb_object_agg(currency, value::text) FILTER (WHERE value IS NOT NULL),
    coalesce(sum(rejected), 0)::bigint, coalesce(sum(unfinished), 0)::bigint, coalesce(sum(unclaimed), 0)::bigint
FROM (
    SELECT currency, count(*) AS leads, count(claimed_at) AS claimed, count(accepted_at) AS accepted,
        count(*) FILTER (WHERE is_won) AS won, sum(value) FILTER (WHERE is_won) AS value,
        count(*) FILTER (WHERE is_rejected) AS rejected,
        count(*) FILTER (WHERE NOT is_won AND NOT is_rejected) AS unfinished,
        count(*) FILTER (WHERE state = 'open') AS unclaimed
    FROM ({loop_leads}) lead
    GROUP BY currency
) one

-- loop_reasons --
-- Why leads were rejected, where they went, and how many of these people came back to sales since.
SELECT reason.key, reason.name, reason.names, reason.track_key, reason.is_final, count(*),
    count(*) FILTER (WHERE EXISTS (
        SELECT FROM leads_lead later WHERE later.contact_id = lead.contact_id AND later.created_at > lead.ended_at))
FROM ({loop_leads}) lead
JOIN leads_rejectreason reason ON reason.id = lead.reject_reason_id
WHERE is_rejected
GROUP BY reason.id
ORDER BY count(*) DESC, reason.position, reason.key

-- loop_speed --
-- How long sales took from the hand-off to the claim and to the answer, in working time of the team, over all, by team
-- and by rep; “windows” are the spans in which each team is at work, without overlaps. A lead of no team is answered at
-- any hour.
WITH windows AS (
    SELECT team_id, begins_at, ends_at, coalesce(sum(ends_at - begins_at) OVER (
        PARTITION BY team_id ORDER BY begins_at ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), '0') AS before
    FROM jsonb_to_recordset(%(windows)s::jsonb) AS span (team_id bigint, begins_at timestamptz, ends_at timestamptz)
), lead AS MATERIALIZED (
    {loop_leads}
), moments AS (
    SELECT id, team_id, what, at
    FROM lead CROSS JOIN LATERAL (VALUES ('made', created_at), ('claimed', claimed_at), ('answered', coalesce(
        accepted_at, CASE WHEN is_rejected THEN ended_at END))) AS moment (what, at)
    WHERE at IS NOT NULL AND team_id IS NOT NULL AND (claimed_at IS NOT NULL OR accepted_at IS NOT NULL)
), walked AS (
    -- One walk over windows and moments in order of time: the last window that began before a moment says how much
    -- working time has passed by then.
    SELECT id, what, at,
        max(before) OVER along AS before, max(begins_at) OVER along AS begins_at, max(ends_at) OVER along AS ends_at
    FROM (
        SELECT team_id, begins_at AS at, NULL::bigint AS id, NULL AS what, before, begins_at, ends_at, 0 AS turn
        FROM windows
        UNION ALL
        SELECT team_id, at, id, what, NULL, NULL, NULL, 1 FROM moments
    ) line
    WINDOW along AS (PARTITION BY team_id ORDER BY at, turn ROWS UNBOUNDED PRECEDING)
), passed AS (
    SELECT id, max(worked) FILTER (WHERE what = 'made') AS made, max(worked) FILTER (WHERE what = 'claimed') AS claimed,
        max(worked) FILTER (WHERE what = 'answered') AS answered
    FROM (
        SELECT id, what, date_part('epoch', coalesce(before + (least(at, ends_at) - begins_at), '0')) AS worked
        FROM walked WHERE id IS NOT NULL
    ) moment
    GROUP BY id
), spans AS (
    SELECT lead.team_id, lead.rep_id, lead.due_at, answer.at AS answered_at,
        CASE WHEN lead.team_id IS NULL THEN date_part('epoch', lead.claimed_at - lead.created_at)
            ELSE passed.claimed - passed.made END AS to_claim,
        CASE WHEN lead.team_id IS NULL THEN date_part('epoch', answer.at - lead.created_at)
            ELSE passed.answered - passed.made END AS to_answer
    FROM lead
    CROSS JOIN LATERAL (
        SELECT coalesce(lead.accepted_at, CASE WHEN lead.is_rejected THEN lead.ended_at END) AS at
    ) answer
    LEFT JOIN passed USING (id)
), grouped AS (
    SELECT grouping(team_id) = 0 AS of_team, grouping(rep_id) = 0 AS of_rep, team_id, rep_id, count(to_claim) AS claimed,
        count(to_answer) AS answered, percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY to_claim) AS claim,
        percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY to_answer) AS answer,
        -- Of the promises that were kept or broken by now.
        count(*) FILTER (WHERE due_at IS NOT NULL AND (answered_at IS NOT NULL OR due_at < %(now)s)) AS promised,
        count(*) FILTER (WHERE due_at IS NOT NULL AND answered_at <= due_at) AS kept
    FROM spans
    GROUP BY GROUPING SETS ((), (team_id), (rep_id))
)
SELECT of_team, of_rep, team_id, rep_id, claimed, answered, claim[1], claim[2], answer[1], answer[2], promised, kept
FROM grouped
WHERE claimed > 0 OR promised > 0
ORDER BY of_team, of_rep, answered DESC, team_id, rep_id

-- loop_sources --
-- Where the people of these leads came from first, and what became of the leads; a campaign's name before the door that
-- they came by.
SELECT source, sum(leads)::bigint, sum(accepted)::bigint, sum(won)::bigint,
    jsonb_object_agg(currency, value::text) FILTER (WHERE value IS NOT NULL)
FROM (
    SELECT coalesce(nullif(first.told, ''), nullif(contact.source, ''), '') AS source, lead.currency,
        count(*) AS leads, count(accepted_at) AS accepted, count(*) FILTER (WHERE is_won) AS won,
        sum(lead.value) FILTER (WHERE is_won) AS value
    FROM ({loop_leads}) lead
    JOIN contacts_contact contact ON contact.id = lead.contact_id
    LEFT JOIN LATERAL ({first_touch}) first ON true
    GROUP BY 1, 2
) one
GROUP BY source
ORDER BY sum(won) DESC, sum(leads) DESC, source

-- first_touch --
-- What the first page that a lead's person saw said of where they came from.
SELECT concat_ws(' / ',
    coalesce(nullif(seen.properties ->> 'utm_source', ''), seen.properties #>> '{context,campaign,source}'),
    coalesce(nullif(seen.properties ->> 'utm_medium', ''), seen.properties #>> '{context,campaign,medium}')) AS told
FROM contacts_touchpoint seen
WHERE seen.contact_id = lead.contact_id AND seen.kind = 'page.viewed'
ORDER BY seen.occurred_at, seen.id
LIMIT 1

-- loop_tracks --
-- Which journeys these people went through before their lead was won, or to this day, and what became of the leads; one
-- who went through several counts in each, and those who were held out of a journey do not count in it.
SELECT journey, sum(leads)::bigint, sum(accepted)::bigint, sum(won)::bigint,
    jsonb_object_agg(currency, value::text) FILTER (WHERE value IS NOT NULL)
FROM (
    SELECT coalesce(been.journey, '') AS journey, lead.currency, count(*) AS leads, count(accepted_at) AS accepted,
        count(*) FILTER (WHERE is_won) AS won, sum(lead.value) FILTER (WHERE is_won) AS value
    FROM ({loop_leads}) lead
    LEFT JOIN LATERAL ({journeys_before}) been ON true
    GROUP BY 1, 2
) one
GROUP BY journey
ORDER BY sum(won) DESC, sum(leads) DESC, journey

-- journeys_before --
-- The journeys that a lead's person entered before the lead ended.
SELECT DISTINCT entered.properties ->> 'journey' AS journey
FROM contacts_touchpoint entered
WHERE entered.contact_id = lead.contact_id AND entered.kind = 'journey.entered'
    AND entered.occurred_at <= coalesce(lead.ended_at, 'infinity')
    AND coalesce(entered.properties ->> 'held_out', '') <> 'true'

-- loop_bands --
-- Whether the score tells the truth: by points at hand-off, how many leads sales accepted and how many it won.
SELECT band, count(*), count(accepted_at), count(*) FILTER (WHERE is_won), count(*) FILTER (WHERE is_won OR is_rejected)
FROM ({loop_leads}) lead
GROUP BY band
ORDER BY band

-- loop_list --
-- The leads behind one number of the report.
SELECT lead.id
FROM ({loop_leads}) lead
JOIN contacts_contact contact ON contact.id = lead.contact_id
LEFT JOIN leads_rejectreason reason ON reason.id = lead.reject_reason_id
LEFT JOIN LATERAL ({first_touch}) first ON true
WHERE CASE %(part)s::text
    WHEN 'claimed' THEN lead.claimed_at IS NOT NULL
    WHEN 'accepted' THEN lead.accepted_at IS NOT NULL
    WHEN 'won' THEN is_won
    WHEN 'rejected' THEN is_rejected
    WHEN 'unfinished' THEN NOT is_won AND NOT is_rejected
    WHEN 'open' THEN lead.state = 'open'
    ELSE true END
    AND CASE %(by)s::text
    WHEN 'reason' THEN reason.key = %(key)s
    WHEN 'returned' THEN reason.key = %(key)s AND is_rejected AND EXISTS (
        SELECT FROM leads_lead later WHERE later.contact_id = lead.contact_id AND later.created_at > lead.ended_at)
    WHEN 'source' THEN coalesce(nullif(first.told, ''), nullif(contact.source, ''), '') = %(key)s
    WHEN 'track' THEN CASE WHEN %(key)s = '' THEN NOT EXISTS (SELECT FROM ({journeys_before}) been)
        ELSE EXISTS (SELECT FROM ({journeys_before}) been WHERE been.journey = %(key)s) END
    WHEN 'band' THEN lead.band::text = %(key)s
    WHEN 'team' THEN coalesce(lead.team_id::text, '') = %(key)s
    WHEN 'rep' THEN coalesce(lead.rep_id::text, '') = %(key)s
    ELSE true END
