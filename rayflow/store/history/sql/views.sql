-- Views over the tables. The comment behind each name is its documentation.

CREATE OR REPLACE VIEW failures AS
SELECT jobs.job_id, jobs.execution_id, jobs.task_name, jobs.label, jobs.error, jobs.traceback, jobs.attempts, jobs.finished_at,
       jobs.node, jobs.story
FROM jobs
WHERE jobs.status = 'failed'
ORDER BY jobs.finished_at DESC;
COMMENT ON VIEW failures IS 'jobs that failed, the latest first';

CREATE OR REPLACE VIEW slowest AS
SELECT jobs.task_name, jobs.label, jobs.wall_seconds, jobs.cpu_seconds, jobs.peak_memory_bytes, jobs.job_id, jobs.execution_id,
       jobs.node, jobs.started_at
FROM jobs
WHERE jobs.wall_seconds IS NOT NULL AND jobs.how = 'computed'
ORDER BY jobs.wall_seconds DESC;
COMMENT ON VIEW slowest IS 'jobs that ran, the longest first';

CREATE OR REPLACE VIEW distributions AS
SELECT environment, entry.key AS name, entry.value AS version
FROM (SELECT environment, unnest(map_entries(CAST(distributions::JSON AS MAP(VARCHAR, VARCHAR)))) AS entry FROM environments);
COMMENT ON VIEW distributions IS 'the installed distributions of each environment, one a row: join jobs using (environment)';

-- Clocks of two machines differ: a wait that would end before it began is none. (`greatest` would turn a null into 0.)
CREATE OR REPLACE VIEW phases AS
WITH spans AS (
    SELECT jobs.*, epoch(jobs.ready_at - jobs.queued_at) AS for_arguments, epoch(jobs.sent_at - jobs.ready_at) AS held,
           epoch(jobs.started_at - jobs.sent_at) AS queue,
           jobs.wall_seconds - coalesce(jobs.stage_in_seconds, 0) - coalesce(jobs.stage_out_seconds, 0) AS body
    FROM jobs
)
SELECT spans.job_id, spans.execution_id, spans.task_name, spans.label, spans.how, spans.status,
       if(spans.for_arguments < 0, 0, spans.for_arguments) AS arguments_seconds,
       if(spans.held < 0, 0, spans.held) AS held_seconds, spans.waited_on,
       if(spans.queue < 0, 0, spans.queue) AS queue_seconds, spans.stage_in_seconds,
       if(spans.body < 0, 0, spans.body) AS body_seconds, spans.stage_out_seconds, spans.requested, spans.node
FROM spans;
COMMENT ON VIEW phases IS 'for each job, the seconds that it waited for its arguments, for limits and retries, and for a worker, and those of its body';

CREATE OR REPLACE VIEW upstream AS
SELECT arguments.call_hash, calls.task_name, arguments.name, arguments.value_hash,
       arguments.source_call_hash AS upstream_call_hash, sources.task_name AS upstream_task_name
FROM arguments
JOIN calls USING (call_hash)
JOIN calls AS sources ON sources.call_hash = arguments.source_call_hash;
COMMENT ON VIEW upstream IS 'for each call, the calls whose results it took; upstream_of(call_hash) follows them to the end';

CREATE OR REPLACE VIEW downstream AS
SELECT arguments.source_call_hash AS call_hash, sources.task_name, arguments.name, arguments.value_hash,
       arguments.call_hash AS downstream_call_hash, calls.task_name AS downstream_task_name
FROM arguments
JOIN calls USING (call_hash)
JOIN calls AS sources ON sources.call_hash = arguments.source_call_hash;
COMMENT ON VIEW downstream IS 'for each call, the calls that took its result; downstream_of(call_hash) follows them to the end';

CREATE OR REPLACE VIEW lineage AS
WITH held AS (
    SELECT value_hash AS whole, value_hash FROM values
    UNION ALL
    SELECT value_hash AS whole, part_hash AS value_hash FROM value_parts
)
SELECT made.value_hash, made_file.path, calls.call_hash, calls.task_name, arguments.name AS argument,
       coalesce(taken.value_hash, arguments.value_hash) AS input_hash, taken_file.path AS input_path,
       arguments.source_call_hash
FROM calls
JOIN held AS made ON made.whole = calls.value_hash
LEFT JOIN files AS made_file ON made_file.value_hash = made.value_hash
LEFT JOIN arguments ON arguments.call_hash = calls.call_hash
LEFT JOIN held AS taken ON taken.whole = arguments.value_hash
LEFT JOIN files AS taken_file ON taken_file.value_hash = taken.value_hash;
COMMENT ON VIEW lineage IS 'each value and file, the call that made it, and what that call took; lineage_of(path) goes on';

