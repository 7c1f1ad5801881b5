-- Undoing an import, a slice of its people at a time.

-- make_undoing --
-- The people of one slice, and why each of them stays, if they do.
CREATE TEMP TABLE IF NOT EXISTS undoing (
    row_id bigint, contact_id bigint, is_made boolean, before jsonb, after jsonb, written_at timestamptz, kept text
) ON COMMIT DELETE ROWS;

-- empty_undoing --
-- Makes room for the next slice of the same transaction.
TRUNCATE undoing;

-- take_people_to_undo --
-- The next people of an import.
INSERT INTO undoing (row_id, contact_id, is_made, before, after, written_at, kept)
SELECT id, contact_id, before IS NULL, before, after, written_at, '' FROM contacts_importedperson
WHERE batch_id = %(batch)s AND id > %(after)s ORDER BY id LIMIT %(limit)s;

-- keep_who_changed --
-- Locks these people, and keeps whoever is gone, was changed, merged, or did anything since. The inbox knows its rows
-- by no person: it is read once for all of them.
WITH held AS MATERIALIZED (
    SELECT contact.id, contact.merged_into_id, contact.erased_at, contact.updated_at, contact.stage_changed_at
    FROM contacts_contact contact
    WHERE contact.id IN (SELECT contact_id FROM undoing) ORDER BY contact.id FOR UPDATE
),
heard AS MATERIALIZED (
    SELECT contact_id FROM contacts_incoming
    WHERE contact_id IN (SELECT contact_id FROM undoing WHERE is_made) AND source <> %(source)s
)
UPDATE undoing SET kept =
       CASE WHEN held.id IS NULL OR held.merged_into_id IS NOT NULL OR held.erased_at IS NOT NULL THEN 'gone'
            WHEN EXISTS (SELECT FROM contacts_merge merge WHERE merge.survivor_id = next.contact_id
                         AND merge.merged_at > next.written_at) THEN 'merged'
            WHEN next.before IS NOT NULL THEN ''
            -- A stage moves by itself; whatever else was changed has its own moment, or its touchpoint below.
            WHEN held.updated_at > next.written_at AND held.updated_at IS DISTINCT FROM held.stage_changed_at
            THEN 'changed'
            WHEN next.contact_id IN (SELECT contact_id FROM heard)
              OR EXISTS (SELECT FROM contacts_touchpoint done WHERE done.contact_id = next.contact_id
                         AND done.source <> %(source)s AND done.kind NOT IN (
                             'segment.entered', 'segment.left', 'score.crossed', 'stage.changed'))
              OR EXISTS (SELECT FROM contacts_identity known WHERE known.contact_id = next.contact_id
                         AND known.created_at > next.written_at)
              OR EXISTS (SELECT FROM contacts_consentchange said WHERE said.contact_id = next.contact_id
                         AND said.source <> %(source)s)
              OR EXISTS (SELECT FROM contacts_membershipoverride put WHERE put.contact_id = next.contact_id
                         AND put.made_at > next.written_at)
              OR EXISTS (SELECT FROM contacts_importedperson other WHERE other.contact_id = next.contact_id
                         AND other.batch_id <> %(batch)s)
              OR EXISTS (SELECT FROM contacts_contact into_them WHERE into_them.merged_into_id = next.contact_id)
            THEN 'happened' ELSE '' END
FROM undoing next LEFT JOIN held ON held.id = next.contact_id
WHERE undoing.row_id = next.row_id;

-- last_to_undo --
-- Behind whom the next slice begins.
SELECT max(row_id) FROM undoing;

-- take_members_back --
-- Takes people out of the segment into which the import put them by hand.
DELETE FROM contacts_membershipoverride put USING undoing
WHERE put.contact_id = undoing.contact_id AND put.segment_id = (undoing.after ->> 'member')::bigint
    AND undoing.kept IN ('', 'fields') AND put.made_at <= undoing.written_at AND put.is_member;

