-- Rows that name others which are not there: what they are, how many, and one of them.
SELECT 'executions whose jobs are recorded and they are not' AS what, count(*) AS many, min(execution_id) AS one
FROM (SELECT DISTINCT execution_id FROM raw.jobs WHERE execution_id NOT IN (SELECT execution_id FROM raw.executions))
UNION ALL
SELECT 'executions that are done without a job', count(*), min(execution_id)
FROM (SELECT DISTINCT execution_id FROM raw.executions WHERE status = 'done')
WHERE execution_id NOT IN (SELECT execution_id FROM raw.jobs)
UNION ALL
SELECT 'jobs of ended executions whose jobs below are recorded and they are not', count(*), min(lower(hex(parent_job_id)))
FROM (SELECT DISTINCT parent_job_id FROM raw.jobs
      WHERE parent_job_id IS NOT NULL AND execution_id IN (SELECT execution_id FROM raw.executions
                                                           WHERE status <> 'running'))
WHERE parent_job_id NOT IN (SELECT job_id FROM raw.jobs)
UNION ALL
SELECT 'runs whose waits are recorded and they are not', count(*), min(run_id)
FROM (SELECT DISTINCT run_id FROM raw.wait_changes WHERE run_id NOT IN (SELECT run_id FROM raw.run_changes))
UNION ALL
SELECT 'events whose deliveries are recorded and they are not', count(*), min(event_id)
FROM (SELECT DISTINCT event_id FROM raw.delivery_changes WHERE event_id NOT IN (SELECT event_id FROM raw.events))
UNION ALL
SELECT 'schedules whose firings are recorded and they are not', count(*), min(schedule)
FROM (SELECT DISTINCT schedule FROM raw.firing_changes WHERE schedule NOT IN (SELECT schedule FROM raw.schedule_changes))
UNION ALL
SELECT 'calls that another call has made', count(*), min(lower(hex(child_call_hash)))
FROM (SELECT DISTINCT child_call_hash FROM raw.call_children)
WHERE child_call_hash NOT IN (SELECT call_hash FROM raw.calls)
UNION ALL
-- What a later life of an execution records stands in place of the same jobs' rows, so there are never fewer.
SELECT 'jobs that an ended execution says it has recorded', coalesce(sum(said - there), 0)::BIGINT, min(execution_id)
FROM (SELECT execution_id, said, coalesce(held, 0) AS there
      FROM (SELECT execution_id, max(recorded_jobs) AS said FROM raw.executions GROUP BY execution_id)
      LEFT JOIN (SELECT execution_id, count(DISTINCT job_id) AS held FROM raw.jobs GROUP BY execution_id)
      USING (execution_id))
WHERE said > there
