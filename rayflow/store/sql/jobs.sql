-- Jobs that fit, the latest first. Few columns are sorted; the rest is fetched for those that are shown.
WITH fitting AS MATERIALIZED (
    SELECT job_id, queued_at FROM (
        SELECT job_id, queued_at, status, how FROM raw.jobs
        WHERE ($execution IS NULL OR execution_id = $execution)
          AND ($task IS NULL OR task_name = $task OR ends_with(task_name, '.' || $task))
          AND ($value IS NULL OR call_hash IN (SELECT call_hash FROM raw.calls WHERE value_hash = $value))
          AND ($since IS NULL OR queued_at >= $since) AND ($until IS NULL OR queued_at < $until)
        QUALIFY row_number() OVER (PARTITION BY job_id ORDER BY finished_at DESC NULLS LAST) = 1
    )
    WHERE ($status IS NULL OR status = $status) AND ($how IS NULL OR how = $how)
    ORDER BY queued_at DESC, job_id {limit}
)
SELECT jobs.* FROM raw.jobs WHERE job_id IN (SELECT job_id FROM fitting)
QUALIFY row_number() OVER (PARTITION BY job_id ORDER BY finished_at DESC NULLS LAST) = 1
ORDER BY queued_at DESC, job_id
