-- The calls that the jobs and reductions of the chosen executions left, and which calls lead to which.
CREATE OR REPLACE TEMP TABLE chosen_hashes AS
SELECT call_hash FROM raw.jobs WHERE execution_id IN (SELECT execution_id FROM temp.chosen) AND call_hash IS NOT NULL
UNION
SELECT call_hash FROM raw.reductions
WHERE execution_id IN (SELECT execution_id FROM temp.chosen) AND call_hash IS NOT NULL;
CREATE OR REPLACE TEMP VIEW chosen_edges AS
SELECT call_hash, child_call_hash AS other FROM raw.call_children
UNION
SELECT call_hash, source_call_hash FROM raw.arguments WHERE source_call_hash IS NOT NULL;
CREATE OR REPLACE TEMP VIEW standing_reductions AS
SELECT * FROM raw.reductions
WHERE NOT EXISTS (SELECT 1 FROM raw.forgotten WHERE forgotten.key = reductions.eval_hash
                  AND reductions."at" <= forgotten."at")
  AND NOT EXISTS (SELECT 1 FROM raw.forgotten WHERE forgotten.key = reductions.task_hash
                  AND reductions."at" <= forgotten."at");
CREATE OR REPLACE TEMP VIEW answering_reductions AS
SELECT * FROM temp.standing_reductions
WHERE execution_id IN (SELECT execution_id FROM temp.chosen)
   OR eval_hash IN (
        SELECT eval_hash FROM raw.calls WHERE call_hash IN (SELECT call_hash FROM temp.chosen_hashes)
        UNION ALL
        SELECT eval_hash FROM raw.jobs
        WHERE execution_id IN (SELECT execution_id FROM temp.chosen) AND eval_hash IS NOT NULL);
