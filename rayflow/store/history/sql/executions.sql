-- Executions, the latest first.
SELECT * FROM raw.executions
QUALIFY raw.is_valid_execution(execution_id, life, finished_at)
ORDER BY started_at DESC, execution_id DESC
