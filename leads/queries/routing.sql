-- find_teams --
-- Gives leads that no team took to the team that takes them now; “routes” says which team's rule holds for whom.
UPDATE leads_lead lead SET team_id = found.team_id, due_at = found.due_at, overdue_at = NULL, updated_at = %(now)s
FROM (
    SELECT asked.id, team.id AS team_id, clock.due_at
    FROM leads_lead asked
    CROSS JOIN LATERAL (
        SELECT team.id
        FROM leads_team team
        LEFT JOIN ({routes}) routes ON routes.team_id = team.id AND routes.id = asked.contact_id
        WHERE routes.id IS NOT NULL OR team.rule IS NULL OR team.rule = 'null'
        ORDER BY routes.id IS NULL, team.position, team.key
        LIMIT 1
    ) team
    LEFT JOIN jsonb_to_recordset(%(clocks)s::jsonb) AS clock(team_id bigint, due_at timestamptz)
        ON clock.team_id = team.id
    WHERE asked.id IN ({wanting}) AND asked.team_id IS NULL AND asked.state = 'open'
) found
WHERE found.id = lead.id AND lead.team_id IS NULL AND lead.state = 'open';

-- restart_clocks --
-- Whoever claims a lead whose clock had run out has a clock of his own: it is not taken from him at once.
UPDATE leads_lead lead SET due_at = coalesce(place.due_at, clock.due_at), overdue_at = NULL, asked_at = NULL,
    updated_at = %(now)s
FROM leads_lead late
LEFT JOIN jsonb_to_recordset(%(places)s::jsonb) AS place(team_id bigint, user_id bigint, due_at timestamptz)
    ON place.team_id = late.team_id AND place.user_id = late.owner_id
LEFT JOIN jsonb_to_recordset(%(clocks)s::jsonb) AS clock(team_id bigint, due_at timestamptz)
    ON clock.team_id = late.team_id
WHERE late.id = lead.id AND lead.state = 'claimed' AND lead.due_at <= lead.claimed_at
    AND lead.owner_id IS NOT DISTINCT FROM late.owner_id;

