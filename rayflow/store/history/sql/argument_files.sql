-- The files among the arguments of calls, also those inside of larger values, as they were. came: whether the argument
-- came from another call.
WITH given AS (
    SELECT call_hash, name, value_hash, bool_or(source_call_hash IS NOT NULL) AS came
    FROM raw.arguments WHERE call_hash IN (SELECT unnest($calls)) GROUP BY ALL
), held AS (
    SELECT value_hash AS whole, value_hash FROM given
    UNION
    SELECT value_hash AS whole, part_hash AS value_hash FROM raw.value_parts
    WHERE value_hash IN (SELECT value_hash FROM given)
)
SELECT DISTINCT given.call_hash, given.name, given.came, files.path, files.size_bytes, files.modified_at, files.version,
       files.known_by, files.members
FROM given JOIN held ON held.whole = given.value_hash
JOIN (SELECT * FROM raw.files WHERE value_hash IN (SELECT value_hash FROM held)) AS files
  ON files.value_hash = held.value_hash
ORDER BY given.call_hash, given.name, files.path
