-- team_days --
-- How each team did since a moment, and where it stands; leads of no team come last, without a name.
SELECT coalesce(nullif(team.name, ''), team.key, '') AS name,
    count(*) FILTER (WHERE lead.created_at > %(since)s) AS new,
    count(*) FILTER (WHERE lead.accepted_at > %(since)s) AS accepted,
    count(*) FILTER (WHERE lead.state = 'rejected' AND lead.ended_at > %(since)s) AS rejected,
    count(*) FILTER (WHERE lead.state = 'converted' AND lead.ended_at > %(since)s) AS won,
    count(*) FILTER (WHERE lead.state = 'open') AS waiting,
    count(*) FILTER (WHERE lead.state IN ('open', 'claimed') AND lead.due_at < %(now)s) AS overdue
FROM leads_lead lead
LEFT JOIN leads_team team ON team.id = lead.team_id
WHERE lead.state IN ('open', 'claimed', 'accepted') OR lead.updated_at > %(since)s
GROUP BY team.id
ORDER BY team.key NULLS LAST;
