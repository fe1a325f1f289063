-- Arguments of calls, with previews and with the calls that they came from.
SELECT DISTINCT arguments.call_hash, arguments.name, arguments.value_hash, values.type, values.preview,
       arguments.source_call_hash, sources.task_name AS source_task_name
FROM raw.arguments
LEFT JOIN (SELECT DISTINCT ON (value_hash) * FROM raw.values
           WHERE value_hash IN (SELECT value_hash FROM raw.arguments WHERE call_hash IN (SELECT unnest($calls)))) AS values
       ON values.value_hash = arguments.value_hash
LEFT JOIN (SELECT DISTINCT ON (call_hash) * FROM raw.calls
           WHERE call_hash IN (SELECT source_call_hash FROM raw.arguments WHERE call_hash IN (SELECT unnest($calls)))) AS sources
       ON sources.call_hash = arguments.source_call_hash
WHERE arguments.call_hash IN (SELECT unnest($calls))
ORDER BY arguments.call_hash, arguments.name, arguments.source_call_hash
