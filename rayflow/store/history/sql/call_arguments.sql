-- Arguments of calls, with previews.
SELECT given.*, values.type, values.preview
FROM (SELECT DISTINCT call_hash, name, value_hash FROM raw.arguments
      WHERE call_hash IN (SELECT unnest($calls))) AS given
LEFT JOIN (SELECT DISTINCT ON (value_hash) value_hash, type, preview FROM raw.values
           WHERE value_hash IN (SELECT value_hash FROM raw.arguments WHERE call_hash IN (SELECT unnest($calls)))) AS values
       ON values.value_hash = given.value_hash
ORDER BY given.call_hash, given.name
