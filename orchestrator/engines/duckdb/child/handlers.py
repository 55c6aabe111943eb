"""The handlers of the child process, one for each kind of request. Requests and results are plain JSON values.

Each handler first does what needs the whole file system, without running any SQL, and returns the rest as a Task. One
that has nothing left to do returns its answer.
"""

from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any

import duckdb

from orchestrator.engines.duckdb.child import spark_texts
from orchestrator.engines.duckdb.child.adopt import adopt
from orchestrator.engines.duckdb.child.binding import explain_binding
from orchestrator.engines.duckdb.child.checks import check_table
from orchestrator.engines.duckdb.child.diff import diff
from orchestrator.engines.duckdb.child.errors import clean_message, failure, plain_message, redact_paths
from orchestrator.engines.duckdb.child.execute import write
from orchestrator.engines.duckdb.child.object_access import failure_of_remote_files, grant
from orchestrator.engines.duckdb.child.places import place_in_text
from orchestrator.engines.duckdb.child.plan import Answered, Request, Task, Watch, digest_files, find_files
from orchestrator.engines.duckdb.child.read import analyze, find_name as read_find_name, read
from orchestrator.engines.duckdb.child.session import RelationBinder, open_session
from orchestrator.engines.duckdb.integrity.unchanged import Reading, TableFiles
from orchestrator.engines.duckdb.integrity.whole_files import check_text, is_packed
from orchestrator.engines.duckdb.sandbox import confine
from orchestrator.engines.duckdb.sources.bad_values import Source, explained
from orchestrator.engines.duckdb.sources.contract import Contract, UnreadableFile
from orchestrator.engines.duckdb.sources.differences import differences
from orchestrator.engines.duckdb.sources.discovery import SourceFile, list_source_files, real_path
from orchestrator.engines.duckdb.sources.text import with_data
from orchestrator.engines.duckdb.sql.column_lineage import column_lineage
from orchestrator.engines.duckdb.sql.content import content_digest
from orchestrator.engines.duckdb.sql.inlining import weigh
from orchestrator.engines.duckdb.sql.parquet_casts import UnsupportedType, logical
from orchestrator.engines.duckdb.sql.references import (
    digest,
    located,
    place_of_name,
    readings,
    references,
    syntax_tree,
    unique,
)
from orchestrator.engines.duckdb.sql.statement import invalid, single_select
from orchestrator.engines.duckdb.types.inference import UnknownType, source_columns
from orchestrator.model.column_limits import too_wide
from orchestrator.model.errors import InvalidQuery, InvalidSource
from orchestrator.model.remote_files import is_remote

# A file of a gigabyte or two is decompressed in this time. Each run decompresses all files to the end.
_WHOLE_SECONDS = 3.0
_PARSER_LIMITS = {"threads": 1, "memory_mb": 256}


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    """One connection for all parsing: opening one takes ten times as long as making a syntax tree."""
    return open_session(_PARSER_LIMITS)


def find_references(request: Request) -> Task:
    """The names that `sql` reads."""
    return Task(lambda _: references(_parser(), request["sql"]))


def study_each(request: Request) -> Task:
    """Each of `statements` without its semicolon, the names that it reads and its digest, or its error."""
    return Task(lambda _: [_studied(sql) for sql in request["statements"]])


def _studied(sql: str) -> dict[str, Any]:
    try:
        text = single_select(_parser(), sql)
        tree = syntax_tree(_parser(), text)
        names = unique(reference.name for reference in located(tree, text))
    except InvalidQuery as error:
        return _as_json(error)
    return {"sql": text, "references": names, "digest": digest(tree)}


def _as_json(error: InvalidQuery) -> dict[str, Any]:
    return {"error": error.message, "position": error.position.as_json() if error.position else None}


def find_name(request: Request) -> Task:
    """The place where `sql` first reads the table or view `name`; None if there is none."""
    return Task(partial(_find_name, request))


def _find_name(request: Request, _watch: Watch) -> dict[str, Any] | None:
    position = place_of_name(_parser(), request["sql"], request["name"])
    return None if position is None else position.as_json()


def weigh_query(request: Request) -> Task:
    """The number of times that `sql` reads a table or a view, directly and through `views`."""
    return Task(partial(_weigh, request))


def _weigh(request: Request, _watch: Watch) -> int:
    views = {name: readings(_parser(), sql) for name, sql in request["views"].items()}
    return weigh(readings(_parser(), request["sql"]), views)


def list_sandbox_layers(_request: Request) -> Task:
    """The sandbox layers of this process."""
    return Task(lambda _: confine.layers())


def describe(request: Request) -> Task:
    """The columns of `sql` over empty tables. `tables` maps a name to its (column, type) pairs."""
    return Task(partial(_describe, request))


def _describe(request: Request, _watch: Watch) -> list[tuple[str, str]]:
    with open_session(request["limits"]) as connection:
        text = single_select(connection, request["sql"])
        try:
            names = RelationBinder(connection, [text])
            for name, columns in request["tables"].items():
                names.create_empty(name, columns)
        except UnsupportedType as error:
            raise invalid(str(error)) from None
        except duckdb.Error as error:
            raise invalid(clean_message(error)) from None
        known = {column for table in request["tables"].values() for column, _ in table}
        return _bound(connection, names, text, known)


def _bound(
    connection: duckdb.DuckDBPyConnection, names: RelationBinder, text: str, known: Iterable[str]
) -> list[tuple[str, str]]:
    """The columns of a SELECT. `known` are the columns of all that it reads. Raises InvalidQuery."""
    try:
        return logical(connection, text, collated=names.collated).columns
    except UnsupportedType as error:
        raise invalid(str(error)) from None
    except duckdb.Error as error:
        raise invalid(explain_binding(error, text, known), place_in_text(error)) from None


