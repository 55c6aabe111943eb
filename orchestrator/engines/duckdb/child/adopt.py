"""Takes up a result that another engine has written into the folder of a run: what it holds, and its checks."""

import os
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from orchestrator.engines.duckdb.child.checks import Checker
from orchestrator.engines.duckdb.child.execute import compared, written_files
from orchestrator.engines.duckdb.child.kept_session import kept_session, within_reach
from orchestrator.engines.duckdb.child.plan import Inputs, Request, Task, Watch, list_inputs, translate_errors
from orchestrator.engines.duckdb.child.session import empty_select
from orchestrator.engines.duckdb.integrity.unchanged import Reading, TableFiles
from orchestrator.engines.duckdb.sources.parquet import listed
from orchestrator.engines.duckdb.sql.determinism import is_deterministic, names_no_moment
from orchestrator.engines.duckdb.sql.parquet_casts import cast_for_parquet, literal
from orchestrator.engines.duckdb.sql.references import syntax_tree
from orchestrator.engines.duckdb.sql.statement import single_select
from orchestrator.model.errors import StoreUnavailable


def adopt(request: Request) -> Task:
    """The task that describes the Parquet files in the folder `target` as the result of a run, and checks them."""
    labels: dict[str, str] = {}
    for path, label in ((request["target"], "the result"), (request["temp_directory"], "temporary storage")):
        labels |= {path: label, os.path.realpath(path): label}
    inputs: Inputs = {}
    with translate_errors(request, inputs, labels):
        list_inputs(request, inputs, labels)
    return within_reach(request, partial(_adopt, inputs, labels))


def _adopt(inputs: Inputs, labels: Mapping[str, str], request: Request, watch: Watch) -> dict[str, Any]:
    began = time.monotonic()
    sources = [relation for relation in request["relations"] if relation["kind"] == "source"]
    tables = [TableFiles(r["name"], r["format"], inputs[r["name"]], r["digests"]) for r in sources]
    # The other engine has read the files by now. If they are what was pinned before, they are what it has read.
    with translate_errors(request, inputs, labels), Reading(tables, request["limits"]["threads"]) as reading:
        session = kept_session(request, for_reader=False)
        session.clear()
        connection, created = session.connection, session.created
        reading.watch(connection)
        watch(connection)
        target = os.path.realpath(request["target"])
        columns = [(name, kind) for name, kind in request["columns"]]
        counts = _counts(connection, target, columns)
        written = written_files(connection, target, counts, columns, request["limits"])
        return {
            **written,
            **compared(connection, request, target, written),
            "engine_version": request["engine_version"],
            "rejected": [],
            "checks": Checker(connection, request, inputs, labels, created, began=began).run(written, target),
            "deterministic": request["deterministic"] and _is_deterministic(connection, request),
            "sources": reading.finish(),
        }


def _counts(connection: duckdb.DuckDBPyConnection, target: str, columns: list[tuple[str, str]]) -> dict[str, int]:
    """The number of rows of each file, by name. A result without rows gets a file, which has its columns."""
    paths = [str(path) for path in sorted(Path(target).glob("*.parquet"))]
    if not paths:
        chosen = cast_for_parquet(connection, empty_select(columns))
        path = f"{target}/data_0.parquet"
        connection.execute(f"COPY ({chosen.select}) TO {literal(path)} (FORMAT parquet)")
        paths = [path]
    footers = f"SELECT file_name, num_rows FROM parquet_file_metadata({listed(paths)})"  # noqa: S608 - quoted
    try:
        return {Path(path).name: rows for path, rows in connection.execute(footers).fetchall()}
    except duckdb.Error:
        raise StoreUnavailable("A file of the result is no Parquet file.") from None


def _is_deterministic(connection: duckdb.DuckDBPyConnection, request: Request) -> bool:
    """Whether those texts are deterministic that are in DuckDB's dialect, on a cluster of Spark."""
    views = [one["sql"] for one in request["relations"] if one["kind"] == "view"]
    texts = [single_select(connection, sql) for sql in (request["sql"], *views) if sql is not None]
    trees = [syntax_tree(connection, sql) for sql in texts]
    return all(is_deterministic(tree) and names_no_moment(tree) for tree in trees)
