-- The latest job of a task in an earlier execution that ran, or was answered; one with the same label before others.
WITH chosen AS (
    SELECT job_id FROM raw.jobs
    WHERE task_name = $task AND queued_at < $queued AND execution_id <> $execution
      AND (call_hash IS NOT NULL OR (eval_hash IS NOT NULL AND attempts > 0))
    ORDER BY label IS NOT DISTINCT FROM $label DESC, queued_at DESC LIMIT 1
)
SELECT * FROM raw.jobs WHERE job_id IN (SELECT job_id FROM chosen) QUALIFY raw.is_valid_job(job_id, finished_at)
