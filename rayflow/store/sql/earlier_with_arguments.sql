-- The latest earlier job of a task with the same arguments.
SELECT jobs.* FROM raw.jobs
WHERE task_name = $task AND job_id <> $job AND queued_at < $queued AND execution_id <> $execution
  AND call_hash IN (SELECT call_hash FROM raw.calls WHERE args_hash = $args AND task_name = $task)
ORDER BY queued_at DESC LIMIT 1
