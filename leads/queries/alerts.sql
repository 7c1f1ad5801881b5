-- tell_hot --
-- Notes each hot lead of the window once, tells the stream of it with what another system needs to act, and puts a mail
-- for each of “people” whom it concerns into the outbox: whoever has the lead, else their team, else who asked for all.
WITH people AS (
    SELECT * FROM jsonb_to_recordset(%(people)s::jsonb) AS person (
        id bigint, teams bigint[], is_for_all boolean, due_at timestamptz)
), crossed AS (
    SELECT DISTINCT ON (lead.id) lead.id AS lead_id, told.id AS crossing_id
    FROM contacts_touchpoint told
    JOIN leads_lead lead ON lead.contact_id = told.contact_id AND lead.state IN ('open', 'claimed', 'accepted')
    WHERE told.id > %(after)s AND told.id <= %(upto)s AND told.kind = 'score.crossed' AND told.source = 'journey'
        AND told.properties ->> 'direction' = 'up'
    ORDER BY lead.id, told.id DESC
), made AS (
    -- A lead whose crossing came before it, such as of a visitor whom nobody knew then, or that has none.
    SELECT lead.id AS lead_id, CASE WHEN latest.direction = 'up' AND used.id IS NULL THEN latest.id END AS crossing_id
    FROM contacts_touchpoint told
    JOIN leads_lead lead ON lead.id = (told.properties ->> 'lead')::bigint AND lead.contact_id = told.contact_id
        AND lead.state IN ('open', 'claimed', 'accepted')
    LEFT JOIN LATERAL (
        SELECT crossing.id, crossing.properties ->> 'direction' AS direction
        FROM contacts_touchpoint crossing
        WHERE crossing.contact_id = lead.contact_id AND crossing.kind = 'score.crossed'
            AND crossing.source = 'journey' AND crossing.id <= %(upto)s
        ORDER BY crossing.occurred_at DESC, crossing.id DESC
        LIMIT 1
    ) latest ON true
    LEFT JOIN leads_hotalert used ON used.crossing_id = latest.id
    WHERE told.id > %(after)s AND told.id <= %(upto)s AND told.kind = 'lead.qualified' AND told.source = 'journey'
        AND NOT EXISTS (SELECT FROM leads_hotalert earlier WHERE earlier.lead_id = lead.id)
        AND lead.id NOT IN (SELECT lead_id FROM crossed)
), alerted AS (
    INSERT INTO leads_hotalert (lead_id, crossing_id, told_at)
    SELECT lead_id, crossing_id, %(now)s FROM (SELECT * FROM crossed UNION SELECT * FROM made) hot
    ORDER BY lead_id
    ON CONFLICT DO NOTHING
    RETURNING id, lead_id, crossing_id
), mailed AS (
    INSERT INTO leads_salesmail (kind, user_id, alert_id, due_at, state, attempts, response)
    SELECT 'hot', people.id, alerted.id, people.due_at, 'waiting', 0, ''
    FROM alerted
    JOIN leads_lead lead ON lead.id = alerted.lead_id
    JOIN people ON CASE
        WHEN coalesce(lead.owner_id, lead.assigned_to_id) IS NOT NULL
        THEN people.id = coalesce(lead.owner_id, lead.assigned_to_id)
        WHEN EXISTS (SELECT FROM people other WHERE lead.team_id = ANY(other.teams))
        THEN lead.team_id = ANY(people.teams)
        ELSE people.is_for_all END
    ORDER BY people.id, alerted.id
    ON CONFLICT DO NOTHING
), reasons AS (
    SELECT lead.id AS lead_id, coalesce(nullif(rule.name, ''), rule.key) AS name, rule.key,
        sum(cardinality(entry.occurred_ats)) AS events, max(entry.occurred_ats[cardinality(entry.occurred_ats)]) AS last_at,
        sum(worth(entry.day, entry.weight, entry.half_life, entry.occurred_ats, entry.event_points, %(now)s)) AS worth
    FROM alerted
    JOIN leads_lead lead ON lead.id = alerted.lead_id
    JOIN scoring_scoreentry entry ON entry.contact_id = lead.contact_id
    JOIN scoring_scorerule rule ON rule.id = entry.rule_id
    JOIN scoring_scoremodel model ON model.id = rule.model_id AND model.kind = 'engagement'
    GROUP BY lead.id, rule.id
), best AS (
    SELECT lead_id, jsonb_agg(jsonb_build_object('rule', key, 'name', name, 'events', events, 'last_at', last_at,
        'points', round(worth::numeric, 1)) ORDER BY worth DESC, key) AS reasons
    FROM (
        SELECT *, row_number() OVER (PARTITION BY lead_id ORDER BY worth DESC, key) AS place FROM reasons WHERE worth > 0
    ) ranked
    WHERE place <= 5
    GROUP BY lead_id
)
INSERT INTO contacts_touchpoint (contact_id, kind, channel, occurred_at, received_at, source, properties)
SELECT lead.contact_id, 'lead.hot', 'sales', %(now)s, %(now)s, 'journey', jsonb_build_object(
    'lead', lead.id, 'state', lead.state, 'reason', lead.headline,
    'score', coalesce(crossing.properties ->> 'score', ''),
    'value', coalesce((crossing.properties ->> 'value')::numeric, round(lead.score::numeric, 3)),
    'threshold', (crossing.properties ->> 'threshold')::numeric,
    'reasons', coalesce(best.reasons, '[]'), 'team', coalesce(team.key, ''),
    'owner', coalesce(owner.username, ''), 'assigned_to', coalesce(assigned.username, ''), 'due_at', lead.due_at,
    'link', %(site)s || '/sales/' || lead.id || '/',
    'person', jsonb_build_object(
        'name', trim(contact.first_name || ' ' || contact.last_name), 'email', contact.email, 'phone', contact.phone,
        'job_title', contact.job_title, 'company', coalesce(company.name, ''), 'country', contact.country,
        'language', contact.language, 'stage', contact.stage))
