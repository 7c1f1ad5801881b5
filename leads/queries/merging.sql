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
)
INSERT INTO moved (loser, place, row_key, dropped)
-- A lead of the survivor's own gave way to that of the loser who brought the better one.
SELECT coalesce(mine.loser, stays.loser), 'leads_lead', gone.id::text, to_jsonb(gone)
FROM gone JOIN mine USING (id) JOIN mine stays ON stays.contact_id = mine.contact_id AND stays.place = 1;
