-- The jobs of an execution, as much of each as a drawing needs.
SELECT job_id, parent_job_id, task_name, call_hash, status, how, wall_seconds::DOUBLE AS wall_seconds,
       epoch(queued_at) AS queued, epoch(finished_at) AS finished, call, label
FROM raw.jobs WHERE execution_id = $execution
QUALIFY raw.is_valid_job(job_id, finished_at)
ORDER BY queued_at, ordinal, job_id
