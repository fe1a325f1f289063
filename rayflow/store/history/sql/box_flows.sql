-- Which calls of an execution took results of which others.
WITH own AS (
    SELECT DISTINCT call_hash FROM raw.jobs WHERE execution_id = $execution AND call_hash IS NOT NULL
)
SELECT DISTINCT source_call_hash, call_hash
FROM raw.arguments SEMI JOIN own USING (call_hash)
WHERE source_call_hash IN (SELECT call_hash FROM own)
