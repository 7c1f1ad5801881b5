-- The spine's part: the inbox is taken in, people are found, made and merged, and the stream is written.
--
-- A batch lives in temporary tables for one transaction. A *unit* is a person to be: the id of a contact that exists, or
-- a fresh one. A unit may be claimed by one other unit, and a claimed unit claims nobody, so no chain has to be followed.

-- make_taken --
-- The rows of the inbox in hand.
CREATE TEMP TABLE IF NOT EXISTS taken (
    id bigint, source text, message_id text, kind text, channel text, occurred_at timestamptz, received_at timestamptz,
    contact_id bigint, anonymous_id text, user_id text, email text, traits jsonb, properties jsonb, previous_id text
) ON COMMIT DELETE ROWS;

-- make_handle --
-- The handles that stand in them, each with the unit it leads to.
CREATE TEMP TABLE IF NOT EXISTS handle (
    kind text, value text, unit bigint, is_new boolean, is_fresh boolean, is_known boolean, has_user boolean
) ON COMMIT DELETE ROWS;

-- make_claim --
-- Which unit turned out to be the same person as another.
CREATE TEMP TABLE IF NOT EXISTS claim (unit bigint, claimant bigint, row_id bigint) ON COMMIT DELETE ROWS;

-- make_person --
-- Each unit that has a part in a claim, with the contact that all of them become.
CREATE TEMP TABLE IF NOT EXISTS person (unit bigint, contact_id bigint) ON COMMIT DELETE ROWS;

-- make_landed --
-- The contact of each row in hand; `is_strong` where the row says more than an anonymous id.
CREATE TEMP TABLE IF NOT EXISTS landed (
    row_id bigint, contact_id bigint, is_strong boolean, is_conflict boolean
) ON COMMIT DELETE ROWS;

-- make_met --
-- Each contact of the batch: its first row, and the first that made it known.
CREATE TEMP TABLE IF NOT EXISTS met (
    contact_id bigint, first_row bigint, first_at timestamptz, known_row bigint, known_at timestamptz, seen_at timestamptz
) ON COMMIT DELETE ROWS;

-- make_told --
-- What was said about each contact, the newest word on each subject.
CREATE TEMP TABLE IF NOT EXISTS told (
    contact_id bigint, row_id bigint, told_at timestamptz, fresh jsonb, stale jsonb, cleared text[], company jsonb,
    company_id bigint
) ON COMMIT DELETE ROWS;

-- make_written --
-- The columns of those contacts as they will be, and the names of what changes.
CREATE TEMP TABLE IF NOT EXISTS written (
    contact_id bigint, row_id bigint, told_at timestamptz, email text, phone text, first_name text, last_name text,
    salutation text, language text, country text, timezone text, zone text, job_title text,
    company_role text, company_id bigint,
    attributes jsonb, fields text[], former jsonb
) ON COMMIT DELETE ROWS;

-- make_seen --
-- When each contact was seen, over all batches of a step.
CREATE TEMP TABLE IF NOT EXISTS seen (contact_id bigint, seen_at timestamptz) ON COMMIT DELETE ROWS;

-- make_born --
-- Touchpoints that ingest itself adds, each beside the row that caused it.
CREATE TEMP TABLE IF NOT EXISTS born (
    row_id bigint, place int, contact_id bigint, kind text, properties jsonb
) ON COMMIT DELETE ROWS;

-- empty_scratch --
-- Makes room for the next batch of the same transaction.
TRUNCATE taken, handle, claim, person, landed, met, told, written, born, pair, moved;

-- give_room --
-- Lets this transaction sort a whole batch in memory, and compile nothing: its statements are many and short.
SELECT set_config('work_mem', '64MB', true), set_config('jit', 'off', true),
       set_config('default_statistics_target', '10', true);

-- weigh_taken --
-- Tells the planner what a large batch looks like.
ANALYZE taken (id, contact_id, user_id, email, anonymous_id, message_id, traits);

-- weigh_handles --
-- The same of its handles.
ANALYZE handle;

-- weigh_landed --
-- The same of its people.
ANALYZE landed, person, handle;

-- weigh_met --
-- The same of the sums.
ANALYZE met;

-- weigh_told --
-- The same of what was said.
ANALYZE told (contact_id);

-- look_over --
-- What occurs in the batch at all: rows that name their contact by id, other names of users, people named at all.
SELECT coalesce(bool_or(contact_id IS NOT NULL), false), coalesce(bool_or(previous_id <> ''), false),
       coalesce(bool_or(contact_id IS NOT NULL OR user_id <> '' OR email <> ''), false)
FROM taken;

-- may_cross --
-- Whether the rows that come next could speak of a handle that a row among them is about to change.
SELECT EXISTS (
    SELECT FROM (SELECT contact_id, kind FROM contacts_incoming WHERE error = '' ORDER BY id LIMIT %(size)s) head
    WHERE contact_id IS NOT NULL OR kind = 'contact.aliased');

