-- make_tasks --
-- Makes a task of each request of a journey in the window: for the contact's owner, a team or a user; where there is no
-- such one, for whoever works on leads.
INSERT INTO leads_task (contact_id, title, state, team_id, assignee_id, due_at, source, enrolment_id, touchpoint_id,
    created_at, updated_at)
SELECT told.contact_id, told.properties ->> 'title', 'open', team.id, person.id,
    (told.properties ->> 'due_at')::timestamptz, 'journey:' || (told.properties ->> 'journey'),
    (told.properties ->> 'enrolment')::bigint, told.id, %(now)s, %(now)s
FROM contacts_touchpoint told
JOIN contacts_contact contact ON contact.id = told.contact_id
    AND contact.merged_into_id IS NULL AND contact.erased_at IS NULL
LEFT JOIN leads_team team ON team.key = told.properties ->> 'assign' AND team.key <> 'owner'
LEFT JOIN auth_user person ON person.is_active AND team.id IS NULL AND CASE told.properties ->> 'assign'
    WHEN 'owner' THEN person.id = contact.owner_id ELSE person.username = told.properties ->> 'assign' END
WHERE told.id > %(after)s AND told.id <= %(upto)s AND told.kind = 'task.requested' AND told.source = 'journey'
ORDER BY told.id
ON CONFLICT (touchpoint_id) DO NOTHING;

-- drop_tasks --
-- Drops open tasks of whoever left their journey for another reason than that its path was over.
UPDATE leads_task SET state = 'dropped', updated_at = %(now)s
WHERE state = 'open' AND enrolment_id IN (
    SELECT (told.properties ->> 'enrolment')::bigint FROM contacts_touchpoint told
    WHERE told.id > %(after)s AND told.id <= %(upto)s AND told.kind = 'journey.left' AND told.source = 'journey'
      AND told.properties ->> 'reason' <> ALL(%(still_meant)s::text[]))
