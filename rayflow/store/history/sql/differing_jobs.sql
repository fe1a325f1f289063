-- The first jobs of an execution that the other one has not, in the order in which they were met.
WITH chosen AS (
    SELECT job_id, parent_job_id FROM temp.compared_jobs WHERE execution_id = $execution AND NOT is_same
    ORDER BY ordinal NULLS LAST, job_id LIMIT $most
), rows AS (
    SELECT jobs.* FROM raw.jobs SEMI JOIN chosen USING (job_id) WHERE execution_id = $execution
    QUALIFY raw.is_valid_job(job_id, finished_at)
), made AS (
    SELECT DISTINCT ON (call_hash) call_hash, args_hash, value_hash FROM raw.calls
    WHERE call_hash IN (SELECT call_hash FROM rows)
), parents AS (
    SELECT job_id, call_hash FROM temp.compared_jobs WHERE job_id IN (SELECT parent_job_id FROM chosen)
)
SELECT rows.job_id, rows.parent_job_id, parents.call_hash AS parent_call_hash, coalesce(label, task_name) AS name, task_hash,
       rows.call_hash, coalesce(made.args_hash, rows.args_hash) AS args_hash, value_hash, status, how, requested, environment
FROM rows LEFT JOIN made ON made.call_hash = rows.call_hash LEFT JOIN parents ON parents.job_id = rows.parent_job_id
ORDER BY ordinal NULLS LAST, rows.job_id
