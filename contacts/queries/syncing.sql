-- Syncing: records that clients tell, in one batch.

-- make_staged_contact --
-- The records of one batch, checked: NULL where nothing was told, '' or 0 where it clears.
CREATE TEMP TABLE IF NOT EXISTS staged_contact (
    index int, known_id bigint, user_id text, email text, phone text, first_name text, last_name text, salutation text,
    language text, country text, timezone text, job_title text, company_role text, source text, company_id bigint, owner_id bigint,
    attributes jsonb, cleared text[], clears_attributes boolean, told_at timestamptz, is_refusing boolean
) ON COMMIT DELETE ROWS;

-- empty_staged_contact --
-- Makes room for the next batch of the same transaction.
TRUNCATE staged_contact;

-- upsert_staged_contacts --
-- Makes or changes the contacts of a batch and tells the inbox; what became of each row, none where its contact is gone.
WITH found AS MATERIALIZED (
    -- Handles are asked row by row: nobody should read all identities because the planner knows nothing of this batch.
    SELECT asked.*, coalesce(known_id, by_user, by_email) AS contact_id,
           CASE WHEN %(mode)s = 'create' AND coalesce(known_id, by_user, by_email) IS NOT NULL THEN 'there'
                WHEN %(mode)s = 'update' AND coalesce(known_id, by_user, by_email) IS NULL THEN 'absent'
                WHEN by_user <> coalesce(known_id, by_user, by_email) THEN 'user_id'
                WHEN by_email <> coalesce(known_id, by_user, by_email) THEN 'email'
                WHEN known_id IS NULL AND by_user IS NULL AND coalesce(user_id, '') <> '' AND (
                    -- Not by the index of kinds: it would read all user ids for each row.
                    SELECT other.id FROM contacts_identity other
                    WHERE other.contact_id = by_email AND other.kind || '' = 'user_id' LIMIT 1
                ) IS NOT NULL THEN 'user' END AS problem
    FROM (
        SELECT staged.*,
               (SELECT one.contact_id FROM contacts_identity one
                WHERE one.kind = 'user_id' AND one.value = nullif(staged.user_id, '')) AS by_user,
               (SELECT one.contact_id FROM contacts_identity one
                WHERE one.kind = 'email' AND one.value = nullif(staged.email, '')) AS by_email
        FROM staged_contact staged OFFSET 0
    ) asked
),
next AS MATERIALIZED (
    -- Locked one by one in one order, so that two writers wait for each other and do not lock each other out. What was
    -- before stands beside what will be: no part of this statement is joined with another, of whose size the planner
    -- knows nothing.
    SELECT found.index, found.user_id AS told_user, found.email AS told_email, found.told_at, found.is_refusing, found.by_user,
           found.by_email, old.id, old.synced_at, old.email AS old_email,
           old.phone AS old_phone, coalesce(found.phone, old.phone) AS phone,
           old.first_name AS old_first_name, coalesce(found.first_name, old.first_name) AS first_name,
           old.last_name AS old_last_name, coalesce(found.last_name, old.last_name) AS last_name,
           old.salutation AS old_salutation, coalesce(found.salutation, old.salutation) AS salutation,
           old.language AS old_language, coalesce(found.language, old.language) AS language,
           old.country AS old_country, coalesce(found.country, old.country) AS country,
           old.timezone AS old_timezone, coalesce(found.timezone, old.timezone) AS timezone,
           old.job_title AS old_job_title, coalesce(found.job_title, old.job_title) AS job_title,
           old.company_role AS old_company_role, coalesce(found.company_role, old.company_role) AS company_role,
           old.source AS old_source, coalesce(found.source, old.source) AS source,
           -- Whoever was found by the address keeps the main one, if it is another of theirs.
           CASE WHEN found.known_id IS NULL AND found.by_user IS NULL AND old.email <> '' THEN old.email
                ELSE coalesce(found.email, old.email) END AS email,
           CASE WHEN found.timezone IS NULL THEN old.zone ELSE coalesce((
               SELECT zone.name FROM contacts_zone zone WHERE zone.name = found.timezone), '') END AS zone,
           old.company_id AS old_company_id, nullif(coalesce(found.company_id, old.company_id), 0) AS company_id,
           old.owner_id AS old_owner_id, nullif(coalesce(found.owner_id, old.owner_id), 0) AS owner_id,
           old.attributes AS old_attributes, old.paused_until, old.most_per_week,
           (CASE WHEN found.clears_attributes THEN '{}' ELSE old.attributes END || found.attributes) - found.cleared
               AS attributes,
           CASE WHEN found.clears_attributes THEN NULL ELSE found.cleared END AS cleared,
           found.attributes AS told_attributes,
           coalesce(found.told_at < old.synced_at, false) AS is_stale
    FROM (SELECT * FROM found WHERE problem IS NULL AND contact_id IS NOT NULL ORDER BY contact_id, index) found
    CROSS JOIN LATERAL (
        SELECT * FROM contacts_contact one WHERE one.id = found.contact_id FOR NO KEY UPDATE
    ) old
    WHERE old.merged_into_id IS NULL AND old.erased_at IS NULL
),
turns AS (
    -- Rows that name one contact by different handles come one after the other.
    SELECT next.*, row_number() OVER (PARTITION BY id ORDER BY index) AS turn FROM next
),
compared AS MATERIALIZED (
    SELECT turns.*, CASE WHEN is_stale THEN '{}'::text[] ELSE array_remove(ARRAY[
            CASE WHEN told_user IS NOT NULL AND (told_user <> '' AND by_user IS NULL OR told_user = '' AND EXISTS (
                SELECT FROM contacts_identity one WHERE one.contact_id = turns.id AND one.kind || '' = 'user_id'))
                 THEN 'user_id' END,
            CASE WHEN email <> old_email OR told_email <> '' AND by_email IS NULL THEN 'email' END,
            CASE WHEN phone <> old_phone THEN 'phone' END,
            CASE WHEN first_name <> old_first_name THEN 'first_name' END,
            CASE WHEN last_name <> old_last_name THEN 'last_name' END,
            CASE WHEN salutation <> old_salutation THEN 'salutation' END,
            CASE WHEN language <> old_language THEN 'language' END,
            CASE WHEN country <> old_country THEN 'country' END,
            CASE WHEN timezone <> old_timezone THEN 'timezone' END,
            CASE WHEN job_title <> old_job_title THEN 'job_title' END,
            CASE WHEN company_role <> old_company_role THEN 'company_role' END,
            CASE WHEN source <> old_source THEN 'source' END,
            CASE WHEN company_id IS DISTINCT FROM old_company_id THEN 'company' END,
            CASE WHEN owner_id IS DISTINCT FROM old_owner_id THEN 'owner' END
        ], NULL) || CASE WHEN attributes = old_attributes THEN '{}' ELSE ARRAY(
            SELECT one.key FROM jsonb_each(told_attributes) one WHERE old_attributes -> one.key IS DISTINCT FROM one.value
            UNION ALL
            -- All that was there is cleared where `cleared` is NULL.
            SELECT one.key FROM jsonb_object_keys(
                CASE WHEN cardinality(cleared) = 0 THEN '{}' ELSE old_attributes END) one (key)
            WHERE NOT told_attributes ? one.key AND coalesce(one.key = ANY(cleared), true)
            ORDER BY 1) END END AS fields
    FROM turns WHERE turn = 1
),
changed AS (
    UPDATE contacts_contact contact SET
        email = compared.email, phone = compared.phone, first_name = compared.first_name,
        last_name = compared.last_name, salutation = compared.salutation, language = compared.language,
        country = compared.country, timezone = compared.timezone, zone = compared.zone,
        job_title = compared.job_title, company_role = compared.company_role, source = compared.source, company_id = compared.company_id,
        owner_id = compared.owner_id, attributes = compared.attributes,
        identified_at = CASE WHEN compared.told_user <> '' OR compared.email <> ''
                             THEN coalesce(contact.identified_at, %(now)s) ELSE contact.identified_at END,
        synced_at = greatest(compared.synced_at, coalesce(compared.told_at, %(now)s)),
        updated_at = CASE WHEN compared.fields = '{}' THEN contact.updated_at ELSE %(now)s END
    FROM compared
    WHERE contact.id = compared.id AND NOT compared.is_stale
        AND (compared.fields <> '{}' OR compared.told_at > coalesce(compared.synced_at, '-infinity'))
),
new AS MATERIALIZED (
    SELECT nextval('contacts_contact_id_seq') AS id, found.*,
           coalesce((SELECT zone.name FROM contacts_zone zone WHERE zone.name = found.timezone), '') AS zone
    FROM found WHERE found.contact_id IS NULL AND found.problem IS NULL ORDER BY found.index
),
made AS (
    INSERT INTO contacts_contact (
        id, email, phone, first_name, last_name, salutation, language, country, timezone, zone, job_title, company_role,
        source,         company_id, owner_id, attributes, created_at, updated_at, synced_at, identified_at)
    SELECT id, coalesce(email, ''), coalesce(phone, ''), coalesce(first_name, ''), coalesce(last_name, ''),
           coalesce(salutation, ''), coalesce(language, ''), coalesce(country, ''), coalesce(timezone, ''), zone,
           coalesce(job_title, ''), coalesce(company_role, ''), coalesce(source, %(source)s), nullif(company_id, 0), nullif(owner_id, 0), attributes,
           %(now)s, %(now)s, coalesce(told_at, %(now)s), %(now)s
    FROM new
),
forgotten AS (
    -- A cleared handle may become somebody else's; but an address stays with who refused anything, so that whoever comes
    -- with it later is them, and the refusal holds.
    DELETE FROM contacts_identity gone USING compared
    WHERE gone.contact_id = compared.id AND NOT compared.is_stale AND (compared.told_user = '' OR compared.told_email = '')
        AND (compared.told_user = '' AND gone.kind = 'user_id'
             OR compared.told_email = '' AND gone.kind = 'email' AND gone.value = compared.old_email
                AND NOT compared.is_refusing AND compared.paused_until IS NULL AND compared.most_per_week IS NULL
                AND NOT EXISTS (SELECT FROM contacts_consent said
                                WHERE said.contact_id = compared.id AND said.state <> 'granted'))
),
named AS (
    INSERT INTO contacts_identity (contact_id, kind, value, created_at)
    SELECT id, 'user_id', user_id, %(now)s FROM new WHERE user_id <> ''
    UNION ALL
    SELECT id, 'email', email, %(now)s FROM new WHERE email <> ''
    UNION ALL
    SELECT id, 'user_id', told_user, %(now)s FROM compared WHERE told_user <> '' AND by_user IS NULL AND NOT is_stale
    UNION ALL
    SELECT id, 'email', told_email, %(now)s FROM compared WHERE told_email <> '' AND by_email IS NULL AND NOT is_stale
    -- In one order: of two batches with the same new people the second waits, and then sees that they are there.
    ORDER BY 2, 3
),
kept AS (
    -- What an import can give back: whom it made, and what it wrote over of the others.
    INSERT INTO contacts_importedperson (batch_id, contact_id, before, after, written_at)
    SELECT %(batch)s::bigint, id, NULL::jsonb, '{}'::jsonb, %(now)s FROM new WHERE %(batch)s::bigint IS NOT NULL
    UNION ALL
    SELECT %(batch)s::bigint, id,
           jsonb_strip_nulls(jsonb_build_object(
               'email', CASE WHEN email <> old_email THEN old_email END,
               'phone', CASE WHEN phone <> old_phone THEN old_phone END,
               'first_name', CASE WHEN first_name <> old_first_name THEN old_first_name END,
               'last_name', CASE WHEN last_name <> old_last_name THEN old_last_name END,
               'salutation', CASE WHEN salutation <> old_salutation THEN old_salutation END,
               'language', CASE WHEN language <> old_language THEN old_language END,
               'country', CASE WHEN country <> old_country THEN old_country END,
               'timezone', CASE WHEN timezone <> old_timezone THEN old_timezone END,
               'job_title', CASE WHEN job_title <> old_job_title THEN old_job_title END,
               'company_role', CASE WHEN company_role <> old_company_role THEN old_company_role END,
               'source', CASE WHEN source <> old_source THEN old_source END,
               'company', CASE WHEN company_id IS DISTINCT FROM old_company_id THEN coalesce(old_company_id, 0) END,
               'owner', CASE WHEN owner_id IS DISTINCT FROM old_owner_id THEN coalesce(old_owner_id, 0) END
           )) || coalesce((SELECT jsonb_object_agg('attributes.' || one.key, one.value) FROM jsonb_each(old_attributes) one
                           WHERE attributes -> one.key IS DISTINCT FROM one.value), '{}'),
           jsonb_strip_nulls(jsonb_build_object(
               'email', CASE WHEN email <> old_email THEN email END,
               'phone', CASE WHEN phone <> old_phone THEN phone END,
               'first_name', CASE WHEN first_name <> old_first_name THEN first_name END,
               'last_name', CASE WHEN last_name <> old_last_name THEN last_name END,
               'salutation', CASE WHEN salutation <> old_salutation THEN salutation END,
               'language', CASE WHEN language <> old_language THEN language END,
               'country', CASE WHEN country <> old_country THEN country END,
               'timezone', CASE WHEN timezone <> old_timezone THEN timezone END,
               'job_title', CASE WHEN job_title <> old_job_title THEN job_title END,
               'company_role', CASE WHEN company_role <> old_company_role THEN company_role END,
               'source', CASE WHEN source <> old_source THEN source END,
               'company', CASE WHEN company_id IS DISTINCT FROM old_company_id THEN coalesce(company_id, 0) END,
               'owner', CASE WHEN owner_id IS DISTINCT FROM old_owner_id THEN coalesce(owner_id, 0) END,
               'handle.user_id', CASE WHEN told_user <> '' AND by_user IS NULL THEN told_user END,
               'handle.email', CASE WHEN told_email <> '' AND by_email IS NULL THEN told_email END
           )) || coalesce((SELECT jsonb_object_agg('attributes.' || one.key, one.value) FROM jsonb_each(attributes) one
                           WHERE old_attributes -> one.key IS DISTINCT FROM one.value), '{}'),
           %(now)s
    FROM compared WHERE fields <> '{}' AND %(batch)s::bigint IS NOT NULL
    ON CONFLICT (contact_id, batch_id) DO UPDATE SET
        before = CASE WHEN contacts_importedperson.before IS NOT NULL
                      THEN excluded.before || contacts_importedperson.before END,
        after = contacts_importedperson.after || excluded.after, written_at = excluded.written_at
),
told AS (
    INSERT INTO contacts_incoming (source, kind, occurred_at, received_at, contact_id, properties)
    SELECT %(source)s, 'contact.created', %(now)s, %(now)s, id, '{}'::jsonb FROM new
    UNION ALL
    SELECT %(source)s, 'contact.updated', %(now)s, %(now)s, id, jsonb_strip_nulls(jsonb_build_object(
               'fields', to_jsonb(fields),
               -- What it was before; of names and handles nothing is kept a second time.
               'former', (SELECT jsonb_object_agg(one.key, one.value)
                          FROM jsonb_each(old_attributes || jsonb_build_object(
                              'language', old_language, 'country', old_country, 'timezone', old_timezone,
                              'job_title', old_job_title, 'company_role', old_company_role, 'source', old_source)) one
                          WHERE one.key = ANY(fields) AND has_value(one.value))))
    FROM compared WHERE fields <> '{}'
)
SELECT index, id, 'created', 0 FROM new
UNION ALL
SELECT index, id, CASE WHEN is_stale THEN 'stale' WHEN fields = '{}' THEN 'unchanged' ELSE 'updated' END, 0 FROM compared
UNION ALL
SELECT index, contact_id, problem,
       coalesce(CASE WHEN problem = 'user_id' THEN by_user ELSE by_email END, 0)
