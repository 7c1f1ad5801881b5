-- estimate_touchpoints --
-- About how many touchpoints there are, as of the last ANALYZE; 0 where nobody counted yet.
SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'contacts_touchpoint'::regclass

-- make_weighed --
-- Everybody, or a sample, whose scores are weighed; what each rule gives them now; and where they stand by either.
CREATE TEMP TABLE whatif_person (id bigint PRIMARY KEY) ON COMMIT DROP;
CREATE TEMP TABLE whatif_before (contact_id bigint, rule_id bigint, worth float8) ON COMMIT DROP;
CREATE TEMP TABLE whatif_standing (
    contact_id bigint, before float8, after float8, was_over boolean, is_over boolean, may_qualify boolean
) ON COMMIT DROP

-- fill_weighed --
-- Whom is asked about, and what each rule gives them as things stand.
WITH person AS (
    INSERT INTO whatif_person SELECT id FROM ({people}) people RETURNING id
)
INSERT INTO whatif_before
SELECT entry.contact_id, entry.rule_id,
    sum(worth(entry.day, entry.weight, entry.half_life, entry.occurred_ats, entry.event_points, %(now)s))
FROM scoring_scoreentry entry
JOIN scoring_scorerule rule ON rule.id = entry.rule_id AND rule.model_id = %(model)s
JOIN person ON person.id = entry.contact_id
GROUP BY entry.contact_id, entry.rule_id

-- make_scratch --
-- Tables of the ledger, of rules and of their groups that stand in front of the real ones until the end of the transaction: what is booked
-- by the house's own statements then is booked here. Filled with the rows of the rules that stay.
CREATE TEMP TABLE whatif_entry ON COMMIT DROP AS
    SELECT entry.* FROM scoring_scoreentry entry JOIN whatif_person ON whatif_person.id = entry.contact_id
    WHERE entry.rule_id = ANY(%(kept)s);
CREATE TEMP TABLE scoring_scoregroup (LIKE scoring_scoregroup INCLUDING ALL) ON COMMIT DROP;
CREATE TEMP TABLE scoring_scorerule (LIKE scoring_scorerule INCLUDING ALL) ON COMMIT DROP;
CREATE TEMP TABLE scoring_scoreentry (LIKE scoring_scoreentry INCLUDING ALL) ON COMMIT DROP;
-- Without their ids: scratch counts its own from 1, and what is booked next must not meet one of them.
INSERT INTO scoring_scoreentry
    (contact_id, rule_id, day, points, weight, half_life, touchpoint_ids, occurred_ats, event_points)
SELECT contact_id, rule_id, day, points, weight, half_life, touchpoint_ids, occurred_ats, event_points FROM whatif_entry

-- weigh --
-- Where everybody stands by the ledger as it is and by the one in scratch, and on which side of the line.
INSERT INTO whatif_standing
SELECT person.id, sums.before, sums.after,
    CASE
        WHEN %(was_at)s::float8 IS NULL THEN false
        WHEN score.is_over THEN sums.before >= %(was_at)s::float8 - %(was_hysteresis)s::float8
        ELSE sums.before >= %(was_at)s::float8
    END,
    CASE
        WHEN %(line)s::float8 IS NULL THEN false
        WHEN score.is_over THEN sums.after >= %(line)s::float8 - %(hysteresis)s::float8
        ELSE sums.after >= %(line)s::float8
    END,
    contact.stage IN ('visitor', 'known', 'lead') AND EXISTS (
        SELECT FROM contacts_identity known
        WHERE known.contact_id = person.id AND known.kind IN ('email', 'user_id')
    )
FROM whatif_person person
JOIN contacts_contact contact ON contact.id = person.id
JOIN (
    SELECT contact_id, sum(before) AS before, sum(after) AS after
    FROM (
        SELECT contact_id, worth AS before, 0 AS after FROM whatif_before
        UNION ALL
        SELECT contact_id, 0,
            worth(entry.day, entry.weight, entry.half_life, entry.occurred_ats, entry.event_points, %(now)s)
        FROM scoring_scoreentry entry
        UNION ALL
        -- A line at nothing or below is crossed without a point.
        SELECT id, 0, 0 FROM whatif_person WHERE least(%(was_at)s::float8, %(line)s::float8) <= 0
    ) parts
    GROUP BY contact_id
) sums ON sums.contact_id = person.id
LEFT JOIN scoring_contactscore score ON score.contact_id = person.id AND score.model_id = %(model)s

-- count_moves --
-- How many get other points, rise over the line, fall under it, and become qualified by that.
SELECT count(*) FILTER (WHERE abs(after - before) > 1e-6), count(*) FILTER (WHERE is_over AND NOT was_over),
    count(*) FILTER (WHERE was_over AND NOT is_over), count(*) FILTER (WHERE is_over AND NOT was_over AND may_qualify)
FROM whatif_standing

-- count_regraded --
-- How many people stand on another step of a scale than before.
SELECT count(*) FROM whatif_standing
WHERE width_bucket(before::numeric, %(bounds)s::numeric[]) <> width_bucket(after::numeric, %(bounds)s::numeric[])

-- weigh_rules --
-- What each rule gives now and would give: how many people, how many points.
SELECT rule_id, count(*) FILTER (WHERE before <> 0), sum(before), count(*) FILTER (WHERE after <> 0), sum(after)
FROM (
    SELECT contact_id, rule_id, sum(before) AS before, sum(after) AS after
    FROM (
        SELECT contact_id, rule_id, worth AS before, 0 AS after FROM whatif_before
        UNION ALL
        SELECT contact_id, rule_id, 0,
            worth(entry.day, entry.weight, entry.half_life, entry.occurred_ats, entry.event_points, %(now)s)
        FROM scoring_scoreentry entry
    ) parts
    GROUP BY contact_id, rule_id
) given
GROUP BY rule_id

-- show_moves --
-- A few of them: first who crosses the line, then whose points change most.
SELECT contact_id, before, after, was_over, is_over FROM whatif_standing
WHERE abs(after - before) > 1e-6 OR was_over <> is_over
ORDER BY was_over <> is_over DESC, abs(after - before) DESC, contact_id
LIMIT %(most)s

-- forget_weighed --
-- Before the next look at the same people.
DELETE FROM whatif_standing
