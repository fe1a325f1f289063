-- The charges that still count at a time.
SELECT * FROM raw.charges WHERE until_at > make_timestamp($now) ORDER BY number, name