def describe_each(request: Request) -> Task:
    """The columns of each of `views` (name, statement, previous columns), over empty tables and the views before it.

    The error of one that does not bind is in its place.
    """
    return Task(partial(_describe_each, request))


def _describe_each(request: Request, _watch: Watch) -> list[list[tuple[str, str]] | dict[str, Any]]:
    found: list[list[tuple[str, str]] | dict[str, Any]] = []
    with open_session(request["limits"]) as connection:
        names = RelationBinder(connection, [sql for _, sql, _ in request["views"]])
        own = {name.lower() for name, _, _ in request["views"]}
        known = {column for table in request["tables"].values() for column, _ in table}
        for name, columns in request["tables"].items():
            if name.lower() not in own:
                names.create_empty(name, columns)
        for name, sql, before in request["views"]:
            columns = before
            try:
                found.append(columns := _bound(connection, names, single_select(connection, sql), known))
            except InvalidQuery as error:
                found.append(_as_json(error))
            if columns:
                names.create_empty(name, columns)
                known.update(column for column, _ in columns)
    return found


def trace_columns(request: Request) -> Task:
    """The columns of `tables` from which each column of `sql` is computed, as `column_lineage` reports them."""
    return Task(partial(_trace_columns, request))


def _trace_columns(request: Request, _watch: Watch) -> dict[str, Any]:
    with open_session(request["limits"]) as connection:
        try:
            return column_lineage(connection, request["sql"], request["tables"])
        except duckdb.Error as error:
            raise invalid(clean_message(error)) from None


def digest_rows(request: Request) -> Task:
    """The digest of the rows of the Parquet file at `path`, which has these `columns`."""
    file = SourceFile(request["path"], real_path(request["path"]))
    return Task(partial(_digest_rows, request, file), readable=(file,))


def _digest_rows(request: Request, file: SourceFile, _watch: Watch) -> str:
    try:
        with open_session(request["limits"], files=[file.real]) as connection:
            return content_digest(connection, [file.real], request["columns"])
    except duckdb.Error as error:
        raise failure(error, request["limits"]) from None


def describe_source(request: Request) -> Task:
    """The columns of the files that match `url_pattern`, read as `format`, and how the files differ from them."""
    if "files" in request:
        files = [SourceFile(*file) for file in request["files"]]
        total = sum(file.size for file in files)
        grant(request["remote"])
    else:
        listed = list_source_files(request["url_pattern"], request["source_roots"], request["private"])
        files, total = [one.file for one in listed], sum(one.size for one in listed)
    if not files:
        raise InvalidSource(f"No file matches {request['url_pattern']}.", attr="url_pattern")
    readable = () if "files" in request else tuple(files)
    return Task(partial(_describe_source, request, files, total), readable=readable)


def _describe_source(request: Request, found: list[SourceFile], total: int, _watch: Watch) -> dict[str, Any]:
    contract = Contract.of(request, request["stated"])
    files = found if contract.format == "Parquet" else with_data(found)
    if not files:
        raise InvalidSource(f"{request['url_pattern']} holds no data to detect the columns from.", attr="url_pattern")
    packed = [file for file in found if is_packed(file, contract.format)]
    reading = Reading([TableFiles(request["url_pattern"], contract.format, packed)], request["limits"]["threads"])
    try:
        check_text(found, contract.format)
        on_disk = [file.real for file in files if not is_remote(file.real)]
        with reading, open_session(request["limits"], files=on_disk, remote="remote" in request) as connection:
            reading.watch(connection)
            columns = _columns(connection, contract, files)
            others = differences(connection, contract, columns, files)
            reading.finish_within(_WHOLE_SECONDS)
    except (duckdb.Error, UnreadableFile, OSError) as error:
        lost = failure_of_remote_files()
        if lost is not None:
            raise InvalidSource(lost.message, attr="url_pattern") from None
        text = clean_message(error) if isinstance(error, duckdb.Error) else str(error)
        reason = redact_paths(text, {file.real: file.shown for file in found})
        message = f"{request['url_pattern']} cannot be read as {contract.format}: {reason}"
        attr = "columns" if isinstance(error, UnknownType) else "url_pattern"
        raise InvalidSource(message, attr=attr) from None
    excess = too_wide(columns)
    if excess:
        raise InvalidSource(f"{request['url_pattern']} cannot be a table: {excess}", attr="url_pattern")
    return {
        "columns": columns,
        "file_count": len(found),
        "bytes": total,
        "differences": others,
    }


def _columns(
    connection: duckdb.DuckDBPyConnection, contract: Contract, files: list[SourceFile]
) -> list[tuple[str, str]]:
    try:
        return source_columns(connection, contract, files)
    except (duckdb.Error, UnreadableFile, OSError) as error:
        raise explained(connection, plain_message(error), {"": Source(contract, files)}) or error from None


HANDLERS: dict[str, Callable[[Request], Task | Answered]] = {
    "layers": list_sandbox_layers,
    "references": find_references,
    "study_each": study_each,
    "find_name": find_name,
    "weigh": weigh_query,
    "describe": describe,
    "lineage": trace_columns,
    "describe_each": describe_each,
    "describe_source": describe_source,
    "digest_rows": digest_rows,
    "find_files": find_files,
    "digest_files": digest_files,
    "write": write,
    "adopt": adopt,
    "check": check_table,
    "analyze": analyze,
    "read": read,
    "find_name_read": read_find_name,
    "diff": diff,
    "translate": spark_texts.translate,
    "study_spark": spark_texts.study,
    "rewrite_spark": spark_texts.rewrite,
}
