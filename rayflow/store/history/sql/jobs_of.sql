-- Some jobs of an execution.
SELECT * FROM raw.jobs WHERE execution_id = $execution AND job_id IN (SELECT unnest($ids))
QUALIFY raw.is_valid_job(job_id, finished_at)
