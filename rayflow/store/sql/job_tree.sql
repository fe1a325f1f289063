-- The jobs of an execution that are shown: of the children of one job with one task name, the first few (failed and open
-- ones before others), and below them likewise.
WITH RECURSIVE latest AS MATERIALIZED (
    SELECT * FROM raw.jobs WHERE execution_id = $execution
    QUALIFY row_number() OVER (PARTITION BY job_id ORDER BY finished_at DESC NULLS LAST) = 1
), shown AS MATERIALIZED (
    SELECT * FROM latest
    QUALIFY row_number() OVER (
        PARTITION BY parent_job_id, task_name
        ORDER BY status NOT IN ('failed', 'open'), queued_at, ordinal, job_id
    ) <= $siblings
), tree AS (
    SELECT * FROM shown WHERE parent_job_id IS NULL
    UNION ALL
    SELECT shown.* FROM tree JOIN shown ON shown.parent_job_id = tree.job_id
)
SELECT * FROM tree ORDER BY queued_at, ordinal, job_id
