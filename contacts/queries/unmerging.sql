-- Taking a merge back: what it moved goes back, what it dropped is there again; what came afterwards stays.

-- pair_undone --
-- Names the pair of a merge that is taken back.
INSERT INTO pair (loser, survivor, reason, merge_id)
SELECT loser_id, survivor_id, reason, id FROM contacts_merge WHERE id = %(merge)s;

-- unbury_loser --
-- Who was merged away is there again with every column as it was, where what it leads to is still there.
UPDATE contacts_contact SET ({columns}) = (
    SELECT {values} FROM jsonb_populate_record(contacts_contact, merge.before -> 'contact' || jsonb_build_object(
        'company_id', (SELECT coalesce(company.merged_into_id, company.id) FROM contacts_company company
                       WHERE company.id = (merge.before -> 'contact' ->> 'company_id')::bigint),
        'owner_id', (SELECT owner.id FROM auth_user owner
                     WHERE owner.id = (merge.before -> 'contact' ->> 'owner_id')::bigint),
        -- What either asked us to refrain from holds for both.
        'paused_until', greatest((merge.before -> 'contact' ->> 'paused_until')::timestamptz, stays.paused_until),
        'most_per_week', least((merge.before -> 'contact' ->> 'most_per_week')::int, stays.most_per_week),
        'merged_into_id', NULL, 'updated_at', %(now)s::timestamptz
    )) AS value
)
FROM pair JOIN contacts_merge merge ON merge.id = pair.merge_id
JOIN contacts_contact stays ON stays.id = pair.survivor
WHERE contacts_contact.id = pair.loser;

-- give_back_columns --
-- What the survivor took from the loser, and nobody wrote since, is as it was before; later words stay.
WITH undone AS (
    SELECT stays.id, to_jsonb(stays) AS present, merge.before -> 'survivor' AS before,
           merge.before -> 'after' AS after, merge.before -> 'contact' AS loser
    FROM pair JOIN contacts_merge merge ON merge.id = pair.merge_id
    JOIN contacts_contact stays ON stays.id = pair.survivor
), columns AS (
    SELECT undone.id, jsonb_object_agg(col.key, undone.before -> col.key) AS told
    FROM undone CROSS JOIN LATERAL jsonb_each(undone.after) AS col (key, value)
    WHERE col.key <> ALL (%(kept)s::text[]) AND undone.before -> col.key IS DISTINCT FROM col.value
        AND undone.loser -> col.key = col.value AND undone.present -> col.key = col.value
    GROUP BY undone.id
), traits AS (
    SELECT undone.id, array_agg(trait.key) AS taken
    FROM undone CROSS JOIN LATERAL jsonb_each(undone.after -> 'attributes') AS trait (key, value)
    WHERE NOT undone.before -> 'attributes' ? trait.key
        AND undone.loser -> 'attributes' -> trait.key = trait.value
        AND undone.present -> 'attributes' -> trait.key = trait.value
    GROUP BY undone.id
)
UPDATE contacts_contact SET ({columns}) = (
    SELECT {values} FROM jsonb_populate_record(contacts_contact, coalesce(columns.told, '{}') || jsonb_build_object(
        'attributes', contacts_contact.attributes - coalesce(traits.taken, '{}'), 'updated_at', %(now)s::timestamptz
    )) AS value
)
FROM undone LEFT JOIN columns ON columns.id = undone.id LEFT JOIN traits ON traits.id = undone.id
WHERE contacts_contact.id = undone.id;

-- settle_addresses --
-- Nobody keeps as the main address one that leads to somebody else by now.
UPDATE contacts_contact SET email = coalesce((
    SELECT own.value FROM contacts_identity own WHERE own.contact_id = contacts_contact.id AND own.kind = 'email'
    ORDER BY own.id LIMIT 1), '')
WHERE id IN (SELECT loser FROM pair UNION SELECT survivor FROM pair) AND email <> '' AND EXISTS (
    SELECT FROM contacts_identity other
    WHERE other.kind = 'email' AND other.value = contacts_contact.email AND other.contact_id <> contacts_contact.id);

-- part_consents --
-- Gives each of the two a consent of their own. A grant goes back to who gave it; a refusal holds for both, for nobody
-- may be written to by a merge being taken back. The ledger says what was not said by the person.
WITH undone AS MATERIALIZED (
    SELECT pair.loser, pair.survivor, pair.merge_id, merge.before, merge.merged_at
    FROM pair JOIN contacts_merge merge ON merge.id = pair.merge_id
), present AS MATERIALIZED (
    SELECT consent.*, undone.merged_at, EXISTS (
               SELECT FROM contacts_mergeentry entry
               WHERE entry.merge_id = undone.merge_id AND entry.table_name = 'contacts_consent'
                   AND consent.id::text = ANY (entry.keys)) AS is_theirs
    FROM undone JOIN contacts_consent consent ON consent.contact_id = undone.survivor
), back AS MATERIALIZED (
    SELECT (SELECT loser FROM undone) AS contact_id, coalesce(theirs.topic, present.topic) AS topic,
           coalesce(theirs.channel, present.channel) AS channel, theirs.state AS before, theirs.changed_at,
           CASE WHEN 'denied' IN (theirs.state, present.state) THEN 'denied'
                WHEN 'pending' IN (theirs.state, present.state) THEN 'pending' ELSE 'granted' END AS state
    FROM (
        SELECT said.* FROM undone CROSS JOIN LATERAL jsonb_to_recordset(undone.before -> 'consents')
            AS said (topic text, channel text, state text, changed_at timestamptz)
    ) theirs
    FULL JOIN present ON present.topic = theirs.topic AND present.channel = theirs.channel
    WHERE theirs.state IS NOT NULL OR present.state = 'denied'
), written AS (
    INSERT INTO contacts_consent (contact_id, topic, channel, state, changed_at)
    SELECT contact_id, topic, channel, state, CASE WHEN state = before THEN changed_at ELSE %(now)s END FROM back
    ON CONFLICT DO NOTHING
), gone AS (
    DELETE FROM contacts_consent USING present
    WHERE contacts_consent.id = present.id AND present.is_theirs AND present.state = 'granted'
        AND present.changed_at <= present.merged_at
)
INSERT INTO contacts_consentchange (contact_id, topic, channel, state, source, wording, actor, changed_at)
SELECT contact_id, topic, channel, state, 'unmerge', '', '', %(now)s::timestamptz
FROM back WHERE state IS DISTINCT FROM before
UNION ALL
SELECT contact_id, topic, channel, state, 'unmerge', '', '', %(now)s
FROM present WHERE is_theirs AND NOT (state = 'granted' AND changed_at <= merged_at);

-- part_totals --
-- Takes the loser's part out of the totals that the merge added up.
UPDATE contacts_touchpointtotal SET
    count = greatest(contacts_touchpointtotal.count - theirs.count, 0),
    machine_count = greatest(contacts_touchpointtotal.machine_count - theirs.machine_count, 0)
FROM pair
JOIN contacts_mergeentry entry ON entry.merge_id = pair.merge_id AND entry.table_name = 'contacts_touchpointtotal'
CROSS JOIN LATERAL jsonb_populate_record(NULL::contacts_touchpointtotal, entry.row) AS theirs
WHERE entry.row IS NOT NULL AND contacts_touchpointtotal.contact_id = pair.survivor
    AND contacts_touchpointtotal.kind = theirs.kind;
