"""What the child process does for each kind of request. Requests and results are plain JSON values."""

# ruff: noqa: S608 - composing SQL is what this module is for; every name and text in it is quoted here

import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from orchestrator.engines.failures import failure, readable, without_paths
from orchestrator.engines.parquet_types import Unstorable, literal, storable
from orchestrator.engines.references import references
from orchestrator.engines.session import Names, described, open_session
from orchestrator.engines.source_files import find_source_files
from orchestrator.engines.source_relations import sniffing_select, source_select
from orchestrator.engines.statement import invalid, single_select
from orchestrator.model.errors import InputMissing, Invalid, InvalidSource, OrchestratorError, QueryFailed, QueryRefused

Request = Mapping[str, Any]
Watch = Callable[[duckdb.DuckDBPyConnection], None]

_COPY = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PARQUET_VERSION V2, RETURN_STATS true"
_SPLIT = "FILE_SIZE_BYTES '256MB'"
_ORDER = re.compile(r"\border\b", re.IGNORECASE)


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    """One connection for all parsing: making a syntax tree takes half a second the first time."""
    return open_session({"threads": "1", "memory_limit": "256MB", "temp_directory": ""})


def find_references(request: Request, _watch: Watch) -> list[str]:
    """The names that `sql` reads."""
    return references(_parser(), request["sql"])


def describe(request: Request, _watch: Watch) -> list[tuple[str, str]]:
    """The columns of `sql` over empty tables. `tables` maps a name to its (column, type) pairs."""
    with open_session(request["limits"]) as connection:
        select = single_select(connection, request["sql"])
        try:
            names = Names(connection, [select.text])
            for name, columns in request["tables"].items():
                names.create_empty(name, columns)
            return described(connection, storable(connection, select.text))
        except Unstorable as error:
            raise invalid(str(error)) from None
        except duckdb.Error as error:
            raise invalid(readable(error)) from None


def describe_source(request: Request, _watch: Watch) -> list[tuple[str, str]]:
    """The columns of the files that match `url_pattern`, read as `format`."""
    found = find_source_files(request["url_pattern"], [Path(r) for r in request["source_roots"]])
    if not found:
        raise InvalidSource(f"No file matches {request['url_pattern']}.", attr="url_pattern")
    kind, paths = request["format"], [file.real for file in found]
    if kind != "Parquet":
        paths = [path for path in paths if Path(path).stat().st_size]
        if not paths:
            raise InvalidSource(f"{request['url_pattern']} holds no data to tell the columns from.", attr="url_pattern")
    with open_session(request["limits"], files=paths) as connection:
        try:
            if kind == "Parquet":
                # Binding opens the first file only: a damaged one among the others must be found here as well.
                listed = ", ".join(map(literal, paths))
                connection.execute(f"SELECT count(num_rows) FROM parquet_file_metadata([{listed}])")
            return described(connection, sniffing_select(kind, paths))
        except duckdb.Error as error:
            reason = without_paths(readable(error), {file.real: file.shown for file in found})
            message = f"{request['url_pattern']} cannot be read as {kind}: {reason}"
            raise InvalidSource(message, attr="url_pattern") from None


def write(request: Request, watch: Watch) -> dict[str, Any]:
    """Run a plan's query into Parquet files in the folder `target`; what it wrote."""
    labels: dict[str, str] = {}
    for path, label in ((request["target"], "the result"), (request["limits"]["temp_directory"], "temporary storage")):
        labels |= {path: label, os.path.realpath(path): label}
    inputs: dict[str, list[str]] = {}
    try:
        inputs = _find_inputs(request, labels)
        return _write(request, inputs, watch)
    except Exception as error:
        lost = _lost_input(inputs) if isinstance(error, (duckdb.Error, OSError)) else None
        told = lost or _explained(error, request["limits"]["memory_limit"])
        raise type(told)(without_paths(told.message, labels)) from None


def _explained(error: Exception, memory_limit: str) -> OrchestratorError:
    told = failure(error, memory_limit)
    if isinstance(error, Unstorable):
        told = QueryFailed(str(error))
    if isinstance(told, Invalid):
        # The statement was accepted once, when it was saved; what was accepted then may be refused by a newer release.
        told = QueryRefused(told.message)
    notes = getattr(error, "__notes__", [])
    return type(told)(" ".join([*notes, told.message]))


