-- The complaint brake over all marketing.

-- count_complaints --
-- Of the last so many marketing mails that were delivered since the brake was let go: how many, and how many of them were
-- complained of. Complaints are few, so they are asked first; the list of messages is read backwards only after that.
WITH armed AS (
    SELECT greatest(coalesce((SELECT max(released_at) FROM messaging_brake), '-infinity'),
                    %(now)s - interval '90 days') AS armed_at
), complained AS MATERIALIZED (
    SELECT count(*) AS number
    FROM messaging_feedback f JOIN messaging_message m ON m.id = f.message_id, armed
    WHERE f.complained_at > armed.armed_at AND m.message_class = 'marketing' AND m.channel = 'email'
      AND m.sent_at > armed.armed_at
)
SELECT count(*), count(f.complained_at)
FROM complained CROSS JOIN armed CROSS JOIN LATERAL (
    SELECT m.id FROM messaging_message m
    WHERE m.state = 'sent' AND m.message_class = 'marketing' AND m.channel = 'email' AND m.sent_at > armed.armed_at
      AND m.sent_at <= %(now)s
      AND NOT m.is_ghost AND complained.number >= %(least)s
    ORDER BY m.id DESC LIMIT %(last)s
) latest LEFT JOIN messaging_feedback f ON f.message_id = latest.id;

-- complained_in --
-- Whether a window of the stream tells of a complaint.
SELECT EXISTS (
    SELECT FROM contacts_touchpoint WHERE id > %(after)s AND id <= %(upto)s AND kind = 'email.complained');

-- ask_marketing_again --
-- Marketing that had passed the gates and was not claimed yet goes back before them, where the brake holds it.
UPDATE messaging_message SET state = 'pending' WHERE state = 'ready' AND message_class = 'marketing';