CREATE OR REPLACE VIEW current_tags AS
SELECT entity, entity_id, key, value, value_json, recorded_at
FROM tags
QUALIFY row_number() OVER (PARTITION BY entity, entity_id, key, value_json ORDER BY recorded_at DESC) = 1 AND NOT removed;
COMMENT ON VIEW current_tags IS 'tags that are set now';

-- A row of a change leaves out what stays as it was: the last value of a column that is there counts.
CREATE OR REPLACE VIEW runs AS
WITH folded AS (
    SELECT run_id, arg_max(id, number) AS id, arg_max(flow, number) AS flow, arg_max(arguments, number) AS arguments,
           arg_max(state, number) AS state, arg_max(cause, number) AS cause, arg_max(reason, number) AS reason,
           arg_max(error, number) AS last_error, min(recorded_at) AS created_at, max(recorded_at) AS changed_at,
           arg_max(due_at, number) AS due_at, arg_max(timeout_at, number) AS timeout_at,
           arg_max(queue, number) AS queue, arg_max(priority, number) AS priority, arg_max(tags, number) AS tags,
           arg_max(parent_run_id, number) AS parent_run_id, arg_max(parent_place, number) AS parent_place,
           arg_max(link, number) AS link, arg_max(tie, number) AS tie, arg_max(root_run_id, number) AS root_run_id,
           arg_max(event_id, number) AS event_id, arg_max(schedule, number) AS schedule,
           arg_max(moment, number) AS moment, arg_max(forked_run_id, number) AS forked_run_id, arg_max(seen_from, number) AS seen_from,
           max(life) AS life, max(generation) AS generation, arg_max(input_hash, number) AS input_hash,
           arg_max(root, number) AS root, arg_max(outcome, number) AS last_outcome, max(number) AS number
    FROM run_changes GROUP BY run_id
)
SELECT folded.run_id, folded.id, folded.flow, folded.arguments, folded.state, folded.cause, folded.reason,
       if(folded.state IN ('failed', 'cancelled'), folded.last_error, NULL) AS error,
       folded.created_at, folded.changed_at,
       if(folded.state IN ('done', 'failed', 'cancelled'), folded.changed_at, NULL) AS ended_at,
       folded.due_at, folded.timeout_at, folded.queue, folded.priority, folded.tags, folded.parent_run_id,
       folded.parent_place, folded.link, folded.tie, folded.root_run_id, folded.event_id, folded.schedule,
       folded.moment, folded.forked_run_id, folded.seen_from,
       folded.life, folded.generation, folded.input_hash, folded.root,
       if(folded.state IN ('done', 'failed', 'cancelled'), folded.last_outcome, NULL) AS outcome, folded.number
FROM folded;
COMMENT ON VIEW runs IS 'durable runs, each as it is now; their transitions are in run_changes';

CREATE OR REPLACE VIEW waits AS
SELECT run_id, place, arg_max(kind, number) AS kind, arg_max(name, number) AS name, arg_max("key", number) AS key,
       arg_max(state, number) AS state, arg_max(cause, number) AS cause, min(recorded_at) AS opened_at,
       arg_max(deadline_at, number) AS deadline_at,
       if(arg_max(state, number) = 'open', NULL, max(recorded_at)) AS ended_at,
       arg_max(target_run_id, number) AS target_run_id, arg_max(event_id, number) AS event_id,
       arg_max(given, number) AS given, arg_max(outcome, number) AS outcome, max(number) AS number
FROM wait_changes GROUP BY run_id, place;
COMMENT ON VIEW waits IS 'the waits of durable runs, each as it is now; their transitions are in wait_changes';

CREATE OR REPLACE VIEW deliveries AS
SELECT event_id, target, arg_max(state, number) AS state, arg_max(run_id, number) AS run_id,
       arg_max(place, number) AS place, if(arg_max(state, number) = 'failed', arg_max(error, number), NULL) AS error,
       min(recorded_at) AS created_at, max(recorded_at) AS changed_at, max(number) AS number
FROM delivery_changes GROUP BY event_id, target;
COMMENT ON VIEW deliveries IS 'the deliveries of events, each as it is now; their transitions are in delivery_changes';

