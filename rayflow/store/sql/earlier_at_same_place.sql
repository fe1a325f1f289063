-- The job at the same place among the calls of one task that a job of the same parent task made, in the latest earlier
-- execution that has one.
WITH place AS (
    SELECT count(DISTINCT job_id) AS before FROM raw.jobs
    WHERE parent_job_id = $parent AND task_name = $task
      AND ordinal < (SELECT any_value(ordinal) FROM raw.jobs WHERE job_id = $job)
), parents AS (
    SELECT DISTINCT job_id FROM raw.jobs
    WHERE execution_id <> $execution AND queued_at < $queued
      AND task_name = (SELECT any_value(task_name) FROM raw.jobs WHERE job_id = $parent)
), siblings AS (
    SELECT job_id, parent_job_id, call_hash, queued_at, ordinal FROM raw.jobs
    WHERE task_name = $task AND queued_at < $queued AND execution_id <> $execution
      AND parent_job_id IN (SELECT job_id FROM parents)
), placed AS (
    SELECT *, row_number() OVER (PARTITION BY parent_job_id ORDER BY ordinal) - 1 AS before
    FROM (SELECT job_id, parent_job_id, max(call_hash) AS call_hash, min(queued_at) AS queued_at,
                 min(ordinal) AS ordinal
          FROM siblings GROUP BY job_id, parent_job_id)
), chosen AS (
    SELECT job_id FROM placed
    WHERE before = (SELECT before FROM place) AND call_hash IS NOT NULL
    ORDER BY queued_at DESC LIMIT 1
)
SELECT jobs.* FROM raw.jobs WHERE job_id IN (SELECT job_id FROM chosen) AND call_hash IS NOT NULL LIMIT 1
