-- Imports: what stays of them beside the people.

-- keep_people_of_consents --
-- Notes whose consent an import changed, so that an undoing finds them though no field of theirs changed.
INSERT INTO contacts_importedperson (batch_id, contact_id, before, after, written_at)
SELECT DISTINCT %(batch)s::bigint, contact_id, '{}'::jsonb, '{}'::jsonb, %(now)s::timestamptz FROM contacts_consentchange
WHERE contact_id = ANY(%(people)s::bigint[]) AND changed_at = %(now)s AND source = %(source)s
ON CONFLICT (contact_id, batch_id) DO NOTHING;

-- add_imported_members --
-- Puts the people of a batch of rows into the segment that the import names, by hand as it were.
WITH added AS (
    INSERT INTO contacts_membershipoverride (segment_id, contact_id, is_member, made_by_id, made_at)
    SELECT DISTINCT %(segment)s::bigint, contact_id, true, %(by)s::bigint, %(now)s::timestamptz
    FROM unnest(%(people)s::bigint[]) AS contact_id
    ON CONFLICT (segment_id, contact_id) DO NOTHING
    RETURNING contact_id
)
INSERT INTO contacts_importedperson (batch_id, contact_id, before, after, written_at)
SELECT %(batch)s::bigint, contact_id, '{}'::jsonb, jsonb_build_object('member', %(segment)s::bigint), %(now)s FROM added
ON CONFLICT (contact_id, batch_id) DO UPDATE SET after = contacts_importedperson.after || excluded.after;

-- forget_notes --
-- Deletes the rows kept in notes that name somebody who is to be forgotten.
DELETE FROM contacts_importnote note WHERE EXISTS (
    SELECT FROM jsonb_array_elements_text(note.cells) AS cell WHERE lower(btrim(cell)) = ANY(%(handles)s::text[])
);
