-- Functions that give tables, with what they are for and an example.
SELECT function_name, any_value(comment) FROM duckdb_functions()
WHERE function_type = 'table_macro' AND NOT internal AND schema_name = 'main'
GROUP BY function_name ORDER BY function_name
