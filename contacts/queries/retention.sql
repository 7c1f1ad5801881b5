-- Retention: what is old is dropped or loses what tells of its person; totals stay.

-- walk_window --
-- Up to which touchpoint the next window of a walk goes; null at its end.
SELECT max(id) FROM (
    SELECT id FROM contacts_touchpoint WHERE id > %(after)s AND id <= %(end)s ORDER BY id LIMIT %(size)s
) next_ones;

-- drop_touchpoints --
-- Drops what a rule is about within a window, and adds it to the totals of its contacts; how many.
WITH gone AS (
    DELETE FROM contacts_touchpoint
    WHERE id > %(after)s AND id <= %(upto)s AND occurred_at < %(before)s AND kind LIKE %(kind)s
      AND (%(channel)s = '' OR channel = %(channel)s) AND kind NOT LIKE ALL (%(history)s::text[])
    RETURNING contact_id, kind, occurred_at, is_machine
), added AS (
    INSERT INTO contacts_touchpointtotal AS total (contact_id, kind, count, machine_count, first_at, last_at)
    SELECT gone.contact_id, gone.kind, count(*), count(*) FILTER (WHERE is_machine), min(occurred_at), max(occurred_at)
    FROM gone JOIN contacts_contact contact ON contact.id = gone.contact_id
    GROUP BY gone.contact_id, gone.kind ORDER BY gone.contact_id, gone.kind
    ON CONFLICT (contact_id, kind) DO UPDATE SET
        count = total.count + excluded.count, machine_count = total.machine_count + excluded.machine_count,
        first_at = least(total.first_at, excluded.first_at), last_at = greatest(total.last_at, excluded.last_at)
)
SELECT count(*) FROM gone;

-- anonymise_touchpoints --
-- Leaves of what a rule is about within a window only the properties that the rule keeps; how many changed.
WITH changed AS (
    UPDATE contacts_touchpoint SET properties = (
        SELECT coalesce(jsonb_object_agg(key, value) FILTER (WHERE key = ANY (%(kept)s::text[])), '{}')
        FROM jsonb_each(properties))
    WHERE id > %(after)s AND id <= %(upto)s AND occurred_at < %(before)s AND kind LIKE %(kind)s
      AND (%(channel)s = '' OR channel = %(channel)s) AND kind NOT LIKE ALL (%(history)s::text[])
      AND jsonb_typeof(properties) = 'object' AND properties - %(kept)s::text[] <> '{}'
    RETURNING id
)
SELECT count(*) FROM changed;

-- count_old_touchpoints --
-- What a rule would be about at this moment: how many touchpoints of how many people, and when the oldest was.
SELECT count(*), count(DISTINCT contact_id), min(occurred_at) FROM contacts_touchpoint
WHERE occurred_at < %(before)s AND kind LIKE %(kind)s AND (%(channel)s = '' OR channel = %(channel)s)
  AND kind NOT LIKE ALL (%(history)s::text[])
  AND (NOT %(is_anonymised)s OR (jsonb_typeof(properties) = 'object' AND properties - %(kept)s::text[] <> '{}'));

-- blank_touchpoints --
-- Blanks the handles of somebody erased in a window of other people's touchpoints; how many rows.
WITH changed AS (
    UPDATE contacts_touchpoint SET properties = regexp_replace(properties::text, %(pattern)s, '[erased]', 'gi')::jsonb
    WHERE id > %(after)s AND id <= %(upto)s
      AND properties::text ILIKE ANY (%(needles)s::text[]) AND properties::text ~* %(pattern)s
    RETURNING id
)
SELECT count(*) FROM changed;

-- blank_attributes --
-- Blanks them in what is known about other people.
WITH changed AS (
    UPDATE contacts_contact SET
        attributes = regexp_replace(attributes::text, %(pattern)s, '[erased]', 'gi')::jsonb, updated_at = %(now)s
    WHERE attributes::text ILIKE ANY (%(needles)s::text[]) AND attributes::text ~* %(pattern)s
    RETURNING id
)
SELECT count(*) FROM changed;

-- blank_deliveries --
-- Blanks them in what other systems are, or were, told of other people; what is on its way has left the house.
WITH changed AS (
    UPDATE contacts_webhookdelivery SET payload = regexp_replace(payload::text, %(pattern)s, '[erased]', 'gi')::jsonb
    WHERE state = ANY (%(states)s::text[])
      AND payload::text ILIKE ANY (%(needles)s::text[]) AND payload::text ~* %(pattern)s
    RETURNING id
)
SELECT count(*) FROM changed;
