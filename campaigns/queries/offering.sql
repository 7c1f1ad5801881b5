-- The offer slot. `{due}`, `{arrive}`: see moving.sql; `{judged}`: growth says which offers each person may be shown.

-- slots_due --
-- The slots at which somebody is due.
SELECT DISTINCT n.config->>'slot' FROM campaigns_node n WHERE n.id = ANY(%(nodes)s::bigint[]);

-- move_offer --
-- A slot shows each person the first offer that may be shown, or its default; the reasons against all others are kept.
-- Whom the last coupon did not reach, and a second enrolment of the same person, stay for the next round.
WITH p AS MATERIALIZED (
    SELECT DISTINCT ON (d.contact_id) d.ctid AS token, d.enrolment_id, d.contact_id, d.node_id, d.is_ghost, d.entered_at,
           d.visit, n.key AS node_key, n.config->>'slot' AS slot, n.config->>'send' AS send,
           n.config->>'default' AS fallback, j.key AS journey_key, j.tier,
           j.kind IN ('cross_sell', 'broadcast') AS is_promotion
    FROM campaigns_due d
    JOIN campaigns_node n ON n.id = d.node_id
    JOIN campaigns_journeyversion v ON v.id = n.version_id
    JOIN campaigns_journey j ON j.id = v.journey_id
    WHERE d.ctid = ANY(ARRAY({due}))
    ORDER BY d.contact_id, d.enrolment_id
),
judged AS MATERIALIZED ({judged}),
firsts AS MATERIALIZED (
    SELECT DISTINCT ON (enrolment_id) * FROM judged WHERE reason IS NULL ORDER BY enrolment_id, priority DESC, offer_key
),
turns AS MATERIALIZED (
    SELECT f.*, row_number() OVER (PARTITION BY offer_id, is_ghost ORDER BY enrolment_id) AS turn FROM firsts f
),
decided AS MATERIALIZED (
    SELECT p.*, t.offer_id, t.offer_key, t.priority,
           'enrolment:' || p.enrolment_id || ':' || p.node_key || ':' || p.visit AS key
    FROM p LEFT JOIN turns t ON t.enrolment_id = p.enrolment_id
    WHERE t.turn IS NULL OR t.stock IS NULL OR t.is_ghost OR t.turn <= t.stock
),
reasons AS MATERIALIZED (
    SELECT enrolment_id, jsonb_object_agg(offer_key, reason) AS reasons
    FROM judged WHERE reason IS NOT NULL GROUP BY enrolment_id
),
prices AS MATERIALIZED (
    SELECT o.id AS offer_id, coalesce(nullif(o.name, ''), o.key) AS name, priced.*
    FROM growth_offer o CROSS JOIN LATERAL (
        SELECT CASE WHEN count(DISTINCT g.currency) = 1 THEN sum(g.price) END AS price,
               CASE WHEN count(DISTINCT g.currency) = 1 THEN min(g.currency) ELSE '' END AS currency,
               jsonb_agg(g.key ORDER BY g.key) AS products
        FROM growth_offer_products has JOIN growth_product g ON g.id = has.product_id WHERE has.offer_id = o.id
    ) priced
    WHERE o.id IN (SELECT offer_id FROM judged)
),
presented AS (
    INSERT INTO growth_offerpresentation (key, offer_id, contact_id, slot, state, is_ghost, price, currency, created_at,
        presented_at)
    SELECT one.key, one.offer_id, one.contact_id, one.slot, CASE WHEN one.is_ghost THEN 'eligible' ELSE 'presented' END,
           one.is_ghost, x.price, x.currency, %(now)s, CASE WHEN NOT one.is_ghost THEN %(now)s END
    FROM (
        SELECT d.key, d.offer_id, d.contact_id, d.slot, d.is_ghost FROM decided d WHERE d.offer_id IS NOT NULL
        UNION ALL
        -- Whoever is held out of an offer that would have come first.
        SELECT d.key || ':' || h.offer_key, h.offer_id, d.contact_id, d.slot, true
        FROM decided d JOIN judged h ON h.enrolment_id = d.enrolment_id AND h.reason = 'holdout'
        WHERE d.offer_id IS NULL OR h.priority > d.priority OR h.priority = d.priority AND h.offer_key < d.offer_key
    ) one
    JOIN prices x ON x.offer_id = one.offer_id
    ON CONFLICT (key) DO NOTHING
),
announced AS (
    INSERT INTO contacts_touchpoint (contact_id, kind, occurred_at, received_at, source, properties)
    SELECT d.contact_id, 'offer.presented', %(now)s, %(now)s, 'journey', jsonb_build_object(
           'offer', d.offer_key, 'slot', d.slot, 'journey', d.journey_key, 'enrolment', d.enrolment_id)
    FROM decided d WHERE d.offer_id IS NOT NULL AND NOT d.is_ghost
),
intents AS (
    INSERT INTO messaging_message (key, contact_id, template_id, channel, message_class, source, journey_key,
        enrolment_id, node_key, is_ghost, is_promotion, tier, created_at, due_at, context)
    SELECT d.key, d.contact_id, t.id, t.channel, t.message_class, 'journey:' || d.journey_key, d.journey_key,
           d.enrolment_id, d.node_key, d.is_ghost AND t.message_class = 'marketing', d.is_promotion, d.tier, %(now)s, %(now)s,
           CASE WHEN d.offer_id IS NULL THEN '{}' ELSE jsonb_build_object('offer', jsonb_build_object(
                'key', d.offer_key, 'name', x.name, 'products', x.products, 'price', x.price, 'currency', x.currency)) END
    FROM decided d
    JOIN messaging_template t ON t.key = CASE WHEN d.offer_id IS NULL THEN d.fallback ELSE d.send END
    LEFT JOIN prices x ON x.offer_id = d.offer_id
    ON CONFLICT (key) DO NOTHING
),
taken AS (
    DELETE FROM campaigns_due WHERE ctid = ANY(ARRAY(SELECT token FROM decided))
    RETURNING enrolment_id
),
leaving AS MATERIALIZED (
    SELECT d.enrolment_id, d.contact_id, d.node_id, d.is_ghost, d.entered_at, d.visit,
           CASE WHEN d.offer_id IS NULL THEN 'else' ELSE 'then' END AS outcome,
           jsonb_build_object('offer', d.offer_key, 'reasons', coalesce(r.reasons, '{}')) AS inputs
    FROM decided d LEFT JOIN reasons r ON r.enrolment_id = d.enrolment_id
),
{arrive};
