-- The calls that these calls made: of those of one task by one call, the first few; `alike` says how many there are.
SELECT made.call_hash, made.child_call_hash, calls.task_name, calls.task_hash,
       calls.eval_hash, count(*) OVER same AS alike
FROM (SELECT DISTINCT call_hash, child_call_hash FROM raw.call_children
      WHERE call_hash IN (SELECT unnest($calls))) AS made
JOIN (SELECT DISTINCT ON (call_hash) call_hash, task_name, task_hash, eval_hash FROM raw.calls
      WHERE call_hash IN (SELECT child_call_hash FROM raw.call_children
                          WHERE call_hash IN (SELECT unnest($calls)))) AS calls
  ON calls.call_hash = made.child_call_hash
WINDOW same AS (PARTITION BY made.call_hash, calls.task_name)
QUALIFY row_number() OVER (PARTITION BY made.call_hash, calls.task_name ORDER BY made.child_call_hash) <= $most
