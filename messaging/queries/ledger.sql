-- count_intents --
-- What became of the messages that were intended in a span of time, by day, journey or template.
SELECT CASE %(by)s WHEN 'day' THEN ((created_at AT TIME ZONE %(zone)s)::date)::text
                   WHEN 'journey' THEN journey_key ELSE template_id::text END AS part,
    CASE WHEN reason <> '' THEN reason WHEN state IN ('sent', 'uncertain') THEN state ELSE 'waiting' END AS outcome,
    count(*)
FROM messaging_message
WHERE created_at >= %(begins)s AND created_at < %(ends)s
GROUP BY 1, 2;
