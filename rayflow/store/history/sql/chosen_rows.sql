-- All rows of the chosen executions and calls, and what those name: one table for each.
CREATE OR REPLACE TEMP TABLE chosen_executions AS
SELECT * FROM raw.executions WHERE execution_id IN (SELECT execution_id FROM temp.chosen);
CREATE OR REPLACE TEMP TABLE chosen_jobs AS
SELECT * FROM raw.jobs WHERE execution_id IN (SELECT execution_id FROM temp.chosen);
-- The rows that forget are not chosen. So a call keeps its result only if nothing was forgotten since.
CREATE OR REPLACE TEMP TABLE chosen_calls AS
SELECT * EXCLUDE (is_valid) REPLACE (
    CASE WHEN is_valid THEN term END AS term,
    CASE WHEN is_valid THEN term_blob END AS term_blob,
    CASE WHEN is_valid THEN "at" END AS "at",
    CASE WHEN is_valid THEN since END AS since)
FROM (
    SELECT *, coalesce(coalesce(since, "at") > (SELECT max("at") FROM raw.forgotten), "at" IS NOT NULL) AS is_valid
    FROM raw.calls WHERE call_hash IN (SELECT call_hash FROM temp.chosen_hashes));
CREATE OR REPLACE TEMP TABLE chosen_call_children AS
SELECT * FROM raw.call_children WHERE call_hash IN (SELECT call_hash FROM temp.chosen_hashes);
CREATE OR REPLACE TEMP TABLE chosen_arguments AS
SELECT * FROM raw.arguments WHERE call_hash IN (SELECT call_hash FROM temp.chosen_hashes);
CREATE OR REPLACE TEMP TABLE chosen_reductions AS SELECT * FROM temp.answering_reductions;
CREATE OR REPLACE TEMP TABLE chosen_forgotten AS SELECT * FROM raw.forgotten WHERE false;
CREATE OR REPLACE TEMP TABLE chosen_task_sets AS
SELECT * FROM raw.task_sets WHERE task_set IN (SELECT task_set FROM temp.chosen_calls);
CREATE OR REPLACE TEMP TABLE chosen_value_hashes AS
WITH direct AS (
    SELECT value_hash FROM temp.chosen_calls
    UNION SELECT value_hash FROM temp.chosen_arguments
    UNION SELECT value_hash FROM temp.chosen_executions WHERE value_hash IS NOT NULL
    UNION SELECT value_hash FROM raw.places
    WHERE execution_id IN (SELECT execution_id FROM temp.chosen) AND value_hash IS NOT NULL)
SELECT value_hash FROM direct
UNION
SELECT part_hash FROM raw.value_parts WHERE value_hash IN (SELECT value_hash FROM direct);
CREATE OR REPLACE TEMP TABLE chosen_values AS
SELECT * FROM raw.values WHERE value_hash IN (SELECT value_hash FROM temp.chosen_value_hashes);
CREATE OR REPLACE TEMP TABLE chosen_value_parts AS
SELECT * FROM raw.value_parts WHERE value_hash IN (SELECT value_hash FROM temp.chosen_value_hashes);
CREATE OR REPLACE TEMP TABLE chosen_files AS
SELECT * FROM raw.files WHERE value_hash IN (SELECT value_hash FROM temp.chosen_value_hashes);
-- A listing is named by a state: a recorded one, one that a result was refused for, an argument of a failed job.
CREATE OR REPLACE TEMP TABLE chosen_listings AS
WITH named AS (
    SELECT version AS listing FROM temp.chosen_files
    UNION SELECT unnest(regexp_extract_all(missed, '"([0-9a-f]{40})"', 1)) FROM temp.chosen_jobs
    UNION SELECT lower(decode(unhex(unnest(regexp_extract_all(hex(packed_arguments), '(3[0-9]|6[1-6]){40}')))))
    FROM temp.chosen_jobs)
