-- The latest rows that fit, of which each job may have several.
SELECT job_id, queued_at FROM raw.jobs WHERE {conditions} ORDER BY queued_at DESC, ordinal DESC, job_id {limit}
