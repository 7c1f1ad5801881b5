-- What becomes of journeys when two people become one, and when that is undone.

-- end_merged --
-- Of two people who become one, one stays on a journey that both are on: the survivor's enrolment, else the older.
WITH doubled AS (
    SELECT e.id, row_number() OVER (
        PARTITION BY coalesce(pair.survivor, e.contact_id), e.journey_id, e.entry_key
        ORDER BY pair.loser IS NOT NULL, e.id) AS place
    FROM campaigns_enrolment e LEFT JOIN pair ON pair.loser = e.contact_id
    WHERE e.state = 'open' AND e.contact_id IN (SELECT loser FROM pair UNION SELECT survivor FROM pair)
),
ended AS (
    UPDATE campaigns_enrolment e SET state = 'exited', exit_reason = 'merged', ended_at = %(now)s
    FROM doubled WHERE e.id = doubled.id AND doubled.place > 1
    RETURNING e.id
),
taken AS (
    DELETE FROM campaigns_due WHERE enrolment_id IN (SELECT id FROM ended)
    RETURNING *
),
kept AS (
    -- Should the merge be undone, the token is where it was.
    INSERT INTO moved (loser, place, row_key, dropped)
    SELECT pair.loser, 'campaigns_due', taken.id::text, to_jsonb(taken)
    FROM taken JOIN campaigns_enrolment e ON e.id = taken.enrolment_id JOIN pair ON pair.loser = e.contact_id
),
visits AS (
    INSERT INTO campaigns_visit (enrolment_id, node_id, visit, entered_at, left_at, outcome)
    SELECT enrolment_id, node_id, visit, entered_at, %(now)s, 'merged' FROM taken
)
UPDATE messaging_message SET state = 'cancelled', reason = 'merged', finished_at = %(now)s
WHERE enrolment_id IN (SELECT id FROM ended) AND state IN ('pending', 'ready');

-- move_tokens_of_merged --
-- The tokens of somebody who is merged away belong to the survivor; found by the enrolment, for they have no index.
UPDATE campaigns_due d SET contact_id = pair.survivor
FROM pair JOIN campaigns_enrolment e ON e.contact_id = pair.loser AND e.state = 'open'
WHERE d.enrolment_id = e.id;

-- reopen_unmerged --
-- In an undone merge: who was taken off a journey because the other was on it too is on it again, where its token was;
-- what waited to be sent waits again, and passes all gates.
WITH reopened AS (
    UPDATE campaigns_enrolment e SET state = 'open', exit_reason = '', ended_at = NULL,
        -- Another track may be under way by now: the next tick decides whose turn it is.
        superseded_at = CASE WHEN e.is_marketing_track THEN %(now)s END, superseded_by_id = NULL
    FROM pair
    WHERE e.contact_id = pair.loser AND e.state = 'exited' AND e.exit_reason = 'merged'
      AND e.id IN (SELECT d.enrolment_id FROM campaigns_due d)
    RETURNING e.id
),
visits AS (
    DELETE FROM campaigns_visit v USING reopened WHERE v.enrolment_id = reopened.id AND v.outcome = 'merged'
)
UPDATE messaging_message m SET state = 'pending', reason = '', finished_at = NULL,
    -- The journey may have been paused meanwhile, or let go on.
    is_held = EXISTS (SELECT FROM campaigns_journey j WHERE j.key = m.journey_key AND j.state = 'paused')
WHERE enrolment_id IN (SELECT id FROM reopened) AND state = 'cancelled' AND reason = 'merged';

-- part_tokens --
-- In an undone merge: each token stands where its enrolment does, and what a journey is about to say goes to whom it
-- belongs, through all gates again.
WITH back AS (
    SELECT e.id, e.contact_id, pair.loser, pair.survivor
    FROM pair JOIN campaigns_enrolment e ON e.contact_id IN (pair.loser, pair.survivor)
),
tokens AS (
    UPDATE campaigns_due d SET contact_id = back.contact_id
    FROM back WHERE d.enrolment_id = back.id AND d.contact_id <> back.contact_id
)
UPDATE messaging_message m SET contact_id = back.contact_id, state = 'pending'
FROM back
WHERE m.enrolment_id = back.id AND m.contact_id <> back.contact_id AND m.contact_id IN (back.loser, back.survivor)
  AND m.state IN ('pending', 'ready');
