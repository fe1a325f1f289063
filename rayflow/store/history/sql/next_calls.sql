-- Calls that the chosen ones lead to and that are not chosen yet.
SELECT other FROM temp.chosen_edges WHERE call_hash IN (SELECT call_hash FROM temp.chosen_hashes)
  AND other NOT IN (SELECT call_hash FROM temp.chosen_hashes)
UNION
SELECT call_hash FROM temp.answering_reductions
WHERE call_hash IS NOT NULL AND call_hash NOT IN (SELECT call_hash FROM temp.chosen_hashes)
