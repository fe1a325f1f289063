-- Between which seconds the bodies of these tasks mostly took, by the name under which their jobs are shown: of the latest
-- that ran, the quarter that was faster is left out, and the quarter that was slower.
SELECT name, count(*) AS runs, quantile_cont(wall_seconds, 0.25) AS low_seconds, quantile_cont(wall_seconds, 0.75) AS high_seconds
FROM (
    SELECT coalesce(label, task_name) AS name, wall_seconds::DOUBLE AS wall_seconds FROM raw.jobs
    WHERE (task_name IN (SELECT unnest($names)) OR label IN (SELECT unnest($names)))
      AND how = 'computed' AND status = 'done' AND wall_seconds IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY coalesce(label, task_name) ORDER BY queued_at DESC) <= 200
) GROUP BY name