-- find_cut --
-- The row before which a batch must end, because it speaks of a handle that an earlier row may be about to change.
WITH head AS (
    SELECT id, contact_id, user_id, email,
           CASE WHEN kind = 'contact.aliased' THEN coalesce(properties->>'previous_id', '') ELSE '' END AS previous_id
    FROM contacts_incoming WHERE error = '' ORDER BY id LIMIT %(size)s
)
SELECT min(id) FROM (
    SELECT later.id FROM head later JOIN head earlier ON earlier.user_id = later.previous_id
    WHERE later.previous_id <> '' AND earlier.id < later.id
    UNION ALL
    SELECT greatest(known.id, other.id) FROM head known JOIN head other ON other.user_id = known.user_id
    WHERE known.contact_id IS NOT NULL AND known.user_id <> '' AND other.contact_id IS DISTINCT FROM known.contact_id
    UNION ALL
    SELECT greatest(known.id, other.id) FROM head known JOIN head other ON other.email = known.email
    WHERE known.contact_id IS NOT NULL AND known.email <> '' AND other.contact_id IS DISTINCT FROM known.contact_id
    UNION ALL
    -- A row that makes known whom it names by id stands alone.
    SELECT coalesce(nullif(head.id, (SELECT min(id) FROM head)),
                    (SELECT min(following.id) FROM head following WHERE following.id > head.id))
    FROM head JOIN contacts_contact contact ON contact.id = head.contact_id
    WHERE (head.user_id <> '' OR head.email <> '') AND contact.identified_at IS NULL
) crossing;

-- take_incoming --
-- Takes the oldest rows out of the inbox; those that were put aside stay.
WITH gone AS (
    DELETE FROM contacts_incoming WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM contacts_incoming
        WHERE error = '' AND (%(cut)s::bigint IS NULL OR id < %(cut)s::bigint)
        ORDER BY id LIMIT %(size)s
    ))
    RETURNING *
)
INSERT INTO taken
SELECT id, source, message_id, kind, channel, least(occurred_at, greatest(received_at, %(now)s)), received_at, contact_id,
       anonymous_id, user_id, email, nullif(traits, '{}'),
       CASE WHEN jsonb_typeof(properties) = 'object' THEN properties
            ELSE jsonb_build_object('value', properties) END,
       CASE WHEN kind = 'contact.aliased' THEN coalesce(properties->>'previous_id', '') ELSE '' END
FROM gone;

-- write_receipts --
-- Writes the receipts of a batch in which no message comes again; fails where one does.
INSERT INTO contacts_receipt (source, message_id, received_at)
SELECT source, message_id, received_at FROM taken WHERE message_id <> '' ORDER BY source, message_id;

-- drop_repeats --
-- Writes receipts and lets go of the rows that have had theirs.
WITH firsts AS (
    SELECT DISTINCT ON (source, message_id) id, source, message_id, received_at
    FROM taken WHERE message_id <> '' ORDER BY source, message_id, id
), fresh AS (
    INSERT INTO contacts_receipt (source, message_id, received_at)
    SELECT source, message_id, received_at FROM firsts ORDER BY source, message_id
    ON CONFLICT DO NOTHING
    RETURNING source, message_id
)
DELETE FROM taken WHERE message_id <> '' AND id NOT IN (SELECT id FROM firsts JOIN fresh USING (source, message_id));

-- drop_erased --
-- Lets go of what is said about somebody erased, by whatever old id.
DELETE FROM taken USING contacts_contact named LEFT JOIN contacts_contact heir ON heir.id = named.merged_into_id
WHERE named.id = taken.contact_id AND coalesce(heir.erased_at, named.erased_at) IS NOT NULL;

-- put_aside_unknown --
-- Puts back, with the reason, rows that name a contact that never was, or nobody.
WITH nobody AS (
    DELETE FROM taken
    WHERE CASE WHEN contact_id IS NULL THEN anonymous_id = '' AND user_id = '' AND email = ''
               ELSE NOT EXISTS (SELECT FROM contacts_contact WHERE contacts_contact.id = taken.contact_id) END
    RETURNING *
), back AS (
    INSERT INTO contacts_incoming (id, source, message_id, kind, channel, occurred_at, received_at, contact_id,
                                   anonymous_id, user_id, email, traits, properties, error)
    SELECT id, source, message_id, kind, channel, occurred_at, received_at, contact_id, anonymous_id, user_id, email,
           traits, properties,
           CASE WHEN contact_id IS NULL THEN 'It names nobody: no contact, user id, e-mail or anonymous id.'
                ELSE 'There is no contact ' || contact_id || '.' END
    FROM nobody
    RETURNING source, message_id
)
-- Not taken in, so no receipt: put right, it may come again.
DELETE FROM contacts_receipt USING back
WHERE back.message_id <> '' AND (contacts_receipt.source, contacts_receipt.message_id) = (back.source, back.message_id);