-- assign_leads --
-- Walks along the leads that want somebody, the oldest first, and gives each to whoever's turn it is of those who are
-- there, take it and have room; the contact's own rep comes before all. What was claimed in the meantime is left alone.
WITH place AS (
    SELECT * FROM jsonb_to_recordset(%(places)s::jsonb) AS place(no int, rep_id bigint, team_id bigint, user_id bigint,
        person int, takes_all boolean, is_present boolean, rank int, capacity int, due_at timestamptz)
), fits AS (
    {fits}
), wanting AS MATERIALIZED (
    SELECT lead.id, lead.contact_id, lead.team_id, lead.state, lead.owner_id, lead.assigned_to_id, lead.lapsed_by,
        lead.created_at, lead.due_at, lead.overdue_at, contact.owner_id AS keeper_id, holder.id AS holder_id,
        coalesce(holder.username, '') AS holder,
        CASE
            WHEN lead.state = 'open' AND lead.assigned_to_id IS NULL THEN 'new'
            WHEN holder.id IS NULL OR NOT holder.is_active THEN 'left'
            WHEN holder.id = ANY(%(away)s::bigint[]) THEN 'absent'
            ELSE 'overdue'
        END AS why
    FROM leads_lead lead
    JOIN contacts_contact contact ON contact.id = lead.contact_id
    LEFT JOIN auth_user holder ON holder.id = coalesce(lead.owner_id, lead.assigned_to_id)
    WHERE lead.id IN ({wanting})
), gave_back AS MATERIALIZED (
    -- Who had claimed a lead that was then put back for the others.
    SELECT lead_id, (before ->> 'owner_id')::bigint AS user_id FROM leads_leadmove
    WHERE lead_id IN (SELECT id FROM wanting) AND kind = 'release' AND undone_at IS NULL
        AND before ->> 'owner_id' IS NOT NULL
), taker AS MATERIALIZED (
    -- Whose rule holds for the lead, there or not; a person's own rep need not be asked by a rule.
    SELECT wanting.id, wanting.created_at, place.*, place.user_id = wanting.keeper_id AS is_keeper,
        place.user_id = ANY(wanting.lapsed_by) AS had_it,
        (wanting.id, place.user_id) IN (SELECT lead_id, user_id FROM gave_back) AS gave_it_back
    FROM wanting
    JOIN place ON place.team_id = wanting.team_id AND place.user_id IS DISTINCT FROM wanting.holder_id
    -- Here and below IN, and not EXISTS or a join: that is looked up in a hash, however few rows the planner expects.
    WHERE place.takes_all OR place.user_id = wanting.keeper_id
        OR (wanting.contact_id, place.rep_id) IN (SELECT fits.id, fits.rep_id FROM fits)
), open_to AS (
    -- Nobody gets a lead again that he let lapse, until all who are there have had it.
    SELECT taker.*, bool_and(had_it) OVER (PARTITION BY id) AS all_had_it
    FROM taker WHERE is_present AND NOT gave_it_back
), turn AS (
    SELECT walk.* FROM (
        SELECT array_agg(id ORDER BY created_at, id, no) AS leads, array_agg(no ORDER BY created_at, id, no) AS nos,
            array_agg(CASE WHEN is_keeper THEN 0 ELSE rank END ORDER BY created_at, id, no) AS ranks
        FROM open_to
        WHERE all_had_it OR NOT had_it
    ) those
    CROSS JOIN LATERAL take_turns(those.leads, those.nos, those.ranks,
        ARRAY(SELECT person FROM place ORDER BY no), ARRAY(SELECT capacity FROM place ORDER BY no),
        %(held)s::int[], %(turns)s::bigint[]) AS walk
), moved AS (
    UPDATE leads_lead lead
    SET state = 'open', owner_id = NULL, claimed_at = NULL, claimed_by_id = NULL, assigned_to_id = place.user_id,
        assigned_at = %(now)s, due_at = place.due_at, overdue_at = NULL, asked_at = NULL, unrouted_because = '',
        reassigned = lead.reassigned + (wanting.why <> 'new')::int, updated_at = %(now)s,
        lapsed_by = CASE WHEN place.user_id = ANY(lead.lapsed_by) THEN '{}' ELSE lead.lapsed_by END
            || CASE WHEN wanting.why = 'overdue' THEN ARRAY[wanting.holder_id::bigint] ELSE '{}' END
    FROM turn
    JOIN wanting ON wanting.id = turn.lead_id
    JOIN place ON place.no = turn.place_no
    WHERE lead.id = turn.lead_id AND lead.state = wanting.state
        AND lead.owner_id IS NOT DISTINCT FROM wanting.owner_id
        AND lead.assigned_to_id IS NOT DISTINCT FROM wanting.assigned_to_id
    RETURNING lead.id, lead.contact_id, lead.team_id, wanting.holder, wanting.why, wanting.due_at AS was_due_at,
        wanting.overdue_at, place.user_id, place.rep_id, turn.turn
), counted AS (
    UPDATE leads_rep rep SET turn = latest.turn, last_assigned_at = %(now)s
    FROM (SELECT rep_id, max(turn) AS turn FROM moved GROUP BY rep_id) latest
    WHERE rep.id = latest.rep_id
), stayed AS (
    UPDATE leads_lead lead
    SET asked_at = %(now)s, overdue_at = CASE WHEN lead.due_at <= %(now)s THEN coalesce(lead.overdue_at, %(now)s) END,
        state = CASE WHEN wanting.why = 'left' THEN 'open' ELSE lead.state END,
        owner_id = CASE WHEN wanting.why <> 'left' THEN lead.owner_id END,
        claimed_at = CASE WHEN wanting.why <> 'left' THEN lead.claimed_at END,
        claimed_by_id = CASE WHEN wanting.why <> 'left' THEN lead.claimed_by_id END,
        assigned_to_id = CASE WHEN wanting.why <> 'left' THEN lead.assigned_to_id END,
        unrouted_because = CASE
            WHEN wanting.team_id IS NULL THEN 'no_team'
            WHEN wanting.team_id NOT IN (SELECT place.team_id FROM place) THEN 'no_rep'
            WHEN wanting.why IN ('overdue', 'absent') THEN 'nobody_else'
            WHEN wanting.id NOT IN (SELECT taker.id FROM taker) THEN 'no_rule'
            WHEN wanting.id NOT IN (SELECT taker.id FROM taker WHERE NOT taker.gave_it_back) THEN 'nobody_else'
            WHEN wanting.id NOT IN (SELECT taker.id FROM taker WHERE taker.is_present AND NOT taker.gave_it_back)
            THEN 'away'
            ELSE 'full'
        END
    FROM wanting
    WHERE lead.id = wanting.id AND lead.state = wanting.state
        AND lead.owner_id IS NOT DISTINCT FROM wanting.owner_id
        AND lead.assigned_to_id IS NOT DISTINCT FROM wanting.assigned_to_id
        AND wanting.id NOT IN (SELECT turn.lead_id FROM turn)
    RETURNING lead.id, lead.contact_id, lead.team_id, lead.due_at, wanting.holder, wanting.overdue_at
), told AS (
    SELECT id, contact_id, team_id, CASE why WHEN 'new' THEN 'lead.assigned' ELSE 'lead.reassigned' END AS kind,
        jsonb_build_object('to', person.username) || CASE WHEN why <> 'new'
            THEN jsonb_build_object('from', holder, 'reason', why) ELSE '{}' END AS more
    FROM moved JOIN (SELECT id AS user_id, username FROM auth_user) person USING (user_id)
    UNION ALL
    SELECT id, contact_id, team_id, 'lead.overdue', jsonb_build_object('to', holder, 'due_at', due_at)
    FROM stayed
    WHERE due_at <= %(now)s AND overdue_at IS NULL
), written AS (
    INSERT INTO contacts_touchpoint (contact_id, kind, channel, occurred_at, received_at, source, properties)
    SELECT contact_id, kind, 'sales', %(now)s, %(now)s, 'journey',
        jsonb_build_object('lead', told.id, 'team', coalesce(team.key, '')) || more
    FROM told LEFT JOIN leads_team team ON team.id = told.team_id
    ORDER BY told.id
)
SELECT count(*) FROM moved;