-- restore_people --
-- Gives fields back what they held before the import, where they still hold what it wrote, and tells the stream.
WITH now_there AS MATERIALIZED (
    SELECT undoing.contact_id, undoing.before, undoing.after - 'handle.user_id' - 'handle.email' - 'member' AS after,
           jsonb_build_object(
               'email', contact.email, 'phone', contact.phone, 'first_name', contact.first_name,
               'last_name', contact.last_name, 'salutation', contact.salutation, 'language', contact.language,
               'country', contact.country, 'timezone', contact.timezone, 'job_title', contact.job_title,
               'company_role', contact.company_role, 'source', contact.source,
               'company', coalesce(contact.company_id, 0), 'owner', coalesce(contact.owner_id, 0)
           ) || coalesce((SELECT jsonb_object_agg('attributes.' || one.key, one.value)
                          FROM jsonb_each(contact.attributes) one), '{}') AS held
    FROM undoing JOIN contacts_contact contact ON contact.id = undoing.contact_id
    WHERE NOT undoing.is_made AND undoing.kept = ''
),
judged AS MATERIALIZED (
    SELECT contact_id, before, after, ARRAY(
               SELECT field FROM jsonb_object_keys(before || after) AS field
               WHERE after -> field IS NOT DISTINCT FROM held -> field) AS fields,
           EXISTS (SELECT FROM jsonb_object_keys(before || after) AS field
                   WHERE after -> field IS DISTINCT FROM held -> field) AS is_newer
    FROM now_there
),
kept AS (
    UPDATE undoing SET kept = 'fields' FROM judged WHERE undoing.contact_id = judged.contact_id AND judged.is_newer
),
back AS MATERIALIZED (
    SELECT contact_id, fields, coalesce((SELECT jsonb_object_agg(one.key, one.value) FROM jsonb_each(before) one
                                         WHERE one.key = ANY(fields)), '{}') AS before, (
           -- What the import wrote was there until now.
           SELECT jsonb_object_agg(regexp_replace(one.key, '^attributes[.]', ''), one.value) FROM jsonb_each(after) one
           WHERE one.key = ANY(fields) AND has_value(one.value) AND (one.key LIKE 'attributes.%%' OR one.key IN (
               'language', 'country', 'timezone', 'job_title', 'company_role', 'source'))) AS former
    FROM judged WHERE fields <> '{}'
),
restored AS (
    UPDATE contacts_contact contact SET
        email = coalesce(before ->> 'email', email), phone = coalesce(before ->> 'phone', phone),
        first_name = coalesce(before ->> 'first_name', first_name),
        last_name = coalesce(before ->> 'last_name', last_name),
        salutation = coalesce(before ->> 'salutation', salutation),
        language = coalesce(before ->> 'language', language), country = coalesce(before ->> 'country', country),
        timezone = coalesce(before ->> 'timezone', timezone),
        zone = CASE WHEN before ? 'timezone'
                    THEN coalesce((SELECT name FROM contacts_zone WHERE name = before ->> 'timezone'), '') ELSE zone END,
        job_title = coalesce(before ->> 'job_title', job_title),
        company_role = coalesce(before ->> 'company_role', company_role),
        source = coalesce(before ->> 'source', source),
        company_id = CASE WHEN before ? 'company' THEN
            (SELECT id FROM contacts_company WHERE id = (before ->> 'company')::bigint) ELSE company_id END,
        owner_id = CASE WHEN before ? 'owner' THEN
            (SELECT id FROM auth_user WHERE id = (before ->> 'owner')::bigint) ELSE owner_id END,
        attributes = (attributes - ARRAY(SELECT substr(field, 12) FROM unnest(fields) AS field
                                         WHERE field LIKE 'attributes.%%'))
            || coalesce((SELECT jsonb_object_agg(substr(one.key, 12), one.value) FROM jsonb_each(before) one
                         WHERE one.key LIKE 'attributes.%%'), '{}'),
        updated_at = %(now)s
    FROM back WHERE contact.id = back.contact_id
)
INSERT INTO contacts_incoming (source, kind, occurred_at, received_at, contact_id, properties)
SELECT %(source)s, 'contact.updated', %(now)s, %(now)s, contact_id, jsonb_strip_nulls(jsonb_build_object('fields', (
    SELECT jsonb_agg(CASE WHEN field LIKE 'attributes.%%' THEN substr(field, 12) ELSE field END)
    FROM unnest(fields) AS field), 'former', former))
