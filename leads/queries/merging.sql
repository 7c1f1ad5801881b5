-- settle_leads --
-- In a merge: of two leads in hand of people who turn out to be one, the one that sales got further with stays.
WITH mine AS (
    SELECT lead.id, coalesce(pair.survivor, lead.contact_id) AS contact_id, pair.loser, row_number() OVER (
        PARTITION BY coalesce(pair.survivor, lead.contact_id)
        ORDER BY array_position(ARRAY['accepted', 'claimed', 'open'], lead.state), pair.loser IS NOT NULL, lead.id
    ) AS place
    FROM leads_lead lead
    LEFT JOIN pair ON pair.loser = lead.contact_id
    WHERE lead.contact_id IN (SELECT loser FROM pair UNION SELECT survivor FROM pair)
        AND lead.state IN ('open', 'claimed', 'accepted')
), gone AS (
    DELETE FROM leads_lead WHERE id IN (SELECT id FROM mine WHERE place > 1) RETURNING *
), given AS (
    -- What was written at it is read at the other; what could be undone can no longer be.
    UPDATE leads_activity SET former_lead = lead_id, lead_id = stays.id
    FROM gone JOIN mine USING (id) JOIN mine stays ON stays.contact_id = mine.contact_id AND stays.place = 1
    WHERE leads_activity.lead_id = gone.id
), forgotten AS (
    DELETE FROM leads_leadmove WHERE lead_id IN (SELECT id FROM gone)
), told AS (
    -- Whoever keeps the leads by the stream learns that this one is no more.
    INSERT INTO contacts_incoming (source, kind, channel, occurred_at, received_at, contact_id, properties)
    SELECT 'merge', 'lead.dropped', 'sales', %(now)s, %(now)s, mine.contact_id,
        jsonb_build_object('lead', gone.id, 'into', stays.id, 'version', gone.version + 1)
    FROM gone JOIN mine USING (id) JOIN mine stays ON stays.contact_id = mine.contact_id AND stays.place = 1
)
INSERT INTO moved (loser, place, row_key, dropped)
-- A lead of the survivor's own gave way to that of the loser who brought the better one.
SELECT coalesce(mine.loser, stays.loser), 'leads_lead', gone.id::text, to_jsonb(gone)
FROM gone JOIN mine USING (id) JOIN mine stays ON stays.contact_id = mine.contact_id AND stays.place = 1;

-- part_leads --
-- In an unmerge: a lead that had given way is there again, with what was written at it; it is told anew.
WITH back AS (
    -- Above what was told when it gave way.
    UPDATE leads_lead SET version = version + 2, told_version = 0
    FROM pair
    JOIN contacts_mergeentry entry ON entry.merge_id = pair.merge_id
        AND entry.table_name = 'leads_lead' AND entry.row IS NOT NULL
    WHERE leads_lead.id = (entry.row ->> 'id')::bigint
    RETURNING leads_lead.id
)
UPDATE leads_activity SET lead_id = former_lead, former_lead = NULL FROM back WHERE former_lead = back.id
