-- The events that were accepted since a time, or are due since then.
SELECT * FROM raw.events WHERE greatest("at", due_at) >= make_timestamp($since) ORDER BY number, event_id
