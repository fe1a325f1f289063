-- The last row of each schedule.
SELECT * FROM raw.schedule_changes
QUALIFY number = max(number) OVER (PARTITION BY schedule)
ORDER BY number, schedule
