-- Views that stand on top of the tables, and their columns.
SELECT duckdb_columns.table_name, duckdb_columns.column_name, duckdb_columns.data_type, duckdb_views.comment
FROM duckdb_columns() JOIN duckdb_views() ON duckdb_views.view_name = duckdb_columns.table_name
                                          AND duckdb_views.schema_name = duckdb_columns.schema_name
WHERE duckdb_columns.schema_name = 'main' AND NOT duckdb_columns.internal AND duckdb_views.comment IS NOT NULL
ORDER BY duckdb_columns.table_name, duckdb_columns.column_index
