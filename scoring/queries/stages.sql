-- stage_falls --
-- Who goes down: the lead was rejected by sales, or the only order was taken back.
SELECT told.contact_id, 'disqualified' AS to_stage,
    'lead.rejected ' || coalesce(told.properties ->> 'reason', '') AS reason, told.id AS touchpoint_id
FROM contacts_touchpoint told
JOIN contacts_contact contact ON contact.id = told.contact_id
WHERE told.id > %(after)s AND told.id <= %(upto)s AND told.kind = 'lead.rejected'
    AND (told.properties ->> 'is_final')::boolean AND contact.stage IN ('visitor', 'known', 'lead', 'qualified')
UNION ALL
SELECT told.contact_id, 'lead', 'lead.rejected ' || coalesce(told.properties ->> 'reason', ''), told.id
FROM contacts_touchpoint told
JOIN contacts_contact contact ON contact.id = told.contact_id
WHERE told.id > %(after)s AND told.id <= %(upto)s AND told.kind = 'lead.rejected' AND contact.stage = 'qualified'
UNION ALL
SELECT told.contact_id, 'lead', told.kind, told.id
FROM contacts_touchpoint told
JOIN contacts_contact contact ON contact.id = told.contact_id
WHERE told.id > %(after)s AND told.id <= %(upto)s AND told.kind IN ('order.refunded', 'order.cancelled')
    AND contact.stage = 'customer' AND NOT EXISTS (
        SELECT FROM contacts_touchpoint kept
        WHERE kept.contact_id = told.contact_id AND kept.kind = 'order.placed' AND kept.id <= %(upto)s
            AND NOT EXISTS (
                SELECT FROM contacts_touchpoint back
                WHERE back.contact_id = kept.contact_id AND back.kind IN ('order.refunded', 'order.cancelled')
                    AND back.id <= %(upto)s AND back.properties ->> 'number' = kept.properties ->> 'number'
            )
    )
UNION ALL
-- A journey said so, last.
SELECT * FROM (
    SELECT DISTINCT ON (told.contact_id) told.contact_id, told.properties ->> 'to' AS to_stage,
        'journey ' || coalesce(told.properties ->> 'journey', '') AS reason, told.id
    FROM contacts_touchpoint told
    WHERE told.id > %(after)s AND told.id <= %(upto)s AND told.kind = 'stage.requested' AND told.source = 'journey'
        AND told.properties ->> 'to' = ANY(%(order)s::text[])
    ORDER BY told.contact_id, told.id DESC
) requested

-- stage_rises --
-- Who may go up, to what and why; “ruled” holds the contacts for whom a stage rule holds. A person who was qualified
-- once is qualified again by a new crossing only, so that what sales gave back does not return by itself.
WITH ruled AS (
    {ruled}
), told AS MATERIALIZED (
    -- Few of the window's touchpoints move anybody, so what is joined below stays small.
    SELECT id, contact_id, kind, properties FROM contacts_touchpoint
    WHERE id > %(after)s AND id <= %(upto)s AND kind IN (
        'score.crossed', 'lead.rejected', 'order.placed', 'lead.converted', 'order.refunded', 'order.cancelled',
        'contact.merged', 'contact.unmerged')
), asked AS MATERIALIZED (
    SELECT contact.id, contact.stage, contact.highest_stage,
        contact.stage <> 'visitor' OR EXISTS (
            SELECT FROM contacts_identity identity
            WHERE identity.contact_id = contact.id AND identity.kind IN ('email', 'user_id')
        ) AS is_known
    FROM contacts_contact contact
    WHERE contact.id IN (
        SELECT contact_id FROM contacts_touchpoint WHERE id > %(after)s AND id <= %(upto)s
        UNION SELECT id FROM ruled)
)
SELECT id AS contact_id, 'known' AS to_stage, 'contact.identified' AS reason, NULL::bigint AS touchpoint_id
FROM asked
WHERE stage = 'visitor' AND is_known
UNION ALL
SELECT asked.id, 'qualified', 'score.crossed ' || model.key, told.id
FROM asked
JOIN told ON told.contact_id = asked.id AND told.kind = 'score.crossed' AND told.properties ->> 'direction' = 'up'
JOIN scoring_scoremodel model ON model.key = told.properties ->> 'score' AND model.qualify_at IS NOT NULL
WHERE asked.is_known AND asked.stage IN ('visitor', 'known', 'lead') AND NOT EXISTS (
    SELECT FROM told rejected
    WHERE rejected.contact_id = asked.id AND rejected.kind = 'lead.rejected' AND rejected.id > told.id
)
UNION ALL
-- Who was over the line before we knew who it is.
SELECT asked.id, 'qualified', 'score.crossed ' || model.key, NULL
FROM asked
JOIN scoring_contactscore score ON score.contact_id = asked.id AND score.is_over
JOIN scoring_scoremodel model ON model.id = score.model_id AND model.qualify_at IS NOT NULL
WHERE asked.is_known AND asked.stage IN ('visitor', 'known', 'lead')
    AND asked.highest_stage IN ('visitor', 'known', 'lead')
