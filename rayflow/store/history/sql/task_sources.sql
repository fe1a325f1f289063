-- The source of each task that these calls are of, with its calls.
SELECT tasks.task_hash, any_value(tasks.source) AS source, list(DISTINCT lower(hex(calls.call_hash))) AS calls
FROM raw.calls AS calls JOIN raw.tasks AS tasks ON tasks.task_hash = calls.task_hash
WHERE calls.call_hash IN (SELECT unnest($calls)) AND tasks.source IS NOT NULL
GROUP BY tasks.task_hash
