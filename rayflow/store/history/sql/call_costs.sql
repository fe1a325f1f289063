-- What the bodies of these calls took when they last ran, and when each call was last met.
SELECT call_hash, arg_max(wall_seconds::DOUBLE, queued_at) FILTER (how = 'computed') AS wall_seconds,
       arg_max(ordinal, queued_at) AS ordinal
FROM raw.jobs WHERE call_hash IN (SELECT unnest($calls)) GROUP BY call_hash
