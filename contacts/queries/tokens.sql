-- Tokens: the keys of clients.

-- find_key --
-- The living token that begins with a prefix, if its user may log in.
SELECT t.* FROM contacts_apitoken t JOIN auth_user u ON u.id = t.user_id
WHERE t.prefix = %(prefix)s AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > %(now)s) AND u.is_active;

-- draw_allowance --
-- Takes a part of what a bucket holds, if it is there: when the bucket is full again, and whether it was.
WITH drawn AS (
    INSERT INTO contacts_allowance AS bucket (key, full_at) VALUES (%(key)s, %(now)s + %(takes)s::interval)
    ON CONFLICT (key) DO UPDATE SET full_at = greatest(bucket.full_at, %(now)s) + %(takes)s::interval
        WHERE greatest(bucket.full_at, %(now)s) + %(takes)s::interval <= %(now)s + %(room)s::interval
    RETURNING full_at
)
SELECT full_at, true FROM drawn
UNION ALL
SELECT coalesce((SELECT full_at FROM contacts_allowance WHERE key = %(key)s), %(now)s), false
WHERE NOT EXISTS (SELECT FROM drawn);
