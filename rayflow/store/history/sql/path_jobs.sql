-- What the critical path needs to know of the jobs of an execution: times in microseconds since the epoch, by the parent and
-- the order of their ends. A job that has not ended counts as if it ended at the moment up to which the path is asked for.
-- (The rows of jobs as in shown_jobs.)
WITH repeated AS (
    SELECT job_id FROM raw.jobs WHERE execution_id = $execution GROUP BY job_id HAVING count(*) > 1
), latest AS (
    SELECT * FROM raw.jobs WHERE execution_id = $execution AND job_id NOT IN (FROM repeated)
    UNION ALL
    SELECT * FROM raw.jobs WHERE execution_id = $execution AND job_id IN (FROM repeated)
    QUALIFY raw.is_valid_job(job_id, finished_at)
)
SELECT job_id, coalesce(parent_job_id, ''::BLOB) AS parent_job_id, call_hash, coalesce(label, task_name) AS name, how, waited_on,
       epoch_us(queued_at) AS queued, epoch_us(ready_at) AS ready, epoch_us(sent_at) AS sent, epoch_us(started_at) AS started,
       coalesce(epoch_us(finished_at), $until) AS finished, coalesce(wall_seconds, 0)::DOUBLE AS wall,
       coalesce(stage_in_seconds, 0)::DOUBLE AS stage_in, coalesce(stage_out_seconds, 0)::DOUBLE AS stage_out
FROM latest ORDER BY parent_job_id, finished, ordinal, job_id
