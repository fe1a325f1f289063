-- The jobs of an execution that are shown, if the job is that called them: of the children of one job with one task
-- and label, the first few (failed and open ones before others).
WITH latest AS (
    SELECT job_id, parent_job_id, task_name, label, status, queued_at, ordinal FROM raw.jobs WHERE execution_id = $execution
    QUALIFY raw.is_valid_job(job_id, finished_at)
), shown AS (
    SELECT * FROM latest
    QUALIFY row_number() OVER (
        PARTITION BY parent_job_id, task_name, label
        ORDER BY status NOT IN ('failed', 'open'), queued_at, ordinal, job_id
    ) <= $siblings
)
SELECT job_id, parent_job_id FROM shown ORDER BY queued_at, ordinal, job_id
