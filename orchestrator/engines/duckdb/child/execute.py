"""Executes a run in the child process: opens a plan's inputs, runs its query and writes Parquet files."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from orchestrator.engines.duckdb.child.errors import failure, redact_paths
from orchestrator.engines.duckdb.child.session import RelationBinder, described, open_session
from orchestrator.engines.duckdb.integrity.unchanged import Reading, TableFiles
from orchestrator.engines.duckdb.sources.bad_values import Source, explained
from orchestrator.engines.duckdb.sources.contract import Contract, UnreadableFile
from orchestrator.engines.duckdb.sources.discovery import SourceFile, find_source_files
from orchestrator.engines.duckdb.sources.parquet import listed, read_parquet
from orchestrator.engines.duckdb.sources.rejects import rows_left_out
from orchestrator.engines.duckdb.sources.scan import source_select
from orchestrator.engines.duckdb.sql.inlining import weigh
from orchestrator.engines.duckdb.sql.parquet_casts import TOO_WIDE, UnsupportedType, cast_for_parquet, decoded, literal
from orchestrator.engines.duckdb.sql.references import readings
from orchestrator.engines.duckdb.sql.statement import single_select
from orchestrator.engines.duckdb.types.plain_csv import plain_files
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
from orchestrator.model.read_limits import MOST_READINGS

Request = Mapping[str, Any]
Watch = Callable[[duckdb.DuckDBPyConnection], None]
Inputs = dict[str, list[SourceFile]]
Columns = list[tuple[str, str]]

_COPY = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, RETURN_STATS true"
_SPLIT = "FILE_SIZE_BYTES '256MB'"
_ORDER = re.compile(r"\border\b", re.IGNORECASE)


class Task(NamedTuple):
    """Work that is ready to run, and the only paths that it needs: files to read and folders to write.

    A client's SQL is parsed and run only in `work`, when the sandbox denies all other paths.
    """

    work: Callable[[Watch], Any]
    readable: tuple[SourceFile, ...] = ()
    writable: tuple[str, ...] = ()


def write(request: Request) -> Task:
    """The task that runs a plan's query, writes Parquet files into the folder `target`, and returns what it wrote."""
    labels: dict[str, str] = {}
    for path, label in ((request["target"], "the result"), (request["temp_directory"], "temporary storage")):
        labels |= {path: label, os.path.realpath(path): label}
    inputs: Inputs = {}
    with _translate_errors(request, inputs, labels):
        _find_inputs(request, inputs, labels)
    return Task(
        partial(_run, request, inputs, labels),
        readable=tuple(file for files in inputs.values() for file in files),
        writable=(os.path.realpath(request["target"]), os.path.realpath(request["temp_directory"])),
    )


def _run(request: Request, inputs: Inputs, labels: Mapping[str, str], watch: Watch) -> dict[str, Any]:
    sources = [relation for relation in request["relations"] if relation["kind"] == "source"]
    tables = [TableFiles(r["name"], r["format"], inputs[r["name"]], r["digests"]) for r in sources]

    def watched(connection: duckdb.DuckDBPyConnection) -> None:
        reading.watch(connection)
        watch(connection)

    with _translate_errors(request, inputs, labels), Reading(tables, request["limits"]["threads"]) as reading:
        return _write(request, inputs, watched) | {"sources": reading.finish()}


@contextmanager
def _translate_errors(request: Request, inputs: Inputs, labels: Mapping[str, str]) -> Iterator[None]:
    """Convert any exception to the error of a run that says what is wrong and where, without paths of the store."""
    try:
        yield
    except Exception as error:
        lost = _find_missing_input(inputs) if isinstance(error, (duckdb.Error, OSError)) else None
        domain_error = lost or _to_domain_error(error, request["limits"])
        raise type(domain_error)(redact_paths(domain_error.message, labels)) from None


def _to_domain_error(error: Exception, limits: Mapping[str, int]) -> OrchestratorError:
    domain_error = failure(error, limits)
    if isinstance(error, (UnsupportedType, UnreadableFile)):
        domain_error = QueryFailed(str(error))
    if isinstance(domain_error, Invalid):
        # The API accepted the statement when it was saved, but a newer release may refuse it.
        domain_error = QueryRefused(domain_error.message)
    notes = getattr(error, "__notes__", [])
    return type(domain_error)(" ".join([*notes, domain_error.message]))


def _find_inputs(request: Request, inputs: Inputs, labels: dict[str, str]) -> None:
    """Put the current files of each source table and snapshot into `inputs`, and labels of the paths into `labels`."""
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
    missing = _find_missing_input(inputs)
    if missing:
        raise missing


def _find_missing_input(inputs: Mapping[str, Iterable[SourceFile]]) -> InputMissing | None:
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
    names = _create_relations(connection, request, inputs)
    text = single_select(connection, request["sql"])
    _read_plain_files_quickly(connection, names, text, request, inputs)
    metadata = ", ".join(f"{key}: {literal(value)}" for key, value in request["parquet_metadata"].items())
    # DuckDB shuffles blocks of rows when it writes several files, even with an ORDER BY. So a query that may have one
    # is written to one file.
    path, options = (f"{target}/data_0.parquet", _COPY) if _ORDER.search(text) else (target, f"{_COPY}, {_SPLIT}")
    into = f"TO {literal(path)} ({options}, KV_METADATA {{{metadata}}}"
    try:
        columns, counts = _copy(connection, text, into, target, collated=names.collated)
    except duckdb.Error as error:
        where = explained(connection, str(error), _sources(request, inputs))
        raise where or error from None
    return _written(connection, target, counts, columns, request["limits"]) | {
        "rejected": _rejected(connection, request, inputs)
    }


