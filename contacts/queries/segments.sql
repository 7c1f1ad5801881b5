-- Segments: who is in which.

-- make_touched --
-- Whom this tick has to ask: each with the words of the news about them, and when an event of theirs is yet to come.
CREATE TEMP TABLE IF NOT EXISTS touched (
    contact_id bigint PRIMARY KEY, news text[] NOT NULL, to_come_at timestamptz
) ON COMMIT DELETE ROWS;

-- set_pace --
-- Many questions in one statement look dear to the planner, and few people are asked them: compiling takes longer. And a
-- look-up by person costs less than it thinks; it would rather read the whole stream than look up a fifth of all people.
SELECT set_config('jit', 'off', true), set_config('random_page_cost', '1.1', true);

-- empty_touched --
-- Makes room for another pass in the same transaction.
DELETE FROM touched;

-- note_news --
-- Those of this window. `+` is any news, `*` news of who somebody is; a changed field says its name.
INSERT INTO touched (contact_id, news, to_come_at)
SELECT said.contact_id, array_agg(DISTINCT said.word), min(said.occurred_at) FILTER (WHERE said.occurred_at > %(now)s)
FROM (
    SELECT contact_id, occurred_at, unnest(ARRAY['+', kind] || CASE
        WHEN kind = 'contact.updated' AND jsonb_typeof(properties->'fields') = 'array'
            THEN ARRAY(SELECT 'field:' || name FROM jsonb_array_elements_text(properties->'fields') AS name)
        WHEN kind LIKE 'contact.%%' THEN ARRAY['*']
        WHEN kind IN ('segment.entered', 'segment.left') THEN ARRAY['segment:' || (properties->>'segment')]
        -- A new verdict on an open or a click is news of that open or click.
        WHEN kind = 'email.rejudged' THEN ARRAY[properties->>'kind']
    END) AS word
    FROM contacts_touchpoint
    WHERE id > %(after)s AND id <= %(upto)s
) AS said
WHERE said.word IS NOT NULL
GROUP BY said.contact_id;

-- note_turns --
-- Those whose answer to some segment may have been turned by the clock.
WITH due AS (
    DELETE FROM contacts_turn WHERE turns_at <= %(now)s RETURNING contact_id, segment_id
)
INSERT INTO touched (contact_id, news, to_come_at)
SELECT due.contact_id, array_agg('turn:' || due.segment_id), (
    SELECT min(occurred_at) FROM contacts_touchpoint later
    WHERE later.contact_id = due.contact_id AND later.occurred_at > %(now)s)
FROM due
GROUP BY due.contact_id
ON CONFLICT (contact_id) DO UPDATE SET news = touched.news || excluded.news;

-- note_expired --
-- Those whom nobody's word holds in or out of a segment any longer.
WITH gone AS (
    DELETE FROM contacts_membershipoverride WHERE expires_at <= %(now)s RETURNING contact_id, segment_id
)
INSERT INTO touched (contact_id, news)
SELECT contact_id, array_agg('turn:' || segment_id) FROM gone GROUP BY contact_id
ON CONFLICT (contact_id) DO UPDATE SET news = touched.news || excluded.news;

-- note_moves --
-- Those whom a segment before has just taken in or let go.
INSERT INTO touched (contact_id, news)
SELECT contact_id, array_agg(DISTINCT 'segment:' || (properties->>'segment'))
FROM contacts_touchpoint
WHERE id > %(head)s AND kind IN ('segment.entered', 'segment.left')
GROUP BY contact_id
ON CONFLICT (contact_id) DO UPDATE SET news = touched.news || excluded.news;

-- weigh_touched --
-- Tells the planner how few they are: it would rather read every order there is than look up those of a thousand.
ANALYZE touched (contact_id);

-- words_of_news --
-- What the news of this tick are about.
SELECT DISTINCT unnest(news) FROM touched;

-- refresh_touched --
-- Makes those touched members of exactly the segments that mean them or that somebody put them into, tells each change
-- as a touchpoint, and notes when the clock may turn an answer. A moment that is noted is only ever brought forward:
-- when it comes the next one is looked for, so that people who are busy cost nothing more.
WITH answer AS MATERIALIZED ({answers}),
asked AS MATERIALIZED (
    SELECT answer.id AS contact_id, answer.is_living, pair.segment_id, pair.key, pair.turns_at,
           answer.is_living AND coalesce(held.is_member, pair.is_meant) AS is_wanted, member.id AS member_id
    FROM answer
    CROSS JOIN LATERAL (VALUES {pairs}) AS pair (segment_id, key, is_meant, turns_at)
    LEFT JOIN contacts_membershipoverride AS held
        ON held.segment_id = pair.segment_id AND held.contact_id = answer.id
            AND (held.expires_at IS NULL OR held.expires_at > %(now)s)
    LEFT JOIN contacts_membership AS member
        ON member.segment_id = pair.segment_id AND member.contact_id = answer.id
    WHERE pair.is_meant IS NOT NULL
), entered AS (
    INSERT INTO contacts_membership (segment_id, contact_id, entered_at)
    SELECT segment_id, contact_id, %(now)s FROM asked WHERE is_wanted AND member_id IS NULL
), departed AS (
    DELETE FROM contacts_membership
    WHERE id = ANY (ARRAY(SELECT member_id FROM asked WHERE NOT is_wanted AND member_id IS NOT NULL))
), turning AS (
    INSERT INTO contacts_turn (contact_id, segment_id, turns_at)
    SELECT contact_id, segment_id, turns_at FROM asked
    WHERE is_living AND turns_at IS NOT NULL AND NOT EXISTS (
        SELECT FROM contacts_turn AS noted
        WHERE noted.contact_id = asked.contact_id AND noted.segment_id = asked.segment_id
            AND noted.turns_at <= asked.turns_at)
    ON CONFLICT (contact_id, segment_id) DO UPDATE SET turns_at = excluded.turns_at
)
INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
SELECT contact_id, CASE WHEN is_wanted THEN 'segment.entered' ELSE 'segment.left' END, %(now)s, %(now)s, 'segment',
       jsonb_build_object('segment', key)