-- follow_merged --
-- Leads rows about somebody merged away to whom they became.
UPDATE taken SET contact_id = contact.merged_into_id
FROM contacts_contact contact WHERE contact.id = taken.contact_id AND contact.merged_into_id IS NOT NULL;

-- find_handles --
-- Each handle of the batch with the contact it leads to, or with a fresh id.
INSERT INTO handle (kind, value, unit, is_new, is_fresh, is_known, has_user)
SELECT said.kind, said.value, coalesce(identity.contact_id, nextval('contacts_contact_id_seq')),
       identity.id IS NULL, identity.id IS NULL,
       said.kind <> 'anonymous_id' OR contact.identified_at IS NOT NULL
           -- LIMIT keeps the planner from reading every identity there is.
           OR (contact.id IS NOT NULL AND (
                SELECT true FROM contacts_identity other
                WHERE other.contact_id = contact.id AND other.kind <> 'anonymous_id' LIMIT 1) IS NOT NULL),
       said.kind = 'user_id' OR (said.kind = 'email' AND contact.id IS NOT NULL AND (
            SELECT true FROM contacts_identity other
            WHERE other.contact_id = contact.id AND other.kind = 'user_id' LIMIT 1) IS NOT NULL)
FROM (
    SELECT 'user_id' AS kind, user_id AS value FROM taken WHERE user_id <> ''
    UNION
    SELECT 'email', email FROM taken WHERE email <> ''
    UNION
    SELECT 'anonymous_id', anonymous_id FROM taken WHERE anonymous_id <> ''
    UNION
    SELECT 'anonymous_id', previous_id FROM taken
    WHERE previous_id <> '' AND NOT EXISTS (
        SELECT FROM contacts_identity known WHERE known.kind = 'user_id' AND known.value = taken.previous_id)
) said
LEFT JOIN contacts_identity identity ON identity.kind = said.kind AND identity.value = said.value
LEFT JOIN contacts_contact contact ON contact.id = identity.contact_id
-- Ids are drawn in one order, whatever the plan: what is drawn by id falls alike in every run.
ORDER BY said.kind, said.value;

-- rename_users --
-- A user id that is new and is said to be another name of a user id that is not leads to the same contact.
UPDATE handle SET unit = alias.contact_id, is_fresh = false
FROM (
    SELECT DISTINCT ON (taken.user_id) taken.user_id, identity.contact_id
    FROM taken JOIN contacts_identity identity ON identity.kind = 'user_id' AND identity.value = taken.previous_id
    WHERE taken.previous_id <> '' AND taken.user_id <> ''
    ORDER BY taken.user_id, taken.id
) alias
WHERE handle.kind = 'user_id' AND handle.value = alias.user_id AND handle.is_fresh;

-- attach_handles --
-- New handles in a row that names its contact are that contact's.
UPDATE handle SET unit = said.contact_id, is_fresh = false
FROM (
    SELECT DISTINCT ON (kind, value) kind, value, contact_id FROM (
        SELECT 'user_id' AS kind, user_id AS value, contact_id, id FROM taken
        WHERE contact_id IS NOT NULL AND user_id <> ''
        UNION ALL
        SELECT 'email', email, contact_id, id FROM taken WHERE contact_id IS NOT NULL AND email <> ''
        UNION ALL
        SELECT 'anonymous_id', anonymous_id, contact_id, id FROM taken
        WHERE contact_id IS NOT NULL AND anonymous_id <> ''
    ) every ORDER BY kind, value, id
) said
WHERE handle.kind = said.kind AND handle.value = said.value AND handle.is_fresh
    AND (said.kind <> 'user_id' OR NOT EXISTS (
        SELECT FROM contacts_identity other WHERE other.contact_id = said.contact_id AND other.kind = 'user_id'));

-- refuse_second_users --
-- A contact named by its id keeps its own user id: another one beside it is not written.
DELETE FROM handle USING taken
WHERE handle.kind = 'user_id' AND handle.is_fresh AND taken.contact_id IS NOT NULL AND taken.user_id = handle.value;

-- claim_by_users --
-- The first user id to come with an address that no user has yet claims whoever has the address.
INSERT INTO claim (unit, claimant, row_id)
SELECT DISTINCT ON (address.unit) address.unit, account.unit, taken.id
FROM taken
JOIN handle account ON account.kind = 'user_id' AND account.value = taken.user_id
JOIN handle address ON address.kind = 'email' AND address.value = taken.email
WHERE taken.contact_id IS NULL AND NOT address.has_user AND address.unit <> account.unit
ORDER BY address.unit, taken.id;

