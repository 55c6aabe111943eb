"""The names of the table functions that a view may use, and of the other functions that it may not."""

# All other table functions read files, settings or the catalog, or a table that the syntax tree does not show.
TABLE_FUNCTIONS = frozenset(
    {"generate_series", "json_each", "json_tree", "range", "repeat", "repeat_row", "unnest"},
)
# Of all functions that return a value in DuckDB 1.5.5 (duckdb_functions() lists some 800), those that reveal facts
# about the server or the session, that explain or run SQL given as text, that write, or that only wait.
REFUSED_FUNCTIONS = frozenset(
    {
        # The running statement, which contains the path of the snapshot's folder, and other state of the session.
        "current_query",
        "current_setting",
        "getvariable",
        "which_secret",
        # SQL and plans as text, which contain the paths of the inputs.
        "json_deserialize_sql",
        "json_execute_serialized_sql",
        "json_serialize_plan",
        # Macros that call table functions of the catalog.
        "format_type",
        "get_block_size",
        "pg_get_constraintdef",
        "pg_get_viewdef",
        # The log of the server.
        "write_log",
        # These return nothing. For any time that they are given, they occupy a slot in which another query could run
        # or be analysed.
        "pg_sleep",
        "sleep_ms",
    }
)
