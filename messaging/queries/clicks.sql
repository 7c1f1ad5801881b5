-- Who clicked and opened what. {scope} says of which messages; every number is the length of the list behind it.

-- clicks_by_link --
-- Of each link and language: clicks by people, how many people these are, and clicks by programs.
SELECT h.link_id, coalesce(l.url, ''), h.language, count(*) FILTER (WHERE h.machine_reason = '') AS clicks,
    count(DISTINCT m.contact_id) FILTER (WHERE h.machine_reason = '') AS people,
    count(*) FILTER (WHERE h.machine_reason <> '') AS machine_clicks
FROM messaging_hit h
JOIN messaging_message m ON m.id = h.message_id
LEFT JOIN messaging_link l ON l.id = h.link_id
WHERE h.is_told AND h.link_id > 0 AND h.hit_at > %(since)s AND {scope}
GROUP BY 1, 2, 3
ORDER BY people DESC, clicks DESC, machine_clicks DESC, 2, 3
LIMIT %(limit)s;

-- answers --
-- Clicks and opens in all, by who made them: how many, of how many people.
SELECT h.link_id IS NULL AS is_open, CASE
        WHEN h.machine_reason = '' THEN 'human'
        WHEN h.link_id IS NULL AND h.machine_reason = ANY (%(privacy)s::text[]) THEN 'privacy'
        ELSE 'machine' END AS who,
    count(*), count(DISTINCT m.contact_id)
FROM messaging_hit h
JOIN messaging_message m ON m.id = h.message_id
WHERE h.is_told AND h.hit_at > %(since)s AND {scope}
GROUP BY 1, 2;

-- reasons_of_machines --
-- Why clicks and opens were taken for a program's: how many for each reason.
SELECT h.machine_reason, count(*) FILTER (WHERE h.link_id IS NOT NULL), count(*) FILTER (WHERE h.link_id IS NULL)
FROM messaging_hit h
JOIN messaging_message m ON m.id = h.message_id
WHERE h.is_told AND h.machine_reason <> '' AND h.hit_at > %(since)s AND {scope}
GROUP BY 1 ORDER BY count(*) DESC, 1;

-- who_answered --
-- The people behind a number, the newest first: how often, when last, by which program and for which reason.
SELECT m.contact_id, count(*) AS times, max(h.hit_at) AS last_at,
    (array_agg(h.user_agent ORDER BY h.hit_at DESC, h.id DESC))[1],
    (array_agg(h.machine_reason ORDER BY h.hit_at DESC, h.id DESC))[1],
    count(*) OVER () AS people, sum(count(*)) OVER () AS hits
FROM messaging_hit h
JOIN messaging_message m ON m.id = h.message_id
WHERE h.is_told AND h.hit_at > %(since)s AND {scope}
  AND (h.link_id IS NULL) = %(is_open)s
  AND (%(link)s::bigint IS NULL OR h.link_id = %(link)s)
  AND (%(language)s::text IS NULL OR h.language = %(language)s)
  AND CASE
        WHEN h.machine_reason = '' THEN 'human'
        WHEN h.link_id IS NULL AND h.machine_reason = ANY (%(privacy)s::text[]) THEN 'privacy'
        ELSE 'machine' END = %(who)s
GROUP BY m.contact_id
ORDER BY last_at DESC, m.contact_id
LIMIT %(limit)s OFFSET %(offset)s;
