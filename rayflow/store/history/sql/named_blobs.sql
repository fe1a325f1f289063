-- Digests of the blobs that records name. A large value in the format 'term' says by which digest it is kept.
SELECT value_hash AS blob FROM raw.values WHERE inline IS NULL AND format <> 'term'
UNION SELECT blob FROM raw.values WHERE blob IS NOT NULL
UNION SELECT term_blob FROM raw.reductions WHERE term_blob IS NOT NULL
UNION SELECT term_blob FROM raw.calls WHERE term_blob IS NOT NULL
UNION SELECT root_blob FROM raw.executions WHERE root_blob IS NOT NULL
UNION SELECT task_table FROM raw.executions WHERE task_table IS NOT NULL
UNION SELECT blob FROM raw.logs WHERE blob IS NOT NULL
UNION SELECT outcome_blob FROM raw.places WHERE outcome_blob IS NOT NULL