UNION ALL
SELECT asked.id, 'customer', told.kind, told.id
FROM asked
JOIN told ON told.contact_id = asked.id AND told.kind IN ('order.placed', 'lead.converted')
WHERE asked.stage NOT IN ('customer', 'ambassador') AND NOT EXISTS (
    SELECT FROM told back
    WHERE back.contact_id = asked.id AND back.kind IN ('order.refunded', 'order.cancelled') AND back.id > told.id
        AND back.properties ->> 'number' = told.properties ->> 'number'
)
UNION ALL
SELECT asked.id, loser.stage, told.kind, told.id
FROM asked
JOIN told ON told.contact_id = asked.id AND told.kind = 'contact.merged'
JOIN contacts_contact loser ON loser.id = (told.properties ->> 'from')::bigint AND loser.merged_into_id = asked.id
WHERE array_position(%(order)s::text[], loser.stage) > array_position(%(order)s::text[], asked.stage)
    AND NOT (loser.stage = 'churned' AND asked.stage IN ('customer', 'ambassador'))
UNION ALL
-- A stage that only a merge brought goes with it, unless it was left since.
SELECT asked.id, last.from_stage, told.kind, told.id
FROM asked
JOIN told ON told.contact_id = asked.id AND told.kind = 'contact.unmerged'
CROSS JOIN LATERAL (
    SELECT change.* FROM scoring_stagechange change WHERE change.contact_id = asked.id ORDER BY change.id DESC LIMIT 1
) last
JOIN contacts_touchpoint merged ON merged.id = last.touchpoint_id AND merged.kind = 'contact.merged'
WHERE last.to_stage = asked.stage AND merged.properties ->> 'from' = told.properties ->> 'from'
UNION ALL
SELECT asked.id, ruled.stage, 'rule', NULL
FROM asked
JOIN ruled ON ruled.id = asked.id
WHERE CASE ruled.stage
    WHEN 'known' THEN asked.stage = 'visitor'
    WHEN 'lead' THEN asked.is_known AND asked.stage IN ('visitor', 'known')
    WHEN 'qualified' THEN asked.is_known AND asked.stage IN ('visitor', 'known', 'lead')
        AND asked.highest_stage IN ('visitor', 'known', 'lead')
    WHEN 'disqualified' THEN asked.stage IN ('visitor', 'known', 'lead', 'qualified')
    WHEN 'customer' THEN asked.stage IN ('visitor', 'known', 'lead', 'qualified')
    WHEN 'ambassador' THEN asked.stage = 'customer'
    WHEN 'churned' THEN asked.stage IN ('customer', 'ambassador')
    ELSE false
END

-- move_stages --
-- Carries out “moves”, the highest for each contact: the contact, the ledger of stages and one touchpoint. Counts moves.
-- Who moves is found once: read again for each contact, which is what the planner does on a database that was never
-- analysed, it would take hours for a first import.
WITH moves AS MATERIALIZED (
    {moves}
), best AS (
    SELECT DISTINCT ON (contact.id) contact.id AS contact_id, contact.stage AS from_stage, moves.to_stage, moves.reason,
        moves.touchpoint_id
    FROM moves
    JOIN contacts_contact contact ON contact.id = moves.contact_id
        AND contact.merged_into_id IS NULL AND contact.erased_at IS NULL
    WHERE contact.stage <> moves.to_stage
    ORDER BY contact.id, array_position(%(order)s::text[], moves.to_stage) DESC, moves.touchpoint_id DESC NULLS LAST
), moved AS (
    UPDATE contacts_contact contact
    SET stage = best.to_stage, stage_changed_at = %(now)s, updated_at = %(now)s,
        highest_stage = CASE
            WHEN array_position(%(ladder)s::text[], best.to_stage)
                > coalesce(array_position(%(ladder)s::text[], contact.highest_stage), 0) THEN best.to_stage
            ELSE contact.highest_stage
        END
    FROM best
    WHERE contact.id = best.contact_id
), written AS (
    INSERT INTO scoring_stagechange (contact_id, from_stage, to_stage, reason, touchpoint_id, changed_at)
    SELECT contact_id, from_stage, to_stage, trim(reason), touchpoint_id, %(now)s FROM best
)
INSERT INTO contacts_touchpoint (contact_id, kind, channel, occurred_at, received_at, source, properties)
SELECT contact_id, 'stage.changed', '', %(now)s, %(now)s, 'journey',
    jsonb_build_object('from', from_stage, 'to', to_stage, 'reason', trim(reason))
FROM best
ORDER BY contact_id
