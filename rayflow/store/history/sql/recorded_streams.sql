-- For each job that has written to a stream of an execution, what its attempts have written last.
SELECT stream, job_id, attempt, max(number), max(item)
FROM raw.stream_items WHERE execution_id = $id
GROUP BY stream, job_id, attempt ORDER BY stream, max(number)