-- claim_anonymous --
-- The first person to be named beside an anonymous id that is nobody's yet claims its whole history.
WITH strong AS (
    SELECT taken.id, taken.anonymous_id, taken.previous_id,
           coalesce(claim.claimant, taken.contact_id, account.unit, address.unit) AS unit
    FROM taken
    LEFT JOIN handle account ON account.kind = 'user_id' AND account.value = taken.user_id
    LEFT JOIN handle address ON address.kind = 'email' AND address.value = taken.email
    LEFT JOIN contacts_contact named ON named.id = taken.contact_id
    LEFT JOIN claim ON claim.unit = coalesce(taken.contact_id, account.unit, address.unit)
    WHERE (taken.anonymous_id <> '' OR taken.previous_id <> '')
        AND (taken.user_id <> '' OR taken.email <> '' OR named.identified_at IS NOT NULL)
)
INSERT INTO claim (unit, claimant, row_id)
SELECT DISTINCT ON (visitor.unit) visitor.unit, said.unit, said.id
FROM (
    SELECT id, anonymous_id AS value, unit FROM strong WHERE anonymous_id <> ''
    UNION ALL
    SELECT id, previous_id, unit FROM strong WHERE previous_id <> ''
) said
JOIN handle visitor ON visitor.kind = 'anonymous_id' AND visitor.value = said.value
WHERE NOT visitor.is_known AND visitor.unit <> said.unit
ORDER BY visitor.unit, said.id;

-- name_people --
-- Of the contacts that turn out to be one person the oldest identified one stays; nobody there, a fresh one is.
INSERT INTO person (unit, contact_id)
SELECT member.unit,
       first_value(member.unit) OVER (
           PARTITION BY member.claimant
           ORDER BY contact.id IS NULL, contact.identified_at NULLS LAST, contact.id, member.unit <> member.claimant,
                    member.unit)
FROM (SELECT unit, claimant FROM claim UNION SELECT claimant, claimant FROM claim) member
LEFT JOIN contacts_contact contact ON contact.id = member.unit;

-- pair_people --
-- Contacts that exist and are not the one that stays have to be merged into it.
INSERT INTO pair (loser, survivor, reason, row_id)
SELECT contact.id, person.contact_id, 'ids', coalesce(claim.row_id, led.row_id)
FROM person
JOIN contacts_contact contact ON contact.id = person.unit
LEFT JOIN claim ON claim.unit = person.unit
LEFT JOIN (SELECT claimant, min(row_id) AS row_id FROM claim GROUP BY claimant) led ON led.claimant = person.unit
WHERE person.unit <> person.contact_id;

-- land_rows --
-- Finds the contact of each row: by its id, else by user id, else by address, else by anonymous id.
INSERT INTO landed (row_id, contact_id, is_strong, is_conflict)
SELECT taken.id,
       coalesce(person.contact_id, taken.contact_id, account.unit, address.unit, visitor.unit),
       taken.contact_id IS NOT NULL OR account.unit IS NOT NULL OR address.unit IS NOT NULL,
       coalesce(address_person.contact_id, address.unit)
           <> coalesce(person.contact_id, taken.contact_id, account.unit, address.unit)
FROM taken
LEFT JOIN handle account ON account.kind = 'user_id' AND account.value = taken.user_id
LEFT JOIN handle address ON address.kind = 'email' AND address.value = taken.email
LEFT JOIN handle visitor ON visitor.kind = 'anonymous_id' AND visitor.value = taken.anonymous_id
LEFT JOIN person ON person.unit = coalesce(taken.contact_id, account.unit, address.unit, visitor.unit)
LEFT JOIN person address_person ON address_person.unit = address.unit;

-- share_devices --
-- On a device of several people, what is done namelessly counts for whoever was named last.
WITH shared AS (
    SELECT DISTINCT taken.anonymous_id FROM taken
    JOIN landed ON landed.row_id = taken.id
    JOIN handle ON handle.kind = 'anonymous_id' AND handle.value = taken.anonymous_id
    LEFT JOIN person ON person.unit = handle.unit
    WHERE landed.is_strong AND landed.contact_id <> coalesce(person.contact_id, handle.unit)
), line AS (
    SELECT taken.id, landed.is_strong,
           max(taken.id) FILTER (WHERE landed.is_strong)
               OVER (PARTITION BY taken.anonymous_id ORDER BY taken.id) AS named_row
    FROM taken JOIN landed ON landed.row_id = taken.id JOIN shared ON shared.anonymous_id = taken.anonymous_id
)
UPDATE landed SET contact_id = named.contact_id
FROM line JOIN landed named ON named.row_id = line.named_row
WHERE landed.row_id = line.id AND NOT line.is_strong;

-- meet_contacts --
-- Sums up each contact of the batch.
INSERT INTO met (contact_id, first_row, first_at, known_row, known_at, seen_at)
SELECT landed.contact_id, min(taken.id), min(taken.occurred_at),
       min(taken.id) FILTER (WHERE taken.user_id <> '' OR (taken.email <> '' AND landed.is_conflict IS NOT true)),
       min(taken.occurred_at)
           FILTER (WHERE taken.user_id <> '' OR (taken.email <> '' AND landed.is_conflict IS NOT true)),
       max(taken.occurred_at) FILTER (WHERE taken.channel IN ('web', 'product', 'social', 'survey', 'event'))
