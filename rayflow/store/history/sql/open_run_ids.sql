-- The runs that have not ended.
SELECT run_id FROM raw.run_changes GROUP BY run_id
HAVING arg_max(state, number) NOT IN ('done', 'failed', 'cancelled')
