-- For each queue and priority, the latest round of which a run was admitted, and the fairness keys of the runs of that
-- round that were admitted.
SELECT DISTINCT queue, priority, turn, coalesce(json_extract_string(demands, '$.fairness'), '') AS fairness
FROM raw.run_changes
WHERE state = 'running' AND turn IS NOT NULL
QUALIFY turn = max(turn) OVER (PARTITION BY queue, priority)
ORDER BY queue, priority, fairness
