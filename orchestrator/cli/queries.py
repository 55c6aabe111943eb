"""Queries through the API: their results, and the end of one that is interrupted."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple
from uuid import uuid4

import httpx

from orchestrator.cli.api_client import Api, Json, Refused
from orchestrator.cli.output import Failure, echo, warn
from orchestrator.cli.result_table import Column, echo_table, parsed
from orchestrator.model.plurals import number_of
from orchestrator.model.reading import ResultFormat

_PATH = "query/"


class QueryResult(NamedTuple):
    """The rows of a query that the API gave. `text` is its whole answer."""

    columns: tuple[Column, ...]
    rows: Sequence[Sequence[object]]
    has_more: bool
    text: str


@contextmanager
def streamed(api: Api, sql: str, values: Mapping[str, Any], result_format: ResultFormat) -> Iterator[httpx.Response]:
    """The answer to a query, while it arrives. If the caller is interrupted, the server ends the query.

    Raises Failure with DuckDB's own message for a query that fails before its first rows.
    """
    query_id = str(uuid4())
    body: Json = {"query": {"kind": "SQLQuery", "query": sql, "values": dict(values)}, "client_query_id": query_id}
    try:
        with api.stream("POST", _PATH, params={"format": result_format.value}, json=body) as response:
            yield response
    except KeyboardInterrupt:
        # The server may not have begun it, or have ended it, since the connection is closed by now.
        with suppress(Failure):
            api.delete(f"{_PATH}{query_id}/")
        warn("\ncancelled")  # behind the ^C that the terminal shows
        raise
    except Refused as error:
        if error.code == httpx.codes.BAD_REQUEST:
            raise Refused(error.detail, error.code, error.word, error.position, message=error.detail) from None
        raise


def run_query(api: Api, sql: str, values: Mapping[str, Any] | None = None) -> QueryResult:
    """The result of a query. A statement without a LIMIT of its own gives the first rows only. Raises Failure."""
    with streamed(api, sql, values or {}, ResultFormat.JSON) as response:
        response.read()
    found = parsed(response.text)
    columns = tuple(Column(str(name), str(kind)) for name, kind in found.get("types", []))
    return QueryResult(columns, found["results"], bool(found.get("hasMore")), response.text)


def echo_result(result: QueryResult, most_rows: int | None = None) -> None:
    """Print a table of the first rows, and how many there are."""
    rows = result.rows if most_rows is None else result.rows[:most_rows]
    echo_table(result.columns, rows)
    count = number_of(len(rows), "row")
    if len(rows) < len(result.rows):
        echo(f"({count} of {'more than ' if result.has_more else ''}{len(result.rows):,})")
    elif result.has_more:
        echo(f"({count}; there are more: a LIMIT in the statement says how many)")
    else:
        echo(f"({count})")
