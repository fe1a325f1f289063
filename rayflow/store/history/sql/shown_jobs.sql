-- The jobs of an execution that are shown, if the job is that called them: of the children of one job with one task
-- and label, the first few (failed and open ones before others).
-- Few jobs have several rows. Only among those is the valid one looked for: a window over a million jobs takes a second.
WITH repeated AS (
    SELECT job_id FROM raw.jobs WHERE execution_id = $execution GROUP BY job_id HAVING count(*) > 1
), latest AS (
    SELECT job_id, parent_job_id, task_name, label, status, queued_at, ordinal FROM raw.jobs
    WHERE execution_id = $execution AND job_id NOT IN (FROM repeated)
    UNION ALL
    SELECT job_id, parent_job_id, task_name, label, status, queued_at, ordinal FROM raw.jobs
    WHERE execution_id = $execution AND job_id IN (FROM repeated)
    QUALIFY raw.is_valid_job(job_id, finished_at)
), shown AS (
    SELECT parent_job_id, unnest(
        arg_min((job_id, queued_at, ordinal), (status NOT IN ('failed', 'open'), queued_at, ordinal, job_id), $siblings)
    ) AS job
    FROM latest GROUP BY parent_job_id, task_name, label
)
SELECT job[1] AS job_id, parent_job_id FROM shown ORDER BY job[2], job[3], job[1]
