-- What the bodies of these tasks usually took: the median of the latest that ran.
SELECT task_name, median(wall_seconds::DOUBLE) AS wall_seconds FROM (
    SELECT task_name, wall_seconds FROM raw.jobs
    WHERE task_name IN (SELECT unnest($tasks)) AND how = 'computed' AND status = 'done' AND wall_seconds IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY task_name ORDER BY queued_at DESC) <= 100
) GROUP BY task_name
