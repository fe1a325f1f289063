-- The last row of each firing of a schedule between two moments. (A series of moments that started nothing is left out.)
SELECT * FROM raw.firing_changes
WHERE schedule = $schedule AND last_moment IS NULL
  AND moment BETWEEN make_timestamp($first) AND make_timestamp($last)
QUALIFY number = max(number) OVER (PARTITION BY moment)
ORDER BY number, schedule
