-- ask_held_again --
-- What waited for the end of a hold is asked again by all gates.
UPDATE messaging_message SET due_at = %(now)s
WHERE contact_id = %(contact)s AND state = 'pending' AND waits_for = 'held_by_sales' AND due_at > %(now)s
