-- The calls that these calls made, as far as two executions are compared by them.
SELECT DISTINCT parents.call_hash AS parent_call_hash, position, calls.task_name AS name, calls.task_hash, calls.call_hash,
       calls.args_hash, calls.value_hash
FROM raw.call_children AS parents JOIN raw.calls ON calls.call_hash = parents.child_call_hash
WHERE parents.call_hash IN (SELECT unnest($calls))
ORDER BY parent_call_hash, position
