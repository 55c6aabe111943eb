"""Checks that a view uses only functions that it may use."""

from orchestrator.engines.duckdb.sql.function_names import REFUSED_FUNCTIONS, TABLE_FUNCTIONS
from orchestrator.engines.duckdb.sql.statement import invalid
from orchestrator.model.names import fold
from orchestrator.model.sql_habits import FILES

_READS_FILES = ("read_", "parquet_", "glob", "sniff_csv", "parquet_scan", "csv_scan")


def check_table_function(name: str) -> None:
    """Raise InvalidQuery unless a view may use the table function."""
    if fold(name) in TABLE_FUNCTIONS:
        return
    advice = f" {FILES}" if fold(name).startswith(_READS_FILES) else ""
    raise invalid(f"the table function {name}() is not allowed in a view.{advice}")


def check_function(name: str) -> None:
    """Raise InvalidQuery unless a view may use the function in an expression."""
    if fold(name) in REFUSED_FUNCTIONS:
        raise invalid(f"the function {name}() is not allowed in a view.")
