-- The list of suppressed addresses, as people keep it.

-- add_suppressed --
-- Puts addresses on the list and notes who did; which of them were not there before.
WITH told AS (
    SELECT DISTINCT ON (address) * FROM unnest(%(addresses)s::text[], %(reasons)s::text[], %(details)s::text[])
        WITH ORDINALITY AS t (address, reason, detail, place) ORDER BY address, place
), added AS (
    INSERT INTO messaging_suppression (address, channel, reason, detail, suppressed_at)
    SELECT address, 'email', reason, detail, %(now)s FROM told ORDER BY address
    ON CONFLICT (address) DO NOTHING
    RETURNING address, reason
), noted AS (
    INSERT INTO messaging_suppressionchange (address, action, reason, why, changed_at, changed_by_id)
    SELECT address, 'added', reason, %(why)s, %(now)s, %(by)s FROM added
)
SELECT address FROM added;
