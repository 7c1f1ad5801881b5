-- Merging: whatever points to a loser points to its survivor afterwards.

-- make_pair --
-- Who is merged into whom.
CREATE TEMP TABLE IF NOT EXISTS pair (
    loser bigint, survivor bigint, reason text, row_id bigint, merge_id bigint
) ON COMMIT DELETE ROWS;

-- make_moved --
-- What a merge moved or dropped, for its log.
CREATE TEMP TABLE IF NOT EXISTS moved (
    loser bigint, place text, row_key text, dropped jsonb
) ON COMMIT DELETE ROWS;

-- pair_by_hand --
-- Names one pair to merge.
INSERT INTO pair (loser, survivor, reason) VALUES (%(loser)s, %(survivor)s, %(reason)s);

-- empty_pairs --
-- Makes room for another merge in the same transaction.
TRUNCATE pair, moved;

-- lock_people --
-- Waits for every transaction that is writing these people, and keeps others out until ours ends. Rows that only lead to
-- them are checked at commit and wait for nobody: those `heal` brings along. In the order in which a sync locks, so that
-- neither shuts the other out.
SELECT id FROM contacts_contact WHERE id IN (SELECT loser FROM pair UNION SELECT survivor FROM pair)
ORDER BY id FOR UPDATE;

-- log_merges --
-- Keeps the row of each loser, its handles and its consents, and the row of its survivor, as they were.
WITH logged AS (
    INSERT INTO contacts_merge (survivor_id, loser_id, reason, before, merged_at, merged_by_id)
    SELECT pair.survivor, pair.loser, pair.reason, jsonb_build_object(
        'contact', to_jsonb(contact), 'survivor', to_jsonb(stays),
        'identities', coalesce((
            SELECT jsonb_agg(jsonb_build_object('kind', identity.kind, 'value', identity.value) ORDER BY identity.id)
            FROM contacts_identity identity WHERE identity.contact_id = pair.loser), '[]'),
        'consents', coalesce((
            SELECT jsonb_agg(jsonb_build_object('topic', consent.topic, 'channel', consent.channel,
                                                'state', consent.state, 'changed_at', consent.changed_at))
            FROM contacts_consent consent WHERE consent.contact_id = pair.loser), '[]')
    ), %(now)s, %(by)s
    FROM pair
    JOIN contacts_contact contact ON contact.id = pair.loser
    JOIN contacts_contact stays ON stays.id = pair.survivor
    RETURNING id, loser_id
)
UPDATE pair SET merge_id = logged.id FROM logged WHERE logged.loser_id = pair.loser;

-- settle_consents --
-- Where two who become one said different things, the strictest word holds, and the ledger says so.
WITH said AS (
    SELECT coalesce(pair.survivor, consent.contact_id) AS person, consent.*
    FROM contacts_consent consent LEFT JOIN pair ON pair.loser = consent.contact_id
    WHERE consent.contact_id IN (SELECT loser FROM pair UNION SELECT survivor FROM pair)
), strictest AS (
    SELECT person, topic, channel, CASE WHEN bool_or(state = 'denied') THEN 'denied' ELSE 'pending' END AS state
    FROM said GROUP BY person, topic, channel HAVING min(state) <> max(state)
), ledger AS (
    INSERT INTO contacts_consentchange (contact_id, topic, channel, state, source, wording, actor, changed_at)
    SELECT person, topic, channel, state, 'merge', '', '', %(now)s FROM strictest
)
UPDATE contacts_consent SET state = strictest.state, changed_at = %(now)s
FROM said JOIN strictest USING (person, topic, channel)
WHERE contacts_consent.id = said.id AND said.state <> strictest.state;