FROM taken JOIN landed ON landed.row_id = taken.id
GROUP BY landed.contact_id;

-- create_contacts --
-- Makes the people who were not there.
WITH created AS (
    INSERT INTO contacts_contact (id, source, created_at, updated_at, identified_at, last_seen_at)
    SELECT met.contact_id, taken.source, met.first_at, %(now)s, met.known_at, met.seen_at
    FROM met JOIN taken ON taken.id = met.first_row WHERE met.contact_id IN (SELECT unit FROM handle WHERE is_fresh)
    RETURNING id
)
INSERT INTO born (row_id, place, contact_id, kind, properties)
SELECT met.first_row, 0, created.id, 'contact.created', '{}' FROM created JOIN met ON met.contact_id = created.id;

-- identify_contacts --
-- Visitors who are named for the first time are known from then on.
WITH known AS (
    UPDATE contacts_contact SET identified_at = met.known_at, updated_at = %(now)s
    FROM met WHERE met.contact_id = contacts_contact.id AND met.known_row IS NOT NULL
        AND contacts_contact.identified_at IS NULL
    RETURNING contacts_contact.id
)
INSERT INTO born (row_id, place, contact_id, kind, properties)
SELECT met.known_row, 2, met.contact_id, 'contact.identified', '{}'
FROM met JOIN taken ON taken.id = met.known_row
WHERE taken.kind <> 'contact.identified' AND met.contact_id IN (
    SELECT id FROM known UNION ALL SELECT contact_id FROM born WHERE kind = 'contact.created');

-- point_devices --
-- A known person's device that somebody else names himself on is that one's from now on; its past stays.
UPDATE contacts_identity SET contact_id = newest.contact_id
FROM (
    SELECT DISTINCT ON (taken.anonymous_id) taken.anonymous_id, landed.contact_id
    FROM taken JOIN landed ON landed.row_id = taken.id
    WHERE taken.anonymous_id <> '' AND landed.is_strong ORDER BY taken.anonymous_id, taken.id DESC
) newest
WHERE contacts_identity.kind = 'anonymous_id' AND contacts_identity.value = newest.anonymous_id
    AND contacts_identity.contact_id <> newest.contact_id;

-- insert_identities --
-- Writes the handles that are new.
INSERT INTO contacts_identity (contact_id, kind, value, created_at)
SELECT coalesce(newest.contact_id, person.contact_id, handle.unit), handle.kind, handle.value, %(now)s
FROM handle
LEFT JOIN person ON person.unit = handle.unit
LEFT JOIN (
    SELECT DISTINCT ON (taken.anonymous_id) taken.anonymous_id, landed.contact_id
    FROM taken JOIN landed ON landed.row_id = taken.id
    WHERE taken.anonymous_id <> '' AND landed.is_strong ORDER BY taken.anonymous_id, taken.id DESC
) newest ON handle.kind = 'anonymous_id' AND newest.anonymous_id = handle.value
WHERE handle.is_new;

-- sum_up_traits --
-- The newest word on each subject by when it was said, apart from what is older than what the contact knows already.
INSERT INTO told (contact_id, row_id, told_at, fresh, stale, cleared, company)
SELECT word.contact_id, max(word.row_id), max(word.said_at) FILTER (WHERE word.key <> 'email'),
       coalesce(jsonb_object_agg(word.key, word.value) FILTER (WHERE word.is_fresh AND word.key <> 'company'), '{}'),
       coalesce(jsonb_object_agg(word.key, word.value) FILTER (
           WHERE NOT word.is_fresh AND word.key <> 'company' AND word.value <> 'null'), '{}'),
       coalesce(array_agg(word.key) FILTER (WHERE word.is_fresh AND word.value = 'null'), '{}'),
       (array_agg(word.value) FILTER (
           WHERE word.key = 'company' AND word.is_fresh_company AND jsonb_typeof(word.value) IN ('object', 'string')))[1]
