-- rule_use --
-- What each rule of a score gave since a day: to how many people, and how many points. What fit gives has no day; it is
-- what holds now.
SELECT entry.rule_id, count(DISTINCT entry.contact_id), sum(entry.points)
FROM scoring_scoreentry entry
JOIN scoring_scorerule rule ON rule.id = entry.rule_id
WHERE rule.model_id = %(model)s AND (entry.day >= %(since)s OR entry.day = '1970-01-01')
GROUP BY entry.rule_id
