-- Everything whose id starts with a text: as kind and id.
SELECT DISTINCT 'execution' AS kind, execution_id AS id FROM raw.executions WHERE starts_with(execution_id, $text)
UNION SELECT DISTINCT 'job', lower(hex(job_id)) FROM raw.jobs WHERE job_id >= $low AND job_id <= $high
UNION SELECT DISTINCT 'call', lower(hex(call_hash)) FROM raw.calls WHERE call_hash >= $low AND call_hash <= $high
UNION SELECT DISTINCT 'value', lower(hex(value_hash)) FROM raw.values WHERE value_hash >= $low AND value_hash <= $high
UNION SELECT DISTINCT 'task', lower(hex(task_hash)) FROM raw.tasks WHERE task_hash >= $low AND task_hash <= $high
LIMIT 20