-- settle_totals --
-- Adds up what retention left of the touchpoints of several who become one, in the row that stays.
WITH mine AS (
    SELECT total.*, coalesce(pair.survivor, total.contact_id) AS person,
           row_number() OVER (PARTITION BY coalesce(pair.survivor, total.contact_id), total.kind
                              ORDER BY pair.loser IS NOT NULL, total.id) AS place
    FROM contacts_touchpointtotal total LEFT JOIN pair ON pair.loser = total.contact_id
    WHERE total.contact_id IN (SELECT loser FROM pair UNION SELECT survivor FROM pair)
), sums AS (
    SELECT person, kind, min(id) FILTER (WHERE place = 1) AS keeper, sum(count) AS count,
           sum(machine_count) AS machine_count, min(first_at) AS first_at, max(last_at) AS last_at
    FROM mine GROUP BY person, kind HAVING count(*) > 1
)
UPDATE contacts_touchpointtotal SET
    count = sums.count, machine_count = sums.machine_count, first_at = sums.first_at, last_at = sums.last_at
FROM sums WHERE contacts_touchpointtotal.id = sums.keeper;

-- fill_survivors --
-- What a survivor does not know it takes from those who went into it, the first identified of them first.
UPDATE contacts_contact SET
    email = coalesce(nullif(contacts_contact.email, ''), found.email, ''),
    phone = coalesce(nullif(contacts_contact.phone, ''), found.phone, ''),
    first_name = coalesce(nullif(contacts_contact.first_name, ''), found.first_name, ''),
    last_name = coalesce(nullif(contacts_contact.last_name, ''), found.last_name, ''),
    salutation = coalesce(nullif(contacts_contact.salutation, ''), found.salutation, ''),
    language = coalesce(nullif(contacts_contact.language, ''), found.language, ''),
    country = coalesce(nullif(contacts_contact.country, ''), found.country, ''),
    timezone = coalesce(nullif(contacts_contact.timezone, ''), found.timezone, ''),
    zone = coalesce(nullif(contacts_contact.zone, ''), found.zone, ''),
    job_title = coalesce(nullif(contacts_contact.job_title, ''), found.job_title, ''),
    company_role = coalesce(nullif(contacts_contact.company_role, ''), found.company_role, ''),
    company_id = coalesce(contacts_contact.company_id, found.company_id),
    owner_id = coalesce(contacts_contact.owner_id, found.owner_id),
    attributes = coalesce(traits.attributes, '{}') || contacts_contact.attributes,
    created_at = least(contacts_contact.created_at, found.created_at),
    identified_at = least(contacts_contact.identified_at, found.identified_at),
    last_seen_at = greatest(contacts_contact.last_seen_at, found.last_seen_at),
    synced_at = greatest(contacts_contact.synced_at, found.synced_at),
    -- What they asked us to refrain from holds for the one person they are.
    paused_until = greatest(contacts_contact.paused_until, found.paused_until),
    most_per_week = least(contacts_contact.most_per_week, found.most_per_week),
    -- The current stage is moved by the step `stage`, which reads contact.merged and writes it into its ledger.
    highest_stage = CASE WHEN found.highest > array_position(%(ladder)s::text[], contacts_contact.highest_stage)
                         THEN (%(ladder)s::text[])[found.highest] ELSE contacts_contact.highest_stage END,
    updated_at = %(now)s
