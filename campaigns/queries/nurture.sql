-- Nurture tracks take turns: of those that a person is on, one is under way.

-- ranked --
-- The open tracks of these people, the one that goes first first. Put into the statements below as a piece.
SELECT e.id, e.contact_id, e.superseded_at, e.superseded_by_id, j.key AS journey_key,
       row_number() OVER turns AS place, first_value(e.id) OVER turns AS first_id,
       first_value(j.key) OVER turns AS first_key
FROM campaigns_enrolment e JOIN campaigns_journey j ON j.id = e.journey_id
WHERE e.contact_id IN ({people}) AND e.state = 'open' AND e.is_marketing_track
WINDOW turns AS (PARTITION BY e.contact_id ORDER BY j.tier, e.enrolled_at DESC, e.id DESC);

-- supersede_tracks --
-- Lets all but the first stand still: the token asks no more for its kind of step, and wakes by an alarm. Answers the
-- enrolments that gave way just now.
WITH ranked AS MATERIALIZED ({ranked}),
behind AS (
    UPDATE campaigns_enrolment e SET superseded_at = coalesce(e.superseded_at, %(now)s), superseded_by_id = r.first_id
    FROM ranked r
    WHERE e.id = r.id AND r.place > 1 AND r.superseded_by_id IS DISTINCT FROM r.first_id
    RETURNING e.id, e.contact_id, r.journey_key, r.first_key, r.superseded_by_id IS NULL AS is_news
),
stood AS MATERIALIZED (
    SELECT d.enrolment_id, d.node_id, d.entered_at, d.visit
    FROM campaigns_due d JOIN behind b ON b.id = d.enrolment_id WHERE b.is_news
),
frozen AS (
    UPDATE campaigns_due d SET node_kind = 'superseded', due_at = %(now)s + %(alarm)s::interval
    FROM stood s WHERE d.enrolment_id = s.enrolment_id
),
visits AS (
    INSERT INTO campaigns_visit (enrolment_id, node_id, visit, entered_at, left_at, outcome)
    SELECT enrolment_id, node_id, visit, entered_at, %(now)s, 'superseded' FROM stood
),
told AS (
    INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
    SELECT contact_id, 'track.superseded', %(now)s, %(now)s, 'journey',
           jsonb_build_object('journey', journey_key, 'by', first_key, 'enrolment', id)
    FROM behind WHERE is_news
)
SELECT id FROM behind WHERE is_news;

-- resume_tracks --
-- Lets the first go on where it stood still: due as soon as entered, so that it waits for its next cast (see settle).
-- Whose turn it was from the beginning has nothing to tell.
WITH ranked AS MATERIALIZED ({ranked}),
ahead AS (
    UPDATE campaigns_enrolment e SET superseded_at = NULL, superseded_by_id = NULL
    FROM ranked r
    WHERE e.id = r.id AND r.place = 1 AND r.superseded_at IS NOT NULL
    RETURNING e.id, e.contact_id, r.journey_key, r.superseded_at, r.superseded_by_id IS NOT NULL AS is_news
),
awake AS (
    UPDATE campaigns_due d SET node_kind = n.kind, entered_at = %(now)s, due_at = %(now)s
    FROM ahead a, campaigns_node n
    WHERE d.enrolment_id = a.id AND n.id = d.node_id
    RETURNING d.enrolment_id, d.node_id, d.visit
),
visits AS (
    INSERT INTO campaigns_visit (enrolment_id, node_id, visit, entered_at, left_at, outcome)
    SELECT w.enrolment_id, w.node_id, w.visit, a.superseded_at, %(now)s, 'resumed'
    FROM awake w JOIN ahead a ON a.id = w.enrolment_id WHERE a.is_news
)
INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
SELECT contact_id, 'track.resumed', %(now)s, %(now)s, 'journey',
       jsonb_build_object('journey', journey_key, 'enrolment', id)
FROM ahead WHERE is_news;

-- undecided --
-- The people of whom it is to be decided on which track they are: touched in a window, or new on a second one.
SELECT contact_id FROM contacts_touchpoint WHERE id > %(after)s AND id <= %(upto)s
UNION
SELECT contact_id FROM campaigns_enrolment
WHERE state = 'open' AND is_marketing_track AND superseded_at IS NOT NULL AND superseded_by_id IS NULL;

-- standing_still --
-- The people whose tracks stand still and whose alarm rings.
SELECT d.contact_id FROM campaigns_due d WHERE d.node_kind = 'superseded' AND d.due_at <= %(now)s;

-- set_alarms --
-- Whoever still stands still is looked at again later.
UPDATE campaigns_due SET due_at = %(now)s + %(alarm)s::interval WHERE node_kind = 'superseded' AND due_at <= %(now)s;

-- give_way_merged --
-- In a merge: of the tracks of two people who become one, one stays under way; the next tick says so and decides anew.
WITH mine AS (
    SELECT e.id, row_number() OVER (
        PARTITION BY coalesce(pair.survivor, e.contact_id) ORDER BY j.tier, e.enrolled_at DESC, e.id DESC) AS place
    FROM campaigns_enrolment e
    JOIN campaigns_journey j ON j.id = e.journey_id
    LEFT JOIN pair ON pair.loser = e.contact_id
    WHERE e.state = 'open' AND e.is_marketing_track AND e.superseded_at IS NULL
      AND e.contact_id IN (SELECT loser FROM pair UNION SELECT survivor FROM pair)
)
UPDATE campaigns_enrolment e SET superseded_at = %(now)s FROM mine WHERE e.id = mine.id AND mine.place > 1;

-- mark_re_engaged --
-- Who on a track came over the line of a score, or became qualified, in a window: noted on each of their tracks, told once.
WITH marked AS (
    UPDATE campaigns_enrolment e SET re_engaged_at = %(now)s
    WHERE e.state = 'open' AND e.is_marketing_track AND e.re_engaged_at IS NULL AND e.contact_id IN (
        SELECT contact_id FROM contacts_touchpoint
        WHERE id > %(after)s AND id <= %(upto)s
          AND (kind = 'score.crossed' AND properties->>'direction' = 'up'
               OR kind = 'stage.changed' AND properties->>'to' = 'qualified'))
    RETURNING e.id, e.contact_id, e.journey_id, e.superseded_at
)
INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
SELECT DISTINCT ON (m.contact_id) m.contact_id, 'track.re_engaged', %(now)s, %(now)s, 'journey',
       jsonb_build_object('journey', j.key, 'enrolment', m.id)
FROM marked m JOIN campaigns_journey j ON j.id = m.journey_id
ORDER BY m.contact_id, m.superseded_at DESC NULLS FIRST, m.id;

-- read_streams --
-- By the key of each stream: the next cast, and how many of its members have nothing left, or stand still.
SELECT n.key, min(d.due_at) FILTER (WHERE d.node_kind = 'stream'),
       count(*) FILTER (WHERE d.node_kind = 'stream' AND starts_with((
            SELECT v.outcome FROM campaigns_visit v
            WHERE v.enrolment_id = d.enrolment_id AND v.outcome NOT IN ('superseded', 'resumed')
            ORDER BY v.id DESC LIMIT 1), 'exhausted')),
       count(*) FILTER (WHERE d.node_kind = 'superseded')
FROM campaigns_due d
JOIN campaigns_node n ON n.id = d.node_id
JOIN campaigns_journeyversion v ON v.id = n.version_id
WHERE v.journey_id = %(journey)s AND n.kind = 'stream'
GROUP BY n.key;