FROM alerted
JOIN leads_lead lead ON lead.id = alerted.lead_id
JOIN contacts_contact contact ON contact.id = lead.contact_id
LEFT JOIN contacts_company company ON company.id = contact.company_id
LEFT JOIN contacts_touchpoint crossing ON crossing.id = alerted.crossing_id
LEFT JOIN leads_team team ON team.id = lead.team_id
LEFT JOIN auth_user owner ON owner.id = lead.owner_id
LEFT JOIN auth_user assigned ON assigned.id = lead.assigned_to_id
LEFT JOIN best ON best.lead_id = lead.id
ORDER BY lead.id;

-- full_hours --
-- Who got enough of hot leads for one hour, and when the last of these mails left.
SELECT user_id, max(finished_at) FROM leads_salesmail
WHERE kind = 'hot' AND state = 'sent' AND finished_at > %(since)s
GROUP BY user_id
HAVING count(DISTINCT bundle) >= %(most)s;

-- claim_sales_mails --
-- Takes what is due, for one worker: several alerts that wait for one user leave as one mail. A mail whose worker did
-- not come back goes again as it went, under the same Message-ID.
WITH due AS (
    SELECT id, user_id, kind, bundle FROM leads_salesmail
    WHERE state IN ('waiting', 'sending') AND due_at <= %(now)s AND (lease_until IS NULL OR lease_until <= %(now)s)
    ORDER BY due_at, id
    LIMIT %(size)s
    FOR UPDATE SKIP LOCKED
), counted AS (
    SELECT id, bundle, min(id) OVER alike AS first, count(*) OVER alike AS alike FROM due
    WINDOW alike AS (PARTITION BY user_id, kind, bundle)
)
UPDATE leads_salesmail mail SET state = 'sending', attempts = attempts + 1, lease_until = %(lease_until)s,
    bundle = coalesce(counted.bundle, CASE WHEN counted.alike > %(most_single)s THEN counted.first ELSE mail.id END)
FROM counted WHERE counted.id = mail.id
RETURNING mail.id, mail.bundle;