FROM (
    SELECT ranked.survivor,
           (array_agg(email ORDER BY rank) FILTER (WHERE email <> ''))[1] AS email,
           (array_agg(phone ORDER BY rank) FILTER (WHERE phone <> ''))[1] AS phone,
           (array_agg(first_name ORDER BY rank) FILTER (WHERE first_name <> ''))[1] AS first_name,
           (array_agg(last_name ORDER BY rank) FILTER (WHERE last_name <> ''))[1] AS last_name,
           (array_agg(salutation ORDER BY rank) FILTER (WHERE salutation <> ''))[1] AS salutation,
           (array_agg(language ORDER BY rank) FILTER (WHERE language <> ''))[1] AS language,
           (array_agg(country ORDER BY rank) FILTER (WHERE country <> ''))[1] AS country,
           (array_agg(timezone ORDER BY rank) FILTER (WHERE timezone <> ''))[1] AS timezone,
           (array_agg(zone ORDER BY rank) FILTER (WHERE zone <> ''))[1] AS zone,
           (array_agg(job_title ORDER BY rank) FILTER (WHERE job_title <> ''))[1] AS job_title,
           (array_agg(company_role ORDER BY rank) FILTER (WHERE company_role <> ''))[1] AS company_role,
           (array_agg(company_id ORDER BY rank) FILTER (WHERE company_id IS NOT NULL))[1] AS company_id,
           (array_agg(owner_id ORDER BY rank) FILTER (WHERE owner_id IS NOT NULL))[1] AS owner_id,
           min(created_at) AS created_at, min(identified_at) AS identified_at, max(last_seen_at) AS last_seen_at,
           max(synced_at) AS synced_at, max(paused_until) AS paused_until, min(most_per_week) AS most_per_week,
           max(array_position(%(ladder)s::text[], highest_stage)) AS highest
    FROM (
        SELECT pair.survivor, contact.*,
               row_number() OVER (PARTITION BY pair.survivor ORDER BY contact.identified_at NULLS LAST, contact.id) AS rank
        FROM pair JOIN contacts_contact contact ON contact.id = pair.loser
    ) ranked
    GROUP BY ranked.survivor
) found
LEFT JOIN (
    SELECT pair.survivor, jsonb_object_agg(
               trait.key, trait.value ORDER BY contact.identified_at DESC NULLS FIRST, contact.id DESC) AS attributes
    FROM pair JOIN contacts_contact contact ON contact.id = pair.loser
    CROSS JOIN LATERAL jsonb_each(contact.attributes) trait
    GROUP BY pair.survivor
) traits ON traits.survivor = found.survivor
WHERE contacts_contact.id = found.survivor;

-- log_moved --
-- Keeps with each merge which rows it moved, a thousand keys at a time, and those that it dropped.
INSERT INTO contacts_mergeentry (merge_id, table_name, column_name, keys, row)
SELECT pair.merge_id, split_part(part.place, '.', 1), split_part(part.place, '.', 2), array_agg(part.row_key), NULL
FROM (
    SELECT loser, place, row_key, (row_number() OVER (PARTITION BY loser, place) - 1) / 1000 AS number
    FROM moved WHERE dropped IS NULL
) part JOIN pair ON pair.loser = part.loser
GROUP BY pair.merge_id, part.place, part.number
UNION ALL
SELECT pair.merge_id, moved.place, '', '{}', moved.dropped
FROM moved JOIN pair ON pair.loser = moved.loser WHERE moved.dropped IS NOT NULL;

-- log_survivors --
-- Keeps with each merge what became of its survivor: what differs from it later was written later, and stays.
UPDATE contacts_merge SET before = before || jsonb_build_object('after', to_jsonb(stays))
FROM pair JOIN contacts_contact stays ON stays.id = pair.survivor WHERE contacts_merge.id = pair.merge_id;

-- pair_strays --
-- Names the merges of the last minutes again: somebody may have written of a loser while it was merged.
INSERT INTO pair (loser, survivor, merge_id)
SELECT DISTINCT ON (merge.loser_id) merge.loser_id, loser.merged_into_id, merge.id
FROM contacts_merge merge JOIN contacts_contact loser ON loser.id = merge.loser_id
WHERE merge.merged_at > %(since)s AND loser.merged_into_id IS NOT NULL AND loser.erased_at IS NULL
ORDER BY merge.loser_id, merge.id DESC;

-- bury_losers --
-- Leaves a tombstone that says who the person became; what was known about them is the survivor's now.
UPDATE contacts_contact SET
    merged_into_id = pair.survivor, email = '', phone = '', first_name = '', last_name = '', salutation = '',
    job_title = '', company_role = '', company_id = NULL, owner_id = NULL, attributes = '{}', updated_at = %(now)s
FROM pair WHERE pair.loser = contacts_contact.id;
