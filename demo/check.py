"""Checks the published results: plain DuckDB runs the same SQL over the same files."""

from collections.abc import Mapping
from pathlib import Path

import duckdb

from demo.catalog import VIEWS
from demo.data import SOURCES

# Parquet has no HUGEINT, so a run publishes a decimal that holds the same numbers.
_PUBLISHED_AS = {"HUGEINT": "DECIMAL(38,0)"}


def differences(data: Path, results: Mapping[str, Path]) -> dict[str, str]:
    """The difference of each result from the expected one, by the name of its view; empty for a correct result.

    Here every view is a plain DuckDB view, so the expected results depend on nothing that a run computed.

    Args:
        data: The folder of the source files.
        results: The folder that holds the published files of each materialized view.
    """
    with duckdb.connect() as database:
        for source in SOURCES:
            pattern = source.in_folder(data)
            if source.format == "Parquet":
                database.read_parquet(pattern).create_view(source.name)
            elif source.format == "JSONEachRow":
                database.read_json(pattern, format="newline_delimited").create_view(source.name)
            else:
                database.read_csv(pattern, header=True).create_view(source.name)
        for view in VIEWS:
            database.execute(f"CREATE VIEW {view.name} AS {view.sql}")
        return {name: _difference(database, name, folder) for name, folder in results.items()}


def _difference(database: duckdb.DuckDBPyConnection, name: str, folder: Path) -> str:
    expected = database.view(name)
    published = database.read_parquet(f"{folder}/*.parquet")
    wanted = [(column, _PUBLISHED_AS.get(str(kind), str(kind))) for column, kind in _columns(expected)]
    if wanted != _columns(published):
        return f"its columns are {_columns(published)} instead of {wanted}"
    # Both ways and with ALL, which compares multisets: a row that occurs too often is a difference too.
    missing = database.sql("FROM expected EXCEPT ALL FROM published").fetchall()
    extra = database.sql("FROM published EXCEPT ALL FROM expected").fetchall()
    if missing or extra:
        sample = f"missing {missing[0]}" if missing else f"not expected {extra[0]}"
        return f"{len(missing)} rows are missing and {len(extra)} are not expected; {sample}"
    return ""


def _columns(relation: duckdb.DuckDBPyRelation) -> list[tuple[str, str]]:
    return [(name, str(kind)) for name, kind in zip(relation.columns, relation.types, strict=True)]
