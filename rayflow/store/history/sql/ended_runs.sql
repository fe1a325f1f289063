-- The runs that have ended, in the order in which they were requested.
SELECT arg_min(id, number), run_id, arg_min(input_hash, number), arg_max(state, number) AS state,
       arg_min(parent_run_id, number), arg_max(cause, number), arg_max(next_run_id, number)
FROM raw.run_changes GROUP BY run_id
HAVING arg_max(state, number) IN ('done', 'failed', 'cancelled')
ORDER BY min(number)