def _find_inputs(request: Request, labels: dict[str, str]) -> dict[str, list[str]]:
    """The paths that each source and each snapshot consists of now, by name. Adds what to call them to `labels`."""
    inputs = {}
    for relation in request["relations"]:
        name = relation["name"]
        if relation["kind"] == "source":
            try:
                found = find_source_files(relation["url_pattern"], [Path(r) for r in request["source_roots"]])
            except InvalidSource as error:
                raise InputMissing(f'Source table "{name}": {error.message}') from None
            if not found:
                raise InputMissing(f'Source table "{name}" has no files that match {relation["url_pattern"]}.')
            labels.update({file.real: file.shown for file in found})
            inputs[name] = [file.real for file in found]
        elif relation["kind"] == "snapshot":
            inputs[name] = [os.path.realpath(path) for path in relation["paths"]]
            labels.update(dict.fromkeys([*inputs[name], *relation["paths"]], f'the snapshot of "{name}"'))
    missing = _lost_input(inputs)
    if missing:
        raise missing
    return inputs


def _lost_input(inputs: Mapping[str, Iterable[str]]) -> InputMissing | None:
    for name, paths in inputs.items():
        if not all(Path(path).is_file() for path in paths):
            return InputMissing(f'A file of "{name}", which this view reads, no longer exists.')
    return None


def _write(request: Request, inputs: Mapping[str, list[str]], watch: Watch) -> dict[str, Any]:
    target = os.path.realpath(request["target"])
    files = [path for paths in inputs.values() for path in paths]
    connection = open_session(request["limits"], files=files, folder=target)
    watch(connection)
    _create_relations(connection, request, inputs)
    text = single_select(connection, request["sql"]).text
    marks = ", ".join(f"{key}: {literal(value)}" for key, value in request["marks"].items())
    # Writing several files, DuckDB shuffles blocks of rows even below an ORDER BY. Whatever may have one is one file.
    path, options = (f"{target}/data_0.parquet", _COPY) if _ORDER.search(text) else (target, f"{_COPY}, {_SPLIT}")
    copy = f"COPY ({storable(connection, text)}) TO {literal(path)} ({options}, KV_METADATA {{{marks}}})"
    counts = {Path(row[0]).name: row[1] for row in connection.execute(copy).fetchall()}
    return _written(connection, target, counts)


def _create_relations(connection: duckdb.DuckDBPyConnection, request: Request, inputs: Mapping[str, list[str]]) -> None:
    relations = request["relations"]
    names = Names(connection, [request["sql"], *(r["sql"] for r in relations if r["kind"] == "view")])
    for relation in relations:
        name, kind = relation["name"], relation["kind"]
        try:
            if kind == "view":
                names.create_query(name, single_select(connection, relation["sql"]))
            elif kind == "source":
                names.create(name, source_select(relation["format"], inputs[name], relation["columns"]))
            else:
                names.create(name, source_select("Parquet", inputs[name], ()))
        except Exception as error:
            error.add_note(f'In the view "{name}":' if kind == "view" else f'Reading "{name}":')
            raise


def _written(connection: duckdb.DuckDBPyConnection, target: str, counts: dict[str, int]) -> dict[str, Any]:
    """What the files in `target` are. `counts` has the rows of each by file name; a PIVOT leaves it empty."""
    paths = [str(path) for path in sorted(Path(target).glob("*.parquet"), key=lambda p: (len(p.name), p.name))]
    listed = f"[{', '.join(map(literal, paths))}]"
    if not counts:
        rows = connection.execute(f"SELECT file_name, num_rows FROM parquet_file_metadata({listed})").fetchall()
        counts = {Path(path).name: count for path, count in rows}
    files = [(name, counts[name], size) for name, size in ((Path(p).name, Path(p).stat().st_size) for p in paths)]
    return {
        "files": files,
        "columns": described(connection, f"SELECT * FROM read_parquet({listed}, hive_partitioning = false)"),
        "engine_version": f"duckdb {duckdb.__version__}",
    }


JOBS: dict[str, Callable[[Request, Watch], Any]] = {
    "references": find_references,
    "describe": describe,
    "describe_source": describe_source,
    "write": write,
}
