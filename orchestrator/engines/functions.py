"""Which functions a view may use."""

from orchestrator.engines.statement import invalid

# Everything else reads files, settings or the catalog, or names a table where no tree shows it.
_TABLE_FUNCTIONS = frozenset(
    {"generate_series", "json_each", "json_tree", "range", "repeat", "repeat_row", "unnest"},
)
# Scalar functions that tell about the server or write into its log.
_REFUSED_FUNCTIONS = frozenset({"current_setting", "write_log"})


def check_table_function(name: str) -> None:
    """Raise InvalidQuery unless a view may use the table function."""
    if name.lower() in _TABLE_FUNCTIONS:
        return
    advice = " Register the files as a source table and read that." if name.lower().startswith("read_") else ""
    raise invalid(f"the table function {name}() is not allowed in a view.{advice}")


def check_function(name: str) -> None:
    """Raise InvalidQuery unless a view may use the scalar function."""
    if name.lower() in _REFUSED_FUNCTIONS:
        raise invalid(f"the function {name}() is not allowed in a view.")
