-- Sums over all children of one job with one task and label, where they are more than are shown.
WITH latest AS (
    SELECT * FROM raw.jobs WHERE execution_id = $execution
    QUALIFY raw.is_valid_job(job_id, finished_at)
)
SELECT parent_job_id, task_name, label, count(*) AS jobs, count_if(how = 'computed' AND status = 'done') AS computed,
       count_if(how = 'cached') AS cached, count_if(how = 'shared') AS shared, count_if(status = 'failed') AS failed,
       count_if(status = 'not_run') AS not_run, count_if(status = 'open') AS open, count_if(status = 'cancelled') AS cancelled,
       sum(wall_seconds::DOUBLE) AS wall_seconds,
       min(queued_at) AS queued_at, max(finished_at) AS finished_at
FROM latest
GROUP BY parent_job_id, task_name, label
HAVING count(*) > $siblings
