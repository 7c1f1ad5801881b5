-- What journeys are about to send.

-- coming_sends --
-- What journeys will send before a moment, as far as it can be told today: the next item of a track, and a message
-- behind a wait. One row a step; held-out people are not counted, paused journeys send nothing.
SELECT j.key AS journey, coalesce(nullif(j.name, ''), j.key) AS name,
       coalesce(nullif(t.name, ''), t.key, '') AS template, w.people, w.first_at
FROM (SELECT d.node_id, count(*) AS people, min(d.due_at) AS first_at
      FROM campaigns_due d
      WHERE d.node_kind IN ('stream', 'moment', 'wait', 'wait_until') AND d.due_at < %(until)s AND NOT d.is_ghost
      GROUP BY d.node_id) w
JOIN campaigns_node n ON n.id = w.node_id
JOIN campaigns_journeyversion v ON v.id = n.version_id
JOIN campaigns_journey j ON j.id = v.journey_id AND j.state IN ('live', 'closing')
LEFT JOIN campaigns_nodeexit x ON x.node_id = n.id AND x.label = 'next' AND n.kind <> 'stream'
LEFT JOIN campaigns_node s ON s.id = x.target_id AND s.kind = 'send'
LEFT JOIN messaging_template t ON t.key = s.config->>'template'
WHERE n.kind = 'stream' OR t.id IS NOT NULL
ORDER BY w.first_at, j.key, n.id
LIMIT %(limit)s;

-- coming_to --
-- The same for one person: what each open enrolment waits for, and until when. Who gave way to another track gets
-- nothing from the first before it goes on.
SELECT coalesce(nullif(j.name, ''), j.key) AS name, coalesce(nullif(t.name, ''), t.key, '') AS template, d.due_at
FROM campaigns_enrolment e
JOIN campaigns_due d ON d.enrolment_id = e.id
JOIN campaigns_node n ON n.id = d.node_id
JOIN campaigns_journeyversion v ON v.id = n.version_id
JOIN campaigns_journey j ON j.id = v.journey_id AND j.state IN ('live', 'closing')
LEFT JOIN campaigns_nodeexit x ON x.node_id = n.id AND x.label = 'next' AND n.kind <> 'stream'
LEFT JOIN campaigns_node s ON s.id = x.target_id AND s.kind = 'send'
LEFT JOIN messaging_template t ON t.key = s.config->>'template'
WHERE e.contact_id = %(contact)s AND e.state = 'open' AND e.superseded_at IS NULL AND NOT d.is_ghost
  AND d.node_kind IN ('stream', 'moment', 'wait', 'wait_until') AND d.due_at < %(until)s
  AND (n.kind = 'stream' OR t.id IS NOT NULL)
ORDER BY d.due_at, j.key, d.id
LIMIT %(limit)s;
