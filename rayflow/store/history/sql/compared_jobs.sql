-- The jobs of two executions, each with whether the other execution has the same call: the same code, arguments and result,
-- and the same calls below. A job that left no call is like no other. (The rows of jobs as in shown_jobs.)
WITH repeated AS (
    SELECT execution_id, job_id FROM raw.jobs WHERE execution_id IN ($one, $other) GROUP BY ALL HAVING count(*) > 1
), latest AS (
    SELECT execution_id, job_id, parent_job_id, call_hash, task_name, label, ordinal FROM raw.jobs
    WHERE execution_id IN ($one, $other) AND job_id NOT IN (SELECT job_id FROM repeated)
    UNION ALL
    SELECT execution_id, job_id, parent_job_id, call_hash, task_name, label, ordinal FROM raw.jobs
    WHERE execution_id IN ($one, $other) AND job_id IN (SELECT job_id FROM repeated)
    QUALIFY raw.is_valid_job(job_id, finished_at)
), ones AS (
    SELECT DISTINCT call_hash FROM latest WHERE execution_id = $one AND call_hash IS NOT NULL
), others AS (
    SELECT DISTINCT call_hash FROM latest WHERE execution_id = $other AND call_hash IS NOT NULL
), same AS (
    SELECT call_hash, true AS is_same FROM ones SEMI JOIN others USING (call_hash)
)
SELECT execution_id, job_id, parent_job_id, latest.call_hash, coalesce(label, task_name) AS name, ordinal,
       coalesce(is_same, false) AS is_same
FROM latest LEFT JOIN same USING (call_hash)
