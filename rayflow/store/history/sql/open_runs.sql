-- All rows of the runs that have not ended. (A run that has failed goes on when it is retried.)
SELECT * FROM raw.run_changes
WHERE run_id NOT IN (
    SELECT run_id FROM raw.run_changes GROUP BY run_id
    HAVING arg_max(state, number) IN ('done', 'failed', 'cancelled'))
ORDER BY number, run_id
