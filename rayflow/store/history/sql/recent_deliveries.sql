-- All rows of the deliveries of the events that were accepted since a time, or are due since then.
SELECT * FROM raw.delivery_changes
WHERE event_id IN (SELECT event_id FROM raw.events WHERE greatest("at", due_at) >= make_timestamp($since))
ORDER BY number, event_id, target
