-- Custom fields: what is told of them in the form of their type, what does not fit, and what could become one.

-- fit_told --
-- Brings what this batch says of custom fields into the form of their types; an empty text clears. What does not fit is
-- kept beside the contact, and what fits again takes its place.
WITH word AS MATERIALIZED (
    SELECT told.contact_id, told.told_at, field.id AS field_id, field.key, side.is_fresh, side.word->field.key AS value,
           fitted(side.word->field.key, field.type, choices.keys, %(zone)s) AS fit
    FROM told
    CROSS JOIN LATERAL (VALUES (true, told.fresh), (false, told.stale)) AS side (is_fresh, word)
    JOIN contacts_field field ON side.word ? field.key
    CROSS JOIN LATERAL (
        SELECT array_agg(CASE jsonb_typeof(choice) WHEN 'object' THEN choice->>'key' ELSE choice #>> '{}' END) AS keys
        FROM jsonb_array_elements(CASE jsonb_typeof(field.choices) WHEN 'array' THEN field.choices ELSE '[]' END) choice
    ) AS choices
    WHERE side.word->field.key <> 'null'
), aside AS (
    INSERT INTO contacts_unfitvalue (contact_id, field_id, value, told_at)
    SELECT contact_id, field_id, value, coalesce(told_at, %(now)s) FROM word
    WHERE is_fresh AND fit IS NULL AND has_value(value)
    ORDER BY field_id, contact_id
    ON CONFLICT (field_id, contact_id) DO UPDATE SET value = EXCLUDED.value, told_at = EXCLUDED.told_at
), mended AS (
    DELETE FROM contacts_unfitvalue USING word
    WHERE word.is_fresh AND word.fit IS NOT NULL AND contacts_unfitvalue.field_id = word.field_id
        AND contacts_unfitvalue.contact_id = word.contact_id
), change AS (
    SELECT contact_id,
           -- Without a value the key stands there with null, which clears.
           coalesce(jsonb_object_agg(key, fit)
                    FILTER (WHERE is_fresh AND (fit IS NOT NULL OR NOT has_value(value))), '{}') AS fresh,
           coalesce(jsonb_object_agg(key, fit) FILTER (WHERE NOT is_fresh AND fit IS NOT NULL), '{}') AS stale,
           coalesce(array_agg(key) FILTER (WHERE is_fresh AND fit IS NULL), '{}') AS not_fresh,
           coalesce(array_agg(key) FILTER (WHERE NOT is_fresh AND fit IS NULL), '{}') AS not_stale,
           coalesce(array_agg(key) FILTER (WHERE is_fresh AND fit IS NULL AND NOT has_value(value)), '{}') AS emptied
    FROM word WHERE fit IS DISTINCT FROM value
    GROUP BY contact_id
)
UPDATE told SET fresh = (told.fresh - change.not_fresh) || change.fresh,
                stale = (told.stale - change.not_stale) || change.stale,
                cleared = told.cleared || change.emptied
FROM change WHERE change.contact_id = told.contact_id;

-- forget_mended --
-- What did not fit is settled once the contact has a value that does.
DELETE FROM contacts_unfitvalue USING contacts_field field, contacts_contact contact
WHERE field.id = contacts_unfitvalue.field_id AND contact.id = contacts_unfitvalue.contact_id
    AND contact.id = ANY (%(contacts)s) AND contact.attributes ? field.key;

-- count_fit --
-- How many people have a value under a key, how many of these are of a type, and how many of those change their form.
SELECT count(*), count(fit), count(*) FILTER (WHERE fit <> value)
FROM (
    SELECT attributes->%(key)s AS value, fitted(attributes->%(key)s, %(type)s, %(choices)s, %(zone)s) AS fit
    FROM contacts_contact
    WHERE attributes ? %(key)s AND has_value(attributes->%(key)s) AND merged_into_id IS NULL AND erased_at IS NULL
    OFFSET 0
) AS word;

-- show_unfit --
-- A few of the values that are not of that type.
SELECT DISTINCT value FROM (
    SELECT attributes->%(key)s AS value FROM contacts_contact
    WHERE attributes ? %(key)s AND has_value(attributes->%(key)s) AND merged_into_id IS NULL AND erased_at IS NULL
        AND fitted(attributes->%(key)s, %(type)s, %(choices)s, %(zone)s) IS NULL
    LIMIT 50
) AS unfit LIMIT 5;

-- settle_values --
-- Brings all values of a field into the form of its type, and puts those aside that do not fit.
WITH word AS MATERIALIZED (
    SELECT id, attributes->%(key)s AS value, fitted(attributes->%(key)s, %(type)s, %(choices)s, %(zone)s) AS fit
    FROM contacts_contact
    WHERE attributes ? %(key)s AND merged_into_id IS NULL AND erased_at IS NULL
    ORDER BY id FOR NO KEY UPDATE
), aside AS (
    INSERT INTO contacts_unfitvalue (contact_id, field_id, value, told_at)
    SELECT id, %(field)s, value, %(now)s FROM word WHERE fit IS NULL AND has_value(value)
    ON CONFLICT (field_id, contact_id) DO UPDATE SET value = EXCLUDED.value, told_at = EXCLUDED.told_at
)
UPDATE contacts_contact
SET attributes = CASE WHEN word.fit IS NULL THEN attributes - %(key)s::text
                      ELSE jsonb_set(attributes, ARRAY[%(key)s::text], word.fit) END,
    updated_at = %(now)s
FROM word WHERE word.id = contacts_contact.id AND word.fit IS DISTINCT FROM word.value;

-- restore_values --
-- Gives values that were put aside and fit by now back to whom has none.
WITH word AS MATERIALIZED (
    SELECT id, contact_id, fitted(value, %(type)s, %(choices)s, %(zone)s) AS fit
    FROM contacts_unfitvalue WHERE field_id = %(field)s
), gone AS (
    DELETE FROM contacts_unfitvalue USING word WHERE word.id = contacts_unfitvalue.id AND word.fit IS NOT NULL
)
UPDATE contacts_contact SET attributes = attributes || jsonb_build_object(%(key)s::text, word.fit), updated_at = %(now)s
FROM word WHERE word.contact_id = contacts_contact.id AND word.fit IS NOT NULL AND NOT attributes ? %(key)s;

-- give_back_values --
-- A field that goes leaves what was put aside with its people, as a trait again.
UPDATE contacts_contact SET attributes = attributes || jsonb_build_object(%(key)s::text, unfit.value), updated_at = %(now)s
FROM contacts_unfitvalue unfit
WHERE unfit.field_id = %(field)s AND unfit.contact_id = contacts_contact.id AND NOT attributes ? %(key)s;

-- claim_counting --
-- Whether this transaction is the one that counts traits.
SELECT pg_try_advisory_xact_lock(7265012);

-- count_traits --
-- The keys that stand with people and are no fields, each with how many people have it, and of which types the values of
-- every so many-th person are: telling the type of a text costs ten times as much as counting it.
WITH word AS (
    SELECT trait.key,
           CASE WHEN length(trait.value::text) <= 200 THEN trait.value::text END AS shown,
           CASE WHEN contact.id %% %(every)s = 0 THEN CASE jsonb_typeof(trait.value)
               WHEN 'number' THEN 'number' WHEN 'boolean' THEN 'boolean' WHEN 'array' THEN 'list' WHEN 'object' THEN 'group'
               ELSE CASE
                   WHEN number_of(trait.value) IS NOT NULL THEN 'number'
                   WHEN boolean_of(trait.value) IS NOT NULL THEN 'boolean'
                   WHEN date_of(trait.value) IS NULL THEN 'text'
                   WHEN length(trait.value #>> '{}') = 10 THEN 'date'
                   WHEN instant_of(trait.value, %(zone)s) IS NOT NULL THEN 'datetime'
                   ELSE 'text'
               END
           END END AS type
    FROM contacts_contact contact
    CROSS JOIN LATERAL jsonb_each(contact.attributes) trait
    WHERE contact.merged_into_id IS NULL AND contact.erased_at IS NULL AND contact.attributes <> '{}'
        AND trait.key NOT IN (SELECT key FROM contacts_field) AND has_value(trait.value)
), typed AS (
    SELECT key, type, count(*) AS people, min(shown COLLATE "C")::jsonb AS lowest,
           max(shown COLLATE "C")::jsonb AS highest
    FROM word GROUP BY key, type
), summed AS (
    SELECT key, sum(people) AS people,
           coalesce(jsonb_object_agg(type, people) FILTER (WHERE type IS NOT NULL), '{}') AS types
    FROM typed GROUP BY key
), gone AS (
    DELETE FROM contacts_trait WHERE key NOT IN (SELECT key FROM summed)
)
INSERT INTO contacts_trait (key, people, types, samples, counted_at)
SELECT key, people, types,
       (SELECT coalesce(jsonb_agg(DISTINCT few.value), '[]') FROM typed
        CROSS JOIN LATERAL (VALUES (lowest), (highest)) AS few (value)
        WHERE typed.key = summed.key AND few.value IS NOT NULL),
       %(now)s
FROM summed
ORDER BY people DESC LIMIT %(most)s
ON CONFLICT (key) DO UPDATE SET people = EXCLUDED.people, types = EXCLUDED.types, samples = EXCLUDED.samples,
                                counted_at = EXCLUDED.counted_at;
