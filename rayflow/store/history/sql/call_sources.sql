-- The calls that arguments of calls came from.
SELECT given.*, sources.task_name
FROM (SELECT DISTINCT call_hash, name, source_call_hash FROM raw.arguments
      WHERE call_hash IN (SELECT unnest($calls)) AND source_call_hash IS NOT NULL) AS given
LEFT JOIN (SELECT DISTINCT ON (call_hash) call_hash, task_name FROM raw.calls
           WHERE call_hash IN (SELECT source_call_hash FROM raw.arguments
                               WHERE call_hash IN (SELECT unnest($calls)))) AS sources
       ON sources.call_hash = given.source_call_hash
ORDER BY given.call_hash, given.name, given.source_call_hash
