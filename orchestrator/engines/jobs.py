"""What the child process does for each kind of request. Requests and results are plain JSON values.

Each job first makes ready what needs the file system, in our own code alone, and gives the rest as a task.
"""

from collections.abc import Callable
from functools import cache, partial

import duckdb

from orchestrator.engines import sandbox
from orchestrator.engines.failures import readable, without_paths
from orchestrator.engines.parquet_types import Unstorable, logical
from orchestrator.engines.references import references
from orchestrator.engines.session import Names, open_session
from orchestrator.engines.source_columns import source_columns
from orchestrator.engines.source_files import SourceFile, find_source_files
from orchestrator.engines.source_text import Unreadable, with_data
from orchestrator.engines.statement import invalid, single_select
from orchestrator.engines.writing import Request, Task, Watch, write
from orchestrator.model.errors import InvalidQuery, InvalidSource

_PARSER_LIMITS = {"threads": 1, "memory_mb": 256}


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    """One connection for all parsing: opening one takes ten times as long as making a syntax tree."""
    return open_session(_PARSER_LIMITS)


def find_references(request: Request) -> Task:
    """The names that `sql` reads."""
    return Task(lambda _: references(_parser(), request["sql"]))


def tell_layers(_request: Request) -> Task:
    """What this process is kept in."""
    return Task(lambda _: sandbox.layers())


def describe(request: Request) -> Task:
    """The columns of `sql` over empty tables. `tables` maps a name to its (column, type) pairs."""
    return Task(partial(_describe, request))


def _describe(request: Request, _watch: Watch) -> list[tuple[str, str]]:
    with open_session(request["limits"]) as connection:
        text = single_select(connection, request["sql"])
        try:
            names = Names(connection, [text])
            for name, columns in request["tables"].items():
                names.create_empty(name, columns)
            return logical(connection, text, collated=names.collated).columns
        except Unstorable as error:
            raise invalid(str(error)) from None
        except duckdb.Error as error:
            raise invalid(readable(error)) from None


def describe_each(request: Request) -> Task:
    """The columns of each of `views` (name, statement, columns so far), over empty tables and the views before it."""
    return Task(partial(_describe_each, request))


def _describe_each(request: Request, _watch: Watch) -> list[list[tuple[str, str]] | None]:
    found: list[list[tuple[str, str]] | None] = []
    with open_session(request["limits"]) as connection:
        names = Names(connection, [sql for _, sql, _ in request["views"]])
        own = {name.lower() for name, _, _ in request["views"]}
        for name, columns in request["tables"].items():
            if name.lower() not in own:
                names.create_empty(name, columns)
        for name, sql, before in request["views"]:
            try:
                text = single_select(connection, sql)
                columns = logical(connection, text, collated=names.collated).columns
            except (InvalidQuery, Unstorable, duckdb.Error):
                columns = None
            found.append(columns)
            known = before if columns is None else columns
            if known:
                names.create_empty(name, known)
    return found


def describe_source(request: Request) -> Task:
    """The columns of the files that match `url_pattern`, read as `format`."""
    found = find_source_files(request["url_pattern"], request["source_roots"], request["private"])
    if not found:
        raise InvalidSource(f"No file matches {request['url_pattern']}.", attr="url_pattern")
    return Task(partial(_describe_source, request, found), readable=tuple(found))


def _describe_source(request: Request, found: list[SourceFile], _watch: Watch) -> list[tuple[str, str]]:
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


JOBS: dict[str, Callable[[Request], Task]] = {
    "layers": tell_layers,
    "references": find_references,
    "describe": describe,
    "describe_each": describe_each,
    "describe_source": describe_source,
    "write": write,
}
