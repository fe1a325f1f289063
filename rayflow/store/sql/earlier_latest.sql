-- The latest job of a task in an earlier execution.
WITH chosen AS (
    SELECT job_id FROM raw.jobs
    WHERE task_name = $task AND queued_at < $queued AND execution_id <> $execution AND call_hash IS NOT NULL
    ORDER BY queued_at DESC LIMIT 1
)
SELECT jobs.* FROM raw.jobs WHERE job_id IN (SELECT job_id FROM chosen) AND call_hash IS NOT NULL LIMIT 1
