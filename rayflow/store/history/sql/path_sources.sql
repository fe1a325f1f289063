-- The calls that arguments of calls came from.
SELECT DISTINCT call_hash, source_call_hash FROM raw.arguments
WHERE call_hash IN (SELECT unnest($calls)) AND source_call_hash IS NOT NULL
