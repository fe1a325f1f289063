-- Earlier jobs of a task that left a call, the best to compare with first: the same arguments, then the same place among
-- the calls of the same parent task, then the latest.
WITH latest AS (
    SELECT * FROM raw.jobs WHERE task_name = $task_name
    QUALIFY row_number() OVER (PARTITION BY job_id ORDER BY finished_at DESC NULLS LAST) = 1
), placed AS (
    SELECT latest.*, row_number() OVER (PARTITION BY execution_id, parent_job_id ORDER BY queued_at, job_id) AS place,
    FROM latest
), wanted AS (
    SELECT placed.*, parents.task_name AS parent_task_name
    FROM placed LEFT JOIN raw.jobs AS parents ON parents.job_id = placed.parent_job_id
    WHERE placed.job_id = $job_id LIMIT 1
)
SELECT placed.* EXCLUDE (place), calls.args_hash,
       coalesce(calls.args_hash = $args_hash, false) AS same_arguments,
       (placed.place = wanted.place AND parents.task_name IS NOT DISTINCT FROM wanted.parent_task_name) AS same_place
FROM placed
JOIN wanted ON placed.queued_at < wanted.queued_at AND placed.job_id <> wanted.job_id
JOIN raw.calls ON calls.call_hash = placed.call_hash
LEFT JOIN raw.jobs AS parents ON parents.job_id = placed.parent_job_id
WHERE placed.execution_id <> wanted.execution_id OR coalesce(calls.args_hash = $args_hash, false)
ORDER BY same_arguments DESC, same_place DESC, placed.queued_at DESC
LIMIT 1
