-- The job at the same place among the calls of one task that a job of the same parent task made, in the latest earlier
-- execution that has one: at the same place among those with the same label, else among all.
WITH place AS (
    SELECT count(DISTINCT job_id) AS before,
           count(DISTINCT job_id) FILTER (label IS NOT DISTINCT FROM $label) AS before_alike FROM raw.jobs
    WHERE parent_job_id = $parent AND task_name = $task
      AND ordinal < (SELECT any_value(ordinal) FROM raw.jobs WHERE job_id = $job)
), parents AS (
    SELECT DISTINCT job_id FROM raw.jobs
    WHERE execution_id <> $execution AND queued_at < $queued
      AND task_name = (SELECT any_value(task_name) FROM raw.jobs WHERE job_id = $parent)
), siblings AS (
    SELECT job_id, parent_job_id, call_hash, eval_hash, attempts, queued_at, ordinal,
           label IS NOT DISTINCT FROM $label AS alike FROM raw.jobs
    WHERE task_name = $task AND queued_at < $queued AND execution_id <> $execution
      AND parent_job_id IN (SELECT job_id FROM parents)
), placed AS (
    SELECT *, row_number() OVER (PARTITION BY parent_job_id ORDER BY ordinal) - 1 AS before,
           alike AND row_number() OVER (PARTITION BY parent_job_id, alike ORDER BY ordinal) - 1
                     = (SELECT before_alike FROM place) AS is_named_so
    FROM (SELECT job_id, parent_job_id, max(call_hash) AS call_hash,
                 max(eval_hash) FILTER (attempts > 0) AS ran, min(queued_at) AS queued_at, min(ordinal) AS ordinal, alike
          FROM siblings GROUP BY job_id, parent_job_id, alike)
), chosen AS (
    SELECT job_id FROM placed
    WHERE (is_named_so OR before = (SELECT before FROM place)) AND (call_hash IS NOT NULL OR ran IS NOT NULL)
    ORDER BY is_named_so DESC, queued_at DESC LIMIT 1
)
SELECT * FROM raw.jobs WHERE job_id IN (SELECT job_id FROM chosen) QUALIFY raw.is_valid_job(job_id, finished_at)
