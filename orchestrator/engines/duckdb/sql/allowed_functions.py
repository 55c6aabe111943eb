"""The functions that a view may use."""

from orchestrator.engines.duckdb.sql.statement import invalid
from orchestrator.model.names import fold

# All other table functions read files, settings or the catalog, or a table that the syntax tree does not show.
_TABLE_FUNCTIONS = frozenset(
    {"generate_series", "json_each", "json_tree", "range", "repeat", "repeat_row", "unnest"},
)
# Of all functions that return a value in DuckDB 1.5.5 (duckdb_functions() lists some 800), those that reveal facts
# about the server or the session, that explain or run SQL given as text, that write, or that only wait.
_REFUSED_FUNCTIONS = frozenset(
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


def check_table_function(name: str) -> None:
    """Raise InvalidQuery unless a view may use the table function."""
    if fold(name) in _TABLE_FUNCTIONS:
        return
    advice = " Register the files as a source table and read that." if fold(name).startswith("read_") else ""
    raise invalid(f"the table function {name}() is not allowed in a view.{advice}")


def check_function(name: str) -> None:
    """Raise InvalidQuery unless a view may use the function in an expression."""
    if fold(name) in _REFUSED_FUNCTIONS:
        raise invalid(f"the function {name}() is not allowed in a view.")