FROM found WHERE problem IS NOT NULL
UNION ALL
SELECT index, id, 'again', 0 FROM turns WHERE turn > 1;

-- settle_told_consents --
-- Writes what clients told about consent, with its proof; a grant that nobody gave us only for those whose consent may be
-- raised. What a raise is says `contacts.consent.is_raise` too.
WITH told AS MATERIALIZED (
    SELECT said.*, consent.state AS before,
           said.state = 'granted' AND consent.state IS DISTINCT FROM 'granted'
               OR said.state = 'pending' AND consent.state IS NOT DISTINCT FROM 'denied' AS is_raise
    FROM unnest(%(contacts)s::bigint[], %(topics)s::text[], %(channels)s::text[], %(states)s::text[])
        AS said (contact_id, topic, channel, state)
    LEFT JOIN contacts_consent consent ON consent.contact_id = said.contact_id AND consent.topic = said.topic
        AND consent.channel = said.channel
),
fresh AS MATERIALIZED (
    SELECT * FROM told WHERE before IS DISTINCT FROM state AND (contact_id = ANY(%(raisable)s) OR NOT is_raise)
),
written AS (
    INSERT INTO contacts_consent (contact_id, topic, channel, state, changed_at)
    SELECT contact_id, topic, channel, state, %(now)s FROM fresh ORDER BY contact_id, topic, channel
    ON CONFLICT (contact_id, topic, channel) DO UPDATE SET state = excluded.state, changed_at = excluded.changed_at
),
proof AS (
    INSERT INTO contacts_consentchange (contact_id, topic, channel, state, source, actor, changed_at)
    SELECT contact_id, topic, channel, state, %(source)s, %(actor)s, %(now)s FROM fresh
),
event AS (
    INSERT INTO contacts_incoming (source, kind, occurred_at, received_at, contact_id, properties)
    SELECT %(source)s, 'consent.changed', %(now)s, %(now)s, contact_id, jsonb_build_object(
        'topic', topic, 'channel', channel, 'state', state, 'source', %(source)s::text) FROM fresh
)
SELECT contact_id, topic, channel, is_raise AND NOT contact_id = ANY(%(raisable)s)
FROM told WHERE before IS DISTINCT FROM state;

