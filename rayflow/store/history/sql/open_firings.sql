-- The rows of firings that a service goes on with: of those that wait, the last; of each schedule, that of the latest
-- moment by the clock; and of those that the clock has not come to, the last.
SELECT firing.* FROM raw.firing_changes AS firing
LEFT JOIN (SELECT schedule, max(moments_after) AS moments_after FROM raw.schedule_changes GROUP BY schedule) AS known
    USING (schedule)
QUALIFY ((state IN ('pending', 'queued') OR (kind <> 'time' AND moment > known.moments_after))
         AND number = max(number) FILTER (last_moment IS NULL) OVER (PARTITION BY schedule, moment))
     OR (kind = 'time' AND row_number() OVER (
             PARTITION BY schedule, kind ORDER BY coalesce(last_moment, moment) DESC, number DESC) = 1)
ORDER BY number, schedule
