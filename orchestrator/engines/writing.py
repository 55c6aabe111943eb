"""A run, inside the child process: from a plan's inputs to Parquet files."""

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from orchestrator.engines.failures import failure, without_paths
from orchestrator.engines.inlining import weigh
from orchestrator.engines.parquet_types import Unstorable, literal, storable
from orchestrator.engines.references import readings
from orchestrator.engines.session import Names, described, open_session
from orchestrator.engines.source_files import SourceFile, find_source_files
from orchestrator.engines.source_parquet import listed, parquet_select, read_parquet
from orchestrator.engines.source_relations import source_select
from orchestrator.engines.source_text import Unreadable
from orchestrator.engines.statement import single_select
from orchestrator.model.errors import (
    InputMissing,
    Invalid,
    InvalidQuery,
    InvalidSource,
    OrchestratorError,
    OutputTooLarge,
    PlanTooLarge,
    QueryFailed,
    QueryRefused,
    StoreUnavailable,
)
from orchestrator.model.names import fold
from orchestrator.model.readings import MOST_READINGS

Request = Mapping[str, Any]
Watch = Callable[[duckdb.DuckDBPyConnection], None]
Inputs = dict[str, list[SourceFile]]

_COPY = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PARQUET_VERSION V2, RETURN_STATS true"
_SPLIT = "FILE_SIZE_BYTES '256MB'"
_ORDER = re.compile(r"\border\b", re.IGNORECASE)


class Task(NamedTuple):
    """Work that is ready to be done, and the only paths that it needs: `readable` files, `writable` folders.

    Whatever comes from an author is parsed and run in `work` only, when everything else is out of reach.
    """

    work: Callable[[Watch], Any]
    readable: tuple[SourceFile, ...] = ()
    writable: tuple[str, ...] = ()


def write(request: Request) -> Task:
    """Run a plan's query into Parquet files in the folder `target`; what it wrote."""
    labels: dict[str, str] = {}
    for path, label in ((request["target"], "the result"), (request["temp_directory"], "temporary storage")):
        labels |= {path: label, os.path.realpath(path): label}
    inputs: Inputs = {}
    with _explaining(request, inputs, labels):
        _find_inputs(request, inputs, labels)
    return Task(
        partial(_run, request, inputs, labels),
        readable=tuple(file for files in inputs.values() for file in files),
        writable=(os.path.realpath(request["target"]), os.path.realpath(request["temp_directory"])),
    )


def _run(request: Request, inputs: Inputs, labels: Mapping[str, str], watch: Watch) -> dict[str, Any]:
    with _explaining(request, inputs, labels):
        return _write(request, inputs, watch)


@contextmanager
def _explaining(request: Request, inputs: Inputs, labels: Mapping[str, str]) -> Iterator[None]:
    """Turn whatever is raised into the error of a run that says what is wrong and where, but no path of the store."""
    try:
        yield
    except Exception as error:
        changed = _changed_input(inputs, str(error)) if isinstance(error, (duckdb.Error, OSError)) else None
        told = changed or _explained(error, request["limits"])
        raise type(told)(without_paths(told.message, labels)) from None


def _explained(error: Exception, limits: Mapping[str, int]) -> OrchestratorError:
    told = failure(error, limits)
    if isinstance(error, (Unstorable, Unreadable)):
        told = QueryFailed(str(error))
    if isinstance(told, Invalid):
        # The statement was accepted once, when it was saved; what was accepted then may be refused by a newer release.
        told = QueryRefused(told.message)
    notes = getattr(error, "__notes__", [])
    return type(told)(" ".join([*notes, told.message]))


def _find_inputs(request: Request, inputs: Inputs, labels: dict[str, str]) -> None:
    """Put the files that each source and each snapshot consists of now into `inputs`, and their names into `labels`."""
    for relation in request["relations"]:
        name = relation["name"]
        if relation["kind"] == "source":
            try:
                found = find_source_files(relation["url_pattern"], request["source_roots"], request["private"])
            except InvalidSource as error:
                raise InputMissing(f'Source table "{name}": {error.message}') from None
            if not found:
                raise InputMissing(f'Source table "{name}" has no files that match {relation["url_pattern"]}.')
            labels.update({file.real: file.shown for file in found})
            inputs[name] = found
        elif relation["kind"] == "snapshot":
            inputs[name] = [SourceFile(shown=path, real=os.path.realpath(path)) for path in relation["paths"]]
            labels.update({path: f'the snapshot of "{name}"' for file in inputs[name] for path in file[:2]})
    missing = _lost_input(inputs)
    if missing:
        raise missing


def _changed_input(inputs: Inputs, message: str) -> OrchestratorError | None:
    lost = _lost_input(inputs)
    if lost is not None or os.strerror(errno.EACCES) not in message:
        return lost
    for name, files in inputs.items():
        # What this process may open are the very files that were there when it began, not others of the same name. It
        # is better so: nobody has looked at the columns of those.
        if any(file.real in message and os.access(file.real, os.R_OK) for file in files):
            return StoreUnavailable(
                f'A file of "{name}" was replaced while this view was reading it. It is read again.'
            )
    return None


