-- The items of a stream of an execution after a number.
SELECT * FROM raw.stream_items
WHERE execution_id = $id AND stream = $stream AND number > $after
ORDER BY number LIMIT $limit