SELECT * FROM raw.listings WHERE lower(hex(listing)) IN (SELECT listing FROM named WHERE listing IS NOT NULL);
CREATE OR REPLACE TEMP TABLE chosen_task_hashes AS
SELECT task_hash FROM temp.chosen_jobs WHERE task_hash IS NOT NULL
UNION SELECT task_hash FROM temp.chosen_calls
UNION SELECT task_hash FROM temp.chosen_task_sets
UNION SELECT task_hash FROM temp.chosen_reductions;
CREATE OR REPLACE TEMP TABLE chosen_tasks AS
SELECT * FROM raw.tasks WHERE task_hash IN (SELECT task_hash FROM temp.chosen_task_hashes);
CREATE OR REPLACE TEMP TABLE chosen_definitions AS
SELECT * FROM raw.definitions WHERE task_hash IN (SELECT task_hash FROM temp.chosen_task_hashes);
-- Whether a state of a handle is valid depends on its other states: all of a handle's states, or none.
CREATE OR REPLACE TEMP TABLE chosen_handles AS
SELECT * FROM raw.handles WHERE handle IN (
    SELECT handle FROM raw.handles WHERE task_name IN (
        SELECT task_name FROM temp.chosen_jobs UNION SELECT task_name FROM temp.chosen_calls));
CREATE OR REPLACE TEMP TABLE chosen_logs AS
SELECT * FROM raw.logs WHERE job_id IN (SELECT job_id FROM temp.chosen_jobs);
CREATE OR REPLACE TEMP TABLE chosen_attempts AS
SELECT * FROM raw.attempts WHERE job_id IN (SELECT job_id FROM temp.chosen_jobs);
-- A run has the id of its execution. An event goes with the runs that emitted it, were started by it, or took it.
CREATE OR REPLACE TEMP TABLE chosen_run_changes AS
SELECT * FROM raw.run_changes WHERE run_id IN (SELECT execution_id FROM temp.chosen);
CREATE OR REPLACE TEMP TABLE chosen_places AS
SELECT * FROM raw.places WHERE execution_id IN (SELECT execution_id FROM temp.chosen);
CREATE OR REPLACE TEMP TABLE chosen_stream_items AS
SELECT * FROM raw.stream_items WHERE execution_id IN (SELECT execution_id FROM temp.chosen);
CREATE OR REPLACE TEMP TABLE chosen_wait_changes AS
SELECT * FROM raw.wait_changes WHERE run_id IN (SELECT execution_id FROM temp.chosen);
CREATE OR REPLACE TEMP TABLE chosen_events AS
SELECT * FROM raw.events
WHERE run_id IN (SELECT execution_id FROM temp.chosen)
   OR event_id IN (SELECT event_id FROM temp.chosen_run_changes UNION SELECT event_id FROM temp.chosen_wait_changes
                   UNION SELECT event_id FROM raw.delivery_changes
                   WHERE run_id IN (SELECT execution_id FROM temp.chosen));
CREATE OR REPLACE TEMP TABLE chosen_delivery_changes AS
SELECT * FROM raw.delivery_changes
WHERE run_id IN (SELECT execution_id FROM temp.chosen)
   OR (run_id IS NULL AND event_id IN (SELECT event_id FROM temp.chosen_events));
CREATE OR REPLACE TEMP TABLE chosen_requests AS
SELECT * FROM raw.requests WHERE run_id IS NULL OR run_id IN (SELECT execution_id FROM temp.chosen);
-- The slots of queues belong to the service of a store, and do not go elsewhere.
CREATE OR REPLACE TEMP TABLE chosen_queue_changes AS SELECT * FROM raw.queue_changes WHERE false;
CREATE OR REPLACE TEMP TABLE chosen_charges AS
SELECT * FROM raw.charges WHERE run_id IN (SELECT execution_id FROM temp.chosen);
-- A schedule stays where it is: in another store it would fire, too.
CREATE OR REPLACE TEMP TABLE chosen_schedule_changes AS SELECT * FROM raw.schedule_changes WHERE false;
CREATE OR REPLACE TEMP TABLE chosen_firing_changes AS SELECT * FROM raw.firing_changes WHERE false;
CREATE OR REPLACE TEMP TABLE chosen_environments AS
SELECT DISTINCT * FROM raw.environments WHERE environment IN (
    SELECT environment FROM temp.chosen_jobs UNION SELECT environment FROM temp.chosen_attempts);
CREATE OR REPLACE TEMP TABLE chosen_tags AS
SELECT * FROM raw.tags WHERE (entity, entity_id) IN (
    SELECT 'execution', execution_id FROM temp.chosen
    UNION ALL SELECT 'job', lower(hex(job_id)) FROM temp.chosen_jobs
    UNION ALL SELECT 'call', lower(hex(call_hash)) FROM temp.chosen_hashes
    UNION ALL SELECT 'value', lower(hex(value_hash)) FROM temp.chosen_value_hashes
    UNION ALL SELECT 'task', lower(hex(task_hash)) FROM temp.chosen_task_hashes);