def _lost_input(inputs: Mapping[str, Iterable[SourceFile]]) -> InputMissing | None:
    for name, files in inputs.items():
        if not all(Path(file.real).is_file() for file in files):
            return InputMissing(f'A file of "{name}", which this view reads, no longer exists.')
    return None


def _write(request: Request, inputs: Inputs, watch: Watch) -> dict[str, Any]:
    target = os.path.realpath(request["target"])
    files = [file.real for files in inputs.values() for file in files]
    connection = open_session(request["limits"], spill=request["temp_directory"], files=files, folder=target)
    watch(connection)
    _check(connection, request)
    _create_relations(connection, request, inputs)
    text = single_select(connection, request["sql"])
    marks = ", ".join(f"{key}: {literal(value)}" for key, value in request["marks"].items())
    # Writing several files, DuckDB shuffles blocks of rows even below an ORDER BY. Whatever may have one is one file.
    path, options = (f"{target}/data_0.parquet", _COPY) if _ORDER.search(text) else (target, f"{_COPY}, {_SPLIT}")
    copy = f"COPY ({storable(connection, text)}) TO {literal(path)} ({options}, KV_METADATA {{{marks}}})"
    counts = {Path(row[0]).name: row[1] for row in connection.execute(copy).fetchall()}
    return _written(connection, target, counts, request["limits"])


def _check(connection: duckdb.DuckDBPyConnection, request: Request) -> None:
    """Hold the plan against the rules for views, which may be stricter than when it was made."""
    known = {fold(relation["name"]) for relation in request["relations"]}
    views = {
        view["name"]: _readings(connection, view["sql"], known, f'In the view "{view["name"]}": ')
        for view in request["relations"]
        if view["kind"] == "view"
    }
    weight = weigh(_readings(connection, request["sql"], known, ""), views)
    if weight > MOST_READINGS:
        raise PlanTooLarge(
            f"With every view that has no result of its own evaluated inside it, the query reads tables and views "
            f"{weight:,} times; {MOST_READINGS:,} are the most. Materialize some of the views that it reads."
        )


def _readings(connection: duckdb.DuckDBPyConnection, sql: str, known: set[str], where: str) -> list[str]:
    try:
        names = readings(connection, sql)
    except InvalidQuery as error:
        raise QueryRefused(where + error.message) from None
    except RecursionError:
        raise QueryRefused(f"{where}Invalid query: it is too complex to analyse.") from None
    unknown = next((name for name in names if fold(name) not in known), None)
    if unknown is not None:
        # DuckDB has tables of its own, that tell about the server, and takes the names of files for tables.
        raise QueryFailed(f"{where}Catalog Error: Table with name {unknown} does not exist!")
    return names


def _create_relations(connection: duckdb.DuckDBPyConnection, request: Request, inputs: Inputs) -> None:
    relations = request["relations"]
    names = Names(connection, [request["sql"], *(r["sql"] for r in relations if r["kind"] == "view")])
    for relation in relations:
        name, kind = relation["name"], relation["kind"]
        try:
            if kind == "view":
                names.create_query(name, single_select(connection, relation["sql"]))
            elif kind == "source":
                names.create(name, _source(connection, relation, inputs[name]))
            else:
                names.create(name, read_parquet(file.real for file in inputs[name]))
        except Exception as error:
            error.add_note(f'In the view "{name}":' if kind == "view" else f'Reading "{name}":')
            raise


def _source(connection: duckdb.DuckDBPyConnection, relation: Mapping[str, Any], files: list[SourceFile]) -> str:
    if relation["format"] == "Parquet":
        return parquet_select(connection, files, relation["columns"])
    return source_select(relation["format"], files, relation["columns"])


def _written(
    connection: duckdb.DuckDBPyConnection, target: str, counts: Mapping[str, int], limits: Mapping[str, int]
) -> dict[str, Any]:
    """What the files in `target` are. `counts` has the rows that were written to each, by file name.

    Raises OutputTooLarge, and StoreUnavailable if a file does not hold what was written to it.
    """
    paths = [str(path) for path in sorted(Path(target).glob("*.parquet"), key=lambda p: (len(p.name), p.name))]
    footers = f"SELECT file_name, num_rows FROM parquet_file_metadata({listed(paths)})"  # noqa: S608 - quoted by `listed`
    held = connection.execute(footers).fetchall() if paths else []
    if {Path(path).name: rows for path, rows in held} != counts:
        raise StoreUnavailable("A file on the disk is not as it was written.")
    files = [(path.name, counts[path.name], path.stat().st_size) for path in map(Path, paths)]
    if sum(size for _, _, size in files) > limits["output_mb"] << 20:
        raise OutputTooLarge(f"The result is larger than it may be ({limits['output_mb']:,} MiB).")
    return {
        "files": files,
        "columns": described(connection, read_parquet(paths)),
        "engine_version": f"duckdb {duckdb.__version__}",
    }
