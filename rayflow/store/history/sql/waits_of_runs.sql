-- All rows of the waits of some runs.
SELECT * FROM raw.wait_changes WHERE run_id IN (SELECT unnest($ids)) ORDER BY number, run_id, place
