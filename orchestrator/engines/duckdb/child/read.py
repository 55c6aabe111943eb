"""Executes a query in the child process for a reader, and writes its result into a pipe while it runs.

A process that reads snapshots only serves one query after another. Its reach is the folder of the project's snapshots,
which never change. A query that reads source files has a process of its own.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import duckdb

from orchestrator.engines.duckdb.child.errors import plain_message
from orchestrator.engines.duckdb.child.kept_session import Session, kept_session, within_reach
from orchestrator.engines.duckdb.child.places import move_place, note_place, stating
from orchestrator.engines.duckdb.child.plan import (
    Inputs,
    Request,
    Task,
    Watch,
    check_plan,
    create_relations,
    list_inputs,
    place_in_plan,
    sources_of,
    translate_errors,
)
from orchestrator.engines.duckdb.child.session import rows_select
from orchestrator.engines.duckdb.child.sinks import write_arrow, write_file, write_rows
from orchestrator.engines.duckdb.integrity.unchanged import Reading, TableFiles
from orchestrator.engines.duckdb.sources.bad_values import explained
from orchestrator.engines.duckdb.sql.information_schema import redirected
from orchestrator.engines.duckdb.sql.output_columns import columns_of_query
from orchestrator.engines.duckdb.sql.parquet_casts import cast_for_parquet
from orchestrator.engines.duckdb.sql.references import place_of_name, readings, syntax_tree, unique
from orchestrator.engines.duckdb.sql.result_casts import arrow_columns, csv_columns, json_rows
from orchestrator.engines.duckdb.sql.statement import single_select
from orchestrator.engines.duckdb.sql.utility_statements import without_explain
from orchestrator.model.errors import InvalidQuery
from orchestrator.model.position import moved
from orchestrator.model.type_names import Kind

# The number under which DuckDB opens the pipe. It is fixed, since the session allows its path and is then locked.
_PIPE = 200
_PIPE_PATH = f"/dev/fd/{_PIPE}"
_EXPLAINED = {"explain_key": "VARCHAR", "explain_value": "VARCHAR"}


class _Query(NamedTuple):
    """A SELECT that is ready to run, the names and types of its columns, and the values of its parameters.

    `most_rows` is how many rows are given to the reader; one more is asked for, to know whether there are more. `check`
    raises an error if a source file was changed, or is not whole.
    """

    sql: str
    columns: list[tuple[str, Kind]]
    parameters: Mapping[str, Any]
    most_rows: int | None
    check: Callable[[], object] = lambda: None


def analyze(request: Request) -> Task:
    """The names that the statement `sql` reads, once each. Raises InvalidQuery."""
    return within_reach(request, _analyze)


def _analyze(request: Request, _watch: Watch) -> list[str]:
    connection = session_of(request).connection
    return unique(readings(connection, without_explain(request["sql"])[0], request["parameters"]))


def find_name(request: Request) -> Task:
    """The place where the statement `sql` first reads the table or view `name`; None if there is none."""
    return within_reach(request, _find_name)


def _find_name(request: Request, _watch: Watch) -> dict[str, Any] | None:
    sql = without_explain(request["sql"])[0]
    if not request["sql"].endswith(sql):
        return None
    position = place_of_name(session_of(request).connection, sql, request["name"], request["parameters"])
    found = None if position is None else moved(position, sql, request["sql"])
    return None if found is None else found.as_json()


def read(request: Request) -> Task:
    """The task that runs a plan's query, and writes its result into the pipe `pipe` in the format that is asked for.

    It returns the names and DuckDB types of the columns, the number of rows, and whether there are more.
    """
    return streamed(request, _read)


def streamed(request: Request, work: Callable[[Inputs, Mapping[str, str], Request, Watch], Any]) -> Task:
    """The task that does `work`, which writes into the pipe `pipe` of the request, with the inputs of the plan."""
    os.dup2(request["pipe"], _PIPE)
    os.close(request["pipe"])
    labels = {request["temp_directory"]: "temporary storage", _PIPE_PATH: "the result"}
    inputs: Inputs = {}
    try:
        with translate_errors(request, inputs, labels):
            list_inputs(request, inputs, labels)
    except BaseException:
        os.close(_PIPE)  # the parent reads until the pipe is closed
        raise
    return within_reach(request, partial(work, inputs, labels))


@contextmanager
def opened_pipe() -> Iterator[int]:
    """The pipe of the request, closed at the end of the context."""
    with os.fdopen(_PIPE, "wb", buffering=0):
        yield _PIPE


def _read(inputs: Inputs, labels: Mapping[str, str], request: Request, watch: Watch) -> dict[str, Any]:
    sources = [relation for relation in request["relations"] if relation["kind"] == "source"]
    tables = [TableFiles(r["name"], r["format"], inputs[r["name"]], r["digests"]) for r in sources]
    with translate_errors(request, inputs, labels), opened_pipe():
        if not tables:
            return _run(request, inputs, watch, lambda: None)
        with Reading(tables, request["limits"]["threads"]) as reading:
            reading.watch(session_of(request).connection)
            answer = _run(request, inputs, watch, reading.finish)
            reading.finish()
            return answer


def _run(request: Request, inputs: Inputs, watch: Watch, check: Callable[[], object]) -> dict[str, Any]:
    session = session_of(request)
    connection = session.connection
    watch(connection)
    statement, is_explained = without_explain(request["sql"])
    written = request["sql"]
    request = {**request, "sql": redirected(connection, statement, request["parameters"])}
    with _placed_as_written(request["sql"], written):
        query, rows = _query_and_rows(session, request, inputs, check, is_explained=is_explained)
    most = query.most_rows
    shown = rows if most is None or rows is None else min(rows, most)
    return {
        "columns": [(name, kind.text) for name, kind in query.columns],
        "rows": shown,
        "has_more": rows is not None and most is not None and rows > most,
        "most_rows": most,
    }


def _query_and_rows(
    session: Session, request: Request, inputs: Inputs, check: Callable[[], object], *, is_explained: bool
) -> tuple[_Query, int | None]:
    """The query, and how many rows its result has, all of which are written."""
    connection = session.connection
    check_plan(connection, request)
    names = create_relations(connection, request, inputs, session.created)
    text = single_select(connection, request["sql"], request["parameters"])
    try:
        query = _query(connection, request, text, is_explained=is_explained)._replace(check=check)
        rows = _SINKS[request["format"]](connection, query, request)
    except duckdb.Error as error:
        where = explained(connection, plain_message(error), sources_of(request, inputs))
        note_place(error, place_in_plan(connection, error, request, names))
        raise where or error from None
    return query, rows


@contextmanager
def _placed_as_written(text: str, written: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if text != written:
            move_place(error, text, written)
        raise


def session_of(request: Request) -> Session:
    """The session of this process, which can open the pipe beside what is within its reach."""
    return kept_session(request, for_reader=True, files=[_PIPE_PATH])


def _query(connection: duckdb.DuckDBPyConnection, request: Request, text: str, *, is_explained: bool) -> _Query:
    tree = syntax_tree(connection, text)
    named = {name: value for name, value in request["parameters"].items() if name in _parameters(connection, text)}
    if is_explained:
        with stating(f"EXPLAIN {text}", text):
            rows = connection.execute(f"EXPLAIN {text}", named).fetchall()
        text, named = rows_select(_EXPLAINED, rows), {}
        return _Query(text, columns_of_query(connection, text, collated=False), named, None)
    most = request["most_rows"]
    if request["default_rows"] is not None and not _has_limit(tree):
        most = request["default_rows"]
        text = _limited(connection, text, most + 1)
    return _Query(text, columns_of_query(connection, text, collated=False, parameters=named), named, most)


def _parameters(connection: duckdb.DuckDBPyConnection, text: str) -> set[str]:
    return {name for statement in connection.extract_statements(text) for name in statement.named_parameters}


def _has_limit(tree: Any) -> bool:  # noqa: ANN401 - JSON
    """Whether the outermost SELECT has a LIMIT."""
    modifiers = tree[0]["node"].get("modifiers") or ()
    return any(str(modifier.get("type", "")).startswith("LIMIT") and modifier.get("limit") for modifier in modifiers)


def _limited(connection: duckdb.DuckDBPyConnection, text: str, rows: int) -> str:
    """`text` with a LIMIT, or as it is where the grammar allows none at its end."""
    limited = f"{text}\nLIMIT {rows}"
    try:
        return single_select(connection, limited, _parameters(connection, text))
    except InvalidQuery:
        return text


def _to_arrow(connection: duckdb.DuckDBPyConnection, query: _Query, request: Request) -> int:
    select = arrow_columns(query.sql, query.columns, wide=request["wide"])
    with stating(select, query.sql):
        result = connection.execute(select, query.parameters)
        return write_arrow(result, query.columns, _PIPE, lz4=request["lz4"], before_end=query.check)


def _to_json(connection: duckdb.DuckDBPyConnection, query: _Query, request: Request) -> int:
    select = json_rows(query.sql, query.columns, large_as_text=request["large_as_text"], as_objects=False)
    with stating(select, query.sql):
        return write_rows(connection.execute(select, query.parameters), _PIPE, most_rows=query.most_rows)


def _to_ndjson(connection: duckdb.DuckDBPyConnection, query: _Query, request: Request) -> int:
    select = json_rows(query.sql, query.columns, large_as_text=request["large_as_text"], as_objects=True)
    # DuckDB writes a text as it is, since JSON escapes the line break and the character that separates columns.
    options = "FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIMITER '\x01'"
    return _to_file(connection, query, select, options)


def _to_csv(connection: duckdb.DuckDBPyConnection, query: _Query, _request: Request) -> int:
    return _to_file(connection, query, csv_columns(query.sql, query.columns), "FORMAT csv, HEADER")


def _to_parquet(connection: duckdb.DuckDBPyConnection, query: _Query, request: Request) -> int:
    chosen = cast_for_parquet(connection, query.sql, wide=request["wide"], parameters=query.parameters)
    options = f"FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PARQUET_VERSION {chosen.version}"
    return _to_file(connection, query, chosen.select, options)


def _to_file(connection: duckdb.DuckDBPyConnection, query: _Query, select: str, options: str) -> int:
    with stating(f"COPY ({select})", query.sql):
        return write_file(connection, select, query.parameters, options, _PIPE_PATH)


_SINKS = {"arrow": _to_arrow, "json": _to_json, "ndjson": _to_ndjson, "csv": _to_csv, "parquet": _to_parquet}