FROM (
    SELECT DISTINCT ON (said.contact_id, said.key)
           said.contact_id, said.row_id, said.said_at, said.key, said.value,
           said.said_at >= coalesce(contact.synced_at, '-infinity') AS is_fresh,
           contact.company_id IS NULL OR said.said_at >= coalesce(contact.synced_at, '-infinity') AS is_fresh_company
    FROM (
        SELECT landed.contact_id, taken.id AS row_id, taken.occurred_at AS said_at, trait.value,
               CASE trait.key WHEN 'firstName' THEN 'first_name' WHEN 'lastName' THEN 'last_name'
                    WHEN 'locale' THEN 'language' WHEN 'title' THEN 'job_title' WHEN 'jobTitle' THEN 'job_title'
                    ELSE trait.key END AS key
        FROM taken JOIN landed ON landed.row_id = taken.id
        CROSS JOIN LATERAL jsonb_each(taken.traits) trait
        WHERE jsonb_typeof(taken.traits) = 'object' AND trait.key <> 'email' AND length(trait.key) BETWEEN 1 AND 64
        UNION ALL
        SELECT landed.contact_id, taken.id, taken.occurred_at, to_jsonb(taken.email), 'email'
        FROM taken JOIN landed ON landed.row_id = taken.id
        WHERE taken.email <> '' AND landed.is_conflict IS NOT true
    ) said
    JOIN contacts_contact contact ON contact.id = said.contact_id
    WHERE said.key = 'company' OR said.key <> ALL (%(columns)s::text[])
        OR jsonb_typeof(said.value) NOT IN ('object', 'array')
    ORDER BY said.contact_id, said.key, said.said_at DESC, said.row_id DESC
) word
GROUP BY word.contact_id;

-- split_names --
-- A whole name without its parts is parted at the first space.
UPDATE told SET
    fresh = jsonb_build_object('first_name', split_part(btrim(fresh->>'name'), ' ', 1),
                               'last_name', btrim(substr(btrim(fresh->>'name'),
                                                         length(split_part(btrim(fresh->>'name'), ' ', 1)) + 1)))
            || (fresh - 'name')
WHERE jsonb_typeof(fresh->'name') = 'string' AND NOT fresh ?| ARRAY['first_name', 'last_name'];

-- tidy_companies --
-- A company is known by its domain in one written form, else by its name.
-- One at which everybody has an address is none.
UPDATE told SET company = CASE WHEN name = '' AND domain = '' THEN NULL ELSE jsonb_build_object(
    'name', CASE WHEN name = '' THEN domain ELSE name END, 'domain', nullif(domain, ''), 'employees', employees,
    'industry', industry) END
FROM (
  SELECT *, CASE WHEN told_domain = ANY (%(free)s::text[]) THEN '' ELSE told_domain END AS domain FROM (
    SELECT contact_id,
           left(btrim(CASE jsonb_typeof(company) WHEN 'string' THEN company #>> '{}'
                      ELSE coalesce(company->>'name', '') END), 200) AS name,
           left(regexp_replace(regexp_replace(lower(btrim(
               coalesce(nullif(company->>'domain', ''), company->>'website', ''))),
               '^[a-z]+://', ''), '^www\.|[/:?#].*$', '', 'g'), 255) AS told_domain,
           CASE WHEN company->>'employees' ~ '^\d{1,9}$' THEN (company->>'employees')::int END AS employees,
           left(btrim(coalesce(company->>'industry', '')), 200) AS industry
    FROM told WHERE company IS NOT NULL
  ) as_told
) read
WHERE read.contact_id = told.contact_id;

-- create_companies --
-- Makes the companies that were not there.
INSERT INTO contacts_company (name, domain, created_at, updated_at)
SELECT DISTINCT ON (coalesce(told.company->>'domain', lower(told.company->>'name')))
       told.company->>'name', told.company->>'domain', %(now)s, %(now)s
FROM told
LEFT JOIN contacts_company by_domain ON by_domain.domain = told.company->>'domain'
LEFT JOIN (SELECT lower(name) AS name, min(id) AS id FROM contacts_company GROUP BY 1) by_name
    ON by_name.name = lower(told.company->>'name') AND told.company->>'domain' IS NULL
WHERE told.company IS NOT NULL AND by_domain.id IS NULL AND by_name.id IS NULL
ORDER BY coalesce(told.company->>'domain', lower(told.company->>'name')), told.told_at DESC, told.row_id DESC
ON CONFLICT (domain) DO NOTHING;

-- find_companies --
-- Each company that was spoken of, by its domain, else by its name.
UPDATE told SET company_id = coalesce(by_domain.merged_into_id, by_domain.id, by_name.id)
FROM told said
LEFT JOIN contacts_company by_domain ON by_domain.domain = said.company->>'domain'
LEFT JOIN (
    -- One that was merged leads to what it became.
    SELECT lower(name) AS name, (array_agg(coalesce(merged_into_id, id) ORDER BY merged_into_id IS NOT NULL, id))[1] AS id
    FROM contacts_company GROUP BY 1
) by_name ON by_name.name = lower(said.company->>'name') AND said.company->>'domain' IS NULL
WHERE said.contact_id = told.contact_id AND said.company IS NOT NULL;

-- update_companies --
-- Writes what was said about companies, where it says something new.
UPDATE contacts_company SET
    employees = coalesce(said.employees, contacts_company.employees),
    industry = coalesce(nullif(said.industry, ''), contacts_company.industry), updated_at = %(now)s
