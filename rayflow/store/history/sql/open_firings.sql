-- The rows of firings that a service goes on with: of those that wait, the last; of each schedule, that of the latest
-- moment by the clock; and those whose moments had not come when they were made.
SELECT * FROM raw.firing_changes
QUALIFY (state IN ('pending', 'queued')
         AND number = max(number) FILTER (last_moment IS NULL) OVER (PARTITION BY schedule, moment))
     OR (kind = 'time' AND row_number() OVER (
             PARTITION BY schedule, kind ORDER BY coalesce(last_moment, moment) DESC, number DESC) = 1)
     OR (kind <> 'time' AND moment > "at")
ORDER BY number, schedule
