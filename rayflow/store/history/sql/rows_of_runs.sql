-- All rows of some runs.
SELECT * FROM raw.run_changes WHERE run_id IN (SELECT unnest($ids)) ORDER BY number, run_id