FROM (
    SELECT DISTINCT ON (company_id) company_id, (company->>'employees')::int AS employees,
           company->>'industry' AS industry
    FROM told WHERE company_id IS NOT NULL ORDER BY company_id, told_at DESC, row_id DESC
) said
WHERE said.company_id = contacts_company.id AND (
    coalesce(said.employees, contacts_company.employees) IS DISTINCT FROM contacts_company.employees
    OR coalesce(nullif(said.industry, ''), contacts_company.industry) <> contacts_company.industry);

-- compare_contacts --
-- What each contact's columns will be, and which of them that changes.
WITH said AS MATERIALIZED (
    SELECT told.contact_id, told.row_id, told.told_at,
           CASE WHEN 'company' = ANY (told.cleared) THEN NULL
                ELSE coalesce(told.company_id, contact.company_id) END AS company_id,
           -- An older word only fills what is empty; a newer one overwrites, and null clears.
           told.stale || jsonb_strip_nulls(jsonb_build_object(
               'email', nullif(contact.email, ''), 'phone', nullif(contact.phone, ''),
               'first_name', nullif(contact.first_name, ''), 'last_name', nullif(contact.last_name, ''),
               'salutation', nullif(contact.salutation, ''), 'language', nullif(contact.language, ''),
               'country', nullif(contact.country, ''), 'timezone', nullif(contact.timezone, ''),
               'job_title', nullif(contact.job_title, ''), 'company_role', nullif(contact.company_role, '')
           )) || told.fresh AS word,
           CASE WHEN told.stale = '{}' AND told.fresh - %(columns)s::text[] = '{}' THEN contact.attributes
                ELSE (told.stale - %(columns)s::text[]) || (contact.attributes - told.cleared)
                     || (told.fresh - %(columns)s::text[] - told.cleared) END AS attributes
    FROM told JOIN contacts_contact contact ON contact.id = told.contact_id
), next AS MATERIALIZED (
    SELECT said.contact_id, said.row_id, said.told_at,
           coalesce(said.word->>'email', '') AS email,
           left(btrim(coalesce(said.word->>'phone', '')), 64) AS phone,
           left(btrim(coalesce(said.word->>'first_name', '')), 200) AS first_name,
           left(btrim(coalesce(said.word->>'last_name', '')), 200) AS last_name,
           left(btrim(coalesce(said.word->>'salutation', '')), 200) AS salutation,
           left(lower(split_part(replace(btrim(coalesce(said.word->>'language', '')), '_', '-'), '-', 1)), 16)
               AS language,
           CASE WHEN btrim(said.word->>'country') ~ '^[A-Za-z]{2}$' THEN upper(btrim(said.word->>'country'))
                ELSE left(btrim(coalesce(said.word->>'country', '')), 100) END AS country,
           left(btrim(coalesce(said.word->>'timezone', '')), 100) AS timezone,
           coalesce(zone.name, '') AS zone,
           left(btrim(coalesce(said.word->>'job_title', '')), 200) AS job_title,
           left(btrim(coalesce(said.word->>'company_role', '')), 100) AS company_role,
           said.company_id,
           said.attributes
    FROM said
    LEFT JOIN contacts_zone zone ON zone.name = btrim(said.word->>'timezone')
)
INSERT INTO written
SELECT next.*, changed.fields,
       -- What it was before; of names and handles nothing is kept a second time.
       CASE WHEN changed.fields = '{}' THEN NULL ELSE (
           SELECT jsonb_object_agg(one.key, one.value)
           FROM jsonb_each(contact.attributes || jsonb_build_object(
               'language', contact.language, 'country', contact.country, 'timezone', contact.timezone,
               'job_title', contact.job_title, 'company_role', contact.company_role)) one
           WHERE one.key = ANY (changed.fields) AND has_value(one.value)) END
FROM next
JOIN contacts_contact contact ON contact.id = next.contact_id
CROSS JOIN LATERAL (
    SELECT array_remove(ARRAY[
            CASE WHEN next.email <> contact.email THEN 'email' END,
            CASE WHEN next.phone <> contact.phone THEN 'phone' END,
            CASE WHEN next.first_name <> contact.first_name THEN 'first_name' END,
            CASE WHEN next.last_name <> contact.last_name THEN 'last_name' END,
            CASE WHEN next.salutation <> contact.salutation THEN 'salutation' END,
            CASE WHEN next.language <> contact.language THEN 'language' END,
            CASE WHEN next.country <> contact.country THEN 'country' END,
            CASE WHEN next.timezone <> contact.timezone THEN 'timezone' END,
            CASE WHEN next.job_title <> contact.job_title THEN 'job_title' END,
            CASE WHEN next.company_role <> contact.company_role THEN 'company_role' END,
            CASE WHEN next.company_id IS DISTINCT FROM contact.company_id THEN 'company' END
        ], NULL) || CASE WHEN next.attributes = contact.attributes THEN '{}' ELSE ARRAY(
            SELECT coalesce(old.key, new.key) FROM jsonb_each(contact.attributes) old
            FULL JOIN jsonb_each(next.attributes) new ON new.key = old.key
            WHERE old.value IS DISTINCT FROM new.value ORDER BY 1) END AS fields OFFSET 0
) changed;

