-- Every execution that a row speaks of, with the last moment that one of its rows tells of.
-- A reduction that came after one of a clock that was ahead says in "since" when it was computed.
SELECT execution_id, max(moment) AS last_sign FROM (
    SELECT execution_id, greatest(started_at, coalesce(finished_at, started_at)) AS moment FROM raw.executions
    UNION ALL
    SELECT execution_id, greatest(queued_at, coalesce(finished_at, queued_at)) FROM raw.jobs
    UNION ALL
    SELECT execution_id, least("at", since) FROM raw.reductions
    UNION ALL
    SELECT run_id, "at" FROM raw.run_changes
    UNION ALL
    SELECT run_id, "at" FROM raw.wait_changes
    UNION ALL
    SELECT execution_id, "at" FROM raw.places)
GROUP BY execution_id
