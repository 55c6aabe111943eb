"""The information schema of a project: its views and source tables as the rows of standard SQL's catalog tables."""

from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.model.names import CATALOG_TABLES, DEFAULT_CATALOG, DEFAULT_SCHEMA

_TEXT, _NUMBER = "VARCHAR", "INTEGER"
_TABLE = {"table_catalog": _TEXT, "table_schema": _TEXT, "table_name": _TEXT}
COLUMNS: dict[str, dict[str, str]] = dict(
    zip(
        CATALOG_TABLES,
        (
            {"catalog_name": _TEXT, "schema_name": _TEXT},
            _TABLE | {"table_type": _TEXT},
            _TABLE | {"column_name": _TEXT, "ordinal_position": _NUMBER, "is_nullable": _TEXT, "data_type": _TEXT},
        ),
        strict=True,
    )
)
"""The columns of each of CATALOG_TABLES and their DuckDB types."""


SCHEMATA = CATALOG_TABLES[0]


class CatalogEntry(NamedTuple):
    """A view or source table of a project, with the name and DuckDB type of each column.

    `is_view` says that it is evaluated whenever it is read. It is no model of pydantic's, since a project may have a
    hundred thousand columns.
    """

    name: str
    is_view: bool
    columns: Sequence[tuple[str, str]]


def rows_of(table: str, entries: Sequence[CatalogEntry]) -> tuple[tuple[str | int, ...], ...]:
    """The rows of one of CATALOG_TABLES for a project that has these views and tables.

    Every name stands in the default schema, where a query can quote it, also if it has dots.
    """
    schema = (DEFAULT_CATALOG, DEFAULT_SCHEMA)
    if table == SCHEMATA:
        return (schema,)
    if table.endswith(".tables"):
        return tuple((*schema, one.name, "VIEW" if one.is_view else "BASE TABLE") for one in entries)
    return tuple(
        (*schema, one.name, column, position, "YES", duckdb_type)
        for one in entries
        for position, (column, duckdb_type) in enumerate(one.columns, start=1)
    )
