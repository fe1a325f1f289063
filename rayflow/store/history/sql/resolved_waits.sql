-- The rows that resolved waits of some runs, the first one of each wait first.
SELECT * FROM raw.wait_changes
WHERE state = 'resolved' AND run_id IN (SELECT unnest($ids)) ORDER BY run_id, place, number
