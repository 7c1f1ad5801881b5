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
-- A journey said so, or somebody by hand; the last word of the two holds.
SELECT * FROM (
    SELECT DISTINCT ON (told.contact_id) told.contact_id, told.properties ->> 'to' AS to_stage,
        CASE WHEN told.source = 'journey' THEN 'journey ' || coalesce(told.properties ->> 'journey', '')
            ELSE 'hand ' || coalesce(told.properties ->> 'reason', '') END AS reason, told.id
    FROM contacts_touchpoint told
    WHERE told.id > %(after)s AND told.id <= %(upto)s AND told.kind = 'stage.requested'
        AND (told.source = 'journey' OR told.properties ->> 'hand' = 'true')
        AND told.properties ->> 'to' = ANY(%(order)s::text[])
    ORDER BY told.contact_id, told.id DESC
) requested

-- stage_rises --
-- Who may go up, to what and why; “ruled” holds the contacts for whom a stage rule holds, “barred” those whom no score
-- qualifies. A person who was qualified once is qualified again by a new crossing only, so that what sales gave back does
-- not return by itself.
WITH ruled AS (
    {ruled}
), barred AS (
    {barred}
), told AS MATERIALIZED (
    -- Few of the window's touchpoints move anybody, so what is joined below stays small.
    SELECT id, contact_id, kind, properties FROM contacts_touchpoint
    WHERE id > %(after)s AND id <= %(upto)s AND kind IN (
        'score.crossed', 'lead.rejected', 'order.placed', 'lead.converted', 'order.refunded', 'order.cancelled',
        'contact.merged', 'contact.unmerged', 'stage.requested')
), asked AS MATERIALIZED (
    SELECT contact.id, contact.stage, contact.highest_stage, contact.stage_changed_at,
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
    SELECT FROM told later
    WHERE later.contact_id = asked.id AND later.kind IN ('lead.rejected', 'stage.requested') AND later.id > told.id
) AND NOT EXISTS (SELECT FROM barred WHERE barred.id = asked.id)
UNION ALL
-- Who was over the line before we knew who it is.
SELECT asked.id, 'qualified', 'score.crossed ' || model.key, NULL
FROM asked
JOIN scoring_contactscore score ON score.contact_id = asked.id AND score.is_over
JOIN scoring_scoremodel model ON model.id = score.model_id AND model.qualify_at IS NOT NULL
WHERE asked.is_known AND asked.stage IN ('visitor', 'known', 'lead')
    AND asked.highest_stage IN ('visitor', 'known', 'lead')
    AND NOT EXISTS (SELECT FROM barred WHERE barred.id = asked.id)
    AND NOT EXISTS (
        SELECT FROM scoring_stagechange hand
        WHERE hand.contact_id = asked.id AND hand.is_by_hand AND hand.changed_at = asked.stage_changed_at
            AND hand.to_stage = asked.stage
    )
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
    SELECT change.* FROM scoring_stagechange change
    WHERE change.contact_id = asked.id AND change.merged_from_id IS NULL ORDER BY change.id DESC LIMIT 1
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
END AND NOT EXISTS (
    -- What a hand decided stands until something happens.
    SELECT FROM scoring_stagechange hand
    WHERE hand.contact_id = asked.id AND hand.is_by_hand AND hand.changed_at = asked.stage_changed_at
        AND hand.to_stage = asked.stage
)

-- stage_leavers --
-- Who goes down by a leaving rule: of those in its stage for whom it holds, whom nothing else moved in this tick, and
-- whom no hand has put there.
WITH leaving AS (
    {leaving}
)
SELECT contact.id AS contact_id, leaving.to_stage, leaving.why AS reason, NULL::bigint AS touchpoint_id
FROM leaving
JOIN contacts_contact contact ON contact.id = leaving.id AND contact.stage = leaving.of_stage
WHERE (contact.stage_changed_at IS NULL OR contact.stage_changed_at < %(now)s) AND NOT EXISTS (
    SELECT FROM scoring_stagechange hand
    WHERE hand.contact_id = contact.id AND hand.is_by_hand AND hand.changed_at = contact.stage_changed_at
        AND hand.to_stage = contact.stage
)

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
    -- A hand knows better; then the highest.
    ORDER BY contact.id, starts_with(moves.reason, 'hand ') DESC,
        array_position(%(order)s::text[], moves.to_stage) DESC, moves.touchpoint_id DESC NULLS LAST, moves.reason
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
    INSERT INTO scoring_stagechange (contact_id, from_stage, to_stage, reason, touchpoint_id, changed_at, is_by_hand)
    SELECT contact_id, from_stage, to_stage, trim(reason), touchpoint_id, %(now)s, starts_with(reason, 'hand ') FROM best
)
INSERT INTO contacts_touchpoint (contact_id, kind, channel, occurred_at, received_at, source, properties)
SELECT contact_id, 'stage.changed', '', %(now)s, %(now)s, 'journey',
    jsonb_build_object('from', from_stage, 'to', to_stage, 'reason', trim(reason))
FROM best
ORDER BY contact_id

-- tell_overdue --
-- Tells of each stay that takes longer than its stage may, once: the row of the move that began it says so. A stay that
-- only a merge began goes on where that of the other stood. Counts the stays.
WITH clock AS (
    SELECT * FROM unnest(%(stages)s::text[], %(spans)s::interval[]) AS clock (stage, span)
), late AS (
    SELECT contact.id, began.id AS change_id, contact.stage, began.changed_at, began.changed_at + clock.span AS due_at
    FROM clock
    JOIN contacts_contact contact ON contact.stage = clock.stage AND contact.stage_changed_at <= %(now)s - clock.span
        AND contact.merged_into_id IS NULL AND contact.erased_at IS NULL
    CROSS JOIN LATERAL (
        SELECT change.id, change.changed_at, change.to_stage, change.reason, change.overdue_at
        FROM scoring_stagechange change
        WHERE change.contact_id = contact.id AND change.merged_from_id IS NULL
        ORDER BY change.changed_at DESC, change.id DESC LIMIT 1
    ) began
    WHERE began.to_stage = contact.stage AND began.overdue_at IS NULL AND NOT (
        began.reason = 'contact.merged' AND EXISTS (
            SELECT FROM scoring_stagechange other
            WHERE other.contact_id = contact.id AND other.merged_from_id IS NOT NULL AND other.to_stage = began.to_stage
                AND other.overdue_at IS NOT NULL AND NOT EXISTS (
                    SELECT FROM scoring_stagechange later
                    WHERE later.contact_id = other.contact_id AND later.merged_from_id = other.merged_from_id
                        AND later.id > other.id
                )
        )
    )
), noted AS (
    UPDATE scoring_stagechange change SET overdue_at = %(now)s
    FROM late WHERE change.id = late.change_id AND change.overdue_at IS NULL
    RETURNING change.id
)
INSERT INTO contacts_touchpoint (contact_id, kind, channel, occurred_at, received_at, source, properties)
SELECT late.id, 'stage.overdue', '', %(now)s, %(now)s, 'journey',
    jsonb_build_object('stage', late.stage, 'since', late.changed_at, 'due_at', late.due_at)
FROM late JOIN noted ON noted.id = late.change_id
ORDER BY late.id
