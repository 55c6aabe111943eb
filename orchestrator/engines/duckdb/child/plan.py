"""Opens the inputs of a plan in the child process: finds its files, checks its statements and creates its relations."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from orchestrator.engines.duckdb.child.errors import failure, redact_paths
from orchestrator.engines.duckdb.child.object_access import failure_of_remote_files
from orchestrator.engines.duckdb.child.places import find_place, note_place, place_in_text, position_of
from orchestrator.engines.duckdb.child.session import RelationBinder, rows_select
from orchestrator.engines.duckdb.integrity.whole_files import digest_of
from orchestrator.engines.duckdb.sources.bad_values import Source
from orchestrator.engines.duckdb.sources.contract import Contract, UnreadableFile
from orchestrator.engines.duckdb.sources.discovery import (
    ListedFile,
    SourceFile,
    list_source_files,
    real_path,
    shown_path,
)
from orchestrator.engines.duckdb.sources.parquet import read_parquet
from orchestrator.engines.duckdb.sources.scan import source_select
from orchestrator.engines.duckdb.sql.inlining import weigh
from orchestrator.engines.duckdb.sql.parquet_casts import UnsupportedType, decoded
from orchestrator.engines.duckdb.sql.references import place_of_name, readings
from orchestrator.engines.duckdb.sql.statement import single_select, without_semicolon
from orchestrator.engines.duckdb.types.plain_csv import plain_files
from orchestrator.model.errors import (
    InputMissing,
    Invalid,
    InvalidQuery,
    InvalidSource,
    OrchestratorError,
    PlanTooLarge,
    QueryFailed,
    QueryRefused,
)
from orchestrator.model.names import fold
from orchestrator.model.position import Position
from orchestrator.model.read_limits import MOST_READINGS
from orchestrator.model.remote_files import is_remote

Request = Mapping[str, Any]
Watch = Callable[[duckdb.DuckDBPyConnection], None]
Inputs = dict[str, list[SourceFile]]


class Answered(NamedTuple):
    """The answer to a request that needed no SQL. Its process was not confined for it."""

    value: Any


class Task(NamedTuple):
    """Work that is ready to run, and the only paths that it needs: files and whole folders to read, folders to write.

    A client's SQL is parsed and run only in `work`, when the sandbox denies all other paths.
    """

    work: Callable[[Watch], Any]
    readable: tuple[SourceFile, ...] = ()
    writable: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


@contextmanager
def translate_errors(request: Request, inputs: Inputs, labels: Mapping[str, str]) -> Iterator[None]:
    """Convert any exception to the error of a run that says what is wrong and where, without paths of the store."""
    try:
        yield
    except Exception as error:
        may_be_of_files = isinstance(error, (duckdb.Error, OSError))
        lost = failure_of_remote_files() or (_find_missing_input(inputs) if may_be_of_files else None)
        domain_error = lost or _to_domain_error(error, request["limits"])
        raise domain_error.changed(redact_paths(domain_error.message, labels)) from None


def _to_domain_error(error: Exception, limits: Mapping[str, int]) -> OrchestratorError:
    domain_error = failure(error, limits)
    if isinstance(error, (UnsupportedType, UnreadableFile)):
        domain_error = QueryFailed(str(error))
    if isinstance(domain_error, Invalid):
        # The API accepted the statement when it was saved, but a newer release may refuse it.
        domain_error = QueryRefused(domain_error.message, position=domain_error.position)
    position = position_of(error) or domain_error.position
    notes = getattr(error, "__notes__", [])
    if position is not None and position.view is not None and not notes:
        notes = [in_view(position.view)]
    return type(domain_error)(" ".join([*notes, domain_error.message]), position=position)


def in_view(name: str) -> str:
    """The beginning of a message about a view that is evaluated inside a query."""
    return f'In the view "{name}":'


def place_in_plan(
    connection: duckdb.DuckDBPyConnection, error: duckdb.Error, request: Request, names: RelationBinder
) -> Position | None:
    """The place of an error that the query of a plan raised: in its own text, or in that of a view in it."""
    views = {one["name"]: without_semicolon(one["sql"]) for one in request["relations"] if one["kind"] == "view"}
    created = {one["name"]: names.statement(one["name"]) for one in request["relations"]}
    return find_place(connection, error, created, views)


def find_files(request: Request) -> Answered:
    """The files of the source table `name` that match its pattern now. Raises InputMissing if there is none."""
    return Answered(_listed(request))


def digest_files(request: Request) -> Answered:
    """The digests of those files of the source table `name` whose paths are in `paths`, as far as they can be read."""
    wanted, found = set(request["paths"]), {}
    for one in _listed(request):
        if shown_path(one.file) in wanted:
            with suppress(OSError):
                found[shown_path(one.file)] = digest_of(one.file)
    return Answered(found)


def _listed(request: Request) -> list[ListedFile]:
    name, pattern = request["name"], request["url_pattern"]
    try:
        found = list_source_files(pattern, request["source_roots"], request["private"])
    except InvalidSource as error:
        raise InputMissing(f'Source table "{name}": {error.message}') from None
    if not found:
        raise InputMissing(f'Source table "{name}" has no files that match {pattern}.')
    return found


def list_inputs(request: Request, inputs: Inputs, labels: dict[str, str]) -> None:
    """Put the files of each source table and snapshot into `inputs`, and labels of their paths into `labels`."""
    for relation in (*request["relations"], *request.get("check_relations", ())):
        name = relation["name"]
        if relation["kind"] == "source":
            inputs[name] = [SourceFile(*file) for file in relation["source_files"]]
            labels.update({file.real: file.shown for file in inputs[name]})
        elif relation["kind"] == "snapshot":
            inputs[name] = [SourceFile(shown=path, real=real_path(path)) for path in relation["paths"]]
            labels.update({path: f'the snapshot of "{name}"' for file in inputs[name] for path in file[:2]})
    # A file that only a check reads keeps no query from running.
    missing = _find_missing_input(
        {relation["name"]: inputs.get(relation["name"], ()) for relation in request["relations"]}
    )
    if missing:
        raise missing


def _find_missing_input(inputs: Mapping[str, Iterable[SourceFile]]) -> InputMissing | None:
    for name, files in inputs.items():
        if not all(is_remote(file.real) or Path(file.real).is_file() for file in files):
            return InputMissing(f'A file of "{name}", which this view reads, no longer exists.')
    return None


def sources_of(request: Request, inputs: Inputs) -> dict[str, Source]:
    """The files and the contract of each source table of the plan, by name."""
    relations = [relation for relation in request["relations"] if relation["kind"] == "source"]
    return {r["name"]: Source(Contract.of(r, r["columns"]), inputs[r["name"]]) for r in relations}


def check_plan(connection: duckdb.DuckDBPyConnection, request: Request) -> None:
    """Check the plan against the rules for views, which may be stricter now than when it was made."""
    known = {fold(relation["name"]) for relation in request["relations"]}
    views = {
        view["name"]: readings_of(connection, view["sql"], known, view["name"])
        for view in request["relations"]
        if view["kind"] == "view"
    }
    weight = weigh(readings_of(connection, request["sql"], known, None, request.get("parameters", ())), views)
    if weight > MOST_READINGS:
        raise PlanTooLarge(
            f"With every view that has no result of its own evaluated inside it, the query reads tables and views "
            f"{weight:,} times; {MOST_READINGS:,} are the most. Materialize some of the views that it reads."
        )


def readings_of(
    connection: duckdb.DuckDBPyConnection, sql: str, known: set[str], view: str | None, parameters: Collection[str] = ()
) -> list[str]:
    """The names that a statement reads, that of `view` or the query itself. Raises QueryRefused, or QueryFailed.

    `known` are all names that there are, folded.
    """
    where = f"{in_view(view)} " if view is not None else ""
    try:
        names = readings(connection, sql, parameters)
    except InvalidQuery as error:
        raise QueryRefused(where + error.message, position=_of_view(error.position, view)) from None
    except RecursionError:
        raise QueryRefused(f"{where}Invalid query: it is too complex to analyse.") from None
    unknown = next((name for name in names if fold(name) not in known), None)
    if unknown is not None:
        # DuckDB has tables of its own, which reveal facts about the server, and it reads a file's name as a table.
        position = _of_view(place_of_name(connection, sql, unknown, parameters), view)
        raise QueryFailed(f"{where}Catalog Error: Table with name {unknown} does not exist!", position=position)
    return names


def _of_view(position: Position | None, view: str | None) -> Position | None:
    return None if position is None else position.of_view(view)


def create_relations(
    connection: duckdb.DuckDBPyConnection, request: Request, inputs: Inputs, created: dict[str, str] | None = None
) -> RelationBinder:
    """Create the relations of the plan, so that its query can read them. `created` is explained at RelationBinder."""
    relations = request["relations"]
    texts = [request["sql"], *(r["sql"] for r in relations if r["kind"] == "view")]
    names = RelationBinder(connection, texts, created)
    for relation in relations:
        create_relation(connection, names, relation, inputs)
    return names


def create_relation(
    connection: duckdb.DuckDBPyConnection, names: RelationBinder, relation: Mapping[str, Any], inputs: Inputs
) -> None:
    """Create a relation of the plan; those that it reads must be there."""
    name, kind = relation["name"], relation["kind"]
    try:
        if kind == "view":
            names.create_query(name, single_select(connection, relation["sql"]))
        elif kind == "source":
            contract = Contract.of(relation, relation["columns"])
            names.create(name, source_select(connection, contract, inputs[name]))
        elif kind == "rows":
            _create_rows(connection, names, relation)
        else:
            names.create(name, decoded(read_parquet(file.real for file in inputs[name]), relation["columns"]))
    except Exception as error:
        error.add_note(in_view(name) if kind == "view" else f'Reading "{name}":')
        if kind == "view" and isinstance(error, duckdb.Error):
            note_place(error, place_in_text(error, name))
        raise


def _create_rows(connection: duckdb.DuckDBPyConnection, names: RelationBinder, relation: Mapping[str, Any]) -> None:
    select = rows_select(relation["columns"], relation["rows"])
    if not relation["has_aliases"]:
        names.create_plain(relation["name"], select)
        return
    connection.execute(select)  # a value that is none of its type is found here, where it is known which input has it
    names.create(relation["name"], select)


def read_plain_files_quickly(
    connection: duckdb.DuckDBPyConnection, names: RelationBinder, query: str, request: Request, inputs: Inputs
) -> None:
    """Have plain CSV files read by a faster scan that gives the same values."""
    sources = sources_of(request, inputs)
    plain = plain_files(connection, query, sources.values(), request["limits"]["threads"])
    for name, (contract, files) in sources.items():
        if not plain.isdisjoint(file.real for file in files):
            names.replace(name, source_select(connection, contract, files, plain))
