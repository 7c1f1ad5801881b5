-- Companies: who belongs to them by their address, and two that are one.

-- join_companies --
-- People without a company whose address is at a company's own domain belong to it: those who came or got an address in
-- a window, and everybody when a company is new or has another domain. Who was taken out of a company stays out.
WITH fresh AS MATERIALIZED (
    SELECT id, domain FROM contacts_company
    WHERE NOT is_joined AND domain <> ALL (%(free)s::text[]) AND merged_into_id IS NULL
), asked AS (
    SELECT DISTINCT contact_id AS id FROM contacts_touchpoint
    WHERE id > %(after)s AND id <= %(upto)s AND (
        kind IN ('contact.created', 'contact.identified', 'contact.merged')
        OR kind = 'contact.updated' AND properties -> 'fields' ? 'email')
    UNION
    -- The trigrams of the search find them, not a walk through everybody.
    SELECT contact.id FROM fresh JOIN contacts_contact contact ON lower(contact.email) LIKE '%%@' || fresh.domain
), joined AS (
    UPDATE contacts_contact contact
    SET company_id = coalesce(company.merged_into_id, company.id), updated_at = %(now)s
    FROM asked, contacts_company company
    WHERE contact.id = asked.id AND contact.company_id IS NULL AND contact.email <> ''
        AND contact.merged_into_id IS NULL AND contact.erased_at IS NULL
        AND company.domain = split_part(contact.email, '@', 2) AND company.domain <> ALL (%(free)s::text[])
    RETURNING contact.id
)
INSERT INTO contacts_touchpoint (contact_id, kind, channel, occurred_at, received_at, source, properties)
SELECT id, 'contact.updated', '', %(now)s, %(now)s, 'journey', '{"fields": ["company"], "reason": "domain"}'
FROM joined ORDER BY id;

-- mark_joined --
-- Each company has been looked at with its domain of now.
UPDATE contacts_company SET is_joined = true WHERE NOT is_joined;

-- move_people_of_company --
-- The people of a company that is merged into another are the other's, and say so.
WITH moved AS (
    UPDATE contacts_contact SET company_id = %(survivor)s, updated_at = %(now)s WHERE company_id = %(loser)s RETURNING id
)
INSERT INTO contacts_incoming (source, kind, occurred_at, received_at, contact_id, properties)
SELECT %(source)s, 'contact.updated', %(now)s, %(now)s, id, '{"fields": ["company"], "reason": "merge"}' FROM moved;

-- activity_of_company --
-- What the people of a company did since a moment, by kind: how often, how many of them, and when last.
SELECT kind, count(*), count(DISTINCT contact_id), max(occurred_at) FROM contacts_touchpoint
WHERE contact_id IN (SELECT id FROM contacts_contact WHERE company_id = %(company)s ORDER BY id LIMIT %(most)s)
    AND occurred_at > %(since)s AND NOT is_machine
GROUP BY kind ORDER BY 2 DESC, 1 LIMIT 12;
