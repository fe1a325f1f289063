-- What a timeline shows of the jobs of an execution: times in microseconds since the epoch, those that ran on one worker
-- together, in the order in which they began.
SELECT lower(hex(job_id)) AS job_id, coalesce(label, task_name) AS name, how, status, attempts, node, pid,
       epoch_us(queued_at) AS queued_at, epoch_us(ready_at) AS ready_at, epoch_us(sent_at) AS sent_at,
       epoch_us(started_at) AS started_at, epoch_us(finished_at) AS finished_at, wall_seconds::DOUBLE AS wall_seconds,
       stage_in_seconds::DOUBLE AS stage_in_seconds, stage_out_seconds::DOUBLE AS stage_out_seconds,
       cpu_seconds::DOUBLE AS cpu_seconds, peak_memory_bytes, waited_on, requested
FROM raw.jobs WHERE execution_id = $execution
QUALIFY raw.is_valid_job(job_id, finished_at)
ORDER BY node, pid, started_at, wall_seconds DESC