-- write_contacts --
-- Writes what was said; of a contact whom it does not change only that it was said again.
UPDATE contacts_contact SET
    email = written.email, phone = written.phone, first_name = written.first_name, last_name = written.last_name,
    salutation = written.salutation, language = written.language, country = written.country, timezone = written.timezone, zone = written.zone,
    job_title = written.job_title, company_role = written.company_role, company_id = written.company_id, attributes = written.attributes,
    synced_at = greatest(contacts_contact.synced_at, written.told_at),
    updated_at = CASE WHEN written.fields = '{}' THEN contacts_contact.updated_at ELSE %(now)s END
FROM written WHERE written.contact_id = contacts_contact.id
    AND (written.fields <> '{}' OR written.told_at > coalesce(contacts_contact.synced_at, '-infinity'));

-- tell_updates --
-- Each contact that changed says which of its fields, and what they were.
INSERT INTO born (row_id, place, contact_id, kind, properties)
SELECT row_id, 4, contact_id, 'contact.updated',
       jsonb_strip_nulls(jsonb_build_object('fields', to_jsonb(fields), 'former', former))
FROM written WHERE fields <> '{}';

-- keep_sight --
-- Remembers until the end of the step when each contact of the batch was seen.
INSERT INTO seen (contact_id, seen_at) SELECT contact_id, seen_at FROM met WHERE seen_at IS NOT NULL;

-- see_contacts --
-- When each contact was last seen, where that moves on: once for all batches of a step, for it writes a wide row.
UPDATE contacts_contact SET last_seen_at = newest.seen_at
FROM (
    SELECT coalesce(named.merged_into_id, named.id) AS contact_id, max(seen.seen_at) AS seen_at
    FROM (SELECT contact_id, max(seen_at) AS seen_at FROM seen GROUP BY contact_id) seen
    JOIN contacts_contact named ON named.id = seen.contact_id
    WHERE named.merged_into_id IS NOT NULL OR named.last_seen_at IS NULL OR named.last_seen_at < seen.seen_at
    GROUP BY 1
) newest
WHERE newest.contact_id = contacts_contact.id
    AND (contacts_contact.last_seen_at IS NULL OR contacts_contact.last_seen_at < newest.seen_at);

-- tell_merges --
-- Each merge of this batch says who went into whom, beside the row that showed it.
INSERT INTO born (row_id, place, contact_id, kind, properties)
SELECT row_id, 1, survivor, 'contact.merged', jsonb_build_object('from', loser) FROM pair;

-- write_stream --
-- Writes the touchpoints, in the order of the inbox.
INSERT INTO contacts_touchpoint
    (contact_id, kind, channel, occurred_at, received_at, source, properties, is_machine)
SELECT contact_id, kind, channel, occurred_at, received_at, source, properties, is_machine
FROM (
    SELECT taken.id AS row_id, 3 AS place, landed.contact_id, taken.kind, taken.channel, taken.occurred_at,
           taken.received_at, taken.source,
           CASE WHEN landed.is_conflict THEN taken.properties || '{"kept_apart": "email"}' ELSE taken.properties END
               AS properties,
           coalesce(taken.properties->>'machine_reason', '') <> '' AS is_machine
    FROM taken JOIN landed ON landed.row_id = taken.id
    UNION ALL
    SELECT born.row_id, born.place, born.contact_id, born.kind, '', taken.occurred_at, %(now)s, 'journey',
           born.properties, false
    FROM born JOIN taken ON taken.id = born.row_id
) every
ORDER BY row_id, place, contact_id;

-- put_aside --
-- Puts aside the row at the head of the inbox, with the reason it could not be taken in.
UPDATE contacts_incoming SET error = %(error)s
WHERE id = (SELECT min(id) FROM contacts_incoming WHERE error = '');

-- erased_in_batch --
-- Whom a handle leads to that is new in this batch and belonged to somebody erased. The pads are HMAC's, of each key.
SELECT DISTINCT coalesce(person.contact_id, handle.unit)
FROM handle
CROSS JOIN unnest(%(inner_pads)s::bytea[], %(outer_pads)s::bytea[]) AS key (inner_pad, outer_pad)
JOIN contacts_erasedhandle erased ON erased.digest = encode(
    sha256(key.outer_pad || sha256(key.inner_pad || convert_to(
        'erased:' || CASE WHEN handle.kind = 'email' THEN '' ELSE handle.kind || ':' END || handle.value, 'UTF8'))), 'hex')
LEFT JOIN person ON person.unit = handle.unit
WHERE handle.kind IN ('email', 'phone', 'user_id') AND handle.is_new;
