-- The opening rows of the waits that are open, of runs that have not ended.
SELECT * FROM raw.wait_changes
WHERE state = 'open'
  AND (run_id, place) NOT IN (SELECT (run_id, place) FROM raw.wait_changes WHERE state <> 'open')
  AND run_id NOT IN (
    SELECT run_id FROM raw.run_changes GROUP BY run_id
    HAVING arg_max(state, number) IN ('done', 'failed', 'cancelled'))
ORDER BY number, run_id, place
