-- The attempts of an execution's jobs that did not end well, where it is known when and where they ran.
SELECT DISTINCT lower(hex(job_id)) AS job_id, coalesce(jobs.label, jobs.task_name) AS name, attempts.attempt, attempts.ended,
       attempts.error, attempts.node, attempts.pid, epoch_us(attempts.started_at) AS started_at, epoch_us(attempts.at) AS ended_at
FROM raw.attempts AS attempts
JOIN (SELECT DISTINCT job_id, task_name, label, attempts FROM raw.jobs WHERE execution_id = $execution AND status <> 'open') AS jobs
     USING (job_id)
WHERE attempts.started_at IS NOT NULL AND attempts.attempt < jobs.attempts
ORDER BY node, pid, started_at, ended_at DESC
