-- Results of calls, with previews.
SELECT DISTINCT ON (calls.call_hash) calls.call_hash, calls.value_hash, values.type, values.preview, values.size_bytes
FROM raw.calls LEFT JOIN raw.values ON values.value_hash = calls.value_hash
WHERE calls.call_hash IN (SELECT unnest($calls))
