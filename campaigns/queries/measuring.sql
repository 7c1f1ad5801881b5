-- What journeys did: people, by the arm they belong to, and what they did since. By people, whatever they got.

-- arms_of_journey --
-- Who was let in for the messages, and who was held out, since they first entered.
SELECT e.contact_id, CASE WHEN bool_or(e.is_ghost) THEN 'held_out' ELSE 'treated' END AS arm, min(e.enrolled_at) AS since
FROM campaigns_enrolment e
WHERE e.journey_id = %(journey)s
  AND NOT EXISTS (SELECT FROM messaging_holdout h
                  WHERE h.contact_id = e.contact_id AND h.scope = 'global' AND h.is_held)
GROUP BY e.contact_id

-- arms_of_split --
-- Whom chance sent along which path of a split; who is held out gets nothing on any path, and does not count.
SELECT a.contact_id, a.variant AS arm, a.decided_at AS since
FROM campaigns_assignment a
WHERE a.scope = %(scope)s AND a.is_drawn
  AND NOT EXISTS (SELECT FROM campaigns_enrolment e
                  WHERE e.contact_id = a.contact_id AND e.journey_id = %(journey)s AND e.is_ghost)
  AND NOT EXISTS (SELECT FROM messaging_holdout h
                  WHERE h.contact_id = a.contact_id AND h.scope = 'global' AND h.is_held)

-- measure --
-- Of each arm: its people, messages that left, who opened and clicked (people, not programs), reached the goal, and
-- what they bought. Messages are those of these steps; without steps, all.
WITH arms AS MATERIALIZED ({arms}),
letters AS MATERIALIZED (
    SELECT m.id, m.contact_id, a.arm FROM arms a
    JOIN messaging_message m ON m.contact_id = a.contact_id
    WHERE m.journey_key = %(journey_key)s AND m.state = 'sent' AND NOT m.is_ghost AND m.created_at >= a.since
      AND (%(steps)s::text[] IS NULL OR m.node_key = ANY(%(steps)s::text[]))
),
answers AS MATERIALIZED (
    SELECT l.arm, t.kind, count(DISTINCT l.contact_id) AS people
    FROM letters l
    JOIN contacts_touchpoint t ON t.contact_id = l.contact_id AND t.kind IN ('email.opened', 'email.clicked')
         AND NOT t.is_machine AND t.properties->>'message' = l.id::text
    GROUP BY l.arm, t.kind
),
goals AS MATERIALIZED (
    SELECT a.arm, count(DISTINCT a.contact_id) AS people FROM arms a
    JOIN campaigns_enrolment e ON e.contact_id = a.contact_id AND e.journey_id = %(journey)s AND e.goal_at >= a.since
    GROUP BY a.arm
),
bought AS MATERIALIZED (
    SELECT a.arm, a.contact_id, sum(o.total) AS total FROM arms a
    JOIN growth_order o ON o.contact_id = a.contact_id AND o.placed_at >= a.since AND o.state IN ('placed', 'paid')
         AND o.currency = %(currency)s
    GROUP BY a.arm, a.contact_id
)
SELECT a.arm, count(*), min(a.since),
       (SELECT count(*) FROM letters l WHERE l.arm = a.arm),
       coalesce((SELECT n.people FROM answers n WHERE n.arm = a.arm AND n.kind = 'email.opened'), 0),
       coalesce((SELECT n.people FROM answers n WHERE n.arm = a.arm AND n.kind = 'email.clicked'), 0),
       coalesce((SELECT g.people FROM goals g WHERE g.arm = a.arm), 0),
       (SELECT count(*) FROM bought b WHERE b.arm = a.arm),
       (SELECT coalesce(sum(b.total), 0) FROM bought b WHERE b.arm = a.arm),
       (SELECT coalesce(sum(b.total * b.total), 0) FROM bought b WHERE b.arm = a.arm)
FROM arms a GROUP BY a.arm ORDER BY a.arm;

-- currency_of_orders --
-- The currency that most of the newest orders are in.
SELECT currency FROM (SELECT currency FROM growth_order ORDER BY id DESC LIMIT 1000) lately
GROUP BY currency ORDER BY count(*) DESC, currency LIMIT 1;

-- ripe_splits --
-- Splits of live journeys that look for a winner, whose window is over, and that were not asked for five minutes.
SELECT n.id FROM campaigns_journey j
JOIN campaigns_node n ON n.version_id = j.version_id AND n.kind = 'split' AND n.config ? 'winner'
LEFT JOIN campaigns_verdict v ON v.journey_id = j.id AND v.node_key = n.key
WHERE j.state = 'live' AND (v.id IS NULL OR v.decided_at IS NULL AND v.asked_at <= %(now)s - interval '5 minutes')
  AND (SELECT min(a.decided_at) FROM campaigns_assignment a WHERE a.scope = 'split:' || j.key || ':' || n.key)
      + make_interval(secs => (n.config->'winner'->>'after')::int) <= %(now)s
ORDER BY n.id;
