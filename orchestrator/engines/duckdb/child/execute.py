"""Executes a run in the child process: opens a plan's inputs, runs its query and writes Parquet files."""

import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from orchestrator.engines.duckdb.child.checks import Checker
from orchestrator.engines.duckdb.child.errors import plain_message
from orchestrator.engines.duckdb.child.kept_session import kept_session, within_reach
from orchestrator.engines.duckdb.child.places import note_place, stating
from orchestrator.engines.duckdb.child.plan import (
    Inputs,
    Request,
    Task,
    Watch,
    check_plan,
    create_relations,
    list_inputs,
    place_in_plan,
    read_plain_files_quickly,
    sources_of,
    translate_errors,
)
from orchestrator.engines.duckdb.child.session import described
from orchestrator.engines.duckdb.integrity.unchanged import Reading, TableFiles
from orchestrator.engines.duckdb.sources.bad_values import explained
from orchestrator.engines.duckdb.sources.parquet import read_parquet
from orchestrator.engines.duckdb.sources.rejects import rows_left_out
from orchestrator.engines.duckdb.sql.content import content_digest
from orchestrator.engines.duckdb.sql.determinism import is_deterministic
from orchestrator.engines.duckdb.sql.parquet_casts import TOO_WIDE, Storable, cast_for_parquet, literal
from orchestrator.engines.duckdb.sql.references import syntax_tree
from orchestrator.engines.duckdb.sql.statement import single_select
from orchestrator.model.errors import OutputTooLarge, StoreUnavailable

Columns = list[tuple[str, str]]

_COPY = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, RETURN_STATS true"
_SPLIT = "FILE_SIZE_BYTES '256MB'"
_MAGIC = b"PAR1"
# Types of which two different values may have the same text.
_WITHOUT_TEXT = ("GEOMETRY", "VARIANT")
_ORDER = re.compile(r"\border\b", re.IGNORECASE)


class _Written(NamedTuple):
    """A file as DuckDB has written it: its rows, its bytes, and the bytes of its footer."""

    rows: int
    bytes: int
    footer_bytes: int


def write(request: Request) -> Task:
    """The task that runs a plan's query, writes Parquet files into the folder `target`, and returns what it wrote."""
    labels: dict[str, str] = {}
    for path, label in ((request["target"], "the result"), (request["temp_directory"], "temporary storage")):
        labels |= {path: label, os.path.realpath(path): label}
    inputs: Inputs = {}
    with translate_errors(request, inputs, labels):
        list_inputs(request, inputs, labels)
    return within_reach(request, partial(_run, inputs, labels))


def _run(inputs: Inputs, labels: Mapping[str, str], request: Request, watch: Watch) -> dict[str, Any]:
    sources = [relation for relation in request["relations"] if relation["kind"] == "source"]
    tables = [TableFiles(r["name"], r["format"], inputs[r["name"]], r["digests"]) for r in sources]

    def watched(connection: duckdb.DuckDBPyConnection) -> None:
        reading.watch(connection)
        watch(connection)

    with translate_errors(request, inputs, labels), Reading(tables, request["limits"]["threads"]) as reading:
        return _write(request, inputs, labels, watched) | {"sources": reading.finish()}


def _write(request: Request, inputs: Inputs, labels: Mapping[str, str], watch: Watch) -> dict[str, Any]:
    began = time.monotonic()
    target = os.path.realpath(request["target"])
    session = kept_session(request, for_reader=False)
    session.clear()
    connection, created = session.connection, session.created
    watch(connection)
    check_plan(connection, request)
    names = create_relations(connection, request, inputs, created)
    text = single_select(connection, request["sql"])
    read_plain_files_quickly(connection, names, text, request, inputs)
    metadata = ", ".join(f"{key}: {literal(value)}" for key, value in request["parquet_metadata"].items())
    # DuckDB shuffles blocks of rows when it writes several files, even with an ORDER BY. So a query that may have one
    # is written to one file.
    path, options = (f"{target}/data_0.parquet", _COPY) if _ORDER.search(text) else (target, f"{_COPY}, {_SPLIT}")
    into = f"TO {literal(path)} ({options}, KV_METADATA {{{metadata}}}"
    try:
        columns, files = _copy(connection, text, into, target, collated=names.collated)
    except duckdb.Error as error:
        where = explained(connection, plain_message(error), sources_of(request, inputs))
        note_place(error, place_in_plan(connection, error, request, names))
        raise where or error from None
    _check_whole(target, files)
    counts = {name: file.rows for name, file in files.items()}
    if len(counts) > 1:
        counts = _with_unique_names(target, counts, request["file_suffix"])
    written = written_files(connection, target, counts, columns, request["limits"])
    rejected = _rejected(connection, request, inputs)
    deterministic = _is_deterministic(connection, request, text)
    session.may_be_seeded = not deterministic or bool(request["checks"])
    return {
        **written,
        **compared(connection, request, target, written),
        "rejected": rejected,
        "checks": Checker(connection, request, inputs, labels, created, began=began).run(written, target),
        "deterministic": deterministic,
    }


