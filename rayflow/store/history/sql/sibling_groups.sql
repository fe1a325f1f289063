-- Sums over all children of one job with one task and label, where they are more than are shown. (The rows of jobs as in
-- shown_jobs.)
WITH repeated AS (
    SELECT job_id FROM raw.jobs WHERE execution_id = $execution GROUP BY job_id HAVING count(*) > 1
), latest AS (
    SELECT * FROM raw.jobs WHERE execution_id = $execution AND job_id NOT IN (FROM repeated)
    UNION ALL
    SELECT * FROM raw.jobs WHERE execution_id = $execution AND job_id IN (FROM repeated)
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
