-- The latest earlier job of a task with the same arguments that ran, or was answered.
WITH chosen AS (
    SELECT job_id FROM raw.jobs
    WHERE task_name = $task AND job_id <> $job AND queued_at < $queued AND execution_id <> $execution
      AND (call_hash IN (SELECT call_hash FROM raw.calls WHERE args_hash = $args AND task_name = $task)
           OR (attempts > 0 AND (args_hash = $args OR eval_hash = $eval)))
    ORDER BY queued_at DESC LIMIT 1
)
SELECT * FROM raw.jobs WHERE job_id IN (SELECT job_id FROM chosen) QUALIFY raw.is_valid_job(job_id, finished_at)