-- A row of a schedule has all its columns; so has one of a firing.
CREATE OR REPLACE VIEW schedules AS
SELECT schedule, state, cause, flow, timetable, overlap, catch_up_us / 1e6 AS catch_up_seconds, arguments, is_of_code,
       min(recorded_at) OVER (PARTITION BY schedule) AS created_at, recorded_at AS changed_at, number
FROM schedule_changes
QUALIFY number = max(number) OVER (PARTITION BY schedule);
COMMENT ON VIEW schedules IS 'schedules, each as it is now; their transitions are in schedule_changes';

CREATE OR REPLACE VIEW firings AS
SELECT schedule, moment, last_moment, state, kind, cause, run_id, error, if(last_moment IS NULL, 1, many) AS many,
       min(recorded_at) OVER (PARTITION BY schedule, moment, last_moment) AS created_at, recorded_at AS changed_at, number
FROM firing_changes
QUALIFY number = max(number) OVER (PARTITION BY schedule, moment, last_moment);
COMMENT ON VIEW firings IS 'firings of schedules, each as it is now; their transitions are in firing_changes';

-- In these, a large table is asked with IN for the few rows that are wanted: read in that order, most of it is skipped,
-- where a join would read all of it.

CREATE OR REPLACE MACRO upstream_of(wanted) AS TABLE
WITH RECURSIVE found(call_hash, distance) USING KEY (call_hash) AS (
    SELECT unhex(wanted), 0
    UNION
    SELECT source_call_hash, (SELECT max(distance) + 1 FROM found)
    FROM raw.arguments
    WHERE call_hash IN (SELECT call_hash FROM found) AND source_call_hash IS NOT NULL
      AND source_call_hash NOT IN (SELECT call_hash FROM recurring.found)
), made AS (
    SELECT call_hash, task_name, value_hash FROM raw.calls WHERE call_hash IN (SELECT call_hash FROM found)
)
SELECT DISTINCT lower(hex(found.call_hash)) AS call_hash, found.distance, made.task_name,
       lower(hex(made.value_hash)) AS value_hash
FROM found LEFT JOIN made ON made.call_hash = found.call_hash
ORDER BY distance, call_hash;

CREATE OR REPLACE MACRO downstream_of(wanted) AS TABLE
WITH RECURSIVE found(call_hash, distance) USING KEY (call_hash) AS (
    SELECT unhex(wanted), 0
    UNION
    SELECT call_hash, (SELECT max(distance) + 1 FROM found)
    FROM raw.arguments
    WHERE source_call_hash IN (SELECT call_hash FROM found)
      AND call_hash NOT IN (SELECT call_hash FROM recurring.found)
), made AS (
    SELECT call_hash, task_name, value_hash FROM raw.calls WHERE call_hash IN (SELECT call_hash FROM found)
)
SELECT DISTINCT lower(hex(found.call_hash)) AS call_hash, found.distance, made.task_name,
       lower(hex(made.value_hash)) AS value_hash
FROM found LEFT JOIN made ON made.call_hash = found.call_hash
ORDER BY distance, call_hash;

CREATE OR REPLACE MACRO lineage_of(wanted) AS TABLE
WITH RECURSIVE starts AS (
    SELECT value_hash FROM raw.files WHERE path = wanted
    UNION
    SELECT try(unhex(wanted)) AS value_hash
), wholes AS (
    FROM starts
    UNION
    SELECT value_hash FROM raw.value_parts WHERE part_hash IN (FROM starts)
), found(call_hash, distance) USING KEY (call_hash) AS (
    SELECT call_hash, 0 FROM raw.calls WHERE value_hash IN (FROM wholes)
    UNION
    SELECT source_call_hash, (SELECT max(distance) + 1 FROM found)
    FROM raw.arguments
    WHERE call_hash IN (SELECT call_hash FROM found) AND source_call_hash IS NOT NULL
      AND source_call_hash NOT IN (SELECT call_hash FROM recurring.found)
), made AS (
    SELECT call_hash, task_name, value_hash FROM raw.calls WHERE call_hash IN (SELECT call_hash FROM found)
), taken AS (
    SELECT call_hash, name, value_hash FROM raw.arguments WHERE call_hash IN (SELECT call_hash FROM found)
), held AS (
    SELECT value_hash, part_hash FROM raw.value_parts WHERE value_hash IN (SELECT value_hash FROM taken)
), read AS (
    SELECT value_hash, path FROM raw.files
    WHERE value_hash IN (SELECT value_hash FROM taken UNION ALL SELECT part_hash FROM held)
)
SELECT DISTINCT found.distance, made.task_name, lower(hex(found.call_hash)) AS call_hash, taken.name AS argument,
       lower(hex(taken.value_hash)) AS input_hash, read.path AS input_path,
       lower(hex(made.value_hash)) AS value_hash
