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
from orchestrator.engines.source_columns import source_columns
from orchestrator.engines.source_files import SourceFile, find_source_files
from orchestrator.engines.source_relations import listed, source_select
from orchestrator.engines.source_text import Unreadable, with_data
from orchestrator.engines.statement import invalid, single_select
from orchestrator.model.errors import InputMissing, Invalid, InvalidSource, OrchestratorError, QueryFailed, QueryRefused

Request = Mapping[str, Any]
Watch = Callable[[duckdb.DuckDBPyConnection], None]
Inputs = dict[str, list[SourceFile]]

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
        text = single_select(connection, request["sql"])
        try:
            names = Names(connection, [text])
            for name, columns in request["tables"].items():
                names.create_empty(name, columns)
            return described(connection, storable(connection, text))
        except Unstorable as error:
            raise invalid(str(error)) from None
        except duckdb.Error as error:
            raise invalid(readable(error)) from None


def describe_source(request: Request, _watch: Watch) -> list[tuple[str, str]]:
    """The columns of the files that match `url_pattern`, read as `format`."""
    found = find_source_files(request["url_pattern"], [Path(r) for r in request["source_roots"]])
    if not found:
        raise InvalidSource(f"No file matches {request['url_pattern']}.", attr="url_pattern")
    kind = request["format"]
    files = found if kind == "Parquet" else with_data(found)
    if not files:
        raise InvalidSource(f"{request['url_pattern']} holds no data to tell the columns from.", attr="url_pattern")
    with open_session(request["limits"], files=[file.real for file in files]) as connection:
        try:
            return source_columns(connection, kind, files)
        except (duckdb.Error, Unreadable, OSError) as error:
            text = readable(error) if isinstance(error, duckdb.Error) else str(error)
            reason = without_paths(text, {file.real: file.shown for file in found})
            message = f"{request['url_pattern']} cannot be read as {kind}: {reason}"
            raise InvalidSource(message, attr="url_pattern") from None


def write(request: Request, watch: Watch) -> dict[str, Any]:
    """Run a plan's query into Parquet files in the folder `target`; what it wrote."""
    labels: dict[str, str] = {}
    for path, label in ((request["target"], "the result"), (request["limits"]["temp_directory"], "temporary storage")):
        labels |= {path: label, os.path.realpath(path): label}
    inputs: Inputs = {}
    try:
        inputs = _find_inputs(request, labels)
        return _write(request, inputs, watch)
    except Exception as error:
        lost = _lost_input(inputs) if isinstance(error, (duckdb.Error, OSError)) else None
        told = lost or _explained(error, request["limits"]["memory_limit"])
        raise type(told)(without_paths(told.message, labels)) from None


def _explained(error: Exception, memory_limit: str) -> OrchestratorError:
    told = failure(error, memory_limit)
    if isinstance(error, (Unstorable, Unreadable)):
        told = QueryFailed(str(error))
    if isinstance(told, Invalid):
        # The statement was accepted once, when it was saved; what was accepted then may be refused by a newer release.
        told = QueryRefused(told.message)
    notes = getattr(error, "__notes__", [])
    return type(told)(" ".join([*notes, told.message]))


def _find_inputs(request: Request, labels: dict[str, str]) -> Inputs:
    """The files that each source and each snapshot consists of now, by name. Adds what to call them to `labels`."""
    inputs: Inputs = {}
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
            inputs[name] = found
        elif relation["kind"] == "snapshot":
            inputs[name] = [SourceFile(shown=path, real=os.path.realpath(path)) for path in relation["paths"]]
            labels.update({path: f'the snapshot of "{name}"' for file in inputs[name] for path in file})
    missing = _lost_input(inputs)
    if missing:
        raise missing
    return inputs


def _lost_input(inputs: Mapping[str, Iterable[SourceFile]]) -> InputMissing | None:
    for name, files in inputs.items():
        if not all(Path(file.real).is_file() for file in files):
            return InputMissing(f'A file of "{name}", which this view reads, no longer exists.')
    return None


def _write(request: Request, inputs: Inputs, watch: Watch) -> dict[str, Any]:
    target = os.path.realpath(request["target"])
    files = [file.real for files in inputs.values() for file in files]
    connection = open_session(request["limits"], files=files, folder=target)
    watch(connection)
    _create_relations(connection, request, inputs)
    text = single_select(connection, request["sql"])
    marks = ", ".join(f"{key}: {literal(value)}" for key, value in request["marks"].items())
    # Writing several files, DuckDB shuffles blocks of rows even below an ORDER BY. Whatever may have one is one file.
    path, options = (f"{target}/data_0.parquet", _COPY) if _ORDER.search(text) else (target, f"{_COPY}, {_SPLIT}")
    copy = f"COPY ({storable(connection, text)}) TO {literal(path)} ({options}, KV_METADATA {{{marks}}})"
    counts = {Path(row[0]).name: row[1] for row in connection.execute(copy).fetchall()}
    return _written(connection, target, counts)


def _create_relations(connection: duckdb.DuckDBPyConnection, request: Request, inputs: Inputs) -> None:
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
    """What the files in `target` are. `counts` has the rows of each by file name."""
    paths = [str(path) for path in sorted(Path(target).glob("*.parquet"), key=lambda p: (len(p.name), p.name))]
    files = [(name, counts[name], size) for name, size in ((Path(p).name, Path(p).stat().st_size) for p in paths)]
    return {
        "files": files,
        "columns": described(connection, f"SELECT * FROM read_parquet({listed(paths)}, hive_partitioning = false)"),
        "engine_version": f"duckdb {duckdb.__version__}",
    }


JOBS: dict[str, Callable[[Request, Watch], Any]] = {
    "references": find_references,
    "describe": describe,
    "describe_source": describe_source,
    "write": write,
}
