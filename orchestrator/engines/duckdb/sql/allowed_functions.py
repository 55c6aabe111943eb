"""Which functions a view may use."""

from orchestrator.engines.duckdb.sql.statement import invalid
from orchestrator.model.names import fold

# Everything else reads files, settings or the catalog, or names a table where no tree shows it.
_TABLE_FUNCTIONS = frozenset(
    {"generate_series", "json_each", "json_tree", "range", "repeat", "repeat_row", "unnest"},
)
# Of all functions that give a value in DuckDB 1.5.5 (duckdb_functions() lists some 800) those that tell about the
# server or the session, explain or run SQL that they get as a text, write, or do nothing but wait.
_REFUSED_FUNCTIONS = frozenset(
    {
        # The statement that is run, in which the snapshot's folder stands, and what else the session knows.
        "current_query",
        "current_setting",
        "getvariable",
        "which_secret",
        # SQL and plans as text: the paths of the inputs stand in them.
        "json_deserialize_sql",
        "json_execute_serialized_sql",
        "json_serialize_plan",
        # Macros around the catalog's own table functions.
        "format_type",
        "get_block_size",
        "pg_get_constraintdef",
        "pg_get_viewdef",
        # The log of the server.
        "write_log",
        # These give nothing, and hold a place in which another query could run, or be looked at, for as long as they
        # are asked to.
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
    """Raise InvalidQuery unless a view may use the function, wherever a value may stand."""
    if fold(name) in _REFUSED_FUNCTIONS:
        raise invalid(f"the function {name}() is not allowed in a view.")