FROM asked
WHERE is_living AND is_wanted = (member_id IS NULL)
ORDER BY contact_id, segment_id;

-- rebuild_segment --
-- Makes the members of one segment exactly those whom its rule means or somebody put in by hand, and tells each change
-- as a touchpoint; notes beside each when the clock may turn the answer. Where nothing changed nothing is written.
WITH held AS (
    SELECT contact_id, is_member
    FROM contacts_membershipoverride
    WHERE segment_id = %(segment)s AND (expires_at IS NULL OR expires_at > %(now)s)
), wanted AS MATERIALIZED (
    SELECT audience.id, audience.turns_at::timestamptz AS turns_at FROM ({audience}) AS audience (id, turns_at)
    WHERE NOT EXISTS (SELECT FROM held WHERE held.contact_id = audience.id)
    UNION ALL
    SELECT contact.id, NULL
    FROM held
    JOIN contacts_contact AS contact ON contact.id = held.contact_id
    WHERE held.is_member AND contact.merged_into_id IS NULL AND contact.erased_at IS NULL
), entered AS (
    INSERT INTO contacts_membership (segment_id, contact_id, entered_at)
    SELECT %(segment)s, wanted.id, %(now)s
    FROM wanted
    WHERE NOT EXISTS (
        SELECT FROM contacts_membership AS member WHERE member.segment_id = %(segment)s AND member.contact_id = wanted.id
    )
    RETURNING contact_id
), departed AS (
    DELETE FROM contacts_membership AS member
    WHERE member.segment_id = %(segment)s AND NOT EXISTS (SELECT FROM wanted WHERE wanted.id = member.contact_id)
    RETURNING member.contact_id
), turning AS (
    INSERT INTO contacts_turn (contact_id, segment_id, turns_at)
    SELECT wanted.id, %(segment)s, wanted.turns_at
    FROM wanted
    LEFT JOIN contacts_turn AS noted ON noted.contact_id = wanted.id AND noted.segment_id = %(segment)s
    WHERE wanted.turns_at IS NOT NULL AND (noted.turns_at IS NULL OR noted.turns_at > wanted.turns_at)
    ON CONFLICT (contact_id, segment_id) DO UPDATE SET turns_at = excluded.turns_at
)
INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
SELECT contact_id, 'segment.entered', %(now)s, %(now)s, 'segment', jsonb_build_object('segment', %(key)s::text)
FROM entered
UNION ALL
SELECT departed.contact_id, 'segment.left', %(now)s, %(now)s, 'segment', jsonb_build_object('segment', %(key)s::text)
FROM departed
JOIN contacts_contact AS contact ON contact.id = departed.contact_id
WHERE contact.merged_into_id IS NULL AND contact.erased_at IS NULL;

-- set_turns --
-- Notes when the clock may turn the answers to one segment, also of people who are not in it.
INSERT INTO contacts_turn (contact_id, segment_id, turns_at)
SELECT turn.contact_id, %(segment)s, turn.turns_at
FROM ({turns} OFFSET 0) AS turn (contact_id, turns_at)
LEFT JOIN contacts_turn AS noted ON noted.contact_id = turn.contact_id AND noted.segment_id = %(segment)s
WHERE turn.turns_at IS NOT NULL AND (noted.turns_at IS NULL OR noted.turns_at > turn.turns_at)
ON CONFLICT (contact_id, segment_id) DO UPDATE SET turns_at = excluded.turns_at;

-- set_turns_of_events_to_come --
-- The same for those who have an event that is yet to come: one taken in so lately that it is later than the tick's own
-- moment. Ingest lets nothing in from any further ahead.
INSERT INTO contacts_turn (contact_id, segment_id, turns_at)
SELECT later.contact_id, %(segment)s, min(later.occurred_at)
FROM contacts_touchpoint AS later
WHERE later.id > (SELECT coalesce(max(id), 0) - 5000 FROM contacts_touchpoint) AND later.occurred_at > %(now)s
GROUP BY later.contact_id
ON CONFLICT (contact_id, segment_id) DO UPDATE SET turns_at = excluded.turns_at
WHERE contacts_turn.turns_at > excluded.turns_at;

-- estimate_contacts --
-- About how many rows the table of contacts has, as of its last ANALYZE; 0 where nobody counted yet.
SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'contacts_contact'::regclass;

-- sample_contacts --
-- A share of all contacts, the same ones each time as long as the table stays as it is.
SELECT id FROM contacts_contact TABLESAMPLE SYSTEM (%(percent)s) REPEATABLE (7);
