-- The items of a stream of an execution after a number, until their values have so many characters.
SELECT * EXCLUDE (upto) FROM (
    SELECT *, sum(length(value)) OVER (ORDER BY number ROWS UNBOUNDED PRECEDING) AS upto
    FROM (
        SELECT * FROM raw.stream_items
        WHERE execution_id = $id AND stream = $stream AND number > $after
        ORDER BY number LIMIT $limit
    )
)
WHERE upto - length(value) < $size ORDER BY number
