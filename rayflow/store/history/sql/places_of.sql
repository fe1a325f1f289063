-- What has happened at the places of some executions: of one after another, in the order in which it happened.
SELECT * FROM raw.places WHERE execution_id IN (SELECT unnest($ids))
ORDER BY execution_id, "at", life, place, generation, kind IN ('outcome', 'late'), number, kind
