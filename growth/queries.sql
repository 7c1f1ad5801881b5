-- Offers: who may be shown which.

-- judge_offers --
-- Each offer of a slot for each person of `p` (enrolment_id, contact_id, is_ghost, slot): the first reason against it,
-- NULL where it may be shown. `{means}` and `{excludes}` ask the rules of the offer `o` of a person of `p`.
WITH offers AS MATERIALIZED (
    SELECT o.*, wanted.slot, o.coupons - (
        SELECT count(*) FROM growth_offerpresentation s WHERE s.offer_id = o.id AND s.state <> 'eligible') AS stock
    FROM (SELECT DISTINCT slot FROM p) wanted
    JOIN growth_offer o ON wanted.slot IN (o.key, nullif(o."group", ''))
)
SELECT p.enrolment_id, p.is_ghost, o.id AS offer_id, o.key AS offer_key, o.priority, o.stock, CASE
    WHEN NOT o.is_active THEN 'inactive'
    WHEN o.valid_from > %(now)s THEN 'not_yet'
    WHEN o.valid_until <= %(now)s THEN 'over'
    WHEN o.id = ANY(%(unreadable)s::bigint[]) THEN 'unreadable'
    WHEN EXISTS (
        SELECT FROM growth_orderline l
        JOIN growth_order bought ON bought.id = l.order_id AND bought.state IN ('placed', 'paid')
        JOIN growth_offer_products has ON has.product_id = l.product_id
        WHERE bought.contact_id = p.contact_id AND has.offer_id = o.id OFFSET 0) THEN 'owned'
    WHEN NOT {means} THEN 'not_in_audience'
    WHEN {excludes} THEN 'excluded'
    WHEN EXISTS (
        SELECT FROM growth_offerpresentation s JOIN growth_offer shown ON shown.id = s.offer_id
        WHERE s.contact_id = p.contact_id AND s.created_at > %(now)s - coalesce(o.cooldown, %(cooldown)s)
          AND (shown.id = o.id OR shown."group" = nullif(o."group", '')) OFFSET 0) THEN 'cooldown'
    WHEN (SELECT count(*) FROM growth_offerpresentation s WHERE s.contact_id = p.contact_id AND s.offer_id = o.id)
         >= %(most)s THEN 'shown_enough'
    WHEN o.stock <= 0 THEN 'no_coupons'
    WHEN EXISTS (
        SELECT FROM messaging_protection r WHERE r.contact_id = p.contact_id AND r.until > %(now)s OFFSET 0)
        THEN 'onboarding_protection'
    WHEN o.holdout > 0 AND bucket_of('offer:' || o.key, p.contact_id) < o.holdout THEN 'holdout'
    END AS reason
FROM p JOIN offers o ON o.slot = p.slot