FROM back;

-- drop_imported_handles --
-- Handles that the import gave to people who stay lead to them no more, unless it is their address now.
DELETE FROM contacts_identity gone USING undoing, contacts_contact contact
WHERE contact.id = undoing.contact_id AND gone.contact_id = undoing.contact_id AND NOT undoing.is_made
    AND undoing.kept IN ('', 'fields') AND gone.created_at <= undoing.written_at
    AND (gone.kind = 'user_id' AND gone.value = undoing.after ->> 'handle.user_id'
         OR gone.kind = 'email' AND gone.value = undoing.after ->> 'handle.email' AND gone.value <> contact.email
             -- Who refused anything keeps the address, as where a sync clears it.
             AND contact.paused_until IS NULL AND contact.most_per_week IS NULL
             AND NOT EXISTS (SELECT FROM contacts_consent said
                             WHERE said.contact_id = contact.id AND said.state <> 'granted'));

-- lower_consents_again --
-- What the import raised, and nobody spoke of since, is denied or pending again; what it lowered stays.
WITH said AS MATERIALIZED (
    SELECT change.*, lag(change.state) OVER whole AS earlier,
           row_number() OVER (PARTITION BY change.contact_id, change.topic, change.channel
                              ORDER BY change.changed_at DESC, change.id DESC) AS turn
    FROM contacts_consentchange change JOIN undoing ON undoing.contact_id = change.contact_id
    WHERE NOT (undoing.is_made AND undoing.kept = '') AND undoing.kept <> 'gone'
    WINDOW whole AS (PARTITION BY change.contact_id, change.topic, change.channel ORDER BY change.changed_at, change.id)
),
raised AS MATERIALIZED (
    SELECT contact_id, topic, channel, coalesce(earlier, 'denied') AS state FROM said
    WHERE turn = 1 AND source = %(source)s AND (
        state = 'granted' AND earlier IS DISTINCT FROM 'granted' OR state = 'pending' AND earlier = 'denied')
),
lowered AS (
    UPDATE contacts_consent consent SET state = raised.state, changed_at = %(now)s FROM raised
    WHERE consent.contact_id = raised.contact_id AND consent.topic = raised.topic AND consent.channel = raised.channel
),
proof AS (
    INSERT INTO contacts_consentchange (contact_id, topic, channel, state, source, actor, changed_at)
    SELECT contact_id, topic, channel, state, %(undo)s, '', %(now)s FROM raised
)
INSERT INTO contacts_incoming (source, kind, occurred_at, received_at, contact_id, properties)
SELECT %(undo)s, 'consent.changed', %(now)s, %(now)s, contact_id, jsonb_build_object(
    'topic', topic, 'channel', channel, 'state', state, 'source', %(undo)s::text) FROM raised;

-- note_kept --
-- Writes down why people stayed.
UPDATE contacts_importedperson person SET kept = undoing.kept FROM undoing
WHERE person.id = undoing.row_id AND undoing.kept <> '';

-- count_undone --
-- How many were removed, restored, and kept as they are, in part or in whole.
SELECT count(*) FILTER (WHERE is_made AND kept = ''), count(*) FILTER (WHERE NOT is_made AND kept = ''),
       count(*) FILTER (WHERE kept <> '')
FROM undoing;

-- remove_people --
-- Deletes whom the import made, with what still waits in the inbox of them.
WITH heard AS (
    DELETE FROM contacts_incoming USING undoing
    WHERE contacts_incoming.contact_id = undoing.contact_id AND undoing.is_made AND undoing.kept = ''
)
DELETE FROM contacts_contact USING undoing
WHERE contacts_contact.id = undoing.contact_id AND undoing.is_made AND undoing.kept = '';
