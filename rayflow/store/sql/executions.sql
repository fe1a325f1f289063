-- Executions, the latest first.
SELECT * FROM raw.executions
QUALIFY row_number() OVER (PARTITION BY execution_id ORDER BY life DESC, finished_at DESC NULLS LAST) = 1
ORDER BY started_at DESC, execution_id DESC
