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

-- take_sold_leads --
-- Makes an order of each lead that sales won with one in the window; a number that the shop has told already stays as
-- the shop told it. Tells of those that it made.
WITH sold AS (
    SELECT DISTINCT ON (number) told.id, told.contact_id, told.occurred_at, told.source,
        told.properties -> 'lead' AS lead, told.properties -> 'order' ->> 'number' AS number,
        (told.properties -> 'order' ->> 'total')::numeric AS total, told.properties -> 'order' ->> 'currency' AS currency
    FROM contacts_touchpoint told
    JOIN contacts_contact contact ON contact.id = told.contact_id
        AND contact.merged_into_id IS NULL AND contact.erased_at IS NULL
    WHERE told.id > %(after)s AND told.id <= %(upto)s AND told.kind = 'lead.converted'
        AND jsonb_typeof(told.properties -> 'order') = 'object'
    ORDER BY number, told.id
), made AS (
    INSERT INTO growth_order (number, contact_id, state, total, currency, placed_at, created_at)
    SELECT number, contact_id, 'placed', total, currency, occurred_at, %(now)s FROM sold ORDER BY number
    ON CONFLICT (number) DO NOTHING
    RETURNING number
)
INSERT INTO contacts_touchpoint (contact_id, kind, channel, occurred_at, received_at, source, properties)
SELECT sold.contact_id, 'order.placed', 'purchase', sold.occurred_at, %(now)s, sold.source, jsonb_build_object(
    'number', sold.number, 'total', sold.total, 'currency', sold.currency, 'products', '[]'::jsonb, 'lead', sold.lead)
FROM sold JOIN made USING (number)
ORDER BY sold.id
