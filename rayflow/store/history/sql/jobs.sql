-- The valid rows of these jobs, where they fit, the latest first. A valid row is as old as the others of its job, or younger.
SELECT * FROM (
    SELECT * FROM raw.jobs WHERE job_id IN (SELECT unnest($ids)) AND queued_at >= $oldest
    QUALIFY raw.is_valid_job(job_id, finished_at)
) WHERE {conditions}
ORDER BY queued_at DESC, ordinal DESC, job_id {limit}
