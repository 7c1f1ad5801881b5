-- make_leads --
-- Makes a lead of each contact in the window who became qualified or whom a journey handed over, unless sales has one
-- in hand already, and tells the stream once for each; “routes” says which team's rule holds for whom, the best first.
-- A contact who is held out of everything for measurement must be left out here (and only here) once there are such.
WITH wanted AS (
    -- A hand-over by a journey knows more than the bare stage: it comes first.
    SELECT DISTINCT ON (told.contact_id) told.contact_id, told.id, told.kind,
        coalesce(told.properties ->> 'reason', '') AS reason, coalesce(told.properties ->> 'team', '') AS team
    FROM contacts_touchpoint told
    JOIN contacts_contact contact ON contact.id = told.contact_id
        AND contact.merged_into_id IS NULL AND contact.erased_at IS NULL
    WHERE told.id > %(after)s AND told.id <= %(upto)s AND (
        told.kind = 'handoff.requested'
        OR told.kind = 'stage.changed' AND told.properties ->> 'to' = 'qualified' AND contact.stage = 'qualified'
    )
    ORDER BY told.contact_id, told.kind, told.id
), routes AS (
    {routes}
), routed AS (
    SELECT wanted.*, team.id AS team_id, clock.due_at
    FROM wanted
    LEFT JOIN LATERAL (
        SELECT team.id
        FROM leads_team team
        LEFT JOIN routes ON routes.team_id = team.id AND routes.id = wanted.contact_id
        WHERE team.key = wanted.team OR routes.id IS NOT NULL OR team.rule IS NULL OR team.rule = 'null'
        -- Named by the journey; else the first whose rule holds; else the first without a rule.
        ORDER BY team.key = wanted.team DESC, routes.id IS NULL, team.position, team.key
        LIMIT 1
    ) team ON true
    -- By when the team answers what comes now: in working time, and so not by arithmetic here.
    LEFT JOIN jsonb_to_recordset(%(clocks)s::jsonb) AS clock(team_id bigint, due_at timestamptz)
        ON clock.team_id = team.id
), reasons AS (
    SELECT wanted.contact_id, rule.model_id, model.qualify_at, rule.key, coalesce(nullif(rule.name, ''), rule.key) AS name,
        model.key AS score, max(entry.occurred_ats[cardinality(entry.occurred_ats)]) AS last_at,
        sum(cardinality(entry.occurred_ats)) AS events,
        sum(worth(entry.day, entry.weight, entry.half_life, entry.occurred_ats, entry.event_points, %(now)s)) AS worth
    FROM wanted
    JOIN scoring_scoreentry entry ON entry.contact_id = wanted.contact_id
    JOIN scoring_scorerule rule ON rule.id = entry.rule_id
    JOIN scoring_scoremodel model ON model.id = rule.model_id
    GROUP BY wanted.contact_id, rule.id, model.id
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY contact_id ORDER BY worth DESC, key) AS place FROM reasons
), evidence AS (
    SELECT contact_id, string_agg(name, ' · ' ORDER BY place) FILTER (WHERE place <= 2) AS headline,
        jsonb_agg(jsonb_build_object('score', score, 'rule', key, 'name', name, 'events', events, 'last_at', last_at,
            'points', round(worth::numeric, 1)) ORDER BY place) AS evidence
    FROM ranked
    WHERE place <= 5 AND worth > 0
    GROUP BY contact_id
), scores AS (
    -- Of several scores, the one that is furthest over its line.
    SELECT DISTINCT ON (contact_id) contact_id, sum(worth) AS score
    FROM reasons
    WHERE qualify_at IS NOT NULL
    GROUP BY contact_id, model_id, qualify_at
    ORDER BY contact_id, sum(worth) - qualify_at DESC, model_id
), made AS (
    INSERT INTO leads_lead (contact_id, state, team_id, headline, evidence, score, touchpoint_id, created_at, due_at,
        note, updated_at)
    SELECT contact_id, 'open', routed.team_id, coalesce(nullif(routed.reason, ''), evidence.headline, ''),
        coalesce(evidence.evidence, '[]'), scores.score, routed.id, %(now)s, routed.due_at, '', %(now)s
    FROM (SELECT contact_id, id, team_id, due_at, CASE kind WHEN 'handoff.requested' THEN reason ELSE '' END AS reason
        FROM routed) routed
    LEFT JOIN evidence USING (contact_id)
    LEFT JOIN scores USING (contact_id)
    ORDER BY contact_id
    ON CONFLICT (contact_id) WHERE state IN ('open', 'claimed', 'accepted') DO NOTHING
    RETURNING id, contact_id, team_id, score
)
INSERT INTO contacts_touchpoint (contact_id, kind, channel, occurred_at, received_at, source, properties)
SELECT made.contact_id, 'lead.qualified', 'sales', %(now)s, %(now)s, 'journey', jsonb_build_object(
    'lead', made.id, 'team', coalesce(team.key, ''), 'score', round(made.score::numeric, 1))
FROM made
LEFT JOIN leads_team team ON team.id = made.team_id
ORDER BY made.id;
