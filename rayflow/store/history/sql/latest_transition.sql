-- The greatest number and the latest time of a transition of a run, a wait, an event, a delivery, a schedule, a firing or
-- a queue, of a request, or of a charge.
SELECT coalesce(max(number), 0)::BIGINT, coalesce(max(epoch_us("at")), 0)::BIGINT
FROM (SELECT number, "at" FROM raw.run_changes
      UNION ALL SELECT number, "at" FROM raw.wait_changes
      UNION ALL SELECT number, "at" FROM raw.events
      UNION ALL SELECT number, "at" FROM raw.delivery_changes
      UNION ALL SELECT number, "at" FROM raw.schedule_changes
      UNION ALL SELECT number, "at" FROM raw.firing_changes
      UNION ALL SELECT number, "at" FROM raw.requests
      UNION ALL SELECT number, "at" FROM raw.queue_changes
      UNION ALL SELECT number, "at" FROM raw.charges)
