-- The jobs that are recorded as open, of the runs that have not ended, by run.
SELECT execution_id, list(DISTINCT job_id) FROM raw.jobs
WHERE status = 'open'
  AND execution_id IN (
    SELECT run_id FROM raw.run_changes GROUP BY run_id
    HAVING arg_max(state, number) NOT IN ('done', 'failed', 'cancelled'))
  AND job_id NOT IN (SELECT job_id FROM raw.jobs WHERE status <> 'open')
GROUP BY execution_id
