"""`matview shell`: statements one after another, typed at a prompt or read from standard input."""

import io
import sys
from collections.abc import Callable, Iterator
from functools import partial

import typer

from orchestrator.cli.api_client import Api, with_api
from orchestrator.cli.installation import EXIT_USAGE
from orchestrator.cli.output import Failure, echo, echo_json, fail
from orchestrator.cli.queries import echo_result, run_query
from orchestrator.cli.result_table import echo_table
from orchestrator.model.placeholders import is_blank, split_statements

_HELP = r"""A statement ends with ; and may have several lines.
\d        list the views and tables
\d NAME   describe one
\?        show this
\q        leave, as Ctrl-D does
Tab completes the names of views, tables and columns. Ctrl-C abandons a line, or cancels the query that runs."""
_TABLES = """SELECT table_name AS name, CASE table_type WHEN 'VIEW' THEN 'view' ELSE 'table' END AS kind
FROM information_schema.tables ORDER BY lower(table_name) LIMIT 50000"""
_COLUMNS = """SELECT column_name AS "column", data_type AS type FROM information_schema.columns
WHERE lower(table_name) = lower($name) ORDER BY ordinal_position LIMIT 50000"""


class Left(Exception):
    """The user leaves the shell."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("shell")(shell)


@with_api
def shell(api: Api) -> None:
    r"""Run statements that are typed at a prompt, or read from standard input; each ends with a semicolon."""
    try:
        if sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty():
            _interactive(api)
        else:
            _script(api)
    except Left:
        return


def _interactive(api: Api) -> None:
    from orchestrator.cli.prompt import prompted  # its library takes a quarter of a second to load

    echo(f"{api.url}, project {api.project}. \\? shows help, \\q leaves.")
    for text in prompted(api):
        for run in _commands(api, text):
            try:
                run()
            except Failure as failure:
                fail(str(failure))
                break
            except KeyboardInterrupt:
                break  # the query is cancelled


def _commands(api: Api, text: str) -> Iterator[Callable[[], None]]:
    """The functions that run a text: a command that begins with a backslash, or statements."""
    if text.lstrip().startswith("\\"):
        yield partial(_backslash, api, text)
        return
    statements, _ = split_statements(text)
    for statement in statements:
        yield partial(_run, api, statement)


def _script(api: Api) -> None:
    """Run what standard input holds, each statement as soon as it ends. The first failure ends it."""
    waiting = ""
    for line in _lines():
        if not waiting.strip() and line.lstrip().startswith("\\"):
            _backslash(api, line)
            continue
        waiting += line
        if ";" in line:
            statements, waiting = split_statements(waiting)
            for statement in statements:
                _run(api, statement)
    if not is_blank(waiting):
        raise Failure("the last statement does not end with ;")


def _lines() -> Iterator[str]:
    if sys.stdin is None:
        return
    try:
        yield from io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise Failure(f"standard input cannot be read: {reason}", EXIT_USAGE) from None


def _run(api: Api, statement: str) -> None:
    result = run_query(api, statement)
    if api.as_json:
        echo_json(result.text.rstrip("\n"))
    else:
        echo_result(result)


def _backslash(api: Api, text: str) -> None:
    """Run a command that begins with a backslash. Raises Left for the one that ends the shell."""
    match text.strip().rstrip(";").split():
        case ["\\q"]:
            raise Left
        case ["\\?"]:
            echo(_HELP)
        case ["\\d"]:
            _run(api, _TABLES)
        case ["\\d", name]:
            _describe(api, name.removeprefix('"').removesuffix('"'))
        case _:
            raise Failure(f"there is no command {text.strip()}; \\? shows those that there are")


def _describe(api: Api, name: str) -> None:
    result = run_query(api, _COLUMNS, {"name": name})
    if not result.rows:
        raise Failure(f"there is no view or table {name!r}")
    if api.as_json:
        echo_json(result.text.rstrip("\n"))
    else:
        echo_table(result.columns, result.rows)