FROM found
JOIN made ON made.call_hash = found.call_hash
LEFT JOIN taken ON taken.call_hash = found.call_hash
LEFT JOIN held ON held.value_hash = taken.value_hash
LEFT JOIN read ON read.value_hash = coalesce(held.part_hash, taken.value_hash)
ORDER BY found.distance, made.task_name, call_hash, argument, input_path;

CREATE OR REPLACE MACRO calls_of_file(wanted) AS TABLE
WITH states AS (
    SELECT DISTINCT ON (value_hash) value_hash, size_bytes, modified_at, version,
           CASE WHEN path != wanted THEN path END AS within
    FROM raw.files
    WHERE path = wanted
       OR (size_bytes IS NULL AND (  -- a directory that it is in, or a pattern that it matches
           starts_with(wanted, rtrim(path, '/') || '/')
           OR (contains(path, '*') AND wanted GLOB path  -- its * goes over any number of directories
               AND (contains(path, '**') OR len(split(wanted, '/')) = len(split(path, '/'))))))
), held AS (
    SELECT value_hash, value_hash AS whole FROM states
    UNION
    SELECT states.value_hash, value_parts.value_hash
    FROM states JOIN raw.value_parts ON value_parts.part_hash = states.value_hash
), given AS (
    SELECT DISTINCT held.value_hash, calls.call_hash, calls.task_name, calls.task_hash
    FROM held JOIN raw.calls ON calls.value_hash = held.whole
), taken AS (
    SELECT DISTINCT held.value_hash, arguments.call_hash, arguments.name
    FROM held JOIN raw.arguments ON arguments.value_hash = held.whole
), passed AS (
    SELECT value_hash, call_hash FROM given SEMI JOIN taken USING (value_hash, call_hash)
    UNION
    SELECT given.value_hash, given.call_hash
    FROM given JOIN raw.call_children ON call_children.call_hash = given.call_hash
    JOIN given AS below ON below.call_hash = call_children.child_call_hash AND below.value_hash = given.value_hash
), uses AS (
    SELECT given.*, NULL AS argument, CASE WHEN passed.call_hash IS NULL THEN 'made' ELSE 'passed on' END AS role
    FROM given LEFT JOIN passed USING (value_hash, call_hash)
    UNION ALL
    SELECT DISTINCT taken.value_hash, taken.call_hash, calls.task_name, calls.task_hash, taken.name, 'read'
    FROM taken JOIN raw.calls ON calls.call_hash = taken.call_hash
), latest AS (
    SELECT call_hash, arg_max(job_id, queued_at) AS job_id, arg_max(execution_id, queued_at) AS execution_id,
           max(queued_at) AS queued_at
    FROM raw.jobs WHERE how = 'computed' AND call_hash IN (SELECT call_hash FROM uses)
    GROUP BY call_hash
)
SELECT lower(hex(states.value_hash)) AS value_hash, states.size_bytes, states.modified_at, states.version,
       states.within, uses.role,
       uses.task_name, uses.argument, lower(hex(uses.call_hash)) AS call_hash,
       lower(hex(uses.task_hash)) AS task_hash, lower(hex(latest.job_id)) AS job_id, latest.execution_id,
       latest.queued_at
FROM states LEFT JOIN uses USING (value_hash) LEFT JOIN latest ON latest.call_hash = uses.call_hash
ORDER BY states.modified_at DESC NULLS LAST, states.value_hash, uses.role, latest.queued_at, uses.task_name;

COMMENT ON MACRO TABLE upstream_of IS
    'the calls that led to a call, the nearest first: from upstream_of(''5f0c...''), a whole call_hash';
COMMENT ON MACRO TABLE downstream_of IS
    'the calls that took what came from a call, the nearest first: from downstream_of(''5f0c...''), a whole call_hash';
COMMENT ON MACRO TABLE lineage_of IS
    'the calls that led to a file or value, with their inputs: from lineage_of(''out/report.csv''), a path or a whole value_hash';
COMMENT ON MACRO TABLE calls_of_file IS
    'the states of a file, and the calls that made, passed on and read each; within: the directory or pattern that was given in its place, whether or not the file was there: from calls_of_file(''out/report.csv'')';
