-- What has happened at the places of some executions, in the order in which it happened.
SELECT * FROM raw.places WHERE execution_id IN (SELECT unnest($ids))
ORDER BY "at", life, execution_id, place, generation, kind IN ('outcome', 'late'), number, kind