-- settle_told_identities --
-- Writes the handles of a client's own kinds that were told, and forgets the kinds that were cleared; whose each is now
-- (0 where a row of this very batch took it), and whether that is news.
WITH told AS MATERIALIZED (
    SELECT DISTINCT * FROM unnest(%(contacts)s::bigint[], %(kinds)s::text[], %(values)s::text[]) AS said (contact_id, kind, value)
), gone AS (
    DELETE FROM contacts_identity USING unnest(%(cleared)s::bigint[], %(cleared_kinds)s::text[]) AS said (contact_id, kind)
    WHERE contacts_identity.contact_id = said.contact_id AND contacts_identity.kind = said.kind
        AND NOT EXISTS (SELECT FROM told WHERE (told.contact_id, told.kind) = (said.contact_id, said.kind))
    RETURNING contacts_identity.contact_id, contacts_identity.kind, contacts_identity.value
), written AS (
    INSERT INTO contacts_identity (contact_id, kind, value, created_at)
    SELECT contact_id, kind, value, %(now)s FROM told ORDER BY kind, value
    ON CONFLICT DO NOTHING
    RETURNING contact_id, kind, value
), event AS (
    INSERT INTO contacts_incoming (source, kind, occurred_at, received_at, contact_id, properties)
    SELECT %(source)s, 'contact.updated', %(now)s, %(now)s, contact_id, '{"fields": ["identities"]}'
    FROM (SELECT contact_id FROM written UNION SELECT contact_id FROM gone) changed
)
SELECT told.contact_id, told.kind, coalesce(was.contact_id, written.contact_id, 0), written.contact_id IS NOT NULL
FROM told
LEFT JOIN contacts_identity was ON was.kind = told.kind AND was.value = told.value
LEFT JOIN written ON written.kind = told.kind AND written.value = told.value AND written.contact_id = told.contact_id
UNION ALL
SELECT contact_id, kind, contact_id, true FROM gone;
