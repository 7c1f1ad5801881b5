-- Letting people into journeys.

-- request_enrolments --
-- Asks the next tick, through the inbox, to let people into a journey.
INSERT INTO contacts_incoming (source, message_id, kind, channel, occurred_at, received_at, contact_id, properties)
SELECT 'journey', '', 'journey.requested', '', %(now)s, %(now)s, p.id,
       jsonb_build_object('journey', %(journey)s::text, 'by', %(actor)s::text, 'entry_key', %(entry_key)s::text)
FROM ({people}) AS p(id);

-- kinds_in_window --
-- The kinds of touchpoints that came in a window: journeys with other triggers need not be asked.
SELECT DISTINCT kind FROM contacts_touchpoint WHERE id > %(after)s AND id <= %(upto)s;

-- enrol --
-- Lets in whoever a trigger names, if the entry filter holds and the re-entry rule allows: an enrolment, its token at the
-- entry, a touchpoint. Whose filter does not hold yet waits; who was in too often is refused, and that is written down.
-- Answers how many got in, and how many were stopped as a flood.
WITH asked AS MATERIALIZED ({asked}),
allowed AS MATERIALIZED (
    -- One event may be named by several triggers; one filter that holds is enough.
    SELECT DISTINCT ON (a.contact_id, a.touchpoint_id, a.entry_key) a.*
    FROM asked a JOIN contacts_contact c ON c.id = a.contact_id
    WHERE c.merged_into_id IS NULL AND c.erased_at IS NULL
      AND NOT EXISTS (
        SELECT FROM campaigns_enrolment e
        WHERE e.contact_id = a.contact_id AND e.journey_id = %(journey)s
          AND (%(policy)s = 'never'
               OR (%(policy)s = 'per_key' AND e.entry_key = a.entry_key)
               OR (%(policy)s = 'after_exit' AND (
                    e.state = 'open' OR e.ended_at > %(now)s - %(cooldown)s::interval
                    -- A new edge is needed: what let somebody in once, or came before it, does not do so again.
                    OR e.touchpoint_id >= a.touchpoint_id)))
        OFFSET 0)
    ORDER BY a.contact_id, a.touchpoint_id, a.entry_key, a.may DESC, a.place
),
occasions AS (
    SELECT DISTINCT ON (contact_id, entry_key) * FROM allowed WHERE may ORDER BY contact_id, entry_key, touchpoint_id
),
counted AS MATERIALIZED (
    -- How often each was in before: counted in one pass, for a look-up by person would see the rows made here grow.
    SELECT *, CASE WHEN today > %(flood)s THEN 'flood' WHEN %(most)s > 0 AND lately > %(most)s THEN 'most' END AS refusal
    FROM (
        SELECT *, count(*) FILTER (WHERE entered_at > %(now)s - interval '1 day') OVER before AS today,
               count(*) FILTER (WHERE entered_at > %(now)s - %(window)s::interval) OVER before AS lately
        FROM (
            SELECT contact_id, entry_key, touchpoint_id, place, candidate_id, %(now)s::timestamptz AS entered_at, true AS is_new
            FROM occasions
            UNION ALL
            SELECT e.contact_id, '', NULL, NULL, NULL, e.enrolled_at, false FROM campaigns_enrolment e
            WHERE e.journey_id = %(journey)s AND e.enrolled_at > %(now)s - greatest(%(window)s::interval, interval '1 day')
              AND e.contact_id = ANY(ARRAY(SELECT contact_id FROM occasions))
        ) times
        WINDOW before AS (PARTITION BY contact_id ORDER BY is_new, touchpoint_id, entry_key ROWS UNBOUNDED PRECEDING)
    ) one
    WHERE is_new
),
entered AS (
    INSERT INTO campaigns_enrolment (contact_id, journey_id, version_id, entry_key, is_ghost, enrolled_at, touchpoint_id,
        is_marketing_track, superseded_at)
    SELECT contact_id, %(journey)s, %(version)s, entry_key,
           -- Who was held out once stays so for as long as anybody is, whatever the share became.
           %(holdout)s > 0 AND coalesce(
                (SELECT first.is_ghost FROM campaigns_enrolment first
                 WHERE first.contact_id = counted.contact_id AND first.journey_id = %(journey)s ORDER BY first.id LIMIT 1),
                bucket_of('holdout:' || %(journey_key)s, contact_id) < %(holdout)s), %(now)s, touchpoint_id,
           %(is_track)s,
           -- Whoever is on another track stands still in this one until it is decided whose turn it is (take_turns).
           CASE WHEN %(is_track)s AND (row_number() OVER (PARTITION BY contact_id ORDER BY entry_key) > 1 OR EXISTS (
                SELECT FROM campaigns_enrolment other
                WHERE other.contact_id = counted.contact_id AND other.state = 'open' AND other.is_marketing_track
                  AND other.superseded_at IS NULL)) THEN %(now)s END
    FROM counted WHERE refusal IS NULL
    ON CONFLICT (contact_id, journey_id, entry_key) WHERE state = 'open' DO NOTHING
    RETURNING id, contact_id, is_ghost
),
tokens AS (
    INSERT INTO campaigns_due (enrolment_id, contact_id, node_id, node_kind, is_ghost, entered_at, due_at)
    SELECT id, contact_id, %(entry)s, 'entry', is_ghost, %(now)s, %(now)s FROM entered
),
told AS (
    INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
    SELECT contact_id, 'journey.entered', %(now)s, %(now)s, 'journey',
           jsonb_build_object('journey', %(journey_key)s::text, 'version', %(number)s::int, 'enrolment', id)
           -- Sales must not take who is held out for somebody whom nobody thought of.
           || CASE WHEN is_ghost THEN '{"held_out": true}'::jsonb ELSE '{}' END
    FROM entered
),
kept AS (
    INSERT INTO campaigns_candidate (journey_id, contact_id, version_id, trigger_place, touchpoint_id, entry_key, state, reason,
        asked_at, until)
    SELECT %(journey)s, contact_id, %(version)s, place, touchpoint_id, entry_key, 'waiting', '', %(now)s, %(until)s
    FROM allowed WHERE NOT may AND candidate_id IS NULL
    UNION ALL
    SELECT %(journey)s, contact_id, %(version)s, place, touchpoint_id, entry_key, 'refused', refusal, %(now)s, %(now)s
    FROM counted WHERE refusal IS NOT NULL AND candidate_id IS NULL
    ON CONFLICT (journey_id, contact_id, touchpoint_id, entry_key) DO NOTHING
),
settled AS (
    -- Who waited: let in, refused, or asked again at the next tick.
    UPDATE campaigns_candidate k SET state = v.state, reason = v.reason
    FROM (SELECT a.candidate_id, x.state, CASE
                 WHEN x.state <> 'refused' THEN ''
                 WHEN NOT a.may THEN 'filter' WHEN o.touchpoint_id IS NULL THEN 'reentry' ELSE o.refusal END AS reason
          FROM asked a
          LEFT JOIN counted o ON o.contact_id = a.contact_id AND o.touchpoint_id = a.touchpoint_id
              AND o.entry_key = a.entry_key
          CROSS JOIN LATERAL (SELECT CASE WHEN a.may AND o.touchpoint_id IS NOT NULL AND o.refusal IS NULL
                                          THEN 'let_in' ELSE 'refused' END AS state) x
          WHERE a.candidate_id IS NOT NULL AND (a.may OR a.is_last)) v
    WHERE k.id = v.candidate_id
)
SELECT (SELECT count(*) FROM entered), (SELECT count(*) FROM counted WHERE refusal = 'flood');

-- waiting_filters --
-- The entry filters that somebody waits for.
SELECT DISTINCT journey_id, version_id, trigger_place FROM campaigns_candidate WHERE state = 'waiting';

-- waiting_candidates --
-- Those who wait for an entry filter: asked again when something happens to them, and when their time is up.
SELECT k.id, k.contact_id, k.version_id, k.trigger_place AS place, k.touchpoint_id, k.entry_key, k.until FROM campaigns_candidate k
WHERE k.journey_id = %(journey)s AND k.state = 'waiting' AND (k.until <= %(now)s OR k.contact_id IN (
    SELECT contact_id FROM contacts_touchpoint WHERE id > %(after)s AND id <= %(upto)s));

-- forget_candidates --
-- What became of candidates is told for so long; then it goes.
DELETE FROM campaigns_candidate WHERE state <> 'waiting' AND asked_at < %(before)s;
