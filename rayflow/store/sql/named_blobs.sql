-- Digests of the blobs that records name. A value in the format 'term' is kept in the reductions that gave it.
SELECT value_hash AS blob FROM raw.values WHERE inline IS NULL AND format <> 'term'
UNION SELECT term_blob FROM raw.reductions WHERE term_blob IS NOT NULL
UNION SELECT root_blob FROM raw.executions WHERE root_blob IS NOT NULL
UNION SELECT task_table FROM raw.executions WHERE task_table IS NOT NULL
UNION SELECT blob FROM raw.logs WHERE blob IS NOT NULL
