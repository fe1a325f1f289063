-- The latest requests of clients that were done, in their order.
SELECT * FROM (SELECT * FROM raw.requests ORDER BY number DESC LIMIT $most) ORDER BY number
