-- Of these jobs the rows that count, where they fit, the latest first. A row that counts is as old as the others or younger.
SELECT * FROM (
    SELECT * FROM raw.jobs WHERE job_id IN (SELECT unnest($ids)) AND queued_at >= $oldest
    QUALIFY row_number() OVER (PARTITION BY job_id ORDER BY finished_at DESC NULLS LAST) = 1
) WHERE {conditions}
ORDER BY queued_at DESC, ordinal DESC, job_id {limit}
