-- All rows of the queues.
SELECT * FROM raw.queue_changes ORDER BY number, queue