def _with_unique_names(target: str, counts: Mapping[str, int], suffix: str) -> dict[str, int]:
    """Rename the files, so that no other version has one of the same name; returns the rows of each by its new name.

    The path of the current version may move while a reader opens one file after another. With these names the reader
    misses a file then, and never reads some files of each version. A single file keeps its name: a reader that has
    found it opens it in either version.
    """
    renamed = {f"{Path(name).stem}_{suffix}.parquet": name for name in counts}
    for new, old in renamed.items():
        Path(target, old).rename(Path(target, new))
    return {new: counts[old] for new, old in renamed.items()}


def _copy(
    connection: duckdb.DuckDBPyConnection, sql: str, into: str, target: str, *, collated: bool
) -> tuple[Columns, dict[str, _Written]]:
    """Write the result of `sql`; returns its columns (name, logical type), and what was written to each file, by name.

    `into` is the rest of a COPY, to which further options can be appended after a comma.
    A HUGEINT of more than 38 digits is detected only when it occurs. The query is then run once more, and stores text.
    """
    chosen = cast_for_parquet(connection, sql, collated=collated)
    try:
        written = _written_by(connection, sql, chosen, into)
    except duckdb.ConversionException as error:
        if not chosen.may_be_wide or TOO_WIDE not in str(error):
            raise
        for path in Path(target).iterdir():
            path.unlink()
        chosen = cast_for_parquet(connection, sql, collated=collated, wide=True)
        written = _written_by(connection, sql, chosen, into)
    return chosen.columns, {Path(path).name: _Written(*stats) for path, *stats, _, _ in written}


def _written_by(connection: duckdb.DuckDBPyConnection, sql: str, chosen: Storable, into: str) -> list[Any]:
    statement = f"COPY ({chosen.select}) {into}, PARQUET_VERSION {chosen.version})"
    with stating(statement, sql):
        return connection.execute(statement).fetchall()


def _check_whole(target: str, files: Mapping[str, _Written]) -> None:
    """Raise StoreUnavailable unless these files, and no others, are in `target`, as long as they were written.

    A Parquet file ends with the length of its footer, so one that was cut off, or lost and made again, is noticed.
    """
    try:
        is_whole = {path.name for path in Path(target).glob("*.parquet")} == {*files}
        for name, file in files.items():
            with Path(target, name).open("rb") as opened:
                end = opened.seek(0, os.SEEK_END)
                opened.seek(max(0, end - len(_MAGIC) - 4))
                last = (file.footer_bytes).to_bytes(4, "little") + _MAGIC
                is_whole &= end == file.bytes and opened.read() == last
    except OSError:
        is_whole = False
    if not is_whole:
        raise StoreUnavailable("A file on the disk is not as it was written.")


def _is_deterministic(connection: duckdb.DuckDBPyConnection, request: Request, text: str) -> bool:
    views = [single_select(connection, one["sql"]) for one in request["relations"] if one["kind"] == "view"]
    return all(is_deterministic(syntax_tree(connection, sql)) for sql in (text, *views))


def compared(
    connection: duckdb.DuckDBPyConnection, request: Request, target: str, written: Mapping[str, Any]
) -> dict[str, str | None]:
    """The digests of the rows of this version and of the one before, if both have as many rows of the same columns."""
    previous = request["previous"]
    rows = sum(rows for _, rows, _ in written["files"])
    columns = [list(column) for column in written["columns"]]
    has_texts = not any(kind.startswith(_WITHOUT_TEXT) for _, kind, _ in written["columns"])
    if not previous or previous["rows"] != rows or previous["columns"] != columns or not has_texts:
        return {"content": None, "previous_content": None}
    names = [name for name, _, _ in written["columns"]]
    paths = [f"{target}/{name}" for name, _, _ in written["files"]]
    # The result is written and right, also where the version before cannot be read.
    with suppress(duckdb.Error):
        before = previous["content"] or content_digest(connection, previous["paths"], names)
        return {"content": content_digest(connection, paths, names), "previous_content": before}
    return {"content": None, "previous_content": None}


def _rejected(connection: duckdb.DuckDBPyConnection, request: Request, inputs: Inputs) -> list[tuple[str, int, str]]:
    """For each table with rows left out: its name, their number, and the file that holds them ("" for none)."""
    found: list[tuple[str, int, str]] = []
    for name, source in sources_of(request, inputs).items():
        if source.contract.fails:
            continue
        keeps = source.contract.options["on_bad_row"] == "quarantine"
        file = f"quarantine/{len(found)}.parquet" if keeps else ""
        rows = rows_left_out(connection, source, Path(os.path.realpath(request["target"]), file) if keeps else None)
        if rows:
            found.append((name, rows, file))
    return found


def written_files(
    connection: duckdb.DuckDBPyConnection,
    target: str,
    counts: Mapping[str, int],
    columns: Columns,
    limits: Mapping[str, int],
) -> dict[str, Any]:
    """Describe the files in `target`. `counts` has the number of rows of each, by file name.

    Raises OutputTooLarge.
    """
    paths = [f"{target}/{name}" for name in sorted(counts, key=lambda name: (len(name), name))]
    files = [(path.name, counts[path.name], path.stat().st_size) for path in map(Path, paths)]
    if sum(size for _, _, size in files) > limits["output_mb"] << 20:
        raise OutputTooLarge(f"The result is larger than it may be ({limits['output_mb']:,} MiB).")
    held_as = described(connection, read_parquet(paths))
    return {
        "files": files,
        "columns": [(*column, stored) for column, (_, stored) in zip(columns, held_as, strict=True)],
        "engine_version": f"duckdb {duckdb.__version__}",
    }