def _copy(
    connection: duckdb.DuckDBPyConnection, sql: str, into: str, target: str, *, collated: bool
) -> tuple[Columns, dict[str, int]]:
    """Write the result of `sql`; returns its columns (name, logical type) and the number of rows of each file, by name.

    `into` is the rest of a COPY, to which further options can be appended after a comma.
    A HUGEINT of more than 38 digits is detected only when it occurs. The query is then run once more, and stores text.
    """
    chosen = cast_for_parquet(connection, sql, collated=collated)
    try:
        written = connection.execute(f"COPY ({chosen.select}) {into}, PARQUET_VERSION {chosen.version})").fetchall()
    except duckdb.ConversionException as error:
        if not chosen.may_be_wide or TOO_WIDE not in str(error):
            raise
        for path in Path(target).iterdir():
            path.unlink()
        chosen = cast_for_parquet(connection, sql, collated=collated, wide=True)
        written = connection.execute(f"COPY ({chosen.select}) {into}, PARQUET_VERSION {chosen.version})").fetchall()
    return chosen.columns, {Path(row[0]).name: row[1] for row in written}


def _rejected(connection: duckdb.DuckDBPyConnection, request: Request, inputs: Inputs) -> list[tuple[str, int, str]]:
    """For each table with rows left out: its name, their number, and the file that holds them ("" for none)."""
    found: list[tuple[str, int, str]] = []
    for name, source in _sources(request, inputs).items():
        if source.contract.fails:
            continue
        keeps = source.contract.options["on_bad_row"] == "quarantine"
        file = f"quarantine/{len(found)}.parquet" if keeps else ""
        rows = rows_left_out(connection, source, Path(os.path.realpath(request["target"]), file) if keeps else None)
        if rows:
            found.append((name, rows, file))
    return found


def _sources(request: Request, inputs: Inputs) -> dict[str, Source]:
    relations = [relation for relation in request["relations"] if relation["kind"] == "source"]
    return {r["name"]: Source(Contract.of(r, r["columns"]), inputs[r["name"]]) for r in relations}


def _check(connection: duckdb.DuckDBPyConnection, request: Request) -> None:
    """Check the plan against the rules for views, which may be stricter now than when it was made."""
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
        # DuckDB has tables of its own, which reveal facts about the server, and it reads a file's name as a table.
        raise QueryFailed(f"{where}Catalog Error: Table with name {unknown} does not exist!")
    return names


def _create_relations(connection: duckdb.DuckDBPyConnection, request: Request, inputs: Inputs) -> RelationBinder:
    relations = request["relations"]
    names = RelationBinder(connection, [request["sql"], *(r["sql"] for r in relations if r["kind"] == "view")])
    for relation in relations:
        name, kind = relation["name"], relation["kind"]
        try:
            if kind == "view":
                names.create_query(name, single_select(connection, relation["sql"]))
            elif kind == "source":
                contract = Contract.of(relation, relation["columns"])
                names.create(name, source_select(connection, contract, inputs[name]))
            else:
                names.create(name, decoded(read_parquet(file.real for file in inputs[name]), relation["columns"]))
        except Exception as error:
            error.add_note(f'In the view "{name}":' if kind == "view" else f'Reading "{name}":')
            raise
    return names


def _read_plain_files_quickly(
    connection: duckdb.DuckDBPyConnection, names: RelationBinder, query: str, request: Request, inputs: Inputs
) -> None:
    sources = _sources(request, inputs)
    plain = plain_files(connection, query, sources.values(), request["limits"]["threads"])
    for name, (contract, files) in sources.items():
        if not plain.isdisjoint(file.real for file in files):
            names.replace(name, source_select(connection, contract, files, plain))


def _written(
    connection: duckdb.DuckDBPyConnection,
    target: str,
    counts: Mapping[str, int],
    columns: Columns,
    limits: Mapping[str, int],
) -> dict[str, Any]:
    """Describe the files in `target`. `counts` has the number of rows that were written to each, by file name.

    Raises OutputTooLarge. Raises StoreUnavailable if a file does not hold the rows that were written to it.
    """
    paths = [str(path) for path in sorted(Path(target).glob("*.parquet"), key=lambda p: (len(p.name), p.name))]
    footers = f"SELECT file_name, num_rows FROM parquet_file_metadata({listed(paths)})"  # noqa: S608 - quoted by `listed`
    held = connection.execute(footers).fetchall() if paths else []
    if {Path(path).name: rows for path, rows in held} != counts:
        raise StoreUnavailable("A file on the disk is not as it was written.")
    files = [(path.name, counts[path.name], path.stat().st_size) for path in map(Path, paths)]
    if sum(size for _, _, size in files) > limits["output_mb"] << 20:
        raise OutputTooLarge(f"The result is larger than it may be ({limits['output_mb']:,} MiB).")
    held_as = described(connection, read_parquet(paths))
    return {
        "files": files,
        "columns": [(*column, stored) for column, (_, stored) in zip(columns, held_as, strict=True)],
        "engine_version": f"duckdb {duckdb.__version__}",
    }
